"""A file in the making: it gets its name only when it is whole, and what was finished is kept if it never is.

While it grows, `vectors.parquet` is called `vectors.partial.parquet`. At the end it is brought to the disk and
renamed. If the run ends early, it is closed under its partial name, as a valid file of the rows it has, because every
row of it was paid for. No partial file is replaced unless it is asked for, for the same reason.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio

from asyncembed._errors import ConfigurationError
from asyncembed.sinks._formats import find_format
from asyncembed.sinks._provenance import PACKED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType

    from asyncembed._models import EmbedResult
    from asyncembed.sinks._base import Sink
    from asyncembed.sinks._provenance import Provenance

BLOCK_ROWS: Final = 8_192
"""Most results written at once; each block is a row group of a Parquet file."""

BLOCK_BYTES: Final = 8_000_000
"""Most bytes of vectors and texts written at once, as nearly as one result allows."""


class Output:
    """Use it as `with Output(...) as output:`; leaving it before `finish()` keeps what was written as a partial file.

    Args:
        path: The file to make; its suffix says the format.
        provenance: To be kept with the vectors; its dimension may be unknown.
        overwrite: Whether files that exist may be replaced.

    Raises:
        ConfigurationError: if the suffix is unknown, the package it needs is missing, or the file exists or cannot
            be written.
    """

    def __init__(self, path: Path, provenance: Provenance, *, overwrite: bool = False) -> None:
        self._kind = find_format(path).sink
        self.path = path
        self.partial = path.with_suffix(f".partial{path.suffix}")
        self.rows = 0
        """Rows written so far."""
        self._provenance = provenance
        self._sink: Sink | None = None
        self._opened = False
        self._busy = threading.Lock()  # a cancelled task leaves its thread writing
        _claim(path, self.partial, overwrite=overwrite)

    def __enter__(self) -> Self:
        """Return the output itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the partial file, and remove it if it holds no row of this run."""
        with self._busy:
            try:
                self._close()
            finally:
                if not self.rows:
                    self._discard()

    def write(self, results: Sequence[EmbedResult]) -> None:
        """Append results that are in order; the first of them decides the dimension."""
        if not results:
            return
        with self._busy:
            self._sink = self._sink or self._open(results[0])
            self._sink.write(results)
            self.rows += len(results)

    def finish(self) -> None:
        """Give the file its name, now that it is whole; if there was no result, no file is made."""
        with self._busy:
            if self._sink is None:
                return
            self._close()
            # The vectors come last: where they are, the rest is.
            for ending in (*self._kind.sidecars, ""):
                _publish(Path(f"{self.partial}{ending}"), Path(f"{self.path}{ending}"))
            _sync(self.path.parent)

    def _open(self, first: EmbedResult) -> Sink:
        self._opened = True
        packed = 8 if self._provenance.dtype in PACKED else 1
        return self._kind(self.partial, replace(self._provenance, dimension=len(first.embedding) * packed))

    def _discard(self) -> None:
        if self._opened or (self.partial.exists() and not self.partial.stat().st_size):
            for ending in (*self._kind.sidecars, ""):
                Path(f"{self.partial}{ending}").unlink(missing_ok=True)

    def _close(self) -> None:
        sink, self._sink = self._sink, None
        if sink:
            sink.close()


async def save(results: AsyncIterator[EmbedResult], output: Output) -> None:
    """Write results, which must come in order, and finish the file; blocks are written off the event loop.

    However the results end, those that came are written: they were paid for.

    Raises:
        OSError: if the file cannot be written.
    """
    block: list[EmbedResult] = []
    size = 0
    try:
        async for result in results:
            block.append(result)
            size += result.embedding.nbytes + len(result.text)
            if len(block) >= BLOCK_ROWS or size >= BLOCK_BYTES:
                full, block, size = block, [], 0
                await _in_thread(partial(output.write, full))
    finally:
        await _in_thread(partial(output.write, block))
    await _in_thread(output.finish)


async def _in_thread(function: Callable[[], None]) -> None:
    """Call a function off the event loop, and let it come to its end even if this task is being cancelled."""
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(function)


def _claim(path: Path, partial: Path, *, overwrite: bool) -> None:
    """Make sure that the file may be written, and take its partial name, before anything is paid for."""
    if path.exists() and not (overwrite and path.is_file()):
        raise ConfigurationError(f"{path} exists; replace it with --overwrite (overwrite=True), or choose another name")
    try:
        partial.touch(exist_ok=overwrite)
    except FileExistsError:
        raise ConfigurationError(
            f"{partial} exists: a run that was stopped left it, or another one is writing it; "
            "replace it with --overwrite (overwrite=True), or rename it"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _publish(partial: Path, path: Path) -> None:
    _sync(partial)
    partial.replace(path)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no way to ask for it
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
