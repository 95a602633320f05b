"""A lock file that one writer of a folder holds at a time, in this process or another one."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from asyncembed.sinks._safe_open import open_lock, try_lock, unlock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BUSY_SECONDS: Final = 30.0
"""How many seconds a writer waits for another one."""

TRY_SECONDS: Final = 0.02
"""Seconds between two tries; no operating system tells an event loop that a lock has become free."""


@asynccontextmanager
async def write_lock(path: Path) -> AsyncIterator[None]:
    """Hold the lock of a file, which is created if it does not exist and stays there.

    Raises:
        TimeoutError: if others hold it for `BUSY_SECONDS`.
        ConfigurationError: if the file or its folder is a symbolic link.
    """
    handle = open_lock(path)
    try:
        deadline = time.monotonic() + BUSY_SECONDS
        while not try_lock(handle):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another writer held {path} for {BUSY_SECONDS:g} s")
            await asyncio.sleep(TRY_SECONDS)
        try:
            yield
        finally:
            unlock(handle)
    finally:
        os.close(handle)
