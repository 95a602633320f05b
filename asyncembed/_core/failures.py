"""Texts that a run does without, and when it has lost so many that it had better end.

What becomes of texts that are given up: kept, told of, counted, and put in the place of results or left out.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncembed._exceptions import InvalidInputError, StoredError, without_frames
from asyncembed._models import EmbedFailure
from asyncembed._util import OneThread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._core.call import Call, DeadLetters
    from asyncembed._core.memory import Reservation
    from asyncembed._core.observer import Observer
    from asyncembed._core.result_queue import ResultQueue
    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._models import EmbedInput


MAX_LOST_IN_A_ROW: Final = 8
"""Batches that may be lost to a failing server or network, one after the other, before that ends the run."""

MAX_REFUSED_AT_FIRST: Final = 64
"""Texts that the API may refuse, each by itself, before it has taken a single one: it must be the request, then."""


class FailureBudget:
    """Counts what was given up.

    Attributes:
        count: Texts.
        first: Why the first of them was.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: AsyncEmbedError | None = None
        self._lost_in_a_row = self._refused = 0

    def add(self, error: AsyncEmbedError) -> None:
        """Note a text that was given up."""
        self.count += 1
        self.first = self.first or error

    def end_row(self) -> None:
        """Note that something has arrived."""
        self._lost_in_a_row = 0

    def may_go_on(self, error: AsyncEmbedError, done: int) -> bool:
        """Whether a run that has had `done` results goes on without what an error concerns."""
        if isinstance(error, InvalidInputError):
            self._refused += 1
            return done > 0 or self._refused < MAX_REFUSED_AT_FIRST
        self._lost_in_a_row += 1
        return self._lost_in_a_row < MAX_LOST_IN_A_ROW


class FailureWriter:
    """Has failures written, off the event loop; those that come during one write go together into the next.

    Args:
        letters: What writes them; None if nothing is to be kept.
    """

    def __init__(self, letters: DeadLetters | None) -> None:
        self._letters = letters
        self._waiting: list[EmbedFailure] = []
        self._turn = asyncio.Lock()
        self._error: StoredError | None = None

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
                raise self._error.ready()
            waiting, self._waiting = self._waiting, []
            if waiting:  # else somebody else has written them
                await self._write(self._letters, waiting)

    async def _write(self, letters: DeadLetters, failures: Sequence[EmbedFailure]) -> None:
        try:
            with OneThread() as thread:
                await thread.run(partial(letters.write, failures))
        except Exception as error:
            self._error = StoredError(error)
            raise


class Failures:
    """Gives up the texts of one run.

    Args:
        call: What is to become of them, and what keeps them.
        outbox: Where the results of the run go.
        losses: What counts them.
        observer: What tells of them.
        settling: Whether failures come out even where they are skipped, for whoever keeps books of its texts.
    """

    def __init__(
        self,
        call: Call,
        result_queue: ResultQueue,
        failure_budget: FailureBudget,
        observer: Observer,
        *,
        settling: bool,
    ) -> None:
        self._writer = FailureWriter(call.dead_letters)
        self._outbox = result_queue
        self._losses = failure_budget
        self._observer = observer
        self._yields = settling or call.on_error != "skip"

    async def give_up(self, lost: Sequence[tuple[int, EmbedInput, AsyncEmbedError]], reservation: Reservation) -> None:
        """Do without texts, as soon as they are safe where they are to be kept.

        Args:
            lost: Their indices, and why.
            reservation: The memory of their batch.

        Raises:
            OSError: if they cannot be kept; then nothing is said of them.
        """
        failures = [EmbedFailure(index, item.text, item.id, error, item.metadata) for index, item, error in lost]
        await self._writer.write(failures)
        for failure, (index, item, error) in zip(failures, lost, strict=True):
            without_frames(error)
            self._observer.gave_up(index, item, error)
            self._losses.add(failure.error)
            self._hand_over(failure, reservation)

    def _hand_over(self, failure: EmbedFailure, reservation: Reservation) -> None:
        if self._yields:
            self._outbox.put([failure], reservation)
        else:
            self._outbox.skip(failure.index)
            reservation.take()
