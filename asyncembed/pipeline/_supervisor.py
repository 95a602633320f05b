"""One task per stream that feeds its workers and does the last of their work, and the only task group of the package.

It is entered and left inside one coroutine that never yields to a consumer, so no consumer can leave it from another
task. Errors that are expected never travel through it: a worker records its error and stops the feeding, what is on its
way arrives, and the consumer gets the plain error after the results that came before it.

Order of the gates: rate limits, memory, then a slot. What waits for its time needs neither of the others yet. A batch
that waits for memory waits for a consumer, and must not hold a slot meanwhile, as the consumer may need one first.
Slots come free by themselves.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio

from asyncembed.pipeline._worker import Worker, ends_every_batch

if TYPE_CHECKING:
    from asyncembed.flow._memory import Reservation
    from asyncembed.pipeline._run import Run
    from asyncembed.wire._transport import Transport

Job: TypeAlias = "tuple[Worker, Reservation]"
"""A worker with its batch, and what the slot and the memory of that were taken in the name of."""

# A token and not the run: connections keep the context that they were opened in, and so whatever it holds.
_current: ContextVar[object] = ContextVar("asyncembed_run", default=None)


def current_run() -> object:
    """The token of the run whose texts are being pulled here, or None: it must not be waited for from within."""
    return _current.get()


async def supervise(run: Run) -> None:
    """Bring a run to its end, whatever that is; `Run.finish` is the callback of the task that does this."""
    _current.set(run.token)
    try:
        transport = await run.endpoint.connect()
        run.start()
        crew = Crew(run)
        try:
            async with asyncio.TaskGroup() as tasks:
                await crew.work(tasks, transport)
        finally:
            crew.drop()
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  # the consumer gets it, whatever it is, and not the event loop
        run.fail(_innermost(error))


async def _next_job(run: Run, transport: Transport) -> Job | None:
    """Return the next batch when all gates let it pass, None if there is no more; only then pull the texts after it."""
    try:
        batch = await run.source.next_batch()
    except Exception as error:  # noqa: BLE001  # the caller's own, or a text that is refused
        run.fail(error)  # what is on its way has been paid for and may still arrive
        return None
    if batch is None:
        return None
    await run.endpoint.learned.pause.wait()
    await run.outbox.wait_for_room()
    permit = await run.admit(batch)
    reservation = await run.reserve(batch)
    try:
        await run.endpoint.concurrency.acquire(reservation)
    except BaseException:
        reservation.release()
        raise
    return Worker(run, transport, batch, reservation, permit), reservation


class Crew:
    """The tasks of a run: each takes one batch after the other, as a small request costs less than a task.

    The last batch needs none: the task that fed the others has nothing else to do. So a run of one batch is one task.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = 0
        self._own = anyio.CancelScope()  # of the task that feeds, and then works
        self._is_feeding = True
        self._last: Job | None = None  # which is left for the task that feeds

    async def work(self, tasks: asyncio.TaskGroup, transport: Transport) -> None:
        """Complete all batches, beside tasks that outlive this call."""
        source = self._run.source
        pumps = [tasks.create_task(source.pump(), name="asyncembed-texts")] if source.needs_pump else []
        stopping = self._run.stopping
        with self._own:
            await stopping.wait(partial(self._feed, tasks, transport))
            self._is_feeding = False
            if self._last:
                await self._complete(self._last)
        if self._own.cancel_called or stopping.is_on:
            for pump in pumps:
                pump.cancel()
        for _ in self._tasks:
            self._jobs.put_nowait(None)  # they may go when they have nothing more to do

    async def _feed(self, tasks: asyncio.TaskGroup, transport: Transport) -> None:
        """Hand each batch but the last to a task."""
        while job := await _next_job(self._run, transport):
            if self._run.source.is_exhausted:
                self._last = job
                return
            self._jobs.put_nowait(job)
            if self._jobs.qsize() > self._idle:
                self._tasks.append(tasks.create_task(self._take_part(), name="asyncembed-worker"))
            await asyncio.sleep(0)  # its request goes out before more texts are pulled

    def drop(self) -> None:
        """Give back what was taken for batches that nobody has begun."""
        while not self._jobs.empty():
            if job := self._jobs.get_nowait():
                self._give_back(job[1])

    async def _take_part(self) -> None:
        while job := await self._next():
            await self._complete(job)

    async def _next(self) -> Job | None:
        self._idle += 1
        try:
            return await self._jobs.get()
        finally:
            self._idle -= 1

    async def _complete(self, job: Job) -> None:
        """Have the worker complete its batch, and then give back its slot and its memory."""
        worker, reservation = job
        try:
            await worker.complete()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # recorded: no group is made of it, and no exit stops the loop
            self._stop(error)
        finally:
            self._give_back(reservation)

    def _stop(self, error: BaseException) -> None:
        self._run.fail(error)
        self._run.stopping.stop()
        is_final = ends_every_batch(error)  # else what is on its way has been paid for and may still arrive
        if is_final or self._is_feeding:
            self._own.cancel()
        if is_final:
            for task in self._tasks:
                task.cancel()

    def _give_back(self, reservation: Reservation) -> None:
        reservation.end_work()
        self._run.endpoint.concurrency.release(reservation)


def _innermost(error: BaseException) -> BaseException:
    """Return the first plain error inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
