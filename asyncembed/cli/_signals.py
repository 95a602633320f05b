"""Ctrl-C and SIGTERM as calls in the event loop, one for each time; one more ends the process at once.

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

STOPPED: Final = 130
"""Exit code after Ctrl-C or SIGTERM."""


@contextmanager
def on_stop(*steps: Callable[[], None]) -> Iterator[None]:
    """Call the next of these in the running event loop each time the process is asked to end in this context."""
    loop, left = asyncio.get_running_loop(), list(steps)

    def handle(number: int, frame: object) -> None:  # noqa: ARG001  # as the signal module calls it
        loop.call_soon_threadsafe(left.pop(0))
        if not left:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
