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
            await _feed(run, transport, workers, feeding)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # the consumer gets it, whatever it is
        run.fail(_innermost(error))


async def _feed(run: Run, transport: Transport, workers: TaskGroup, feeding: TaskGroup) -> None:
    """Start a worker for each batch as soon as the gates let it pass; only then pull the next texts."""
    concurrency = run.endpoint.concurrency
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
            await concurrency.acquire(reservation)
        except BaseException:
            reservation.release()
            raise
        worker = Worker(run, transport, batch, reservation, permit)
        workers.start_soon(_work, worker, run, reservation, workers.cancel_scope, feeding.cancel_scope)
        await asyncio.sleep(0)  # its request goes out before more texts are pulled


async def _work(
    worker: Worker, run: Run, reservation: Reservation, workers: anyio.CancelScope, feeding: anyio.CancelScope
) -> None:
    try:
        await worker.complete()
    except Exception as error:  # noqa: BLE001  # recorded, so that no exception group is made of it
        run.fail(error)
        run.stopping.stop()
        feeding.cancel()
        if ends_every_batch(error):
            workers.cancel()  # else what is on its way has been paid for and may still arrive
    finally:
        reservation.end_work()
        run.endpoint.concurrency.release(reservation)


def _innermost(error: BaseException) -> BaseException:
    """Return the first plain error inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
