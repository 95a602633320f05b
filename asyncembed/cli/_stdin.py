"""Input that another program fills, slowly: standard input, or a named pipe as `<(zcat a b)` makes one.

Reading it would block everything, Ctrl-C included. So the event loop waits for it, and it is read only when there is
something. A regular file or a device cannot be waited for, and need not be.
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
_GZIP: Final = 31  # zlib's word for data with gzip's header


def is_awaited(path: Path | None = None) -> bool:
    """Whether reading a path, or standard input, may take any time, and the event loop can wait for it."""
    if os.name == "nt":
        return False
    try:
        mode = os.fstat(STDIN).st_mode if path is None else path.stat().st_mode
    except OSError:
        return False  # what is wrong is told when it is read
    is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return is_pipe or (os.isatty(STDIN) if path is None else _is_terminal(path, mode))


async def lines(path: Path | None = None, *, compressed: bool = False) -> AsyncGenerator[bytes, None]:
    """Give the lines of standard input or a pipe, their ends included, as they come; one that is too long is cut.

    Args:
        path: The pipe; None for standard input.
        compressed: Whether it is compressed with gzip.

    Raises:
        OSError, EOFError, zlib.error: if it cannot be read or unpacked.
    """
    # A pipe that nothing is written into yet would hold up the opening.
    file = STDIN if path is None else os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    splitter = LineSplitter()
    try:
        async for chunk in _unpacked(file) if compressed else _chunks(file):
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
        except BlockingIOError:  # another reader was faster
            continue
        if not chunk:
            return
        yield chunk


async def _unpacked(file: int) -> AsyncGenerator[bytes, None]:
    """Give what the members of a gzip file hold, of which there may be several, one after the other."""
    unpacker = zlib.decompressobj(_GZIP)
    is_begun = False
    async for chunk in _chunks(file):
        packed = chunk
        while packed:
            if unpacker.eof:
                packed = packed.lstrip(b"\0")  # gzip takes zeros between and after members for padding
                unpacker, is_begun = zlib.decompressobj(_GZIP), False
                continue
            is_begun = True
            if data := unpacker.decompress(packed, READ_BYTES):
                yield data
            packed = unpacker.unconsumed_tail or unpacker.unused_data
    if is_begun and not unpacker.eof:
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
