"""Into a store: it is asked what it has, what it has not is embedded, and stored a thousand rows at a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import numpy as np

from asyncembed._core.settling import SettlingRun
from asyncembed._core.source import async_lines, lines
from asyncembed._decide.texts import as_input
from asyncembed._exceptions import AsyncEmbedError, ConfigurationError
from asyncembed._models import EmbedBlock, EmbedFailure, RunSummary
from asyncembed._stoppable import stoppable
from asyncembed._target import provenance_of
from asyncembed._util import end_of
from asyncembed.sinks._provenance import PACKED
from asyncembed.stores._fingerprint import fingerprint_of, text_hash
from asyncembed.stores._values import names_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from asyncembed._core.call import Call
    from asyncembed._core.settling import Item
    from asyncembed._core.stream import EmbedStream
    from asyncembed._decide.texts import TextLike, Texts
    from asyncembed._models import EmbedInput, Scalar, TextId
    from asyncembed.stores._store import Store, StoreFingerprint

T = TypeVar("T")

BATCH_ROWS: Final = 1_000
"""Most rows that are stored at once, and about how many a store is asked for at once."""

BATCH_SECONDS: Final = 1.0
"""Seconds after which fewer rows are stored, too."""

BACKOFF: Final = (0.1, 5.0)
"""Seconds before a store that failed is tried again: the first time, and at most."""

LAST_SECONDS: Final = 10.0
"""Seconds that what is being stored may take to its end when the run is cancelled."""

MISTAKES: Final = (
    AsyncEmbedError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What a store raises that does not pass."""


class StoreRun:
    """One `embed_to_store`.

    Args:
        call: What is asked for.
        rows: The caller's rows.
        store: Where they go.
        open_stream: Opens the stream of a settling run over the rows that are to be asked for.
        on_progress: Told how the run stands.
        keep_text: Whether the store gets the texts.
        patience: Seconds for which a store that fails is tried again.
        stop: Set by the caller to end the run early; it then waits `stop_wait` seconds for what is on its way.
        stop_wait: See there.
    """

    def __init__(
        self,
        call: Call,
        rows: Texts,
        store: Store,
        open_stream: Callable[[Texts], EmbedStream[Item]],
        on_progress: Callable[[RunSummary], None] | None,
        *,
        keep_text: bool,
        patience: float,
        stop: asyncio.Event | None = None,
        stop_wait: float = 0.0,
    ) -> None:
        self._call = call
        self._store = Patient(store, patience)
        self._rows = Rows(rows, self._store, call.max_wait)
        self._open_stream = open_stream
        self._on_progress = on_progress
        self._keep_text = keep_text
        self._stop = stop
        self._stop_wait = stop_wait
        self._run: SettlingRun | None = None

    async def complete(self) -> RunSummary:
        """Store what is missing, and say how that went."""
        try:
            with stoppable(self._stop, self._end_soon):
                summary = await self._complete()
        except AsyncEmbedError as error:
            self._rows.name_places(error)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._rows.aclose()
        if self._on_progress:
            self._on_progress(summary)
        return summary

    async def _end_soon(self) -> None:
        if self._run:
            await self._run.stop(self._stop_wait)

    async def _complete(self) -> RunSummary:
        call = self._call
        fingerprint = fingerprint_of(provenance_of(call, keep_text=self._keep_text))
        dimension = await self._store.prepare(fingerprint, call.dimension)
        if dimension and not call.options.extra:  # which may ask for anything
            kind = call.options.model, call.options.dimensions
            call.endpoint.learned.dimensions.setdefault(kind, dimension)
        stream = self._open_stream(self._rows.missing())
        settler = StoreSettler(call, self._store, self._rows, fingerprint, dimension, keep_text=self._keep_text)

        def summed(now: RunSummary) -> RunSummary:
            there = self._rows.present
            found = now.dimension or settler.dimension
            return replace(now, resumed=there, saved=there + settler.stored, dimension=found)

        tell = self._on_progress
        report = tell and (lambda now: tell(summed(now)))
        self._run = SettlingRun(stream, settler, report, batch_rows=BATCH_ROWS, batch_seconds=BATCH_SECONDS)
        await self._run.run()
        return summed(stream.summary)


