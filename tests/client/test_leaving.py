"""A stream may be left at every point and in every way: no task, memory, slot or connection is left behind."""

from __future__ import annotations

import asyncio

import pytest
from support.results import check_vectors
from support.scenes import SCENES, TEXTS
from support.watching import leftovers, turns, until

from asyncembed import StreamClosedError

pytestmark = pytest.mark.usefixtures("loop_mode")
SECONDS = 5


@pytest.fixture(params=SCENES)
async def scene(request, server, connect, loop_mode):
    built = await SCENES[request.param](server, connect)
    with built.clean_up:
        yield built


class Consumer:
    """Takes results until it is stopped."""

    def __init__(self, scene):
        self.scene = scene
        self.results = []

    async def there(self):
        """Return when the stream stands where the scene wants it, and everything before it was taken."""
        await until(lambda: self.scene.reached() and len(self.results) == self.scene.results, SECONDS)
        await turns(5)

    async def take(self):
        """The careful way."""
        async with self.scene.stream:
            await self.take_bare()

    async def take_bare(self):
        """The other way."""
        async for result in self.scene.stream:
            self.results.append(result)

    def check(self, client):
        """Nothing is left now: not a moment later, and although the client is still open."""
        assert not leftovers(client)
        assert len(self.results) == self.scene.results
        check_vectors(self.results, TEXTS)


@pytest.fixture
def consumer(scene):
    return Consumer(scene)


async def test_cancelled(scene, consumer):
    task = asyncio.create_task(consumer.take())
    await consumer.there()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    consumer.check(scene.client)


async def test_timeout_around_the_loop(scene, consumer):
    async def take_with_limit(limit):
        async with limit:
            await consumer.take()

    limit = asyncio.timeout(None)
    task = asyncio.create_task(take_with_limit(limit))
    await consumer.there()
    limit.reschedule(0)
    with pytest.raises(TimeoutError):
        await task
    consumer.check(scene.client)


async def test_timeout_around_one_result(scene, consumer):
    """The stream goes on; it is the consumer who closes it."""

    async def take_one(limit):
        async with limit:
            await anext(scene.stream)

    for _ in range(scene.results):
        consumer.results.append(await anext(scene.stream))
    for _ in range(3):
        limit = asyncio.timeout(None)
        task = asyncio.create_task(take_one(limit))
        await consumer.there()
        limit.reschedule(0)
        with pytest.raises(TimeoutError):
            await task
    await scene.stream.aclose()
    consumer.check(scene.client)


async def test_closed_from_another_task(scene, consumer):
    task = asyncio.create_task(consumer.take())
    await consumer.there()
    await scene.stream.aclose()
    with pytest.raises(StreamClosedError):
        await task
    consumer.check(scene.client)


async def test_closed_by_several_tasks_at_once(scene, consumer):
    task = asyncio.create_task(consumer.take_bare())
    await consumer.there()
    await asyncio.gather(*(scene.stream.aclose() for _ in range(3)), scene.client.aclose())
    with pytest.raises(StreamClosedError):
        await task
    consumer.check(scene.client)


async def test_client_closed(scene, consumer):
    task = asyncio.create_task(consumer.take())
    await consumer.there()
    await scene.client.aclose()
    with pytest.raises(StreamClosedError):
        await task
    consumer.check(scene.client)


async def test_closing_is_cancelled_in_turn(scene, consumer):
    """A second cancellation, while the stream is being closed for the first, leaves nothing behind either."""
    task = asyncio.create_task(consumer.take())
    await consumer.there()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not leftovers(scene.client))


async def test_dropped(scene, consumer):
    """Without `async with`, the work ends when the stream is collected, and that warns."""
    task = asyncio.create_task(consumer.take_bare())
    await consumer.there()
    task.cancel()
    await asyncio.wait([task])
    del task
    with pytest.warns(ResourceWarning, match="dropped before its end"):
        scene.drop()
    await until(lambda: not leftovers(scene.client))
    consumer.check(scene.client)
