"""Ends a run early when the caller sets an event."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from asyncembed._exceptions import StreamClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@contextmanager
def stoppable(stop: asyncio.Event | None, end_soon: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Cancel this block after the caller sets `stop`, but first await `end_soon`, so that it may end by itself.

    Raises:
        StreamClosedError: if the block was cancelled.
    """
    if stop is None:
        yield
        return
    with anyio.CancelScope() as scope:
        watching = asyncio.create_task(_watch(stop, end_soon, scope), name="asyncembed-stop")
        try:
            yield
        finally:
            watching.cancel()
    if scope.cancelled_caught:
        raise StreamClosedError("the run was stopped before its end")


async def _watch(stop: asyncio.Event, end_soon: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
    await stop.wait()
    await end_soon()
    scope.cancel()
