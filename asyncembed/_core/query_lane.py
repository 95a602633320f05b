"""The lane of queries: short requests whose callers wait for the answer, ahead of bulk.

    embed_query ─▶ known already? ─▶ wait for one turn of the loop, or for a request of the lane to end
                                                    │ all that wait with the same options
                                                    ▼
                       one request ─▶ fails? ─▶ a run of its own, which asks again, or for each text alone
                                                    │
    caller ◀─ a vector, or an error of its own ◀────┘

The first attempt is one exchange, without the tasks, slots and queues of a run. The lane makes it only while nothing
holds requests up and no text is to be cut, and leaves everything else that can happen to a request to a run.
"""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from logging import DEBUG
from operator import attrgetter
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from asyncembed._core.exchange import Exchange
from asyncembed._core.memory import MemoryBudget, Reservation
from asyncembed._core.run import Run
from asyncembed._core.slots import SlotsByModel
from asyncembed._core.stream import EmbedStream
from asyncembed._core.worker import attempts_error, request_error
from asyncembed._decide.blame import Case, Step
from asyncembed._decide.chunker import BYTES_PER_TOKEN, JSON_OVERHEAD, Batch
from asyncembed._decide.controller import FIRST_SIZE
from asyncembed._decide.delivery import ResultDelivery
from asyncembed._decide.retry import Backoff, is_retryable
from asyncembed._decide.texts import as_input, check_input, text_key
from asyncembed._exceptions import (
    AsyncEmbedError,
    EmbedTimeoutError,
    StreamClosedError,
    TransportError,
    without_frames,
)
from asyncembed._models import EmbedFailure
from asyncembed._preview import name_texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from contextvars import Context

    from asyncembed._config import RetryPolicy
    from asyncembed._core.call import Call
    from asyncembed._core.endpoint import Endpoint
    from asyncembed._decide.texts import TextLike
    from asyncembed._http.transport import Transport
    from asyncembed._models import EmbedBlock, EmbedInput, EmbedResult, Matrix, Scalar, Vector

ALONE_AT_ONCE: Final = 8
"""Requests for single texts, and other repeated ones, at once."""

REPEATED_BYTES: Final = 64_000_000
"""Memory for repeated requests: they do not wait for memory that bulk holds."""

MAX_KINDS: Final = 64
"""Sets of options to remember. At one more, the lane forgets those without waiting queries."""


