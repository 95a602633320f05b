"""A stream whose results are settled in batches: brought to where they are safe, such as a file or a database.

While one batch is settled, the next one gathers in the stream. So a slow disk makes larger batches, until it is slower
than the API; then the stream asks for less. However the run ends, all that has come until then is settled.
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
"""Bytes of vectors and texts from which on a batch is settled at once."""

BATCH_SECONDS: Final = 0.025
"""Seconds from the begin of one batch to that of the next."""

MAX_READY: Final = 8
"""Blocks that may wait for a batch before nothing more is asked for: what settles them may stall."""

Item: TypeAlias = EmbedBlock[Scalar] | EmbedFailure | Withdrawal
_text_of = attrgetter("text")
_span_of = attrgetter("span")


class Settler(Protocol):
    """What brings results to where they are safe."""

    async def settle(self, batch: Sequence[Item], *, is_end: bool) -> None:
        """Return when the results are safe.

        Args:
            batch: The results, in the order in which they came. It may be empty.
            is_end: Whether the stream has come to its end, so that failures in it are final.
        """
        ...


class SettlingRun:
    """Takes all that a stream gives, and has it settled.

    Args:
        stream: An unordered stream of a settling run, with `max_ready=MAX_READY`.
        settler: What settles its results.
        report: Told now and then how the run stands.
        batch_rows: Most rows of a batch, which is settled at once when it has them; None if bytes and seconds decide.
        batch_seconds: Seconds from the begin of a batch that does not become full to that of the next.
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
        self._tell = report
        self._batch_rows = batch_rows
        self._batch_seconds = batch_seconds
        self._batch: list[Item] = []
        self._bytes = self._rows = 0
        self._due = self._report_due = 0.0
        self._has_settled = False  # since something was last said of what it took
        self._ended = anyio.Event()

    async def run(self) -> None:
        """Go on to the end of the stream.

        Raises:
            AsyncEmbedError: what ended the stream, after all results that came before it.
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
        """Ask for nothing more, and wait so many seconds for what is on its way and its end, but not for longer."""
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
        """When something is to be done even if no result comes."""
        times = [self._due] * (bool(self._batch) or self._has_settled) + [self._report_due] * bool(self._tell)
        return min(times, default=None)

    async def _settle(self, *, is_end: bool = False, keeps_rest: bool = False) -> None:
        """Settle what has gathered; with `keeps_rest`, rows that do not fill a batch gather on."""
        gathered, self._batch, self._bytes, self._rows = self._batch, [], 0, 0
        batches = deque(batches_of(gathered, self._batch_rows) if self._batch_rows else [gathered])
        self._due = asyncio.get_running_loop().time() + self._batch_seconds
        rest = batches.pop() if keeps_rest and len(batches) > 1 else []
        try:
            while batches:
                batch = batches.popleft()
                await self._settler.settle(batch, is_end=is_end and not batches)
                self._stream.settled(sum(map(_span_of, batch)))
        finally:  # if it is being cancelled, there is more to settle
            for item in chain(*batches, rest):
                self._add(item)

    def _report(self) -> None:
        if self._tell:
            self._tell(self._stream.summary)


def batches_of(items: Sequence[Item], max_rows: int) -> Iterator[list[Item]]:
    """Cut results into batches of so many rows, but the last one, which may have fewer; there is one at least."""
    batch: list[Item] = []
    room = max_rows
    for item in items:
        rest = item
        while isinstance(rest, EmbedBlock) and rest.span >= room:
            batch.append(EmbedBlock(rest.index, rest.embeddings[:room], rest.inputs[:room]))
            rest = EmbedBlock(rest.index + room, rest.embeddings[room:], rest.inputs[room:])
            yield batch
            batch, room = [], max_rows
        if rest.span or not isinstance(rest, EmbedBlock):
            batch.append(rest)
            room -= rest.span if isinstance(rest, EmbedBlock) else 0
    yield batch
