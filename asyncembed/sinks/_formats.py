"""The file formats by suffix; a new one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from asyncembed._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asyncembed.sinks._base import Format, VectorFile

FORMATS: Final[Mapping[str, str]] = {
    ".parquet": "asyncembed.sinks.parquet",
    ".npy": "asyncembed.sinks.npy",
    ".jsonl": "asyncembed.sinks.jsonl",
}
"""The module of each suffix, loaded when it is first needed: what it imports may be slow, or not installed."""

ARROW_MISSING: Final = '.parquet files need pyarrow, which is not installed: pip install "asyncembed[arrow]"'


def find_format(path: Path) -> Format:
    """Return the format that the suffix of `path` names.

    Raises:
        ConfigurationError: if it names none, or the package that it needs is not installed.
    """
    if path.suffix not in FORMATS:
        found = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        raise ConfigurationError(f"{path} has {found}; vectors are kept in files that end in {', '.join(FORMATS)}")
    try:
        kind: Format = import_module(FORMATS[path.suffix]).FORMAT
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise ConfigurationError(ARROW_MISSING) from None
    return kind


def open_vectors(path: Path) -> VectorFile:
    """Open a file of vectors for reading.

    Raises:
        ConfigurationError: if there is no such file, or it is not what its suffix says.
    """
    kind = find_format(path)
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}")
    return kind.file(path)
