"""One task per stream that feeds its workers and does the last of their work, and the only task group of the package.

It is entered and left inside one coroutine that never yields to a consumer, so no consumer can leave it from another
task. Errors that are expected never travel through it: a worker records its error and stops the feeding, what is on its
way arrives, and the consumer gets the plain error after the results that came before it.

Order of the gates: rate limits, memory, then a slot. What waits for its time needs neither of the others yet. A batch
that waits for memory waits for a consumer, and must not hold a slot meanwhile, as the consumer may need one first.
Slots come free by themselves.

The rate limits count requests when they are sent. So a batch that another gate has held up asks them again, when it has
its memory and when it begins. It goes before every batch that was never given leave, so all it waits for is time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from asyncembed._core.exchange import Probe
from asyncembed._core.worker import Worker
from asyncembed._decide.splitting import SubBatch
from asyncembed._exceptions import AsyncEmbedError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from asyncembed._core.memory import Reservation
    from asyncembed._core.rate_gate import RatePermit
    from asyncembed._core.run import Run
    from asyncembed._http.transport import Transport


@dataclass(slots=True, eq=False)
class Assignment:
    """A part of a batch with what it needs to be asked for.

    Attributes:
        part: The texts.
        reservation: What their requests need in memory, and the name that their slot is taken in.
        results: What their results need; the parts of a batch share it.
        permit: Leave to send the first request.
    """

    part: SubBatch
    reservation: Reservation
    results: Reservation
    permit: RatePermit | None = None


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
        await run.endpoint.ask_limits(transport, run.options.model)
        run.start()
        crew = WorkerPool(run, transport)
        try:
            async with asyncio.TaskGroup() as tasks:
                await crew.work(tasks)
        finally:
            crew.drop()
            await run.keep_in_cache(all_of_them=True)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  # the consumer gets it, whatever it is, and not the event loop
        run.fail(_innermost(error))


async def _next_job(run: Run) -> Assignment | None:
    """Return the next batch when all gates let it pass, None if there is no more; only then pull the texts after it."""
    try:
        batch = await run.source.next_batch()
    except Exception as error:  # noqa: BLE001  # the caller's own, or a text that is refused
        run.fail(error)  # what is on its way has been paid for and may still arrive
        return None
    if batch is None:
        return None
    await run.endpoint.learned.pause.wait()
    await run.result_queue.wait_for_room()
    permit = await run.admit(batch)
    try:
        reservation = await run.reserve(batch)
        try:
            await permit.begin()  # memory may have held it up
            await run.slots.acquire(reservation)
        except BaseException:
            reservation.release()
            raise
    except BaseException:
        permit.withdraw()
        raise
    return Assignment(SubBatch(batch), reservation, reservation, permit)


class WorkerPool:
    """The tasks of a run: each takes one batch after the other, as a small request costs less than a task.

    The last batch needs none: the task that fed the others has nothing else to do. So a run of one batch is one task.

    Args:
        run: The run.
        transport: The way to the API.
    """

    def __init__(self, run: Run, transport: Transport) -> None:
        self._run = run
        self._transport = transport
        self._probe = Probe(run, transport)
        self._jobs: asyncio.Queue[Assignment | None] = asyncio.Queue()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = 0
        self._own = anyio.CancelScope()  # of the task that feeds, and then works
        self._is_feeding = True
        self._last: Assignment | None = None  # which is left for the task that feeds

    async def work(self, tasks: asyncio.TaskGroup) -> None:
        """Complete all batches, beside tasks that outlive this call."""
        self._group = tasks
        source = self._run.source
        pumps = [tasks.create_task(source.pump(), name="asyncembed-texts")] if source.needs_pump else []
        stopping = self._run.stopping
        with self._own:
            await stopping.wait(self._feed)
            self._is_feeding = False
            if self._last:
                await self._complete(self._last)
        if self._own.cancel_called or stopping.is_on:
            for pump in pumps:
                pump.cancel()
        for _ in self._tasks:
            self._jobs.put_nowait(None)  # they may go when they have nothing more to do

    async def _feed(self) -> None:
        """Hand each batch but the last to a task."""
        while job := await _next_job(self._run):
            if self._run.source.is_exhausted:
                self._last = job
                return
            self._jobs.put_nowait(job)
            if self._jobs.qsize() > self._idle:
                self._start(self._take_part())
            await asyncio.sleep(0)  # its request goes out before more texts are pulled

    def _start(self, work: Coroutine[None, None, None]) -> None:
        assert self._group
        self._tasks.append(self._group.create_task(work, name="asyncembed-worker"))

    def drop(self) -> None:
        """Give back what was taken for batches that nobody has begun."""
        while not self._jobs.empty():
            if job := self._jobs.get_nowait():
                self._give_back(job)

    async def _take_part(self) -> None:
        while job := await self._next():
            await self._complete(job)

    async def _next(self) -> Assignment | None:
        self._idle += 1
        try:
            return await self._jobs.get()
        finally:
            self._idle -= 1

    async def _complete(self, job: Assignment) -> None:
        """Complete a batch, in parts if need be, and then give back its slot, its memory and what was not used."""
        parts = deque([job.part])
        try:
            await self._run.begin_recalled(job.part.batch, job.reservation)
            while parts and not self._run.stopping.is_on:
                permit, job.permit = job.permit, None
                part = parts.popleft()
                worker = Worker(self._run, self._transport, self._probe, part, job.results, permit=permit)
                try:
                    parts.extendleft(reversed(await worker.complete()))
                finally:
                    self._run.settle_equal_texts(part.batch)
                await self._run.keep_in_cache()
                self._share(parts, job)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # recorded: no group is made of it, and no exit stops the loop
            self._stop(error)
        finally:
            self._give_back(job)

    def _share(self, parts: deque[SubBatch], job: Assignment) -> None:
        """Let other tasks ask for parts side by side, as far as slots and memory are free now.

        What finds none free stays here, where it needs nothing more: it may hold up all that waits for it.
        """
        alone = [part for part in parts if part.is_ready and part.other is None]
        for part in alone[0 if parts and parts[0].other else 1 :]:
            reservation = self._run.reserve_more(part.batch)
            if reservation is None:
                return
            if not self._run.slots.take(reservation):
                reservation.release()
                return
            parts.remove(part)
            self._start(self._complete(Assignment(part, reservation, job.results)))

    def _stop(self, error: BaseException) -> None:
        run = self._run
        run.fail(error)
        # What is on its way has been paid for and may still arrive, unless nothing of it is of use.
        is_final = run.stopping.is_final or not isinstance(error, AsyncEmbedError)
        run.stopping.stop()
        if is_final or self._is_feeding:
            self._own.cancel()
        if is_final:
            for task in self._tasks:
                task.cancel()

    def _give_back(self, job: Assignment) -> None:
        if job.permit:
            job.permit.withdraw()
        job.reservation.end_work()
        self._run.slots.release(job.reservation)


def _innermost(error: BaseException) -> BaseException:
    """Return the first plain error inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
