"""The supervisor: one task per stream, which feeds the workers and runs the last batch itself.

It holds the only task group of the package. One coroutine enters and leaves the group and never yields to the consumer,
so the consumer cannot leave it from another task. Expected errors do not pass through the group: a worker records its
error and stops the feeding, requests in flight finish, and the consumer gets the plain error after all earlier results.

A batch passes three gates in this order: rate limits, memory, request slot. A batch that waits for the rate limits
needs neither memory nor a slot yet. A batch that waits for memory waits for the consumer and must not hold a slot
meanwhile, because the consumer may need a slot before it takes its next result. Slots become free by themselves.

The rate limits count a request when it is sent. So a batch that waited at another gate asks them again: when it has its
memory, and before its worker sends the request. It goes before every batch without a permit, so it waits only for time.
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
    """A part of a batch with the resources that its requests need.

    Attributes:
        part: The texts.
        reservation: Memory of their requests; also the borrower of their slot.
        results: Memory of their results, which the parts of a batch share.
        permit: Permission of the rate limits for the first request.
    """

    part: SubBatch
    reservation: Reservation
    results: Reservation
    permit: RatePermit | None = None


# A token and not the run: connections keep the context that they were opened in alive, with all values in it.
_current: ContextVar[object] = ContextVar("asyncembed_run", default=None)


def current_run() -> object:
    """Return the token of the run that this code runs in, or None; such code must not wait for the run to end."""
    return _current.get()


async def supervise(run: Run) -> None:
    """Execute a run; `Run.finish` is the done callback of the task that does this."""
    _current.set(run.token)
    try:
        transport = await run.endpoint.connect()
        await run.endpoint.ask_limits(transport, run.options.model)
        run.start()
        pool = WorkerPool(run, transport)
        try:
            async with asyncio.TaskGroup() as tasks:
                await pool.work(tasks)
            run.check_complete()
        finally:
            pool.drop()
            await run.keep_in_cache(all_of_them=True)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  # any error goes to the consumer and not to the event loop
        run.fail(_innermost(error))


async def _next_assignment(run: Run) -> Assignment | None:
    """Return the next batch when it has passed all gates, or None after the last one."""
    while True:
        run.update_batch_size()
        try:
            batch = await run.source.next_batch()
        except Exception as error:  # noqa: BLE001  # of the caller's iterable, or of a text that is refused
            run.fail(error)  # requests in flight are billed and may still finish
            return None
        if batch is None:
            return None
        await run.endpoint.learned.pause.wait()
        await run.result_queue.wait_for_room()
        permit = await run.admit(batch)
        try:
            reservation = await run.reserve(batch)
            if reservation is None:
                permit.withdraw()
                continue
            try:
                await permit.begin()  # the wait for memory may have been too long for the permit
                await run.slots.acquire(reservation)
            except BaseException:
                reservation.release()
                raise
        except BaseException:
            permit.withdraw()
            raise
        return Assignment(SubBatch(batch), reservation, reservation, permit)


class WorkerPool:
    """The worker tasks of a run.

    A task processes one batch after the other, because a small request costs less than a new task. The supervisor
    processes the last batch itself, so a run of one batch needs only one task.

    Args:
        run: The run.
        transport: The connection to the API.
    """

    def __init__(self, run: Run, transport: Transport) -> None:
        self._run = run
        self._transport = transport
        self._probe = Probe(run, transport)
        self._queue: asyncio.Queue[Assignment | None] = asyncio.Queue()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = 0
        self._scope = anyio.CancelScope()  # of the supervisor
        self._is_feeding = True
        self._last: Assignment | None = None  # the supervisor processes it

    async def work(self, tasks: asyncio.TaskGroup) -> None:
        """Feed all batches to worker tasks, and process the last one; the tasks may outlive this call."""
        self._group = tasks
        source = self._run.source
        pumps = [tasks.create_task(source.pump(), name="asyncembed-texts")] if source.needs_pump else []
        stopping = self._run.stopping
        with self._scope:
            await stopping.wait(self._feed)
            self._is_feeding = False
            if self._last:
                await self._complete(self._last)
        # After an error, for example of the cache, the run reads no more texts, and a pump would wait for ever.
        if self._scope.cancel_called or stopping.is_on or self._run.error:
            for pump in pumps:
                pump.cancel()
        for _ in self._tasks:
            self._queue.put_nowait(None)  # ends an idle task

    async def _feed(self) -> None:
        """Hand every batch but the last to a task."""
        while assignment := await _next_assignment(self._run):
            if self._run.source.is_exhausted:
                self._last = assignment
                return
            self._queue.put_nowait(assignment)
            if self._queue.qsize() > self._idle:
                self._start(self._run_worker())
            await asyncio.sleep(0)  # send its request before more texts are read

    def _start(self, work: Coroutine[None, None, None]) -> None:
        assert self._group
        self._tasks.append(self._group.create_task(work, name="asyncembed-worker"))

    def drop(self) -> None:
        """Give back the resources of batches that no task has started."""
        while not self._queue.empty():
            if assignment := self._queue.get_nowait():
                self._give_back(assignment)

    async def _run_worker(self) -> None:
        while assignment := await self._next():
            await self._complete(assignment)

    async def _next(self) -> Assignment | None:
        self._idle += 1
        try:
            return await self._queue.get()
        finally:
            self._idle -= 1

    async def _complete(self, assignment: Assignment) -> None:
        """Complete a batch, in parts if necessary, and then give back its resources."""
        parts = deque([assignment.part])
        try:
            await self._run.begin_recalled(assignment.part.batch, assignment.reservation)
            while parts and not self._run.stopping.is_on:
                permit, assignment.permit = assignment.permit, None
                part = parts.popleft()
                worker = Worker(self._run, self._transport, self._probe, part, assignment.results, permit=permit)
                try:
                    parts.extendleft(reversed(await worker.complete()))
                finally:
                    self._run.settle_equal_texts(part.batch)
                await self._run.keep_in_cache()
                self._share(parts, assignment)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # recorded, so that neither the task group nor the loop sees it
            self._stop(error)
        finally:
            self._give_back(assignment)

    def _share(self, parts: deque[SubBatch], assignment: Assignment) -> None:
        """Let other tasks process parts concurrently, as far as slots and memory are free now.

        The other parts stay with this task, which has a slot and memory already: other batches may be waiting for
        these resources, so the parts must not wait for more.
        """
        independent = [part for part in parts if part.is_ready and part.other is None]
        for part in independent[0 if parts and parts[0].other else 1 :]:
            reservation = self._run.reserve_more(part.batch)
            if reservation is None:
                return
            if not self._run.slots.try_acquire(reservation):
                reservation.release()
                return
            parts.remove(part)
            self._start(self._complete(Assignment(part, reservation, assignment.results)))

    def _stop(self, error: BaseException) -> None:
        run = self._run
        run.fail(error)
        # Requests in flight are billed and may still finish, unless their results are useless.
        is_final = run.stopping.is_final or not isinstance(error, AsyncEmbedError)
        run.stopping.stop()
        if is_final or self._is_feeding:
            self._scope.cancel()
        if is_final:
            for task in self._tasks:
                task.cancel()

    def _give_back(self, assignment: Assignment) -> None:
        if assignment.permit:
            assignment.permit.withdraw()
        assignment.reservation.end_work()
        self._run.slots.release(assignment.reservation)


def _innermost(error: BaseException) -> BaseException:
    """Return the first plain error inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
