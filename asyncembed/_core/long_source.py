"""Sends texts that seem too long apart from the others, so that a refusal of one of them costs the others nothing.

The stage reads batches ahead when it meets such a text, takes those texts out of the batches, and sends them first, in
as few requests as they need. So their vectors wait for those of earlier texts, which are requested after them. They
must not take the memory that the others wait for: their reservations do not count as those of the run, and together
with a batch of the others they need no more than one batch may.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from asyncembed._decide.chunker import BYTES_PER_TOKEN, JSON_OVERHEAD
from asyncembed._models import EmbedInput

if TYPE_CHECKING:
    from asyncembed._core.memory import MemoryBudget
    from asyncembed._core.recall import RecallingSource
    from asyncembed._core.source import Source
    from asyncembed._decide.chunker import Batch, Chunker
    from asyncembed._decide.cost import CostModel
    from asyncembed._decide.long_texts import LongTexts
    from asyncembed._models import Limits

MAX_AHEAD: Final = 32
"""Batches that are read ahead of the first one with a text that seems too long."""
MAX_BYTES_AHEAD: Final = 8_000_000
"""Memory of the texts in these batches."""
PART_OF_BUDGET: Final = 4
"""Texts that seem too long take up to this part of the memory of a batch: a quarter."""

_text_of = attrgetter("text")


class LongSource:
    """Gives the batches of a run, like the source behind it, with texts that seem too long in batches of their own.

    Args:
        source: Gives the texts in batches.
        chunker: Groups texts that seem too long.
        long_texts: Says which texts these are, and what to send instead.
        cost: Estimates the memory of a batch.
        budget: The memory for batches.
        max_wait: How long to wait for another batch of an async iterable, in seconds; None not to wait at all.
    """

    def __init__(  # noqa: PLR0917  # one for each part of a run that it needs
        self,
        source: Source | RecallingSource,
        chunker: Chunker,
        long_texts: LongTexts,
        cost: CostModel,
        budget: MemoryBudget,
        max_wait: float | None,
    ) -> None:
        self._source = source
        self._chunker = chunker
        self._long_texts = long_texts
        self._cost = cost
        self._budget = budget
        self._max_wait = max_wait
        self._ready: deque[Batch] = deque()
        self._originals: dict[int, EmbedInput] = {}  # of the texts in the chunker
        self._held = 0  # memory of these texts and their results

    def allow(self, limits: Limits) -> None:
        """Set the limits of one request."""
        self._chunker.limits = replace(limits, inputs=min(limits.inputs, self._long_texts.apart_size))

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
        return not self._ready and self._source.is_exhausted

    async def next_batch(self) -> Batch | None:
        """Return the next batch, or None after the last one.

        Raises:
            Exception: what the caller's iterable raised, after the batch of the texts before it.
        """
        if self._ready:
            return self._ready.popleft()
        batch = await self._source.next_batch()
        if batch is None or not self._long_texts.separates or not self._may_hold_long(batch):
            return batch
        return await self._take_apart(batch)

    async def pump(self) -> None:
        """Read an async iterable while batches are wanted."""
        await self._source.pump()

    def close(self) -> None:
        """Close a plain iterator that was not read to its end."""
        self._source.close()

    def _may_hold_long(self, batch: Batch) -> bool:
        """Whether one of the texts is long enough to look at it more closely."""
        least = self._long_texts.least_chars
        return batch.request_bytes > least and max(map(len, map(_text_of, batch.inputs.values())), default=0) > least

    async def _take_apart(self, batch: Batch | None) -> Batch | None:
        """Move the long texts of a batch, and of some batches after it, into batches before it."""
        separate: list[Batch] = []
        others: list[Batch] = []
        read = held = 0
        self._chunker.budget = self._budget.largest // PART_OF_BUDGET
        while batch:
            held += batch.text_memory
            read += 1
            separate += self._take_long(batch)
            if len(batch):
                self._add(others, batch)
            is_enough = separate or not self._chunker.pending or read >= MAX_AHEAD
            if is_enough or held > min(MAX_BYTES_AHEAD, self._budget.largest // PART_OF_BUDGET):
                break
            batch = await self._read_ahead()
        separate += self._flush()
        for each in separate:
            each.is_apart = True
            each.inputs = {index: self._originals.pop(index) for index in each.inputs}
            each.text_memory = sum(sys.getsizeof(item.text) for item in each.inputs.values())
        self._ready += [*separate, *others]
        return self._ready.popleft() if self._ready else await self.next_batch()

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
        most = self._budget.largest // PART_OF_BUDGET
        found = [(index, item) for index, item in batch.inputs.items() if self._long_texts.is_long(item.text)]
        for index, item in found:
            size, memory = len(item.text.encode()) + JSON_OVERHEAD, sys.getsizeof(item.text)
            needed = size + self._cost.waiting(1, memory)
            if self._cost.working(0) + needed > most:
                continue  # it stays with the others, as it has no place beside them
            text = self._long_texts.begin(index, item.text)
            if self._cost.working(0) + self._held + needed > most:
                done += self._flush()
            self._held += needed
            self._originals[index] = item
            self._chunker.index = index
            done += self._chunker.take([EmbedInput(text, item.id, item.metadata)])
            del batch.inputs[index]
            batch.request_bytes -= size
            batch.text_memory = max(0, batch.text_memory - memory)
        return done

    def _flush(self) -> list[Batch]:
        self._held = 0
        return self._chunker.flush()

    def _add(self, batches: list[Batch], batch: Batch) -> None:
        """Add a batch to others, together with the last one if one request can hold both."""
        last, limits = batches[-1] if batches else None, self._chunker.limits
        size = batch.request_bytes + (last.request_bytes if last else 0)
        if (
            last is None
            or len(last) + len(batch) > self._chunker.max_inputs
            or size > limits.request_bytes
            or (limits.tokens is not None and size > limits.tokens * BYTES_PER_TOKEN)
            or self._cost.total(len(last) + len(batch), size, last.text_memory + batch.text_memory)
            > self._budget.largest // 2
            or last.refused
            or batch.refused
        ):
            batches.append(batch)
            return
        last.inputs |= batch.inputs
        last.request_bytes = size
        last.add(batch)
