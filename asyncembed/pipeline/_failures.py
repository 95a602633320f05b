"""What is done about failures before anybody is told of them."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from asyncembed._threads import OneThread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._models import EmbedFailure

log: Final = logging.getLogger("asyncembed")
log.addHandler(logging.NullHandler())  # else Python would print warnings of programs that set up no logging


class DeadLetters(Protocol):
    """Keeps failures for later; its methods are called in threads."""

    def write(self, failures: Sequence[EmbedFailure]) -> None:
        """Bring failures to the disk, and raise if they did not get there."""
        ...

    def recognise(self, first: int) -> None:
        """Leave out, from now on, failures from index `first` on that an earlier run has written already."""
        ...


class FailureWriter:
    """Has failures written, off the event loop; those that come during one write go together into the next.

    Args:
        letters: What writes them; None if nothing is to be kept.
    """

    def __init__(self, letters: DeadLetters | None) -> None:
        self._letters = letters
        self._waiting: list[EmbedFailure] = []
        self._turn = asyncio.Lock()
        self._error: Exception | None = None

    async def write(self, failures: Sequence[EmbedFailure]) -> None:
        """Return when the failures are safe.

        Raises:
            OSError: if these, or others before them, could not be written.
        """
        if self._letters is None:
            return
        self._waiting += failures
        async with self._turn:
            if self._error:
                raise self._error
            waiting, self._waiting = self._waiting, []
            if waiting:  # else somebody else has written them
                await self._write(self._letters, waiting)

    async def _write(self, letters: DeadLetters, failures: Sequence[EmbedFailure]) -> None:
        try:
            with OneThread() as thread:
                await thread.run(partial(letters.write, failures))
        except Exception as error:
            self._error = error
            raise
