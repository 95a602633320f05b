"""One task per stream that owns its feeder and workers, and the only task group of the package.

The group is entered and left inside one coroutine that never yields to a consumer, so no consumer can leave it from
another task. Errors that are expected never travel through it: a worker records its error, the group is cancelled and
ends without one, and the consumer gets the plain error after the results that came before it.

Order of the gates: memory, then a slot. A batch that waits for memory waits for a consumer, and must not hold a slot
meanwhile, as the consumer may need one first. Slots come free by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from asyncembed.pipeline._worker import Worker

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from asyncembed.flow._memory import Reservation
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.pipeline._run import Run
    from asyncembed.wire._transport import Transport


async def supervise(run: Run) -> None:
    """Bring a run to its end, whatever that is; `Run.finish` is the callback of the task that does this."""
    run.start()
    try:
        transport = await run.endpoint.connect()
        async with anyio.create_task_group() as group:
            if run.source.needs_pump:
                group.start_soon(run.source.pump)
            await _feed(run, transport, group)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # the consumer gets it, whatever it is
        run.fail(_innermost(error))


async def _feed(run: Run, transport: Transport, group: TaskGroup) -> None:
    """Start a worker for each batch as soon as memory and a slot are free; only then pull the next texts."""
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
        reservation = await run.reserve(batch)
        try:
            await concurrency.acquire(reservation)
        except BaseException:
            reservation.release()
            raise
        group.start_soon(_work, run, transport, batch, reservation, group)


async def _work(run: Run, transport: Transport, batch: Batch, reservation: Reservation, group: TaskGroup) -> None:
    try:
        await Worker(run, transport, batch, reservation).complete()
    except Exception as error:  # noqa: BLE001  # recorded, so that no exception group is made of it
        run.fail(error)
        group.cancel_scope.cancel()
    finally:
        reservation.end_work()
        run.endpoint.concurrency.release(reservation)


def _innermost(error: BaseException) -> BaseException:
    """Return the first plain error inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
