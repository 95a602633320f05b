"""The small file beside a format that has no room for the provenance of its vectors: `vectors.npy.meta.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from asyncembed.sinks._own import new_file
from asyncembed.sinks._provenance import Provenance

META: Final = ".meta.json"


def write_meta(path: Path, provenance: Provenance, rows: int) -> None:
    """Write the provenance of the file at `path` beside it."""
    with new_file(Path(f"{path}{META}")) as file:
        file.write(provenance.to_json(rows=rows))


def read_meta(path: Path) -> Provenance | None:
    """Read it again; None if there is none.

    Raises:
        ConfigurationError: if it is not what `write_meta` wrote.
    """
    meta = Path(f"{path}{META}")
    return Provenance.from_json(meta.read_bytes(), str(meta)) if meta.is_file() else None
