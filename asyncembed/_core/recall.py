"""Vectors that a run has without a request: those of equal texts, and those in a cache.

The stage lies between the caller's texts and the batches. It takes the texts that need no request out of each batch,
and fills new batches with the others, so that requests stay full. The texts that it took out travel with the next of
these batches. The run reserves their memory together with that batch's own, in the order of the texts, so that no
result waits for memory that a later one holds.
"""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from asyncembed._decide.chunker import Batch
from asyncembed._decide.duplicates import Duplicates, KnownVectors, Lead
from asyncembed._decide.texts import text_key
from asyncembed._exceptions import ResponseError
from asyncembed._models import EmbedBlock, EmbedResult

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from asyncembed._cache import VectorCache
    from asyncembed._core.memory import MemoryBudget, Reservation
    from asyncembed._core.source import Source
    from asyncembed._decide.chunker import Chunker
    from asyncembed._decide.cost import CostModel
    from asyncembed._decide.long_texts import LongTexts
    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._models import EmbedInput, Scalar, Vector

KEPT_AT_ONCE: Final = 256
"""Vectors that are written into the cache together."""

PART_OF_BUDGET: Final = 4
"""Texts without a request take up to this part of the memory of a batch: a quarter."""

Recalled: TypeAlias = tuple[int, "EmbedInput", "Vector"]
"""Index, text, and a vector that needs no request."""

Lost: TypeAlias = tuple[int, "EmbedInput", "AsyncEmbedError"]
"""Index, text, and why it gets no vector."""

_index_of = itemgetter(0)


