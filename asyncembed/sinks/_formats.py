"""The file formats by suffix; a new one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asyncembed._errors import ConfigurationError
from asyncembed._settings import check_choice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asyncembed.sinks._base import Format, VectorFile

FormatName: TypeAlias = Literal["npy", "npz", "arrow", "parquet", "jsonl"]

FORMATS: Final[Mapping[str, str]] = {
    ".parquet": "asyncembed.sinks.parquet",
    ".npy": "asyncembed.sinks.npy",
    ".npz": "asyncembed.sinks.npz",
    ".arrow": "asyncembed.sinks.arrow",
    ".jsonl": "asyncembed.sinks.jsonl",
}
"""The module of each suffix, loaded when it is first needed: what it imports may be slow, or not installed."""

ARROW_MISSING: Final = '.parquet and .arrow need pyarrow, which is not installed: pip install "asyncembed[arrow]"'


def find_format(path: Path, name: FormatName | None = None) -> Format:
    """Return the format of this name, or else the one that the suffix of `path` names.

    Raises:
        ConfigurationError: if there is no such format, or the package that it needs is not installed.
    """
    if name is not None:
        check_choice("format", name, FormatName)
    suffix = f".{name}" if name else path.suffix.lower()
    if suffix not in FORMATS:
        found = f"the suffix {suffix}" if suffix else "no suffix"
        raise ConfigurationError(f"{path} has {found}; vectors are kept in files that end in {', '.join(FORMATS)}")
    try:
        kind: Format = import_module(FORMATS[suffix]).FORMAT
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
