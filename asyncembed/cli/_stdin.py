"""Lines of standard input and of named pipes, such as the shell makes for `<(zcat a b)`.

Another program may write to them slowly, and a blocking read would stop the event loop and Ctrl-C. So the event loop
waits until data is available. Regular files need no waiting, and an event loop cannot wait for them.
"""

from __future__ import annotations

import os
import stat
import zlib
from typing import TYPE_CHECKING, Final

import anyio

from asyncembed.cli._files import LineSplitter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

STDIN: Final = 0
READ_BYTES: Final = 65_536
_GZIP: Final = 31  # zlib: gzip header, largest window


def needs_waiting(path: Path | None = None) -> bool:
    """Return whether reading a path, or standard input, may block and the event loop can wait for it."""
    if os.name == "nt":
        return False
    try:
        mode = os.fstat(STDIN).st_mode if path is None else path.stat().st_mode
    except OSError:
        return False  # reading it raises the error
    is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return is_pipe or (os.isatty(STDIN) if path is None else _is_terminal(path, mode))


async def lines(path: Path | None = None, *, compressed: bool = False) -> AsyncGenerator[bytes, None]:
    """Yield the lines of standard input or a pipe as they arrive, line endings included.

    A line that is longer than the limit of `LineSplitter` is yielded in parts.

    Args:
        path: The pipe; None for standard input.
        compressed: Whether the data is compressed with gzip.

    Raises:
        OSError, EOFError, zlib.error: if the data cannot be read or decompressed.
    """
    # Without O_NONBLOCK, opening a pipe blocks until another process opens it for writing.
    file = STDIN if path is None else os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    splitter = LineSplitter()
    try:
        async for chunk in _decompressed(file) if compressed else _chunks(file):
            for line in splitter.feed(chunk):
                yield line
        for line in splitter.close():
            yield line
    finally:
        if path is not None:
            os.close(file)


async def _chunks(file: int) -> AsyncGenerator[bytes, None]:
    while True:
        await anyio.wait_readable(file)
        try:
            chunk = os.read(file, READ_BYTES)
        except BlockingIOError:  # another process has read the data
            continue
        if not chunk:
            return
        yield chunk


async def _decompressed(file: int) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed content of a gzip file, which may have several members."""
    decompressor = zlib.decompressobj(_GZIP)
    is_started = False
    async for chunk in _chunks(file):
        packed = chunk
        while packed:
            if decompressor.eof:
                packed = packed.lstrip(b"\0")  # gzip treats zeros between and after members as padding
                decompressor, is_started = zlib.decompressobj(_GZIP), False
                continue
            is_started = True
            if data := decompressor.decompress(packed, READ_BYTES):
                yield data
            packed = decompressor.unconsumed_tail or decompressor.unused_data
    if is_started and not decompressor.eof:
        raise EOFError("the compressed data ends too early")


def _is_terminal(path: Path, mode: int) -> bool:
    if not stat.S_ISCHR(mode):
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.isatty(file)
    finally:
        os.close(file)
