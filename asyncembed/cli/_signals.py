"""Ctrl-C and SIGTERM, once, as a call in the event loop; a second one ends the process at once.

asyncio's own way, to cancel the main task, knows nothing of SIGTERM and looks like any other cancellation. Handlers of
the signal module, other than those of the loop, are the same on every system.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` in the running event loop when the process is asked to end while this context is open."""
    loop = asyncio.get_running_loop()

    def handle(number: int, frame: object) -> None:  # noqa: ARG001  # as the signal module calls it
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
