"""`asyncembed info`: what is in a file of vectors, and what it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from asyncembed.cli._console import plural, printable, stdout
from asyncembed.sinks import find_format, open_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator


def show_info(path: Path) -> None:
    """Print what a file of vectors holds.

    Raises:
        ConfigurationError: if it is no such file.
    """
    console = stdout()
    for name, value in facts(path):
        console.print(Text(f"{name:<12}", "bold").append(printable(value), "not bold"))


def facts(path: Path) -> Iterator[tuple[str, str]]:
    """Give what is known about a file of vectors, by name."""
    file = open_vectors(path)
    made = file.provenance
    yield "file", str(path)
    yield "size", _megabytes(path)
    yield "rows", f"{file.rows:,}"
    yield "dimension", str(made.dimension if made else file.width)
    if made is None:
        yield "made with", "not known: the file does not say it"
        return
    yield "dtype", made.dtype
    yield "provider", made.provider
    yield "model", made.model
    yield "input type", made.input_type or "not given"
    if made.base_url:
        yield "server", made.base_url
    yield "made with", f"asyncembed {made.version}"


def _megabytes(path: Path) -> str:
    endings = find_format(path).sidecars
    sidecars = [file for ending in endings if (file := Path(f"{path}{ending}")).is_file()]
    size = sum(file.stat().st_size for file in (path, *sidecars))
    beside = f", with {plural(len(sidecars), 'file')} beside it" if sidecars else ""
    return f"{size / 1_000_000:,.1f} MB{beside}"
