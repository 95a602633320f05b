"""Sends texts that seem too long apart from the others, so that a refusal of one of them costs the others nothing.

When the stage meets such a text, it reads some batches ahead, takes those texts out, and sends them first, in as few
requests as they need. It fills new batches with the rest, so that requests stay full. So the vectors of long texts wait
for those of earlier texts, which are requested after them. They must not take the memory that the others wait for:
their reservations do not count as those of the run, and they need at most a quarter of the memory of a batch.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final

from asyncembed._decide.chunker import Batch
from asyncembed._models import EmbedInput

if TYPE_CHECKING:
    from asyncembed._core.memory import MemoryBudget
    from asyncembed._core.recall import RecallingSource
    from asyncembed._core.source import Source
    from asyncembed._decide.chunker import Chunker
    from asyncembed._decide.cost import CostModel
    from asyncembed._decide.long_texts import LongTexts
    from asyncembed._models import Limits

MAX_AHEAD: Final = 32
"""Batches that are read ahead when one of them has a text that seems too long."""
MAX_BYTES_AHEAD: Final = 8_000_000
"""Memory of the texts in these batches."""
PART_OF_BUDGET: Final = 4
"""Texts that seem too long take up to this part of the memory of a batch: a quarter."""

_text_of = attrgetter("text")
_index_of = itemgetter(0)


class LongSource:
    """Gives the batches of a run, like the source behind it, with texts that seem too long in batches of their own.

    Args:
        source: Gives the texts in batches.
        chunkers: One groups texts that seem too long, the other one the rest.
        long_texts: Says which texts these are, and what to send instead.
        cost: Estimates the memory of a batch.
        budget: The memory for batches.
        max_wait: How long to wait for another batch of an async iterable, in seconds; None not to wait at all.
    """

    def __init__(  # noqa: PLR0917  # one for each part of a run that it needs
        self,
        source: Source | RecallingSource,
        chunkers: tuple[Chunker, Chunker],
        long_texts: LongTexts,
        cost: CostModel,
        budget: MemoryBudget,
        max_wait: float | None,
    ) -> None:
        self._source = source
        self._long_chunker, self._chunker = chunkers
        self._long_texts = long_texts
        self._cost = cost
        self._budget = budget
        self._max_wait = max_wait
        self._ready: deque[Batch] = deque()
        self._ahead: deque[Batch] = deque()  # read, without the texts that were sent apart
        self._carried = Batch()  # texts without a request, which travel with the next batch
        self._originals: dict[int, EmbedInput] = {}  # of the texts in the chunker of long ones
        self._held = 0  # memory of these texts and their results

    def allow(self, limits: Limits, memory: int) -> None:
        """Set the limits of one request, and the memory of a batch."""
        self._chunker.limits, self._chunker.budget = limits, memory
        self._long_chunker.limits = replace(limits, inputs=min(limits.inputs, self._long_texts.apart_size))
        self._long_chunker.budget = self._budget.largest // PART_OF_BUDGET

    @property
    def pulled(self) -> int:
        """Number of texts read from the caller so far."""
        return self._source.pulled

    @property
    def needs_pump(self) -> bool:
        """Whether `pump` must run in a task of its own."""
        return self._source.needs_pump

    @property
    def is_exhausted(self) -> bool:
        """Whether `next_batch` is known to return None next."""
        return not self._ready and not self._ahead and not self._is_filling and self._source.is_exhausted

    @property
    def _is_filling(self) -> bool:
        return bool(self._chunker.pending or len(self._carried))

    async def next_batch(self) -> Batch | None:
        """Return the next batch, or None after the last one.

        Raises:
            Exception: what the caller's iterable raised, after the batch of the texts before it.
        """
        while not self._ready:
            if self._ahead:
                self._fill(self._ahead.popleft())
                continue
            try:
                batch = await self._source.next_batch()
            except BaseException:
                if not self._is_filling:
                    raise
                batch = None  # the source raises it again when it is asked again
            if batch is None:
                self._hand_on(self._flush())
                break
            if self._may_hold_long(batch):
                await self._take_apart(batch)
            elif self._is_filling:
                self._ahead.append(batch)
            else:
                return batch
        return self._ready.popleft() if self._ready else None

    async def pump(self) -> None:
        """Read an async iterable while batches are wanted."""
        await self._source.pump()

    def close(self) -> None:
        """Close a plain iterator that was not read to its end."""
        self._source.close()

    def _may_hold_long(self, batch: Batch) -> bool:
        """Whether one of the texts is long enough to look at it more closely."""
        if not self._long_texts.separates:
            return False
        least = self._long_texts.least_chars
        return batch.request_bytes > least and max(map(len, map(_text_of, batch.inputs.values())), default=0) > least

    async def _take_apart(self, first: Batch) -> None:
        """Take the long texts out of a batch, and of some batches after it."""
        batch: Batch | None = first
        held = 0
        while batch:
            held += batch.text_memory
            separate = self._take_long(batch)
            self._ahead.append(batch)
            self._add_apart(separate)
            is_enough = separate or not self._long_chunker.pending or len(self._ahead) >= MAX_AHEAD
            if is_enough or held > min(MAX_BYTES_AHEAD, self._budget.largest // PART_OF_BUDGET):
                break
            batch = await self._read_ahead()
        self._add_apart(self._flush_long())

    async def _read_ahead(self) -> Batch | None:
        """Return the next batch, or None if there is none yet, or an error that belongs after the batches so far."""
        await asyncio.sleep(0)  # reading takes time, and other tasks may be waiting
        if self.needs_pump and self._max_wait is None:
            return None
        try:
            async with asyncio.timeout(self._max_wait if self.needs_pump else None):
                return await self._source.next_batch()
        except Exception:  # noqa: BLE001  # the source raises it again when it is asked again
            return None

    def _take_long(self, batch: Batch) -> list[Batch]:
        """Take the texts out of a batch that seem too long, and return the batches of them that are full."""
        done: list[Batch] = []
        most = self._budget.largest // PART_OF_BUDGET - self._cost.working(0)
        found = [(index, item) for index, item in batch.inputs.items() if self._long_texts.is_long(item.text)]
        for index, item in found:
            needed = len(item.text.encode()) + self._cost.waiting(1, sys.getsizeof(item.text))
            if needed > most:
                continue  # it stays with the others, as there is no memory for it beside them
            text = self._long_texts.begin(index, item.text)
            if self._held + needed > most:
                done += self._flush_long()
            self._held += needed
            self._originals[index] = item
            self._long_chunker.index = index
            done += self._long_chunker.take([EmbedInput(text, item.id, item.metadata)])
            del batch.inputs[index]
        return done

    def _flush_long(self) -> list[Batch]:
        self._held = 0
        return self._long_chunker.flush()

    def _add_apart(self, batches: list[Batch]) -> None:
        for batch in batches:
            batch.is_apart = True
            batch.inputs = {index: self._originals.pop(index) for index in batch.inputs}
            batch.text_memory = sum(sys.getsizeof(item.text) for item in batch.inputs.values())
            self._ready.append(batch)

    def _fill(self, batch: Batch) -> None:
        """Fill new batches with the texts of a batch that was read ahead."""
        if len(self._carried):
            self._hand_on(self._flush())
        self._carried.recalled, self._carried.followers = batch.recalled, batch.followers
        if len(self._carried):
            self._carried.text_memory = batch.text_memory
        items = list(batch.inputs.items())
        if batch.refused:  # they are refused again in their new batch
            items = sorted([*items, *((index, item) for index, item, _ in batch.refused)], key=_index_of)
        for index, item in items:
            self._chunker.index = index
            self._hand_on(self._chunker.take([item]))
        if self.needs_pump and not self._ahead:  # the caller's texts may come slowly
            self._hand_on(self._flush())

    def _flush(self) -> list[Batch]:
        return self._chunker.flush() or ([Batch()] if len(self._carried) else [])

    def _hand_on(self, batches: list[Batch]) -> None:
        """Let texts without a request travel with the first of these batches."""
        for batch in batches:
            batch.add(self._carried)
            self._carried = Batch()
            self._ready.append(batch)
