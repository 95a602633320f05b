"""How a run stops asking: what is on its way may arrive, and whoever waits to ask again does not wait on.

Rows of batches that are not complete, handed over a moment after they came, for a run whose results must be safe.

A batch that arrives in one go is handed over as one block, by its worker, and nothing is left to be done here.

What the client does to vectors itself, because the server does not: cut them, and bring them to length 1.

The state of one stream, shared by its supervisor, its workers and the stream object that the consumer holds.

It does not refer back to that object, so that dropping the object can be noticed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal

import anyio
import numpy as np

from asyncembed._core.failures import FailureBudget, Failures
from asyncembed._core.memory import Reservation
from asyncembed._core.observer import Observer
from asyncembed._core.rate_gate import Billed, RateGate
from asyncembed._core.recall import PART_OF_BUDGET, Recall, RecallingSource, recalled_results
from asyncembed._core.result_queue import ResultQueue
from asyncembed._core.source import Source
from asyncembed._core.spending import Spending
from asyncembed._decide.blame import Blame
from asyncembed._decide.chunker import Chunker
from asyncembed._decide.cost import ASSUMED_DIMENSION, MAX_DIMENSIONS, CostModel
from asyncembed._decide.delivery import BlockDelivery, ResultDelivery
from asyncembed._decide.texts import Texts, check_texts
from asyncembed._exceptions import BudgetExceededError, StreamClosedError, without_frames
from asyncembed._models import EmbedBlock, RunSummary, RunTotals, Usage
from asyncembed._parser.vectors import DimensionVote, VectorDecoder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from asyncembed._core.call import Call
    from asyncembed._core.rate_gate import RatePermit
    from asyncembed._core.recall import Lost, Recalled
    from asyncembed._core.slots import RequestSlots
    from asyncembed._decide.chunker import Batch
    from asyncembed._models import EmbedInput, EmbedResult, Limits, Matrix, Withdrawal


class Stopping:
    """Waits that end when the run is to ask for nothing more."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether nothing more is to be asked for."""
        self.is_final = False
        """Whether what is in flight is of no use, either: the request or the account is to blame."""
        self._waits: set[anyio.CancelScope] = set()  # of workers that are not asking for anything now

    def stop(self) -> None:
        """Ask for nothing more: nobody begins another attempt."""
        self.is_on = True
        for scope in self._waits:
            scope.cancel()

    async def wait(self, pause: Callable[[], Awaitable[None]]) -> None:
        """Wait for `pause`, but not when the run is stopping."""
        if self.is_on:
            return
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                await pause()
            finally:
                self._waits.discard(scope)


FLUSH_SECONDS: Final = 0.025
"""Most seconds that a row waits for the rest of its batch."""


class Flusher:
    """Hands over what has arrived.

    Args:
        deliver: Takes blocks, and the memory of their batch.
        whole_only: Whether a row waits for the end of its response all the same.
    """

    def __init__(
        self, deliver: Callable[[Sequence[EmbedBlock], Reservation], None], *, whole_only: bool = False
    ) -> None:
        self._deliver = deliver
        self._whole_only = whole_only
        self._waiting: dict[BlockDelivery, Reservation] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, delivery: BlockDelivery, reservation: Reservation) -> None:
        """Hand over soon what a batch has got, if it has anything that waits."""
        if delivery.waiting and not self._whole_only:
            self._waiting[delivery] = reservation
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._expire)

    def close(self) -> None:
        """Hand over nothing more: the run has ended, and its workers have handed over what there was."""
        self._waiting.clear()
        if self._timer:
            self._timer.cancel()

    def flush(self) -> None:
        """Hand over now what has arrived."""
        waiting, self._waiting = self._waiting, {}
        for delivery, reservation in waiting.items():
            self._deliver(delivery.flush(), reservation)

    def _expire(self) -> None:
        self._timer = None
        self.flush()


@dataclass(frozen=True, slots=True)
class Finish:
    """Makes of vectors as they came those that were asked for.

    Attributes:
        dimension: Numbers that are kept of each vector, None for all; fewer in a vector that has no more.
        normalize: Whether vectors are brought to length 1; those of length 0 stay as they are.
    """

    dimension: int | None
    normalize: bool

    def __call__(self, result: EmbedResult | EmbedBlock) -> EmbedResult | EmbedBlock:
        """Return a result with its vector, or with all of its vectors, finished."""
        if isinstance(result, EmbedBlock):
            return replace(result, embeddings=self.rows(result.embeddings))
        return replace(result, embedding=self.rows(result.embedding[np.newaxis])[0])

    def rows(self, matrix: Matrix) -> Matrix:
        """Return a matrix of its own with the finished rows of another one."""
        kept: Matrix = np.array(matrix[:, : self.dimension])
        if not self.normalize:
            return kept
        lengths = np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)
        lengths[lengths == 0] = 1
        finished: Matrix = (kept / lengths).astype(np.float32)
        return finished


