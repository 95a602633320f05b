"""Sends texts that seem too long apart from the others, so that a refusal of one of them costs the others nothing.

When the stage meets such a text, it reads some batches ahead, takes those texts out, and sends them first, in as few
requests as they need. It fills new batches with the rest, so that requests stay full. So the vectors of long texts wait
for those of earlier texts, which are requested after them. They must not take the memory that the others wait for:
their reservations do not count as those of the run, they need at most a quarter of the memory of a batch, and they
never wait for memory. If there is none for them now, they go back to the others, see `put_back`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import suppress
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

from asyncembed._decide.chunker import Batch
from asyncembed._models import EmbedInput

if TYPE_CHECKING:
    from asyncembed._core.memory import MemoryBudget
    from asyncembed._core.recall import RecallingSource
    from asyncembed._core.source import Source
    from asyncembed._decide.chunker import Chunker
    from asyncembed._decide.cost import CostModel
    from asyncembed._decide.duplicates import Lead
    from asyncembed._decide.long_texts import LongTexts
    from asyncembed._models import Limits, Vector

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
        self._error: Exception | None = None  # of the source; it is raised after the texts before it
        self._originals: dict[int, EmbedInput] = {}  # of the texts in the chunker of long ones
        self._origins: dict[int, Batch] = {}  # the batch from which each long text was taken last
        self._held = 0  # memory of these texts and their results

    def allow(self, limits: Limits, memory: int) -> None:
        """Set the limits of one request, and the memory of a batch."""
        self._chunker.limits, self._chunker.budget = limits, memory
        self._long_chunker.limits = limits.with_inputs(min(limits.inputs, self._long_texts.apart_size))
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
        is_empty = not self._ready and not self._ahead and not self._is_filling and not self._error
        return is_empty and self._source.is_exhausted

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
            batch = await self._read()
            if batch is None:
                self._hand_on(self._flush())
                break
            if self._may_hold_long(batch):
                await self._take_apart(batch)
            elif self._is_filling:
                self._ahead.append(batch)
            else:
                return batch
        if not self._ready and self._error:
            raise self._error
        return self._ready.popleft() if self._ready else None

    def put_back(self, batch: Batch) -> None:
        """Return texts that were sent apart to the others; the next batches hold them."""
        for index, item in batch.inputs.items():
            self._origins[index].inputs[index] = item
        for refused in batch.refused:
            self._origins[refused[0]].refused.append(refused)

    async def _read(self) -> Batch | None:
        """Return the next batch of the source; None after the last one or after an error, which is kept."""
        if self._error:
            return None
        try:
            return await self._source.next_batch()
        except Exception as error:  # noqa: BLE001  # of the caller's iterable, or of the cache
            self._error = error
            return None

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
        self._origins.clear()
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
        if not self.needs_pump:
            return await self._read()
        if self._max_wait is None:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._max_wait):
                return await self._read()
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
            self._originals[index], self._origins[index] = item, batch
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
        """Fill new batches with the texts of a batch that was read ahead, in the order of the texts.

        A text that needs no request travels with a batch that holds later texts than those before it. So an equal text
        that it waits for is in that batch or an earlier one, and no result waits for memory that a later one holds.
        """
        if len(self._carried):
            self._hand_on(self._flush())
        asked = [*batch.inputs.items(), *((index, item) for index, item, _ in batch.refused)]  # refused again
        texts: list[tuple[int, EmbedInput, Vector | Lead[Any] | None]] = [(*text, None) for text in asked]
        texts += batch.recalled
        texts += [(index, item, lead) for (index, item), lead in batch.followers]
        for index, item, found in sorted(texts, key=_index_of):
            if found is None:
                self._chunker.index = index
                self._hand_on(self._chunker.take([item]))
            else:
                self._carried.add_unsent(index, item, found)
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