class Recall:
    """Knows which texts need no request, and remembers the vectors that arrive.

    Args:
        identity: What shapes the vectors besides the text; a digest of at most 64 bytes.
        number: The numpy type of the vectors.
        dedupe_bytes: Memory for the vectors that equal texts share; 0 to request each text.
        cache: Vectors of earlier runs.
        copies: Whether to copy vectors that arrive, because the consumer may change them.
    """

    def __init__(
        self,
        identity: bytes,
        number: np.dtype[np.float32 | np.int8 | np.uint8],
        *,
        dedupe_bytes: int,
        cache: VectorCache | None,
        copies: bool,
    ) -> None:
        self._identity = identity
        self._number = number
        self._duplicates: Duplicates[Reservation] = Duplicates(KnownVectors(dedupe_bytes), joins=dedupe_bytes > 0)
        self._cache = cache
        self._copies = copies
        self._to_keep: dict[bytes, Vector] = {}
        self._truncated: dict[bytes, bool | None] = {}  # what is known of these vectors
        self.long_texts: LongTexts | None = None
        """Says which vectors are those of the start of a text, if results say so."""
        self.cached = 0
        """Texts whose vectors came out of the cache."""
        self.duplicates = 0
        """Texts that got the vector of an equal one."""
        self.width = 0
        """Numbers in one vector, 0 before there was one."""

    async def classify(self, batch: Batch) -> list[tuple[int, EmbedInput, Vector | Lead[Reservation] | None]]:
        """Return the texts of a batch by index, each with its vector, or an equal text to wait for, or None."""
        identity, classify = self._identity, self._duplicates.classify
        keyed = [(index, item, text_key(item.text, identity)) for index, item in batch.inputs.items()]
        if self._cache:
            wanted = {key for *_, key in keyed if not self._duplicates.is_decided(key)}
            cached, truncated = await self._cached(wanted, self._cache)
            known = [(index, key) for index, _, key in keyed if key in cached]
            self.cached += len(known)
            self.duplicates -= len(known)
            if self.long_texts:
                self.long_texts.recalled((index, truncated[key]) for index, key in known)
            found = [
                (index, item, cached[key] if key in cached else classify(index, key)) for index, item, key in keyed
            ]
        else:
            found = [(index, item, classify(index, key)) for index, item, key in keyed]
        self.duplicates += sum(isinstance(vector, np.ndarray) for *_, vector in found)
        if batch.refused:  # the next batch refuses them again
            found = sorted([*found, *((index, item, None) for index, item, _ in batch.refused)], key=_index_of)
        return found

    def remember(self, known: Mapping[bytes, Vector]) -> None:
        """Let equal texts share vectors of an earlier run."""
        for key, vector in known.items():
            self._duplicates.known.add(key, vector)

    def learn(self, results: Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]]) -> None:
        """Remember vectors that arrived."""
        for result in results:
            rows = result.embeddings if isinstance(result, EmbedBlock) else result.embedding[np.newaxis]
            self._check_width(rows.shape[1])
            self._duplicates.arrived(result.index, map(np.copy, rows) if self._copies else rows)

    def withdraw(self, indices: Collection[int]) -> None:
        """Forget vectors of a response that turned out to be wrong."""
        self._duplicates.withdrawn(indices)

    def begin(self, batch: Batch, reservation: Reservation) -> tuple[list[Recalled], list[Lost]]:
        """Return the known vectors and errors of the texts taken out of a batch; the others wait for an equal text."""
        recalled, lost = list(batch.recalled), []
        for follower, lead in batch.followers:
            if lead.error:
                lost.append((*follower, lead.error))
            elif lead.vector is not None:
                recalled.append((*follower, lead.vector))
            else:
                lead.waiting.append((follower, reservation))
        self.duplicates += len(recalled) - len(batch.recalled)
        return recalled, lost

    def settle(self, batch: Batch) -> list[tuple[list[Recalled], Reservation]]:
        """Return the texts that waited for a request that has ended, by the reservation of their memory."""
        vectors, leads = self._duplicates.settle(batch.inputs)
        if self._cache:
            for index, (key, vector) in vectors.items():
                self._to_keep[key] = vector
                if self.long_texts:
                    self._truncated[key] = self.long_texts.was_cut(batch.inputs[index].text)
        found: defaultdict[Reservation, list[Recalled]] = defaultdict(list)
        for lead in leads:
            assert lead.vector is not None
            for (index, item), reservation in lead.waiting:
                found[reservation].append((index, item, lead.vector))
            self.duplicates += len(lead.waiting)
            lead.waiting.clear()
        return [(sorted(recalled, key=_index_of), reservation) for reservation, recalled in found.items()]

    def lose(self, index: int, error: AsyncEmbedError) -> list[tuple[Lost, Reservation]]:
        """Return the texts that get no vector because an equal one gets none."""
        lead = self._duplicates.lost(index, error)
        if lead is None:
            return []
        waiting, lead.waiting = lead.waiting, []
        return [((*follower, error), reservation) for follower, reservation in waiting]

    async def keep(self, *, all_of_them: bool = False) -> None:
        """Write final vectors to the cache, in groups of 256; with `all_of_them`, write the rest."""
        if self._cache and self._to_keep and (all_of_them or len(self._to_keep) >= KEPT_AT_ONCE):
            rows, self._to_keep = self._to_keep, {}
            truncated, self._truncated = self._truncated, {}
            data = {key: vector.tobytes() for key, vector in rows.items()}
            await self._cache.put(data, truncated, is_last=all_of_them)

    async def _cached(
        self, keys: Collection[bytes], cache: VectorCache
    ) -> tuple[dict[bytes, Vector], dict[bytes, bool | None]]:
        """Return the vectors that the cache has, and what is known of each: whether its text was cut."""
        found = await cache.find(keys) if keys else {}
        vectors = {key: np.frombuffer(row.vector, self._number) for key, row in found.items()}
        for vector in vectors.values():
            self._check_width(len(vector))
        return vectors, {key: row.truncated for key, row in found.items()}

    def _check_width(self, width: int) -> None:
        """Refuse vectors of two lengths: the model behind its name is another one than before."""
        self.width = self.width or width
        if width != self.width:
            raise ResponseError(
                f"the cache and the API hold vectors of {self.width} and {width} numbers for the same model; "
                "use another file for cache="
            )


