"""Handling of Ctrl-C and SIGTERM as calls in the event loop.

asyncio handles only Ctrl-C, by cancelling the main task, which looks like any other cancellation. An event loop on
Windows has no signal handlers of its own, so this uses the `signal` module.
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
    """Call the next step in the running event loop at each Ctrl-C or SIGTERM.

    After the last step, the next signal ends the process.

    Args:
        *steps: At least one function without arguments.
    """
    loop, remaining = asyncio.get_running_loop(), list(steps)

    def handle(number: int, frame: object) -> None:  # noqa: ARG001  # as the signal module calls it
        loop.call_soon_threadsafe(remaining.pop(0))
        if not remaining:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
