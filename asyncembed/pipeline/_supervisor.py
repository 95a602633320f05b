"""One task per stream that owns its feeder and workers, and the only task groups of the package.

They are entered and left inside one coroutine that never yields to a consumer, so no consumer can leave them from
another task. Errors that are expected never travel through them: a worker records its error and stops the feeding,
what is on its way arrives, and the consumer gets the plain error after the results that came before it.

Order of the gates: rate limits, memory, then a slot. What waits for its time needs neither of the others yet. A batch
that waits for memory waits for a consumer, and must not hold a slot meanwhile, as the consumer may need one first.
Slots come free by themselves.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from contextvars import ContextVar
from typing import TYPE_CHECKING

import anyio

from asyncembed.pipeline._worker import Worker, ends_every_batch

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from asyncembed.flow._memory import Reservation
    from asyncembed.pipeline._run import Run
    from asyncembed.wire._transport import Transport


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
        async with anyio.create_task_group() as workers, anyio.create_task_group() as feeding:
            if run.source.needs_pump:
                feeding.start_soon(run.source.pump)
            with closing(Crew(run, workers, feeding.cancel_scope)) as crew:
                await _feed(run, transport, crew)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # the consumer gets it, whatever it is
        run.fail(_innermost(error))


async def _feed(run: Run, transport: Transport, crew: Crew) -> None:
    """Hand each batch to the crew as soon as the gates let it pass; only then pull the next texts."""
    while True:
        try:
            batch = await run.source.next_batch()
        except Exception as error:  # noqa: BLE001  # the caller's own, or a text that is refused
            run.fail(error)  # what is on its way has been paid for and may still arrive
            return
        if batch is None:
            return
        await run.endpoint.learned.pause.wait()
        await run.outbox.wait_for_room()
        permit = await run.admit(batch)
        reservation = await run.reserve(batch)
        try:
            await run.endpoint.concurrency.acquire(reservation)
        except BaseException:
            reservation.release()
            raise
        crew.take(Worker(run, transport, batch, reservation, permit), reservation)
        await asyncio.sleep(0)  # its request goes out before more texts are pulled


class Crew:
    """The tasks of a run: each takes one worker's batch after the other, as a small request costs less than a task.

    Args:
        run: The run.
        tasks: Where they live.
        feeding: What stops when nothing more is to be asked for.
    """

    def __init__(self, run: Run, tasks: TaskGroup, feeding: anyio.CancelScope) -> None:
        self._run = run
        self._tasks = tasks
        self._feeding = feeding
        self._jobs: asyncio.Queue[tuple[Worker, Reservation] | None] = asyncio.Queue()
        self._count = self._idle = 0

    def take(self, worker: Worker, reservation: Reservation) -> None:
        """Have the worker complete its batch, and then give back its slot and its memory."""
        self._jobs.put_nowait((worker, reservation))
        if self._jobs.qsize() > self._idle:
            self._count += 1
            self._tasks.start_soon(self._work)

    def close(self) -> None:
        """Let the tasks go when they have nothing more to do."""
        for _ in range(self._count):
            self._jobs.put_nowait(None)

    async def _work(self) -> None:
        while job := await self._next():
            worker, reservation = job
            try:
                await worker.complete()
            except Exception as error:  # noqa: BLE001  # recorded, so that no exception group is made of it
                self._stop(error)
            finally:
                self._give_back(reservation)

    async def _next(self) -> tuple[Worker, Reservation] | None:
        self._idle += 1
        try:
            return await self._jobs.get()
        except asyncio.CancelledError:  # it concerns all workers; what none of them has begun, nobody will
            while not self._jobs.empty():
                if job := self._jobs.get_nowait():
                    self._give_back(job[1])
            raise
        finally:
            self._idle -= 1

    def _stop(self, error: Exception) -> None:
        self._run.fail(error)
        self._run.stopping.stop()
        self._feeding.cancel()
        if ends_every_batch(error):
            self._tasks.cancel_scope.cancel()  # else what is on its way has been paid for and may still arrive

    def _give_back(self, reservation: Reservation) -> None:
        reservation.end_work()
        self._run.endpoint.concurrency.release(reservation)


def _innermost(error: BaseException) -> BaseException:
    """Return the first plain error inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