class RecallingSource:
    """Gives the batches of a run, like the `Source` behind it, without the texts that need no request.

    Args:
        source: Gives the caller's texts in batches.
        chunker: Groups what is left of them.
        recall: Says which texts need no request.
        cost: What a batch may need in memory.
        budget: The memory for batches.
    """

    def __init__(self, source: Source, chunker: Chunker, recall: Recall, cost: CostModel, budget: MemoryBudget) -> None:
        self._source = source
        self._chunker = chunker
        self._recall = recall
        self._cost = cost
        self._budget = budget
        self._taken = Batch()
        self._batches: deque[Batch] = deque()

    @property
    def pulled(self) -> int:
        """Number of texts taken from the caller so far."""
        return self._source.pulled

    @property
    def needs_pump(self) -> bool:
        """Whether `pump` must run beside the feeder."""
        return self._source.needs_pump

    @property
    def is_exhausted(self) -> bool:
        """Whether there is neither another batch nor an error, for certain."""
        return self._source.is_exhausted and not self._batches and not self._chunker.pending and not len(self._taken)

    async def next_batch(self) -> Batch | None:
        """Return the next batch, or None after the last one; raises what the caller's iterable raises."""
        while not self._batches:
            try:
                batch = await self._source.next_batch()
            except BaseException:
                self._flush()
                if not self._batches:
                    raise
                break  # the source raises it again when it is asked again
            if batch is None:
                self._flush()
                break
            await self._classify(batch)
        return self._batches.popleft() if self._batches else None

    async def pump(self) -> None:
        """Pull an async iterable while batches are wanted."""
        await self._source.pump()

    def close(self) -> None:
        """Close a plain iterator that was left before its end."""
        self._source.close()

    async def _classify(self, batch: Batch) -> None:
        """Pass on the texts to request, and take out the others."""
        requested: list[EmbedInput] = []  # consecutive texts
        first = 0
        for index, item, found in await self._recall.classify(batch):
            if found is None and (not requested or index == first + len(requested)):
                first = first if requested else index
                requested.append(item)
                continue
            self._request(first, requested)
            first, requested = index, []
            if found is None:
                requested.append(item)
            else:
                self._take_out(index, item, found)
        self._request(first, requested)
        if self.needs_pump and len(batch) < self._source.full_batch:  # the caller's texts come slowly
            self._flush()

    def _request(self, first: int, inputs: list[EmbedInput]) -> None:
        self._chunker.index, rest = first, iter(inputs)
        while batches := self._chunker.take(rest):
            self._hand_on(batches)

    def _take_out(self, index: int, item: EmbedInput, found: Vector | Lead[Reservation]) -> None:
        self._taken.add_unsent(index, item, found)
        allowed = self._budget.largest // PART_OF_BUDGET
        if self._cost.waiting(len(self._taken), self._taken.text_memory) > allowed:
            self._flush()

    def _flush(self) -> None:
        self._hand_on(self._chunker.flush() or ([Batch()] if len(self._taken) else []))

    def _hand_on(self, batches: list[Batch]) -> None:
        """Let what was taken out travel with the first of these batches."""
        for batch in batches:
            batch.add(self._taken)
            self._taken = Batch()
            self._batches.append(batch)


def recalled_results(
    recalled: Sequence[Recalled], *, as_blocks: bool, truncated: bool | None = None
) -> list[EmbedResult[Scalar] | EmbedBlock[Scalar]]:
    """Return results for recalled vectors, ascending by index, with vectors of their own."""
    if not as_blocks:
        return [
            EmbedResult(index, vector.copy(), item.text, item.id, item.metadata, truncated)
            for index, item, vector in recalled
        ]
    stretches = groupby(enumerate(recalled), key=lambda each: each[1][0] - each[0])
    groups = [[entry for _, entry in stretch] for _, stretch in stretches]
    return [
        EmbedBlock(
            group[0][0],
            np.stack([vector for *_, vector in group]),
            [item for _, item, _ in group],
            [truncated] * len(group),
        )
        for group in groups
    ]
