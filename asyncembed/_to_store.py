"""`embed_to_store`: asks a store which rows it has, embeds the others, and stores them a thousand at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

import anyio
import numpy as np

from asyncembed._config import check
from asyncembed._core.settling import SettlingRun
from asyncembed._core.source import aclose_texts, async_lines, close_texts, lines
from asyncembed._decide.texts import RefusedInput, as_input, misuse
from asyncembed._exceptions import AsyncEmbedError, ConfigurationError
from asyncembed._models import EmbedBlock, EmbedFailure, RunSummary
from asyncembed._repr import shown
from asyncembed._stoppable import stoppable
from asyncembed._target import provenance_of
from asyncembed._util import end_of
from asyncembed.sinks._provenance import PACKED
from asyncembed.stores._fingerprint import fingerprint_of, text_hash
from asyncembed.stores._values import names_of, plain_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from asyncembed._core.call import Call
    from asyncembed._core.settling import Item
    from asyncembed._core.stream import EmbedStream
    from asyncembed._decide.texts import TextLike, Texts
    from asyncembed._models import EmbedInput, Scalar, TextId
    from asyncembed.stores._store import Store, StoreFingerprint

T = TypeVar("T")

BATCH_ROWS: Final = 1_000
"""Maximum number of rows in one `put`, and about how many ids one call of `present` gets."""

BATCH_SECONDS: Final = 1.0
"""Seconds after which a batch that is not full is stored."""

BACKOFF: Final = (0.1, 5.0)
"""Seconds before the first retry of a store that failed, and the maximum for later ones."""

LAST_SECONDS: Final = 10.0
"""Seconds that a `put` may take to finish after the run is cancelled."""

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
"""Errors of a store that a retry cannot mend."""


def check_store(store: object) -> None:
    """Raise `ConfigurationError` unless `store` has the methods of a `Store`; a class is none."""
    is_store = all(callable(getattr(store, name, None)) for name in ("prepare", "present", "put", "aclose"))
    check(
        is_store and not isinstance(store, type),
        f"store={shown(store)} must be a SqliteVectors, PgVector or LanceTable, or a Store of your own",
    )


class StoreRun:
    """One `embed_to_store`.

    Args:
        call: The checked options.
        rows: The caller's rows.
        store: Where they go.
        open_stream: Opens the stream of a settling run over the missing rows.
        on_progress: Called with the summary.
        keep_text: Whether the store gets the texts.
        patience: For how many seconds a failing store is retried.
        stop: The caller sets it to end the run early.
        stop_wait: How many seconds an early end waits for requests in flight.
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
        self._rows = Rows(rows, self._store, call.max_wait, skip_wrong=call.on_error == "skip")
        self._open_stream = open_stream
        self._on_progress = on_progress
        self._keep_text = keep_text
        self._stop = stop
        self._stop_wait = stop_wait
        self._run: SettlingRun | None = None

    async def complete(self) -> RunSummary:
        """Embed and store the missing rows, and return the summary."""
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
    """A store whose failing calls are repeated for a while.

    Args:
        store: The store.
        patience: For how many seconds.
    """

    def __init__(self, store: Store, patience: float) -> None:
        self._patience = patience
        self.check_name: Callable[[str], None] | None = getattr(store, "check_name", None)
        self.prepare = store.prepare  # a failure at the start means that the settings are wrong
        self.prepare_again = partial(self._try, store.prepare)
        self.present = partial(self._try, store.present)
        self.put = partial(self._try, store.put)

    async def _try(self, method: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Call a method of the store until it succeeds. A cancellation does not interrupt the method.

        Raises:
            Exception: the last error of the store.
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
                with anyio.CancelScope(shield=True), suppress(Exception):  # the last chance to store what has arrived
                    await _unbroken(method(*arguments))
                raise
            delay = min(2 * delay, BACKOFF[1])


class Rows:
    """The caller's rows without those that the store has.

    Args:
        given: The rows.
        store: The store.
        max_wait: How many seconds rows of an async iterable wait for more rows before they are looked up.
        skip_wrong: Whether a row that the store could not keep fails alone; otherwise it ends the run.
    """

    def __init__(self, given: Texts, store: Patient, max_wait: float, *, skip_wrong: bool) -> None:
        self._store = store
        self._max_wait = max_wait
        self._skip_wrong = skip_wrong
        self._source: Iterator[TextLike] | AsyncIterator[TextLike]
        self._source = async_lines(given) if isinstance(given, AsyncIterable) else lines(given)
        self._next: asyncio.Task[list[TextLike]] | None = None
        self._has_ended = False
        self._error: Exception | None = None  # of the caller's iterable, which `missing` raises after the rows before
        self._pulled = self._asked = 0
        self._places: dict[int, int] = {}  # of unsettled rows: index in the stream to index in the caller's rows
        self._named: WeakSet[AsyncEmbedError] = WeakSet()  # errors that have places already, as texts may share one
        self.present = 0
        """Number of rows that the store had."""

    async def missing(self) -> AsyncIterator[EmbedInput]:
        """Yield the rows that are not in the store.

        Raises:
            ConfigurationError: if an item is no row or has no id, and wrong rows end the run.
            Exception: what the caller's iterable raised, after the rows before it.
        """
        while some := await self._pull():
            rows, error = self._checked(some)
            fit = [(place, row) for place, row in rows if not isinstance(row, RefusedInput)]
            ids: list[TextId] = [row.id for _, row in fit if row.id is not None]
            hashes = [text_hash(row.text) for _, row in fit]
            flags = await self._store.present(ids, hashes) if fit else []
            present = {place for (place, _), is_there in zip(fit, flags, strict=True) if is_there}
            self.present += len(present)
            # If an id occurs twice, the last row counts. A refused row may have no id.
            last = _last_places(row for _, row in fit)
            replaced = {place for number, (place, _) in enumerate(fit) if number not in last}
            for place, row in rows:
                if place not in present and place not in replaced:
                    self._places[self._asked] = place
                    self._asked += 1
                    yield row
            if error:
                raise error
            if self._error:
                break
        if self._error:
            raise self._error

    def settled(self, items: Sequence[Item]) -> None:
        """Forget the places of rows that are settled."""
        for item in items:
            for index in range(item.index, item.index + item.span):
                self._places.pop(index, None)

    def name_places(self, error: AsyncEmbedError) -> None:
        """Change the indices of an error from those in the stream of missing rows to those in the caller's rows."""
        if error in self._named:
            return
        self._named.add(error)
        if error.indices and all(index in self._places for index in error.indices):
            places = tuple(self._places[index] for index in error.indices)
            if places != error.indices:
                error.add_note(f"texts[{error.indices[0]}] of the missing rows is row {places[0]} of all rows")
                error.indices = places

    async def aclose(self) -> None:
        """Close the caller's iterator unless it was read to its end, so that it releases what it holds open."""
        if self._next:
            self._next.cancel()
            await asyncio.wait([self._next])
        if self._has_ended:
            return
        if isinstance(self._source, AsyncIterator):
            await aclose_texts(self._source)
        else:
            close_texts(self._source)

    def _checked(self, some: Sequence[TextLike]) -> tuple[list[tuple[int, EmbedInput]], ConfigurationError | None]:
        """Return rows with their places, and the error of the first wrong one if that ends the run."""
        rows: list[tuple[int, EmbedInput]] = []
        first, self._pulled = self._pulled, self._pulled + len(some)
        for place, item in enumerate(some, first):
            try:
                row = _row_of(item, place, self._store.check_name)
            except ConfigurationError as error:
                if not self._skip_wrong:
                    return rows, error
                row = RefusedInput("", reason=str(error))
            rows.append((place, row))
        return rows, None

    async def _pull(self) -> list[TextLike]:
        if isinstance(self._source, AsyncIterator):
            return await self._pull_async(self._source)
        some: list[TextLike] = []
        try:
            some.extend(islice(self._source, BATCH_ROWS))  # what it raises comes after the rows before it
        except Exception as error:  # noqa: BLE001  # the caller's iterable may raise anything
            self._error = error
        self._has_ended = not some and not self._error
        return some

    async def _pull_async(self, source: AsyncIterator[TextLike]) -> list[TextLike]:
        """Pull rows until a batch is full, or `max_wait` seconds have passed since the first."""
        some: list[TextLike] = []
        deadline = None
        while len(some) < BATCH_ROWS:
            self._next = self._next or asyncio.ensure_future(_first_of(source))
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            await asyncio.wait([self._next], timeout=wait)
            if not self._next.done():
                break
            ended, self._next = self._next, None
            if ended.cancelled():  # by something that the iterable waited for
                self._error = AsyncEmbedError("the iterable of texts was cancelled")
                break
            try:
                found = ended.result()
            except Exception as error:  # noqa: BLE001  # the caller's iterable may raise anything
                self._error = error
                break
            if not found:
                self._has_ended = True
                break
            deadline = deadline or time.monotonic() + self._max_wait
            some += found
        return some


class StoreSettler:
    """Puts the results of one stream into a store.

    Args:
        call: The checked options.
        store: The store.
        rows: The caller's rows, which forget those that are settled.
        fingerprint: The properties that all vectors share.
        dimension: The dimension of the vectors, None if it is not known.
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
        """The dimension of the vectors, None if it is not known."""
        self.stored = 0
        """Number of rows that were stored."""

    async def settle(self, batch: Sequence[Item], *, is_end: bool) -> None:  # noqa: ARG002  # the store keeps no failures
        """Store the results. If an id occurs twice, the last row stays; failures have no row."""
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
        count = len(inputs)
        places = sorted(_last_places(inputs))
        if len(places) < count:
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
                    f"a vector has {dimension} dimensions, but the vectors in the store have {self.dimension}"
                )


def _row_of(item: object, place: int, check_name: Callable[[str], None] | None) -> EmbedInput:
    """Return one of the caller's items as a row.

    Raises:
        ConfigurationError: if it is no row, or the store could not keep it.
    """
    row = as_input(item, place)
    if isinstance(row, RefusedInput):
        return row
    if row.id is None:
        raise misuse(f"texts[{place}] has no id, which a store needs; pass an (id, text) pair or an EmbedInput", place)
    try:
        plain_id(row.id)
        names_of([row.metadata], check_name)
    except ConfigurationError as error:
        raise misuse(f"texts[{place}]: {error}", place) from None
    return row


def _last_places(rows: Iterable[EmbedInput]) -> set[int]:
    """Return the place of the last row of each id. A UUID and its string are one id to a database."""
    return set({plain_id(row.id): place for place, row in enumerate(rows) if row.id is not None}.values())


async def _first_of(source: AsyncIterator[TextLike]) -> list[TextLike]:
    """Return the next item alone, or nothing at the end, because a task cannot raise `StopAsyncIteration`."""
    async for item in source:
        return [item]
    return []


async def _unbroken(work: Awaitable[T]) -> T:
    """Wait for an awaitable. If this task is cancelled meanwhile, wait up to `LAST_SECONDS` longer, then raise."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task], timeout=LAST_SECONDS)
        finally:  # the awaitable hangs, or there was a second cancellation
            task.cancel()
            await end_of(task)
            if not task.cancelled():
                task.exception()  # marks it as retrieved
        raise
    return task.result()
