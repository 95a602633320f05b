"""Standard input that somebody else fills, slowly: a pipe or a terminal.

Reading it would block everything, Ctrl-C included. So the event loop waits for it, and it is read only when there is
something. A regular file or a device cannot be waited for, and need not be.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

import anyio

from asyncembed.cli._lines import LineSplitter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STDIN: Final = 0
READ_BYTES: Final = 65_536


def is_awaited() -> bool:
    """Whether reading standard input may take as long as somebody likes, and the event loop can wait for it."""
    if os.name == "nt":
        return False
    mode = os.fstat(STDIN).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(STDIN)


async def lines() -> AsyncIterator[bytes]:
    """Give the lines of standard input, their ends included, as they come."""
    splitter = LineSplitter()
    while piece := await _read():
        for line in splitter.feed(piece):
            yield line
    for line in splitter.close():
        yield line


async def _read() -> bytes:
    await anyio.wait_readable(STDIN)
    return os.read(STDIN, READ_BYTES)