_span_of = attrgetter("span")

QUIET_TURNS: Final = 8
"""Turns of the event loop in which nothing is read, after which nothing that has come is left to be read."""

DRAIN_SECONDS: Final = 0.05
"""Seconds that are spent on reading what has come at most, as more may come meanwhile..."""

DRAIN_TURNS: Final = 64
"""...but for so many turns, where something else holds up the event loop."""


def _spending(call: Call, earlier: Usage) -> Spending | None:
    if call.cap is None:
        return None
    options = call.options
    return Spending(call.cap, call.endpoint.learned.tokens[options.model], options.prompt, earlier)


class Run:
    """One stream's books.

    Args:
        call: What is asked for.
        texts: The caller's texts.
        ordered: Whether results come by index.
        first: Index of the first text.
        as_blocks: Whether results are matrices, a batch at a time.
        compact: Whether base64 is asked for even where it was only promised; what comes is held to the dimension.
        max_ready: Bursts that may be ready before nothing more is asked for; None if only memory limits them.
        gaps: Texts that come before the first one, with their indices.
        withholds: Whether nothing is handed over before its response has been read to its end, or was withdrawn
            if that showed it to be wrong; such a response is dropped and asked for again. Only with `as_blocks`.
        settling: Whether the consumer keeps books of its texts. Failures come out even where they are skipped, rows
            come out before their batch is complete, and what has arrived when the run ends is there to be taken.
        whole_only: Whether the rows of a settling run come out only when their response is known to be right, so that
            none is ever taken back.
        most_unsettled: Inputs that may have come out and not be settled before nothing more is asked for; None if the
            consumer does not say what is settled.
        earlier: What earlier runs have spent that share a cap with this one.
    """

    def __init__(
        self,
        call: Call,
        texts: Texts,
        *,
        ordered: bool = True,
        first: int = 0,
        gaps: Iterable[tuple[int, EmbedInput]] = (),
        as_blocks: bool = False,
        compact: bool = False,
        max_ready: int | None = None,
        withholds: bool = False,
        settling: bool = False,
        whole_only: bool = False,
        most_unsettled: int | None = None,
        earlier: Usage | None = None,
    ) -> None:
        check_texts(texts)
        self.token = object()
        self.endpoint, self.options = endpoint, options = call.endpoint, call.options
        self.on_error = call.on_error
        self.observer = Observer(endpoint.hook, endpoint.provider.name, options, skips=call.on_error == "skip")
        known = call.dimension
        self.compact = compact and known is not None and options.dtype == "float32"
        demanded = known if options.dimensions or self.compact or endpoint.encoding == "base64" else None
        self._kind = options.model, options.dimensions
        # One vector of a dimension that was known before is enough; extra fields may ask for another one.
        self.proof = endpoint.proof(options)
        compared = self.proof.dimension if self.proof else None
        usual = None if options.extra else endpoint.learned.dimensions.get(self._kind) or known or compared
        self._agreement = DimensionVote(usual)
        self.decoder = VectorDecoder(
            options.dtype, demanded, expected=usual, vote=self._agreement, max_dimension=MAX_DIMENSIONS
        )
        self.cost = CostModel(
            dimension=known or usual or ASSUMED_DIMENSION,
            itemsize=self.decoder.stored.itemsize,
            packing=self.decoder.packing,
            is_settled=known is not None,
        )
        changes = options.cut_to is not None or options.normalize
        self._finish = Finish(options.cut_to, options.normalize) if changes else None
        self._has_dimension = False  # and the cost model has it
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
        self._chunker = new_chunker()
        self.admission = RateGate(endpoint.limiter, endpoint.learned.tokens[options.model], self.observer)
        self.source: Source | RecallingSource = Source(texts, self._chunker, call.max_wait, gaps)
        self.recall: Recall | None = None
        if call.dedupe_bytes or endpoint.cache:
            self.recall = Recall(
                call.identity, self.decoder.stored, dedupe_bytes=call.dedupe_bytes, cache=endpoint.cache
            )
            self._chunker = new_chunker()
            self.source = RecallingSource(self.source, self._chunker, self.recall, self.cost, endpoint.budget)
        self._as_blocks = as_blocks
        self.result_queue = ResultQueue(
            ordered=ordered, first=first, max_ready=max_ready, most_unsettled=most_unsettled
        )
        self.withholds = withholds
        blocks = partial(BlockDelivery, withholds=withholds)
        self.new_delivery = partial(blocks if as_blocks else ResultDelivery, decoder=self.decoder)
        self.route = endpoint.provider.route(options.model)
        self.reservations: set[Reservation] = set()
        self.error: BaseException | None = None
        self.failure_budget = FailureBudget()
        self._call, self._settling = call, settling
        self.flusher = Flusher(self.deliver, whole_only=whole_only) if settling else None
        self.steps = 0
        """Responses that were opened, and pieces of them that were read or parsed."""
        self._billed = Billed(0, 0)
        self.done = self.requests = self.retries = self.salvaged = self.bytes_received = self.in_flight = 0
        self.stopping = Stopping()
        self.blame = Blame(
            endpoint.provider.signs,
            may_probe=endpoint.retry.probe,
            has_worked=options.model in endpoint.learned.accepted,
        )
        self.spending = _spending(call, earlier or Usage())  # None if nothing limits it
        self._started: float | None = None
        self._ended: float | None = None

    @cached_property
    def failures(self) -> Failures:
        """What becomes of texts that are given up; most runs have none."""
        return Failures(self._call, self.result_queue, self.failure_budget, self.observer, settling=self._settling)

    @property
    def wire_encoding(self) -> Literal["base64", "float"]:
        """Which encoding to ask for now."""
        is_proven = self.proof is not None and self.proof.encoding == "base64"
        if is_proven and not self.endpoint.learned.refuses_base64:
            return "base64"
        return self.endpoint.wire_encoding(compact=self.compact)

    @property
    def dimension(self) -> int | None:
        """Dimension of the vectors that are delivered, if it is known."""
        dimension, cut_to = self.decoder.dimension, self.options.cut_to
        if self.recall and not dimension:
            return self.recall.width * self.decoder.packing or None
        return min(dimension, cut_to) if dimension and cut_to else dimension

    @property
    def slots(self) -> RequestSlots:
        """The slots for its requests."""
        return self.endpoint.slots_of(self.options.model)

    @property
    def learned_limits(self) -> Limits:
        """What a request may hold, as the answers of the API have taught."""
        return self.endpoint.learned_limits(self.options.model)

    def start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def finish(self, task: asyncio.Task[None]) -> None:
        """Tell the consumer that the work is done, and close the texts; the callback of the task that did it.

        Not the last step of that task, because one that is cancelled early never takes a step.
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
        except Exception as error:  # noqa: BLE001  # the caller's own, of a generator that does not want to end
            self.fail(error)
        if self.decoder.is_open and self._agreement.is_disputed:  # what was usual may be so no longer
            self.endpoint.learned.dimensions.pop(self._kind, None)
        self.result_queue.close(self.error, with_gaps=isinstance(self.error, BudgetExceededError))
        self.observer.ended(self.error, self.summary)

    @property
    def has_finished(self) -> bool:
        """Whether the work is done, and everybody was told."""
        return self._ended is not None

    def abandon(self) -> None:
        """Drop results that nobody will take, and give back all memory."""
        self.result_queue.clear()
        for reservation in tuple(self.reservations):
            reservation.release()

    def stop(self) -> None:
        """Ask for nothing more; what is on its way may arrive, and then the run ends."""
        self.fail(StreamClosedError("the run was stopped before its end"))
        self.stopping.stop()

    async def take_what_has_come(self) -> None:
        """Let the workers read what lies in the buffers of the system and of this process, without waiting for more."""
        deadline, loop_budget, quiet = time.monotonic() + DRAIN_SECONDS, 0, 0
        while quiet < QUIET_TURNS and (loop_budget < DRAIN_TURNS or time.monotonic() < deadline):
            before, loop_budget = self.steps, loop_budget + 1
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.steps == before else 0

    async def admit(self, batch: Batch) -> RatePermit:
        """Wait until the rate limits allow a request for `batch`."""
        permit = await self.admission.ask(len(batch.inputs), batch.request_bytes)
        self._chunker.limits = self.endpoint.limits(self.options.model, self._chunk_size)
        return permit

    async def reserve(self, batch: Batch) -> Reservation:
        """Wait until the budget has what `batch` may need."""
        working = self.cost.working(batch.request_bytes)
        waiting = self.cost.waiting(len(batch), batch.text_memory)
        budget, owner, row = self.endpoint.budget, self.reservations, self.cost.row
        await budget.reserve(working + waiting, owner)
        self._chunker.budget = budget.largest - (budget.largest // PART_OF_BUDGET if self.recall else 0)
        reservation = Reservation(budget, working=working, waiting=waiting, results=len(batch), owner=owner)
        reservation.resize(self.cost.row - row)  # it may have been learned meanwhile
        return reservation

    def reserve_more(self, batch: Batch) -> Reservation | None:
        """Reserve what requests for a part of a batch need, if that is free now."""
        budget, working = self.endpoint.budget, self.cost.working(batch.request_bytes)
        if not budget.take(working):
            return None
        return Reservation(budget, working=working, waiting=0, results=0, owner=self.reservations)

    def deliver(self, results: Sequence[EmbedResult | EmbedBlock], reservation: Reservation) -> None:
        """Hand results to the consumer, and learn from what was decoded what dimension is usual."""
        if not self._has_dimension:
            self._learn_dimension()
        if results:
            self.done += sum(map(_span_of, results))
            self.failure_budget.end_row()
            if not self.options.extra:  # which may ask for anything
                self.endpoint.learned.dimensions[self._kind] = self.cost.dimension
            finished = [*map(self._finish, results)] if self._finish else results
            if self.recall:
                self.recall.learn(finished)
            self.result_queue.put(finished, reservation)

    def withdraw(self, withdrawal: Withdrawal, reservation: Reservation) -> None:
        """Take back results that were handed to the consumer."""
        self.done -= len(withdrawal.indices)
        if self.recall:
            self.recall.withdraw(withdrawal.indices)
        self.result_queue.put([withdrawal], reservation)

    @property
    def usage(self) -> Usage:
        """Tokens that were billed; what answers did not say is estimated by what is known now."""
        tokens = self.endpoint.learned.tokens[self.options.model]
        return Usage(self._billed.tokens, tokens.likely(self._billed.unreported_bytes))

    def bill(self, billed: Billed) -> None:
        """Note what a request has cost."""
        before = self._billed
        self._billed = Billed(before.tokens + billed.tokens, before.unreported_bytes + billed.unreported_bytes)
        if self.spending:
            self.spending.spend(billed)

    async def give_up(self, lost: Sequence[Lost], reservation: Reservation) -> None:
        """Do without texts, and without those that wait for the vector of an equal text among them."""
        await self.failures.give_up(lost, reservation)
        if self.recall:
            for index, _, error in lost:
                for follower, its_reservation in self.recall.lose(index, error):
                    await self.failures.give_up([follower], its_reservation)

    async def begin_recalled(self, batch: Batch, reservation: Reservation) -> None:
        """Hand over the texts of a batch that are not asked for, as far as their vectors are known."""
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
        """Write the vectors that are final into the cache, if there is one and there are enough of them, or now."""
        if self.recall:
            await self.recall.keep(all_of_them=all_of_them)

    def _hand_over(self, recalled: Sequence[Recalled], reservation: Reservation) -> None:
        if recalled:
            self.done += len(recalled)
            self.result_queue.put(recalled_results(recalled, as_blocks=self._as_blocks), reservation)

    def _learn_dimension(self) -> None:
        """Take over the dimension of the first complete vectors, also for requests that are under way."""
        cost, decoder = self.cost, self.decoder
        dimension = decoder.dimension or max(decoder.largest, cost.dimension)
        if decoder.dimension:
            self._has_dimension = cost.is_settled = True
        if dimension != cost.dimension:
            row, cost.dimension = cost.row, dimension
            for reservation in tuple(self.reservations):
                reservation.resize(cost.row - row)

    def fail(self, error: BaseException) -> None:
        """End the run with `error`; further errors are noted on the first."""
        if self.error is None:
            self.error = without_frames(error)
        elif error is not self.error:
            self.error.add_note(f"then: {type(error).__name__}: {error}")

    def totals(self) -> RunTotals:
        """What the run took so far."""
        return RunTotals(
            runs=1,
            failed=self.failure_budget.count,
            failure=self.failure_budget.first,
            requests=self.requests,
            retries=self.retries,
            salvaged=self.salvaged,
            cached=self.recall.cached if self.recall else 0,
            duplicates=self.recall.duplicates if self.recall else 0,
            bytes_received=self.bytes_received,
            usage=self.usage,
            seconds=self._elapsed(),
        )

    def _elapsed(self) -> float:
        return (self._ended or time.monotonic()) - self._started if self._started is not None else 0.0

    def summary(self) -> RunSummary:
        """How the run stands."""
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
            bytes_received=self.bytes_received,
            usage=self.usage,
            elapsed=self._elapsed(),
            in_flight=self.in_flight,
            reserved_bytes=budget.reserved,
            peak_reserved_bytes=budget.peak,
            budget_bytes=budget.total,
            model=self.options.model,
            dimension=self.dimension,
        )
