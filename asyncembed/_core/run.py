"""The state of one stream, shared by its supervisor, its workers and the `EmbedStream` that the consumer holds.

`Run` does not refer back to the `EmbedStream`, so a stream that the consumer drops is noticed.
"""

from __future__ import annotations

import asyncio
import time
from functools import cached_property, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal

from asyncembed._budget_exceeded import BudgetExceededError
from asyncembed._core.failures import FailureBudget, Failures
from asyncembed._core.flusher import Flusher
from asyncembed._core.long_source import PART_OF_BUDGET as PART_FOR_LONG_TEXTS
from asyncembed._core.long_source import LongSource
from asyncembed._core.memory import Reservation
from asyncembed._core.observer import Observer
from asyncembed._core.rate_gate import Billed, RateGate
from asyncembed._core.recall import PART_OF_BUDGET, Recall, RecallingSource, recalled_results
from asyncembed._core.result_queue import ResultQueue
from asyncembed._core.source import Source
from asyncembed._core.spending import Spending
from asyncembed._core.stopping import Stopping
from asyncembed._decide.blame import Blame
from asyncembed._decide.chunker import Chunker
from asyncembed._decide.cost import ASSUMED_DIMENSION, MAX_DIMENSIONS, CostModel
from asyncembed._decide.delivery import BlockDelivery, ResultDelivery
from asyncembed._decide.postprocess import Postprocessor
from asyncembed._decide.texts import Texts, check_texts
from asyncembed._exceptions import AsyncEmbedError, StreamClosedError, without_frames
from asyncembed._models import EmbedBlock, RunSummary, RunTotals, Usage
from asyncembed._parser.vectors import DimensionVote, VectorDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asyncembed._core.call import Call
    from asyncembed._core.rate_gate import RatePermit
    from asyncembed._core.recall import Lost, Recalled
    from asyncembed._core.slots import RequestSlots
    from asyncembed._decide.chunker import Batch
    from asyncembed._models import EmbedInput, EmbedResult, Limits, Scalar, Vector, Withdrawal


_span_of = attrgetter("span")

QUIET_TURNS: Final = 8
"""Consecutive event loop iterations without any read, after which the buffers count as drained."""

DRAIN_SECONDS: Final = 0.05
"""Maximum time to drain the buffers, in seconds, because more data may keep arriving..."""

DRAIN_TURNS: Final = 64
"""...but at least this many event loop iterations, in case something else blocks the event loop."""


def _spending(call: Call, earlier: Usage) -> Spending | None:
    if call.cap is None:
        return None
    options = call.options
    return Spending(call.cap, call.endpoint.learned.tokens[options.model], options.prompt, earlier)