class Patient:
    """A store that is tried again for a while when it fails.

    Args:
        store: The store.
        patience: Most seconds.
    """

    def __init__(self, store: Store, patience: float) -> None:
        self._patience = patience
        self.prepare = store.prepare  # where that fails at the begin, something is wrong with the settings
        self.prepare_again = partial(self._try, store.prepare)
        self.present = partial(self._try, store.present)
        self.put = partial(self._try, store.put)

    async def _try(self, method: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Call a method of the store until it does not fail; it is not broken off by a cancellation.

        Raises:
            Exception: what the store raised last.
        """
        deadline, delay = time.monotonic() + self._patience, BACKOFF[0]
        while True:
            try:
                return await _unbroken(method(*arguments))
            except MISTAKES:
                raise
            except Exception:
                if time.monotonic() + delay > deadline:
                    raise
            try:
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                with anyio.CancelScope(shield=True), suppress(Exception):  # the last chance for what has arrived
                    await _unbroken(method(*arguments))
                raise
            delay = min(2 * delay, BACKOFF[1])


class Rows:
    """The caller's rows, of which those are given that the store has not.

    Args:
        given: The rows.
        store: The store.
        max_wait: Seconds that rows wait for more of an async iterable before the store is asked for them.
    """

    def __init__(self, given: Texts, store: Patient, max_wait: float) -> None:
        self._store = store
        self._max_wait = max_wait
        self._source: Iterator[TextLike] | AsyncIterator[TextLike]
        self._source = async_lines(given) if isinstance(given, AsyncIterable) else lines(given)
        self._next: asyncio.Task[TextLike | None] | None = None
        self._pulled = self._asked = 0
        self._places: dict[int, int] = {}  # of rows that were given and not settled: in what the caller gave
        self.present = 0
        """How many rows were found in the store."""

    async def missing(self) -> AsyncIterator[EmbedInput]:
        """Give the rows that are not in the store.

        Raises:
            ConfigurationError: if something is no row, or has no id.
        """
        while some := await self._pull():
            rows, error = self._checked(some)
            # The last of equal ids counts.
            places = {row.id: place for place, row in rows}
            ids: list[TextId] = [row.id for _, row in rows if row.id is not None]
            hashes = [text_hash(row.text) for _, row in rows]
            there = await self._store.present(ids, hashes) if rows else []
            for (place, row), is_there in zip(rows, there, strict=True):
                if is_there:
                    self.present += 1
                elif places[row.id] == place:
                    self._places[self._asked] = place
                    self._asked += 1
                    yield row
            if error:
                raise error

    def settled(self, items: Sequence[Item]) -> None:
        """Forget the places of rows that are settled."""
        for item in items:
            for index in range(item.index, item.index + item.span):
                self._places.pop(index, None)

    def name_places(self, error: AsyncEmbedError) -> None:
        """Have an error name rows by their places in what the caller gave, and not among those that were missing."""
        if error.indices and all(index in self._places for index in error.indices):
            places = tuple(self._places[index] for index in error.indices)
            if places != error.indices:
                error.add_note(f"texts[{error.indices[0]}] of those that were missing is row {places[0]} of all")
                error.indices = places

    async def aclose(self) -> None:
        """Close a generator that was given, so that what it holds open is released now."""
        if self._next:
            self._next.cancel()
            await asyncio.wait([self._next])
        if inspect.isgenerator(self._source):
            self._source.close()
        elif inspect.isasyncgen(self._source):
            await self._source.aclose()

    def _checked(self, some: Sequence[TextLike]) -> tuple[list[tuple[int, EmbedInput]], ConfigurationError | None]:
        """Return rows with their places up to the first that is none, and what is wrong with that."""
        rows: list[tuple[int, EmbedInput]] = []
        first, self._pulled = self._pulled, self._pulled + len(some)
        for place, item in enumerate(some, first):
            try:
                row = as_input(item, place)
            except ConfigurationError as error:
                return rows, error
            if row.id is None:
                return rows, ConfigurationError(
                    f"texts[{place}] has no id, by which a store knows it; give an (id, text) pair or an EmbedInput"
                )
            if row.metadata:
                try:
                    names_of([row.metadata])
                except ConfigurationError as error:
                    return rows, error
            rows.append((place, row))
        return rows, None

    async def _pull(self) -> list[TextLike]:
        if isinstance(self._source, AsyncIterator):
            return await self._pull_async(self._source)
        return list(islice(self._source, BATCH_ROWS))

    async def _pull_async(self, source: AsyncIterator[TextLike]) -> list[TextLike]:
        """Pull rows until there are enough, or they have waited long enough for more."""
        some: list[TextLike] = []
        deadline = None
        while len(some) < BATCH_ROWS:
            self._next = self._next or asyncio.ensure_future(_first_of(source))
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            await asyncio.wait([self._next], timeout=wait)
            if not self._next.done():
                break
            found, self._next = self._next.result(), None
            if found is None:
                break
            deadline = deadline or time.monotonic() + self._max_wait
            some.append(found)
        return some


class StoreSettler:
    """Puts the results of one stream into a store.

    Args:
        call: What is asked for.
        store: The store.
        rows: Told which are settled.
        fingerprint: What the vectors share.
        dimension: Their length, if that is known.
        keep_text: Whether the store gets the texts.
    """

    def __init__(
        self,
        call: Call,
        store: Patient,
        rows: Rows,
        fingerprint: StoreFingerprint,
        dimension: int | None,
        *,
        keep_text: bool,
    ) -> None:
        self._packing = 8 if call.options.dtype in PACKED else 1
        self._store = store
        self._rows = rows
        self._fingerprint = fingerprint
        self._keep_text = keep_text
        self._is_broken = False
        self.dimension = dimension
        """The length of the vectors, if it is known."""
        self.stored = 0
        """Rows that were stored."""

    async def settle(self, batch: Sequence[Item], *, is_end: bool) -> None:  # noqa: ARG002  # failures are not kept
        """Store results, the last of equal ids; failures have no row."""
        blocks = sorted((item for item in batch if isinstance(item, EmbedBlock)), key=lambda block: block.index)
        if self._is_broken:
            return
        try:
            if blocks:
                await self._put(blocks)
        except Exception:
            self._is_broken = True
            raise
        for item in batch:
            if isinstance(item, EmbedFailure):
                self._rows.name_places(item.error)
        self._rows.settled(batch)

    async def _put(self, blocks: Sequence[EmbedBlock[Scalar]]) -> None:
        await self._check_widths(blocks)
        inputs = [item for block in blocks for item in block.inputs]
        vectors = np.concatenate([block.embeddings for block in blocks]) if len(blocks) > 1 else blocks[0].embeddings
        last = {item.id: place for place, item in enumerate(inputs)}
        count = len(inputs)
        if len(last) < count:
            places = sorted(last.values())
            inputs, vectors = [inputs[place] for place in places], vectors[places]
        await self._store.put(
            [item.id for item in inputs],
            [text_hash(item.text) for item in inputs],
            vectors,
            [item.text for item in inputs] if self._keep_text else None,
            [item.metadata for item in inputs],
        )
        self.stored += count

    async def _check_widths(self, blocks: Sequence[EmbedBlock[Scalar]]) -> None:
        for block in blocks:
            dimension = block.embeddings.shape[1] * self._packing
            if self.dimension is None:
                self.dimension = await self._store.prepare_again(self._fingerprint, dimension) or dimension
            if dimension != self.dimension:
                raise ConfigurationError(
                    f"a vector has {dimension} dimensions, and those in the store have {self.dimension}"
                )


async def _first_of(source: AsyncIterator[TextLike]) -> TextLike | None:
    """Return the next item, None at the end: a task cannot raise `StopAsyncIteration`."""
    async for item in source:
        return item
    return None


async def _unbroken(work: Awaitable[T]) -> T:
    """Wait for the end of something, also for a while if this task is being cancelled; that is raised after it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task], timeout=LAST_SECONDS)
        finally:  # it hangs, or there was a second cancellation
            task.cancel()
            await end_of(task)
            if not task.cancelled():
                task.exception()  # it counts as seen
        raise
    return task.result()
