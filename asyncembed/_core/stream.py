"""What the consumer holds: an async iterator that can be closed from anywhere.

An object and not an async generator, because a generator that is left early is finalised later, in another task.
This one starts its supervisor at the first result asked for, so a stream that nobody iterates costs nothing. Leaving
`async with` closes it before the next statement; leaving a bare `async for` early drops it, which warns and stops the
work from whatever thread the garbage collector runs in. The supervisor never refers to this object, or it would live
as long as the work.
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

    Iterate it with `async for`, preferably inside `async with`, so that leaving early stops the work at once. It has
    one consumer at a time, is not restarted by a second loop, and holds results back from nobody: closing it drops
    what was not taken.

    Args:
        run: The run behind it.
        adopt: Told about the task that does the work, so that the client can end it.
    """

    def __init__(self, run: Run, adopt: Callable[[asyncio.Task[None]], None]) -> None:
        self._run = run
        self._adopt = adopt
        self._bursts: deque[ResultChunk] = deque()  # to be given after this one
        self._burst: list[Item] = []  # the next result is last
        self._size = 0  # inputs that all of this burst stands for
        self._taken_of: Reservation | None = None  # where its memory goes back to
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._error: StoredError | None = None  # raised by every call from now on

    def __repr__(self) -> str:
        state = "ended" if self._ended else "running" if self._task else "not started"
        return f"{type(self).__name__}({state}, {self.summary!r})"

    @property
    def summary(self) -> RunSummary:
        """How the run stands now."""
        return self._run.summary()

    @property
    def totals(self) -> RunTotals:
        """What the run took so far."""
        return self._run.totals()

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> ItemT_co:
        """Return the next result.

        Raises:
            AsyncEmbedError: what ended the run, after all results that came before it.
            StreamClosedError: if the stream or its client was closed.
        """
        if not self._burst:
            await self._refill()
        item = self._burst.pop()
        if not self._burst:
            self._give_back()
        return item  # type: ignore[return-value]  # a `cast` is a call, and there may be millions

    async def take_burst(self) -> list[ItemT_co]:
        """Wait for the next results, and return those that arrived together; none are left at the end.

        Raises:
            AsyncEmbedError: what ended the run, after all results that came before it.
            StreamClosedError: if the stream or its client was closed.
        """
        try:
            if not self._burst:
                await self._refill()
        except StopAsyncIteration:
            return []
        taken, self._burst = self._burst[::-1], []
        self._give_back()
        return cast("list[ItemT_co]", taken)

    async def wait(self, deadline: float | None = None) -> bool:
        """Wait until results are there for `take_ready`, but not beyond a time of the event loop's clock.

        Returns:
            Whether more may come.

        Raises:
            AsyncEmbedError: what ended the run, if nothing is left to be taken.
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
        """Return the results that are there already, without waiting for more."""
        self._bursts += self._run.result_queue.take_ready()
        taken: list[Item] = []
        while self._burst or self._bursts:
            if not self._burst:
                self._begin_burst()
            taken += reversed(self._burst)
            self._burst = []
            self._give_back()
        return cast("list[ItemT_co]", taken)

    def flush(self) -> None:
        """Have `take_ready` give what there is of batches that are not complete, if the run is a settling one."""
        if self._run.flusher:
            self._run.flusher.flush()

    def settled(self, inputs: int) -> None:
        """Say that so many inputs are settled, where the run counts those that are not."""
        self._run.result_queue.settled(inputs)

    def stop(self) -> None:
        """Ask for nothing more: the stream gives what is on its way, and then raises `StreamClosedError`."""
        self._run.stop()

    async def end(self) -> None:
        """Ask for nothing more and end the work, without waiting for what is on its way.

        What has come until then is there for `take_ready`, if the run is a settling one.
        """
        self._run.stopping.stop()
        if not self._task or self._task.done():
            return
        try:
            with anyio.CancelScope(shield=True):
                await self._run.take_what_has_come()
        finally:
            self._task.cancel()
            await end_of(self._task)

    async def aclose(self) -> None:
        """Stop the work and wait until nothing of it is left; a second call, from any task, does nothing."""
        self._ended = True
        self._run.result_queue.close(StreamClosedError("the stream was closed"))
        try:
            if self._task:
                self._task.cancel()
            # The caller's own texts may close it.
            if self._task and not self._run.has_finished and current_run() is not self._run.token:
                with anyio.CancelScope(shield=True):
                    # Not `await task`: that would raise the task's own cancellation here.
                    await asyncio.wait([self._task])
        finally:
            self._bursts.clear()
            self._burst.clear()
            self._run.abandon()

    def __del__(self) -> None:
        """Stop the work of a stream that was left early, and warn that this is not the way to do it."""
        task = getattr(self, "_task", None)
        if task is None or self._ended:
            return
        loop = task.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_abandon, task, self._run)
        warnings.warn(
            "an EmbedStream was left before its end without `async with` or `aclose()`; its work is being stopped",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )

    def _begin_burst(self) -> None:
        items, self._taken_of = self._bursts.popleft()
        self._size = sum(map(_span_of, items))
        self._burst = [*reversed(items)]

    def _give_back(self) -> None:
        """Give back the memory of a burst that was taken: for all of it at once, as that costs as much as for one."""
        if self._taken_of:
            self._taken_of.take(self._size)
        self._taken_of = None

    def _start(self) -> None:
        if self._task is None and not self._ended:
            self._task = asyncio.create_task(supervise(self._run), name="asyncembed")
            self._task.add_done_callback(self._run.finish)
            self._adopt(self._task)

    async def _refill(self) -> None:
        """Go on with the next burst, and wait for it; raise at the end."""
        self._start()
        self._bursts = self._bursts or await self._run.result_queue.get()
        if not self._bursts:
            self._ended = True
            self._run.abandon()
            error = self._run.result_queue.error
            if error is None:
                raise StopAsyncIteration
            self._error = self._error or StoredError(error)
            raise self._error.ready()
        self._begin_burst()


def _abandon(task: asyncio.Task[None], run: Run) -> None:
    task.add_done_callback(lambda _: run.abandon())
    task.cancel()