class Run:
    """The state of one stream.

    Args:
        call: The checked arguments of the call.
        texts: The caller's texts.
        ordered: Whether results are delivered by index.
        first: Index of the first text.
        as_blocks: Whether results are matrices, one batch at a time.
        compact: Whether to request base64 where it is documented but not yet observed. Vectors of another dimension
            than the known one are then rejected.
        max_ready: Maximum number of ready result chunks before no more batches start; None if only memory limits them.
        gaps: Texts before the first one, with their indices.
        withholds: Whether results are delivered only after their response was read to its end. A response that turns
            out not to match its texts is dropped and requested again. Only with `as_blocks`.
        settling: Whether the consumer stores results safely and tracks every text. Failures are then delivered even
            with `on_error="skip"`, rows are delivered before their batch is complete, and results that have arrived
            when the run ends can still be taken.
        whole_only: Whether a settling run delivers rows only when their response is known to be right, so that it
            never withdraws a row.
        max_unsettled: Maximum number of delivered inputs that the consumer has not settled before no more batches
            start; None if the consumer does not report what it has settled.
        earlier: Usage of earlier runs that share the cap of this one.
        shared: Vectors of earlier runs that equal texts share, by `text_key`.
    """

    def __init__(
        self,
        call: Call,
        texts: Texts,
        *,
        ordered: bool = True,
        first: int = 0,
        gaps: Sequence[tuple[int, EmbedInput]] = (),
        as_blocks: bool = False,
        compact: bool = False,
        max_ready: int | None = None,
        withholds: bool = False,
        settling: bool = False,
        whole_only: bool = False,
        max_unsettled: int | None = None,
        earlier: Usage | None = None,
        shared: Mapping[bytes, Vector] | None = None,
    ) -> None:
        check_texts(texts)
        self.token = object()
        self._call, self._settling = call, settling
        self.endpoint, self.options = endpoint, options = call.endpoint, call.options
        self.on_error = call.on_error
        self.observer = Observer(
            endpoint.hook, endpoint.provider.name, options, skips=call.on_error == "skip", is_query=call.is_query
        )
        known = call.dimension
        self.compact = compact and known is not None and options.dtype == "float32"
        required = known if options.dimensions or self.compact or endpoint.encoding == "base64" else None
        self._dimension_key = options.model, options.dimensions
        self.proof = endpoint.proof(options)
        compared = self.proof.dimension if self.proof else None
        # A single vector of the expected dimension settles the vote. Extra fields may change the dimension.
        expected = None if options.extra else endpoint.learned.dimensions.get(self._dimension_key) or known or compared
        self._dimension_vote = DimensionVote(expected)
        self.decoder = VectorDecoder(
            options.dtype, required, expected=expected, vote=self._dimension_vote, max_dimension=MAX_DIMENSIONS
        )
        self.cost = CostModel(
            dimension=known or expected or ASSUMED_DIMENSION,
            itemsize=self.decoder.stored.itemsize,
            packing=self.decoder.packing,
            is_settled=known is not None,
        )
        changes = options.cut_to is not None or options.normalize
        self._postprocess = Postprocessor(options.cut_to, options.normalize) if changes else None
        self._has_dimension = False  # whether `cost` has the dimension of received vectors
        self._chunk_size = call.chunk_size
        limits = endpoint.limits(options.model, call.chunk_size)
        strict = call.on_error == "raise"
        new_chunker = partial(
            Chunker,
            limits,
            call.chunk_size,
            self.cost,
            endpoint.budget.largest,
            first=first,
            strict=strict,
            prefix=len(options.prompt.encode()),
        )
        self.is_query = call.is_query
        self.rate_gate = RateGate(
            endpoint.limiter, endpoint.learned.tokens[options.model], self.observer, is_query=call.is_query
        )
        self._gaps = len(gaps)
        self._open_source(texts, gaps, new_chunker)
        if self.recall and shared:
            self.recall.remember(shared)
        self._as_blocks = as_blocks
        self.result_queue = ResultQueue(ordered=ordered, first=first, max_ready=max_ready, max_unsettled=max_unsettled)
        self.withholds = withholds
        blocks = partial(BlockDelivery, withholds=withholds)
        self.new_delivery = partial(
            blocks if as_blocks else ResultDelivery, decoder=self.decoder, truncated=self._truncated
        )
        self.route = endpoint.provider.route(options.model)
        self.reservations: set[Reservation] = set()
        self._early_reservations: set[Reservation] = set()  # of texts that are requested before earlier ones
        self.error: BaseException | None = None
        self.failure_budget = FailureBudget()
        self.flusher = Flusher(self.deliver, whole_only=whole_only) if settling else None
        self.steps = 0
        """Number of responses opened and of body pieces read or parsed, to see whether anything is still read."""
        self._billed = Billed(0, 0)
        self.done = self.requests = self.retries = self.salvaged = self.bytes_received = self.in_flight = 0
        self.stopping = Stopping()
        self.blame = Blame(
            endpoint.provider.signs,
            may_probe=endpoint.retry.probe,
            has_worked=options.model in endpoint.learned.accepted,
        )
        self.spending = _spending(call, earlier or Usage())  # None without a cap
        self._started: float | None = None
        self._ended: float | None = None

    def _open_source(
        self, texts: Texts, gaps: Sequence[tuple[int, EmbedInput]], new_chunker: Callable[[], Chunker]
    ) -> None:
        """Open the source of batches, with a stage for equal and known texts and one for long texts if needed."""
        call, endpoint, options = self._call, self.endpoint, self.options
        self._chunker = new_chunker()
        given = Source(texts, self._chunker, call.max_wait, gaps)
        source: Source | RecallingSource = given
        self.recall: Recall | None = None
        if call.dedupe_bytes or endpoint.cache:
            self.recall = Recall(
                call.identity,
                self.decoder.stored,
                dedupe_bytes=call.dedupe_bytes,
                cache=endpoint.cache,
                copies=not self._settling,
            )
            self._chunker = new_chunker()
            source = RecallingSource(given, self._chunker, self.recall, self.cost, endpoint.budget)
        self.long_texts = endpoint.long_texts(options, call.max_text_tokens)
        self._marks = options.long_text == "truncate"
        if self.recall and self._marks:
            self.recall.long_texts = self.long_texts
        self._truncated: bool | None = False if endpoint.refuses_long_texts(options) else None  # unless `_marks`
        self._long_source: LongSource | None = None
        if self.long_texts:
            wait = None if self.recall else call.max_wait
            chunkers = new_chunker(), new_chunker()
            self._long_source = LongSource(source, chunkers, self.long_texts, self.cost, endpoint.budget, wait)
        self.source: Source | RecallingSource | LongSource = self._long_source or source

    @cached_property
    def failures(self) -> Failures:
        """Handles failed texts; created on demand, as most runs have none."""
        return Failures(self._call, self.result_queue, self.failure_budget, self.observer, settling=self._settling)

    @property
    def wire_encoding(self) -> Literal["base64", "float"]:
        """The encoding to request now."""
        is_proven = self.proof is not None and self.proof.encoding == "base64"
        if is_proven and not self.endpoint.learned.refuses_base64:
            return "base64"
        return self.endpoint.wire_encoding(compact=self.compact)

    @property
    def dimension(self) -> int | None:
        """Dimension of the delivered vectors, if it is known."""
        dimension, cut_to = self.decoder.dimension, self.options.cut_to
        if self.recall and not dimension:
            return self.recall.width * self.decoder.packing or None
        return min(dimension, cut_to) if dimension and cut_to else dimension

    @property
    def slots(self) -> RequestSlots:
        """The slots for this run's requests."""
        return self.endpoint.slots_of(self.options.model)

    @property
    def learned_limits(self) -> Limits:
        """Limits of one request, as learned from the API's responses."""
        return self.endpoint.learned_limits(self.options.model)

    def start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def finish(self, task: asyncio.Task[None]) -> None:
        """Close the texts and end the result queue; the done callback of the supervisor `task`.

        This is a callback and not the task's last step, because a task that is cancelled early never takes a step.
        """
        self._ended = time.monotonic()
        if self.flusher:
            self.flusher.close()
        if task.cancelled():
            self.fail(StreamClosedError("the stream was closed before its end"))
            if not self._settling:
                self.abandon()
        elif error := task.exception():
            self.fail(error)
        try:
            self.source.close()
        except Exception as error:  # noqa: BLE001  # the caller's generator may raise anything when it is closed
            self.fail(error)
        if self.decoder.is_open and self._dimension_vote.is_disputed:  # the expected dimension may be wrong by now
            self.endpoint.learned.dimensions.pop(self._dimension_key, None)
        self.result_queue.close(self.error, with_gaps=isinstance(self.error, BudgetExceededError))
        self.observer.ended(self.error, self.summary)

    @property
    def has_finished(self) -> bool:
        """Whether the work is done, and the consumer and the observer know it."""
        return self._ended is not None

    def abandon(self) -> None:
        """Drop all results that were not taken, and give back all memory."""
        self.result_queue.clear()
        for reservation in (*self.reservations, *self._early_reservations):
            reservation.release()

    def stop(self) -> None:
        """Send no more requests; the run ends when those in flight have finished."""
        self.fail(StreamClosedError("the run was stopped before its end"))
        self.stopping.stop()

    async def drain(self) -> None:
        """Let the workers read data that has already arrived, in buffers of the system and of this process."""
        deadline, turns, quiet = time.monotonic() + DRAIN_SECONDS, 0, 0
        while quiet < QUIET_TURNS and (turns < DRAIN_TURNS or time.monotonic() < deadline):
            before, turns = self.steps, turns + 1
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.steps == before else 0

    def update_batch_size(self) -> None:
        """Let the next batch be as large as the limits and the memory budget allow now."""
        self._chunker.limits = limits = self.endpoint.limits(self.options.model, self._chunk_size)
        largest = self.endpoint.budget.largest
        self._chunker.budget = largest - (largest // PART_OF_BUDGET if self.recall else 0)
        if self._long_source:
            self._chunker.budget -= largest // PART_FOR_LONG_TEXTS
            self._long_source.allow(limits, self._chunker.budget)

    async def admit(self, batch: Batch) -> RatePermit:
        """Wait until the rate limits allow a request for `batch`."""
        return await self.rate_gate.acquire(len(batch.inputs), batch.request_bytes)

    async def reserve(self, batch: Batch) -> Reservation | None:
        """Wait until the memory budget has room for `batch`, and reserve it.

        Texts that are sent before earlier ones must not wait for the memory of those: if there is none for them, they
        go back to the source, and the method returns None.
        """
        working = self.cost.working(batch.request_bytes)
        waiting = self.cost.waiting(len(batch), batch.text_memory)
        budget, row = self.endpoint.budget, self.cost.row
        owner = self.reservations
        if batch.is_apart and self._long_source:
            owner = self._early_reservations
            if not budget.try_reserve(working + waiting):
                self._long_source.put_back(batch)
                return None
        else:
            await budget.reserve(working + waiting, owner)
        reservation = Reservation(budget, working=working, waiting=waiting, results=len(batch), owner=owner)
        reservation.resize(self.cost.row - row)  # the dimension may have become known during the wait
        return reservation

    def check_complete(self) -> None:
        """Check that each text has a vector or an error, after a run that ended by itself.

        Raises:
            AsyncEmbedError: if not, which a mistake in this package would cause; it must not go unnoticed.
        """
        settled, expected = self.done + self.failure_budget.count, self.source.pulled + self._gaps
        if self.error is None and not self.stopping.is_on and settled != expected:
            raise AsyncEmbedError(
                f"internal error: {settled} of {expected} texts have a vector or an error; please report this"
            )

    def reserve_more(self, batch: Batch) -> Reservation | None:
        """Reserve the memory for requests of one part of a batch, if it is free now."""
        budget, working = self.endpoint.budget, self.cost.working(batch.request_bytes)
        if not budget.try_reserve(working):
            return None
        return Reservation(budget, working=working, waiting=0, results=0, owner=self.reservations)

    def deliver(self, results: Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]], reservation: Reservation) -> None:
        """Hand results to the consumer, and remember the dimension of their vectors."""
        if not self._has_dimension:
            self._learn_dimension()
        if results:
            self.done += sum(map(_span_of, results))
            self.failure_budget.record_success()
            if not self.options.extra:  # extra fields may change the dimension
                self.endpoint.learned.dimensions[self._dimension_key] = self.cost.dimension
            processed = [*map(self._postprocess, results)] if self._postprocess else results
            if self._marks and self.long_texts:
                processed = self.long_texts.mark(processed)
            if self.recall:
                self.recall.learn(processed)
            self.result_queue.put(processed, reservation)

    def withdraw(self, withdrawal: Withdrawal, reservation: Reservation) -> None:
        """Tell the consumer to discard results that were delivered."""
        self.done -= len(withdrawal.indices)
        if self._marks and self.long_texts:
            self.long_texts.withdrawn(withdrawal.inputs)
        if self.recall:
            self.recall.withdraw(withdrawal.indices)
        self.result_queue.put([withdrawal], reservation)

    @property
    def usage(self) -> Usage:
        """Billed tokens; unreported ones are estimated from all responses so far."""
        tokens = self.endpoint.learned.tokens[self.options.model]
        return Usage(self._billed.tokens, tokens.likely(self._billed.unreported_bytes))

    @property
    def dollars(self) -> float | None:
        """Cost of the run in US dollars; None if the price is unknown."""
        price = self._call.price
        return None if price is None else self.usage.total * price.dollars / 1_000_000

    def bill(self, billed: Billed) -> None:
        """Add the cost of a request."""
        before = self._billed
        self._billed = Billed(before.tokens + billed.tokens, before.unreported_bytes + billed.unreported_bytes)
        if self.spending:
            self.spending.spend(billed)

    async def give_up(self, lost: Sequence[Lost], reservation: Reservation) -> None:
        """Fail these texts, and the equal texts that wait for their vectors."""
        await self.failures.give_up(lost, reservation)
        if self.long_texts:
            self.long_texts.failed(index for index, *_ in lost)
        if self.recall:
            for index, _, error in lost:
                for follower, its_reservation in self.recall.lose(index, error):
                    await self.failures.give_up([follower], its_reservation)

    async def begin_recalled(self, batch: Batch, reservation: Reservation) -> None:
        """Hand over the texts of a batch that are not requested and whose vectors are known."""
        if self.recall and (batch.recalled or batch.followers):
            recalled, lost = self.recall.begin(batch, reservation)
            self._hand_over(recalled, reservation)
            if lost:
                await self.failures.give_up(lost, reservation)

    def settle_equal_texts(self, batch: Batch) -> None:
        """Hand over the texts that waited for the vectors of a request that has ended."""
        if self.recall:
            for recalled, reservation in self.recall.settle(batch):
                self._hand_over(recalled, reservation)

    async def keep_in_cache(self, *, all_of_them: bool = False) -> None:
        """Write final vectors to the cache, in groups of 256; with `all_of_them`, write the rest."""
        if self.recall:
            await self.recall.keep(all_of_them=all_of_them)

    def _hand_over(self, recalled: Sequence[Recalled], reservation: Reservation) -> None:
        if recalled:
            self.done += len(recalled)
            results = recalled_results(recalled, as_blocks=self._as_blocks, truncated=self._truncated)
            if self._marks and self.long_texts:
                results = self.long_texts.mark(results)
            self.result_queue.put(results, reservation)

    def _learn_dimension(self) -> None:
        """Use the dimension of the first complete vectors, also for the memory of requests in flight."""
        cost, decoder = self.cost, self.decoder
        dimension = decoder.dimension or max(decoder.largest, cost.dimension)
        if decoder.dimension:
            self._has_dimension = cost.is_settled = True
        if dimension != cost.dimension:
            row, cost.dimension = cost.row, dimension
            for reservation in (*self.reservations, *self._early_reservations):
                reservation.resize(cost.row - row)

    def fail(self, error: BaseException) -> None:
        """Record the error that ends the run; later errors become notes on the first."""
        if self.error is None:
            self.error = without_frames(error)
        elif error is not self.error:
            self.error.add_note(f"then: {type(error).__name__}: {error}")

    def totals(self) -> RunTotals:
        """Return what the run has used so far."""
        return self.summary().totals

    def _elapsed(self) -> float:
        return (self._ended or time.monotonic()) - self._started if self._started is not None else 0.0

    def summary(self) -> RunSummary:
        """Return the current state of the run."""
        budget = self.endpoint.budget
        return RunSummary(
            done=self.done,
            failed=self.failure_budget.count,
            failure=self.failure_budget.first,
            requests=self.requests,
            retries=self.retries,
            salvaged=self.salvaged,
            cached=self.recall.cached if self.recall else 0,
            duplicates=self.recall.duplicates if self.recall else 0,
            truncated=self.long_texts.truncated if self.long_texts else 0,
            bytes_received=self.bytes_received,
            usage=self.usage,
            cost=self.dollars,
            elapsed=self._elapsed(),
            in_flight=self.in_flight,
            reserved_bytes=budget.reserved,
            peak_reserved_bytes=budget.peak,
            budget_bytes=budget.total,
            model=self.options.model,
            dimension=self.dimension,
        )
