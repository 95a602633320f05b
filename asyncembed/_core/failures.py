"""Texts that could not be embedded: `Failures` records and delivers them, `FailureBudget` says when to end the run."""

from __future__ import annotations

import asyncio
import copy
from bisect import bisect_left
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
"""Consecutive batches lost to a failing server or network after which the run ends."""

MAX_REFUSED_AT_FIRST: Final = 64
"""Refused texts that end the run if the API has not accepted a single one: the request must be wrong, not the texts."""


class FailureBudget:
    """Counts failed texts and decides when there are too many.

    Attributes:
        count: Number of failed texts.
        first: Error of the first one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: AsyncEmbedError | None = None
        self._lost_in_a_row = self._refused = 0

    def add(self, error: AsyncEmbedError) -> None:
        """Count a failed text."""
        self.count += 1
        self.first = self.first or error

    def record_success(self) -> None:
        """Record that a result has arrived, which resets the count of consecutive failures."""
        self._lost_in_a_row = 0

    def record(self, error: AsyncEmbedError) -> None:
        """Count an error that makes a text or a batch fail."""
        if isinstance(error, InvalidInputError):
            self._refused += 1
        else:
            self._lost_in_a_row += 1

    def allows(self, error: AsyncEmbedError, done: int) -> bool:
        """Return whether a run with `done` results continues after the recorded `error`."""
        if isinstance(error, InvalidInputError):
            return done > 0 or self._refused < MAX_REFUSED_AT_FIRST
        return self._lost_in_a_row < MAX_LOST_IN_A_ROW


class FailureWriter:
    """Writes failures in a thread; failures that arrive during one write go together into the next.

    Args:
        letters: Stores the failures; None to store none.
    """

    def __init__(self, letters: DeadLetters | None) -> None:
        self._letters = letters
        self._waiting: list[EmbedFailure] = []
        self._lock = asyncio.Lock()
        self._error: StoredError | None = None

    async def write(self, failures: Sequence[EmbedFailure]) -> None:
        """Return when the failures are on disk.

        Raises:
            OSError: if these or earlier failures could not be written.
        """
        if self._letters is None:
            return
        self._waiting += failures
        async with self._lock:
            if self._error:
                raise self._error.ready()
            waiting, self._waiting = self._waiting, []
            if waiting:  # otherwise another call has written them
                await self._write(self._letters, waiting)

    async def _write(self, letters: DeadLetters, failures: Sequence[EmbedFailure]) -> None:
        try:
            with OneThread() as thread:
                await thread.run(partial(letters.write, failures))
        except Exception as error:
            self._error = StoredError(error)
            raise


class Failures:
    """Handles the failed texts of one run: stores, reports and counts them, and delivers or skips them.

    Args:
        call: Its `on_error` says whether failures are delivered, its `dead_letters` stores them.
        result_queue: The queue of the run's results.
        failure_budget: Counts the failures.
        observer: Reports the failures.
        settling: Whether failures are delivered even with `on_error="skip"`, because the consumer tracks every text.
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
        self._result_queue = result_queue
        self._failure_budget = failure_budget
        self._observer = observer
        self._delivers = settling or call.on_error != "skip"

    async def give_up(self, lost: Sequence[tuple[int, EmbedInput, AsyncEmbedError]], reservation: Reservation) -> None:
        """Record texts as failed, after they have been stored.

        Args:
            lost: Index, text and error of each.
            reservation: The memory of their batch.

        Raises:
            OSError: if they cannot be stored; then they are neither reported nor delivered.
        """
        lost = [(index, item, self._own(error, index)) for index, item, error in lost]
        failures = [EmbedFailure(index, item.text, item.id, error, item.metadata) for index, item, error in lost]
        await self._writer.write(failures)
        for failure, (index, item, error) in zip(failures, lost, strict=True):
            without_frames(error)
            self._observer.gave_up(index, item, error)
            self._failure_budget.add(failure.error)
            self._deliver(failure, reservation)

    def _own(self, error: AsyncEmbedError, index: int) -> AsyncEmbedError:
        """Return the error of a text: a copy of its own if it is that of an equal text, which `indices` name."""
        place = bisect_left(error.indices, index)
        if not error.indices or error.indices[place : place + 1] == (index,):
            return error
        own = copy.copy(error)
        own.indices = (index,)
        if notes := getattr(error, "__notes__", None):
            own.__notes__ = [*notes]  # the copy would share the list
        self._observer.copy_texts(error, own)
        return own

    def _deliver(self, failure: EmbedFailure, reservation: Reservation) -> None:
        if self._delivers:
            self._result_queue.put([failure], reservation)
        else:
            self._result_queue.skip(failure.index)
            reservation.consumed()
