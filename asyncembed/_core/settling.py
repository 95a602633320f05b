"""Settles the results of a stream in batches, which means to store them safely, for example in a file or a database.

While one batch is being settled, the next one collects in the stream. So a slow disk gets larger batches, and if it is
slower than the API, the stream sends fewer requests. However the run ends, all results that have arrived are settled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from asyncembed._models import EmbedBlock, EmbedFailure, Scalar, Withdrawal
from asyncembed._progress import REPORT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asyncembed._core.stream import EmbedStream
    from asyncembed._models import RunSummary


BATCH_BYTES: Final = 8_000_000
"""Bytes of vectors and texts at which a batch is settled at once."""

BATCH_SECONDS: Final = 0.025
"""Seconds from the start of one batch to the start of the next."""

MAX_READY: Final = 8
"""Blocks that may wait to be settled before no more batches are requested, because the settler may stall."""

Item: TypeAlias = EmbedBlock[Scalar] | EmbedFailure | Withdrawal
_text_of = attrgetter("text")
_span_of = attrgetter("span")


class Settler(Protocol):
    """Stores results safely."""

    async def settle(self, batch: Sequence[Item], *, is_end: bool) -> None:
        """Store results, and return when they are safe.

        Args:
            batch: The results in the order of arrival; it may be empty.
            is_end: Whether the stream was read to its end, so that failures are final.
        """
        ...


class SettlingRun:
    """Reads a stream to its end and settles its results.

    Args:
        stream: An unordered stream of a settling run, with `max_ready=MAX_READY`.
        settler: Stores the results.
        report: Called from time to time with the state of the run.
        batch_rows: Maximum number of rows in a batch; a full batch is settled at once. None for no such limit.
        batch_seconds: Seconds from the start of a batch that does not become full to the start of the next.
    """

    def __init__(
        self,
        stream: EmbedStream[Item],
        settler: Settler,
        report: Callable[[RunSummary], None] | None = None,
        *,
        batch_rows: int | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> None:
        self._stream = stream
        self._settler = settler
        self._on_report = report
        self._batch_rows = batch_rows
        self._batch_seconds = batch_seconds
        self._batch: list[Item] = []
        self._bytes = self._rows = 0
        self._due = self._report_due = 0.0
        self._has_settled = False  # a batch was just settled, so the totals are to be stored once more
        self._ended = anyio.Event()

    async def run(self) -> None:
        """Settle all results of the stream.

        Raises:
            AsyncEmbedError: the error that ended the stream, after all earlier results.
            Exception: what the settler raised.
        """
        try:
            async with self._stream:
                try:
                    await self._take()
                finally:
                    try:
                        await self._stream.end()
                    finally:
                        self._batch += self._stream.take_ready()
        except BaseException:
            await self._settle()
            with suppress(Exception):
                self._report()
            raise
        finally:
            self._ended.set()
        await self._settle(is_end=True)

    async def stop(self, wait: float) -> None:
        """Send no more requests, and wait up to `wait` seconds for those in flight and for the end of the run."""
        self._stream.stop()
        with anyio.move_on_after(wait):
            await self._ended.wait()

    async def _take(self) -> None:
        clock = asyncio.get_running_loop().time
        while await self._stream.wait(self._deadline()):
            self._add_ready()
            now = clock()
            if self._is_full() or (now >= self._due and (self._batch or self._has_settled)):
                self._stream.flush()
                self._add_ready()
                self._has_settled = bool(self._batch)
                await self._settle(keeps_rest=now < self._due)
            if now >= self._report_due:
                self._report_due = now + REPORT_SECONDS
                self._report()

    def _add_ready(self) -> None:
        for item in self._stream.take_ready():
            self._add(item)

    def _add(self, item: Item) -> None:
        self._batch.append(item)
        if isinstance(item, EmbedBlock):
            self._bytes += item.embeddings.nbytes + sum(map(len, map(_text_of, item.inputs)))
            self._rows += item.span
        elif isinstance(item, EmbedFailure):
            self._bytes += len(item.text)

    def _is_full(self) -> bool:
        return self._bytes >= BATCH_BYTES or (self._batch_rows is not None and self._rows >= self._batch_rows)

    def _deadline(self) -> float | None:
        """Return the time of the next batch or report, even if no result arrives."""
        times = [self._due] * (bool(self._batch) or self._has_settled) + [self._report_due] * bool(self._on_report)
        return min(times, default=None)

    async def _settle(self, *, is_end: bool = False, keeps_rest: bool = False) -> None:
        """Settle the collected results; with `keeps_rest`, rows that do not fill a batch stay for the next one."""
        gathered, self._batch, self._bytes, self._rows = self._batch, [], 0, 0
        batches = deque(batches_of(gathered, self._batch_rows) if self._batch_rows else [gathered])
        self._due = asyncio.get_running_loop().time() + self._batch_seconds
        rest = batches.pop() if keeps_rest and len(batches) > 1 else []
        try:
            while batches:
                batch = batches.popleft()
                await self._settler.settle(batch, is_end=is_end and not batches)
                self._stream.settled(sum(map(_span_of, batch)))
        finally:  # after a cancellation, `run` settles the rest
            for item in chain(*batches, rest):
                self._add(item)

    def _report(self) -> None:
        if self._on_report:
            self._on_report(self._stream.summary)


def batches_of(items: Sequence[Item], max_rows: int) -> Iterator[list[Item]]:
    """Split results into batches of `max_rows` rows; the last one may have fewer. There is at least one batch."""
    batch: list[Item] = []
    room = max_rows
    for item in items:
        rest = item
        while isinstance(rest, EmbedBlock) and rest.span >= room:
            batch.append(EmbedBlock(rest.index, rest.embeddings[:room], rest.inputs[:room], rest.truncated[:room]))
            rest = EmbedBlock(rest.index + room, rest.embeddings[room:], rest.inputs[room:], rest.truncated[room:])
            yield batch
            batch, room = [], max_rows
        if rest.span or not isinstance(rest, EmbedBlock):
            batch.append(rest)
            room -= rest.span if isinstance(rest, EmbedBlock) else 0
    yield batch