class QueryRun(Run):
    """The state of all queries with the same options: a run without texts of its own that does not end.

    Args:
        call: The checked arguments of the queries.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(call, (), ordered=False)
        self.call = call
        self.waiting: OrderedDict[Query, None] = OrderedDict()  # any of them may leave
        self._arrived: dict[int, Vector] = {}
        self._indices = 0

    def new_indices(self, count: int) -> range:
        """Return indices that no other text of this run has."""
        first, self._indices = self._indices, self._indices + count
        return range(first, self._indices)

    def deliver(self, results: Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]], reservation: Reservation) -> None:  # noqa: ARG002
        """Keep vectors until their response is known to be right."""
        if not self._has_dimension:
            self._learn_dimension()
        for result in cast("Sequence[EmbedResult]", results):
            processed = cast("EmbedResult", self._postprocess(result)) if self._postprocess else result
            self._arrived[result.index] = processed.embedding

    def pop(self, indices: Iterable[int]) -> list[Vector | None]:
        """Return the vectors of these indices, None where none has arrived."""
        return [self._arrived.pop(index, None) for index in indices]

    def matrix(self, vectors: Sequence[Vector]) -> Matrix:
        """Return vectors of this run as the rows of one array."""
        width = (self.dimension or 0) // self.decoder.packing
        return np.stack(vectors) if vectors else np.empty((0, width), self.decoder.stored)

    def cuts(self, texts: Iterable[str]) -> bool:
        """Whether the client sends only the start of one of these texts, which is the work of a run."""
        long = self.long_texts
        return long is not None and long.cuts and long.separates and any(map(long.is_long, texts))

    def succeeded(self, seconds: float) -> None:
        """Record a response that was right, and its latency."""
        learned = self.endpoint.learned
        self.slots.query_answered(seconds)
        self.blame.accepted += 1
        learned.accepted.add(self.options.model)
        learned.breaker.end_attempt(failed=False)
        if not self.options.extra:
            learned.dimensions[self._dimension_key] = self.cost.dimension

    @property
    def most(self) -> int:
        """Maximum number of texts in one request."""
        endpoint, model = self.endpoint, self.options.model
        limit = endpoint.learned.caps[model].within(endpoint.limits_of(model)).inputs
        return min(
            limit if endpoint.is_official else min(limit, FIRST_SIZE),
            endpoint.slots_of(model).largest,
            self.call.chunk_size or limit,
        )


@dataclass(slots=True, eq=False)
class Query:
    """A text whose caller waits for its vector.

    Attributes:
        item: The text.
        size: Length of the text in bytes.
        key: Key of its vector in the caches; empty without a cache.
        answered: Receives the vector.
        context: The context of its caller; None without a listener for events.
        job: The request that contains it, once there is one.
    """

    item: EmbedInput
    size: int
    key: bytes
    answered: asyncio.Future[Vector]
    context: Context | None
    job: Job | None = None


_size_of = attrgetter("size")


@dataclass(slots=True, eq=False)
class Job:
    """A request of the lane.

    Attributes:
        kind: The options that its queries share.
        texts: The queries of each text, as equal texts are requested once.
        rows: Vectors that the client's cache does not have yet.
        delivery: Matches the vectors of its last response to texts, if it was sent.
        is_dropped: Whether the response could not be matched to its texts, so that nothing of it was kept.
        task: The task that sends it.
        has_slot: Whether it counts as one of the concurrent requests.
        is_ending: Whether it was cancelled, or only the client's cache is left to be written.
    """

    kind: QueryRun
    texts: dict[str, list[Query]]
    rows: dict[bytes, bytes] = field(default_factory=dict)
    delivery: ResultDelivery | None = None
    is_dropped: bool = False
    task: asyncio.Task[None] | None = None
    has_slot: bool = False
    is_ending: bool = False

    @property
    def queries(self) -> Iterable[Query]:
        """The queries that have no vector yet."""
        return chain.from_iterable(self.texts.values())

    @property
    def is_wanted(self) -> bool:
        """Whether a caller still waits for a vector."""
        return _are_wanted(self.queries)

    def cancel(self) -> None:
        """End the request, unless it is ending already."""
        if self.task and not self.is_ending:
            self.is_ending = True
            self.task.cancel()

    def drop_if_unwanted(self) -> None:
        """End the request if all its callers have gone."""
        if not self.is_wanted:
            self.cancel()


class QueryLane:
    """The queries of one client.

    Args:
        endpoint: The API.
        policy: When a query is retried.
        concurrency: Maximum number of concurrent requests. Queries that come meanwhile share the next one.
        max_waiting: Maximum number of waiting queries, beyond which the lane refuses more.
        known: Number of vectors to remember.
    """

    def __init__(
        self, endpoint: Endpoint, policy: RetryPolicy, *, concurrency: int, max_waiting: int, known: int
    ) -> None:
        self._endpoint = endpoint
        self._policy = policy
        self._concurrency = concurrency
        self._max_waiting = max_waiting
        self._max_known = known
        self._known: OrderedDict[bytes, Vector] = OrderedDict()
        self._kinds: dict[object, QueryRun] = {}
        self._in_line: deque[QueryRun] = deque()  # with queries that wait
        self._waiting = 0
        self._running = 0
        self._is_scheduled = False
        self._jobs: set[Job] = set()
        self._slots = SlotsByModel(ALONE_AT_ONCE, ALONE_AT_ONCE)
        self._budget = MemoryBudget(REPEATED_BYTES)
        self._closed = False

    def find(self, key: object) -> QueryRun | None:
        """Return the state of queries with the options of this key, if there is one."""
        return self._kinds.get(key)

    def open(self, key: object, call: Call) -> QueryRun:
        """Create the state of queries with these options."""
        if len(self._kinds) >= MAX_KINDS:
            self._kinds = {key: kind for key, kind in self._kinds.items() if kind.waiting}
        kind = self._kinds[key] = QueryRun(call)
        return kind

    async def ask(self, kind: QueryRun, texts: Sequence[TextLike], deadline: float | None) -> list[Vector]:
        """Return the vectors of texts.

        Raises:
            AsyncEmbedError: if a text cannot be embedded, or not within `deadline` seconds.
        """
        vectors: list[Vector | None] = []
        queries: dict[int, Query] = {}
        context = kind.observer.context()
        for index, text in enumerate(texts):
            item = as_input(text, index)
            size = check_input(item, index)
            key = text_key(item.text, kind.call.identity) if kind.call.identity else b""
            known = self._known.get(key)
            if known is None:
                queries[index] = Query(item, size, key, asyncio.get_running_loop().create_future(), context)
                vectors.append(None)
            else:
                self._known.move_to_end(key)
                vectors.append(known.copy())
        if queries:
            self._add(kind, queries.values())
            try:
                if deadline is None:
                    await self._wait(queries, vectors)
                else:
                    await self._wait_until(deadline, queries, vectors)
            except BaseException:
                self._leave(kind, queries.values())
                raise
        return cast("list[Vector]", vectors)

    async def warm_up(self) -> None:
        """Open a connection to the API.

        Raises:
            TransportError: if the API cannot be reached.
        """
        transport = await self._endpoint.connect()
        await transport.connect()

    async def aclose(self) -> None:
        """Fail the waiting queries, and end the requests under way."""
        self._closed = True
        error = StreamClosedError("the client was closed")
        jobs = tuple(self._jobs)
        waiting = [query for kind in self._in_line for query in kind.waiting]
        _fail(chain(waiting, *(job.queries for job in jobs)), error)
        for kind in self._in_line:
            kind.waiting.clear()
        self._in_line.clear()
        self._waiting = 0
        tasks = [job.task for job in jobs if job.task]
        for job in jobs:
            job.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wait(self, queries: dict[int, Query], vectors: list[Vector | None]) -> None:
        for index, query in queries.items():
            try:
                vectors[index] = await query.answered
            except AsyncEmbedError as error:
                error.indices = (index,)
                raise

    async def _wait_until(self, deadline: float, queries: dict[int, Query], vectors: list[Vector | None]) -> None:
        try:
            async with asyncio.timeout(deadline):
                await self._wait(queries, vectors)
        except TimeoutError as error:
            if isinstance(error, EmbedTimeoutError):
                raise
            late = tuple(index for index in queries if vectors[index] is None)
        else:
            return
        raise EmbedTimeoutError(f"no vector within the deadline of {deadline:g} s", indices=late)

    # Requests.

    def _leave(self, kind: QueryRun, queries: Collection[Query]) -> None:
        """Cancel the queries of a caller that has gone, and let others have their places."""
        for query in queries:
            if query.answered.done() and not query.answered.cancelled():
                query.answered.exception()  # it was seen
            query.answered.cancel()
            if query in kind.waiting:
                del kind.waiting[query]
                self._waiting -= 1
                if not kind.waiting:
                    self._in_line.remove(kind)
        for job in {query.job for query in queries if query.job}:
            job.drop_if_unwanted()

    def _add(self, kind: QueryRun, queries: Iterable[Query]) -> None:
        if self._closed:
            raise StreamClosedError("the client was closed")
        queries = tuple(queries)
        if self._waiting + len(queries) > self._max_waiting:
            raise TransportError(
                f"{self._waiting} queries wait already, and max_waiting_queries={self._max_waiting}; ask again later",
                retryable=True,
            )
        if not kind.waiting:
            self._in_line.append(kind)
        kind.waiting.update(dict.fromkeys(queries))
        self._waiting += len(queries)
        self._schedule()

    def _schedule(self) -> None:
        if self._in_line and self._running < self._concurrency and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        """Start as many requests as may run, once all callers of this turn of the loop have come."""
        self._is_scheduled = False
        while self._in_line and self._running < self._concurrency:
            job = self._next_job()
            if job.texts:
                self._running += 1
                job.has_slot = True
                self._jobs.add(job)
                # What is traced in the request belongs to the first caller; a context cannot be entered twice.
                first = next(iter(job.queries)).context
                job.task = asyncio.create_task(
                    self._complete(job), name="asyncembed-query", context=first and first.copy()
                )
                job.task.add_done_callback(partial(self._ended, job))

    def _next_job(self) -> Job:
        """Return a request for the queries that have waited longest, and all others that fit."""
        kind = self._in_line[0]
        limits = kind.learned_limits
        most, room = kind.most, limits.request_bytes
        tokens = limits.tokens
        job = Job(kind, {})
        while kind.waiting:
            query = next(iter(kind.waiting))
            text = query.item.text
            if not query.answered.done() and text not in job.texts:
                room -= query.size + JSON_OVERHEAD
                if tokens is not None:
                    tokens -= query.size // BYTES_PER_TOKEN + 1
                if job.texts and (len(job.texts) >= most or room < 0 or (tokens is not None and tokens < 0)):
                    self._in_line.rotate(-1)  # those of other options are next
                    return job
            del kind.waiting[query]
            self._waiting -= 1
            if not query.answered.done():
                query.job = job
                job.texts.setdefault(text, []).append(query)
        self._in_line.popleft()
        return job

    def _ended(self, job: Job, _: asyncio.Task[None]) -> None:
        """Forget a request; the done callback of its task.

        This is a callback and not the task's last step, because a task that is cancelled early never takes a step.
        """
        self._jobs.discard(job)
        _fail(job.queries, StreamClosedError("the request of this query was cancelled"))
        self._give_back_slot(job)

    def _give_back_slot(self, job: Job) -> None:
        """Let another request start in place of this one."""
        self._running -= job.has_slot
        job.has_slot = False
        self._schedule()

    async def _complete(self, job: Job) -> None:
        """Answer the queries of a request, and write what has arrived into the client's cache, even after an error."""
        try:
            await self._answer_all(job)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # the callers get it, whatever it is
            _fail(job.queries, error)
        finally:
            job.is_ending = True
            if job.rows and self._endpoint.cache:
                await self._endpoint.cache.put(job.rows)

    async def _answer_all(self, job: Job) -> None:
        if self._endpoint.cache:
            await self._recall(job)
        if not job.texts:
            return
        failure = await self._attempt(job)
        if failure or job.is_wanted:
            self._give_back_slot(job)  # others need not wait until it has been repeated
            await self._repeat(job, failure)

    async def _attempt(self, job: Job) -> AsyncEmbedError | None:
        """Ask for the texts of a request, if nothing holds it up, and hand over what arrives.

        Returns:
            The error; None if it succeeded, or was not sent because of a pause or an outage.
        """
        kind, endpoint = job.kind, self._endpoint
        transport = await endpoint.connect()
        if endpoint.provider.limits_path:
            await endpoint.ask_limits(transport, kind.options.model)
        learned = endpoint.learned
        if learned.pause.is_on or not learned.breaker.allows(None) or kind.cuts(job.texts):
            return None
        queries = [queries[0] for queries in job.texts.values()]
        size = sum(map(_size_of, queries)) + JSON_OVERHEAD * len(queries)
        indices = kind.new_indices(len(queries))
        batch = Batch({index: query.item for index, query in zip(indices, queries, strict=True)}, request_bytes=size)
        working, waiting = kind.cost.working(size), kind.cost.waiting(len(queries), 2 * size)
        endpoint.budget.reserve_beyond(working + waiting)  # it never waits for memory
        reservation = Reservation(
            endpoint.budget, working=working, waiting=waiting, results=len(queries), owner=kind.reservations
        )
        try:
            failure = await self._exchange(job, transport, batch, reservation)
            if not job.is_dropped:
                self._hand_over(job, kind.pop(indices))
        finally:
            kind.pop(indices)
            reservation.release()
        return failure

    async def _exchange(
        self, job: Job, transport: Transport, batch: Batch, reservation: Reservation
    ) -> AsyncEmbedError | None:
        kind = job.kind
        delivery = job.delivery = ResultDelivery(batch, kind.decoder)
        exchange = Exchange(kind, transport, delivery, reservation, batch.request_bytes)
        texts = delivery.begin_attempt()
        kind.slots.query_came()
        permit = await kind.rate_gate.acquire(len(texts), batch.request_bytes)
        await permit.begin()
        self._tell_joined(kind, zip(delivery.missing, job.texts.values(), strict=True))
        try:
            await exchange.send(texts, kind.wire_encoding, permit)
        except AsyncEmbedError as error:
            job.is_dropped = bool(delivery.mismatch)
            return error
        kind.succeeded(exchange.seconds_to_headers)
        return None

    @staticmethod
    def _tell_joined(run: Run, joined: Iterable[tuple[int, Sequence[Query]]]) -> None:
        """Report which queries share a request."""
        if run.observer.is_enabled_for(DEBUG):
            for index, queries in joined:
                for query in queries:
                    run.observer.query_joined(index, query.context)

    def _hand_over(self, job: Job, vectors: Sequence[Vector | None]) -> None:
        """Give the vectors that have arrived to their callers, and leave the other texts in the request."""
        rest: dict[str, list[Query]] = {}
        for (text, queries), vector in zip(job.texts.items(), vectors, strict=True):
            if vector is None:
                rest[text] = queries
            else:
                self._answer(job, queries, vector)
        job.texts = rest

    def _answer(self, job: Job, queries: list[Query], vector: Vector) -> None:
        """Give a vector to all callers that asked for its text, and remember it."""
        key = queries[0].key
        if self._endpoint.cache:
            job.rows[key] = vector.tobytes()  # now, as the caller may change it
        if self._max_known and key:
            self._known[key] = vector.copy()
            while len(self._known) > self._max_known:
                self._known.popitem(last=False)
        for query in queries[:-1]:
            if not query.answered.done():
                query.answered.set_result(vector.copy())
        if not queries[-1].answered.done():
            queries[-1].answered.set_result(vector)

    # The client's cache.

    async def _recall(self, job: Job) -> None:
        """Answer what the client's cache holds."""
        cache, kind = self._endpoint.cache, job.kind
        assert cache
        found = await cache.get([queries[0].key for queries in job.texts.values()])
        number, width = kind.decoder.stored, kind.decoder.width
        vectors: list[Vector | None] = []
        for queries in job.texts.values():
            data = found.get(queries[0].key)
            vector = None if data is None else np.frombuffer(data, number).copy()
            vectors.append(vector if vector is not None and width in {0, len(vector)} else None)
        self._hand_over(job, vectors)
        job.rows.clear()

    # What the first attempt has not brought.

    async def _repeat(self, job: Job, failure: AsyncEmbedError | None) -> None:
        """Request the missing vectors again, in the way that the failure calls for."""
        policy, step = self._policy, Step.AT_ONCE
        if failure:
            without_frames(failure)
            self._forget(job.kind)  # the expected dimension may be wrong
            if not job.is_dropped and not await (await self._endpoint.connect()).renew_key(failure):
                step = await self._handle_failure(job, failure)
                if step is Step.END:
                    return
                policy = replace(policy, max_attempts=max(1, policy.max_attempts - (step is Step.AGAIN)))
        try:
            async with asyncio.timeout(policy.max_elapsed) as limit:
                await self._run_again(job, policy, alone=step not in {Step.AGAIN, Step.AT_ONCE, Step.FLOATS})
        except TimeoutError:
            if not limit.expired():
                raise
            late = EmbedTimeoutError(f"no vector within {policy.max_elapsed:g} s: the API is down or overloaded")
            _fail(job.queries, failure or late)

    async def _handle_failure(self, job: Job, failure: AsyncEmbedError) -> Step:
        """Return what to do about a failure, after the wait before it. END: the callers already have the error."""
        kind, learned = job.kind, self._endpoint.learned
        wants_base64 = kind.wire_encoding == "base64" and self._endpoint.encoding == "auto"
        verdict = kind.blame.decide(failure, [*job.texts], Case(), wants_base64=wants_base64)
        learned.breaker.end_attempt(failed=is_retryable(failure))
        learned.refuses_base64 |= verdict.step is Step.FLOATS
        if not job.is_wanted:
            return Step.END
        if verdict.step is Step.END:
            _fail(job.queries, request_error(failure, verdict.meaning, ()))
        elif verdict.step is Step.AGAIN:
            backoff = Backoff(self._policy)
            wait = backoff.next_delay(failure)
            if wait is None:
                _fail(job.queries, attempts_error(failure, (), backoff.describe()))
                return Step.END
            assert job.delivery
            kind.observer.retry(failure, wait, job.delivery)
            if getattr(failure, "retry_after", None) is not None:
                kind.observer.paused(failure, wait, again=learned.pause.is_on)
                learned.pause.extend(wait)
            await asyncio.sleep(wait)
        return verdict.step

    async def _run_again(self, job: Job, policy: RetryPolicy, *, alone: bool) -> None:
        """Ask for the texts of a request by a run of their own, each alone if that is wanted."""
        endpoint = replace(self._endpoint, retry=policy, slots=self._slots, budget=self._budget, cache=None)
        call = job.kind.call
        call = replace(call, endpoint=endpoint, on_error="yield", chunk_size=1 if alone else call.chunk_size)
        job.texts = {text: queries for text, queries in job.texts.items() if _are_wanted(queries)}
        texts = list(job.texts.values())
        run = Run(call, [queries[0].item for queries in texts], ordered=False, as_blocks=True, withholds=True)
        stream: EmbedStream[EmbedBlock | EmbedFailure] = EmbedStream(run, lambda _: None)
        secrets = (await endpoint.connect()).secrets
        self._tell_joined(run, enumerate(texts))
        async with stream:
            async for item in stream:
                if isinstance(item, EmbedFailure):
                    queries = texts[item.index]
                    name_texts(item.error, [(0, queries[0].item)], secrets)
                    _fail(queries, item.error)
                    del job.texts[queries[0].item.text]
                else:
                    for queries, vector in zip(texts[item.index :], item.embeddings, strict=False):
                        self._answer(job, queries, vector.copy())
                        del job.texts[queries[0].item.text]
                if job.texts and not job.is_wanted:
                    break  # the callers that are left have gone

    def _forget(self, kind: QueryRun) -> None:
        """Forget the state of these options; the next query creates it again."""
        self._kinds = {key: each for key, each in self._kinds.items() if each is not kind}


def _are_wanted(queries: Iterable[Query]) -> bool:
    return not all(query.answered.done() for query in queries)


def _fail(queries: Iterable[Query], error: BaseException) -> None:
    """Give each waiting caller its own copy of an error, as a traceback grows with each raise."""
    for query in queries:
        if not query.answered.done():
            own = copy.copy(error) if isinstance(error, AsyncEmbedError) else error
            query.answered.set_exception(own)
