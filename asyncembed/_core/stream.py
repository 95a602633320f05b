"""The stream of results that the consumer iterates over.

`EmbedStream` is an object and not an async generator, because Python finalizes an abandoned generator later, in another
task. The stream starts its supervisor when the first result is requested, so an unused stream costs nothing. Leaving
`async with` closes the stream at once. A stream that is dropped without closing emits a warning and stops the work,
from whichever thread the garbage collector runs in. The supervisor does not refer to the stream, as otherwise it would
keep it alive.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, Self, cast

import anyio
from typing_extensions import TypeVar

from asyncembed._core.scheduler import current_run, supervise
from asyncembed._exceptions import StoredError, StreamClosedError
from asyncembed._models import EmbedBlock, EmbedFailure, EmbedResult, Scalar, Withdrawal
from asyncembed._util import AsyncReading, end_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed._core.memory import Reservation
    from asyncembed._core.result_queue import Item, ResultChunk
    from asyncembed._core.run import Run
    from asyncembed._models import RunSummary, RunTotals


_span_of = attrgetter("span")

ItemT_co = TypeVar(
    "ItemT_co",
    bound=EmbedResult[Scalar] | EmbedFailure | EmbedBlock[Scalar] | Withdrawal,
    covariant=True,
    default=EmbedResult,
)


class EmbedStream(AsyncReading, Generic[ItemT_co]):
    """Results as they arrive.

    Iterate over it with `async for`, preferably inside `async with`, so that leaving early stops the work at once. Only
    one task may iterate at a time. A second loop continues where the first stopped. Closing the stream drops results
    that were not taken.

    Args:
        run: The run that produces the results.
        adopt: Called with the supervisor task, so that the client can cancel it.
    """

    def __init__(self, run: Run, adopt: Callable[[asyncio.Task[None]], None]) -> None:
        self._run = run
        self._adopt = adopt
        self._chunks: deque[ResultChunk] = deque()  # after the current one
        self._chunk: list[Item] = []  # the current chunk in reverse order
        self._size = 0  # inputs that the whole current chunk covers
        self._reservation: Reservation | None = None  # memory of the current chunk
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._error: StoredError | None = None  # every further call raises it

    def __repr__(self) -> str:
        state = "ended" if self._ended else "running" if self._task else "not started"
        return f"{type(self).__name__}({state}, {self.summary!r})"

    @property
    def summary(self) -> RunSummary:
        """Current state of the run."""
        return self._run.summary()

    @property
    def totals(self) -> RunTotals:
        """What the run has used so far."""
        return self._run.totals()

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> ItemT_co:
        """Return the next result.

        Raises:
            AsyncEmbedError: the error that ended the run, after all earlier results.
            StreamClosedError: if the stream or its client was closed.
        """
        if not self._chunk:
            await self._refill()
        item = self._chunk.pop()
        if not self._chunk:
            self._give_back()
        return item  # type: ignore[return-value]  # a `cast` is a call, and there may be millions

    async def take_chunk(self) -> list[ItemT_co]:
        """Wait for the next results, and return those that arrived together; an empty list at the end.

        Raises:
            AsyncEmbedError: the error that ended the run, after all earlier results.
            StreamClosedError: if the stream or its client was closed.
        """
        try:
            if not self._chunk:
                await self._refill()
        except StopAsyncIteration:
            return []
        taken, self._chunk = self._chunk[::-1], []
        self._give_back()
        return cast("list[ItemT_co]", taken)

    async def wait(self, deadline: float | None = None) -> bool:
        """Wait until `take_ready` has results, or the event loop's clock reaches `deadline`.

        Returns:
            Whether the stream goes on; False at its end.

        Raises:
            AsyncEmbedError: the error that ended the run, if no results are left.
        """
        self._start()
        await self._run.result_queue.wait(deadline)
        if not self._run.result_queue.has_ended:
            return True
        self._ended = True
        if error := self._run.result_queue.error:
            self._error = self._error or StoredError(error)
            raise self._error.ready()
        return False

    def take_ready(self) -> list[ItemT_co]:
        """Return the results that have arrived, without waiting."""
        self._chunks += self._run.result_queue.take_ready()
        taken: list[Item] = []
        while self._chunk or self._chunks:
            if not self._chunk:
                self._begin_chunk()
            taken += reversed(self._chunk)
            self._chunk = []
            self._give_back()
        return cast("list[ItemT_co]", taken)

    def flush(self) -> None:
        """Make rows of incomplete batches available to `take_ready`, if the run is a settling one."""
        if self._run.flusher:
            self._run.flusher.flush()

    def settled(self, inputs: int) -> None:
        """Record that `inputs` more inputs are settled, if the run limits unsettled ones."""
        self._run.result_queue.settled(inputs)

    def stop(self) -> None:
        """Send no more requests: the stream yields the results of those in flight, then raises `StreamClosedError`."""
        self._run.stop()

    async def end(self) -> None:
        """Stop the work without waiting for requests in flight.

        If the run is a settling one, `take_ready` then returns all results that have arrived.
        """
        self._run.stopping.stop()
        if not self._task or self._task.done():
            return
        try:
            with anyio.CancelScope(shield=True):
                await self._run.drain()
        finally:
            self._task.cancel()
            await end_of(self._task)

    async def aclose(self) -> None:
        """Stop the work and wait until it has ended; a second call, from any task, does nothing."""
        self._ended = True
        self._run.result_queue.close(StreamClosedError("the stream was closed"))
        try:
            if self._task:
                self._task.cancel()
            # The caller's iterable of texts may close the stream, and must not wait for itself.
            if self._task and not self._run.has_finished and current_run() is not self._run.token:
                with anyio.CancelScope(shield=True):
                    # Not `await task`: that would raise the task's own cancellation here.
                    await asyncio.wait([self._task])
        finally:
            self._chunks.clear()
            self._chunk.clear()
            self._run.abandon()

    def __del__(self) -> None:
        """Stop the work of a stream that was dropped before its end, and emit a `ResourceWarning`."""
        task = getattr(self, "_task", None)
        if task is None or self._ended:
            return
        loop = task.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_abandon, task, self._run)
        warnings.warn(
            "an EmbedStream was dropped before its end; close it with `async with` or `aclose()`. Its work is stopped",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )

    def _begin_chunk(self) -> None:
        items, self._reservation = self._chunks.popleft()
        self._size = sum(map(_span_of, items))
        self._chunk = [*reversed(items)]

    def _give_back(self) -> None:
        """Give back the memory of the current chunk, at once for all results, as one costs as much as all."""
        if self._reservation:
            self._reservation.consumed(self._size)
        self._reservation = None

    def _start(self) -> None:
        if self._task is None and not self._ended:
            self._task = asyncio.create_task(supervise(self._run), name="asyncembed")
            self._task.add_done_callback(self._run.finish)
            self._adopt(self._task)

    async def _refill(self) -> None:
        """Wait for the next chunk and make it the current one; raise at the end of the stream."""
        self._start()
        self._chunks = self._chunks or await self._run.result_queue.get()
        if not self._chunks:
            self._ended = True
            self._run.abandon()
            error = self._run.result_queue.error
            if error is None:
                raise StopAsyncIteration
            self._error = self._error or StoredError(error)
            raise self._error.ready()
        self._begin_chunk()


def _abandon(task: asyncio.Task[None], run: Run) -> None:
    task.add_done_callback(lambda _: run.abandon())
    task.cancel()
