"""Waiting for a condition, and looking for what a test has left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from typing import TYPE_CHECKING, Protocol, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncembed import EmbedClient


class Pause(Protocol):
    """A pause that an API has asked for."""

    @property
    def is_on(self) -> bool: ...

    def extend(self, seconds: float) -> None: ...


LOOP_MODES = ["plain", "debug", *["eager"] * hasattr(asyncio, "eager_task_factory")]  # eager from Python 3.12 on


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Return when the condition holds; fail when it does not for so long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "it never came true"
        await asyncio.sleep(0.001)


async def turns(count: int = 50) -> None:
    """Let everything run that can run without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.contextmanager
def loop_in_mode(mode: str) -> Iterator[None]:
    """Let the running loop be an ordinary one ("plain"), in debug mode, or one whose tasks start at once ("eager")."""
    loop = asyncio.get_running_loop()
    if mode == "debug":
        loop.set_debug(True)
    if mode == "eager":
        loop.set_task_factory(asyncio.eager_task_factory)
    yield
    loop.set_debug(False)
    loop.set_task_factory(None)


def leftovers(client: EmbedClient) -> dict[str, object]:
    """What streams of this client hold: nothing, if all of them have ended."""
    endpoint = client._endpoint
    session = client._connection._session
    held = {
        "tasks": len(client._tasks),
        "bytes": endpoint.budget.reserved,
        "waiting for memory": endpoint.budget.waiting,
        "waiting for their time": endpoint.limiter.waiting,
        "slots": endpoint.slots.in_use,
        "connections": sum(len(each.connector._acquired) for each in session.sessions if each.connector)
        if session
        else 0,
    }
    return {name: count for name, count in held.items() if count}


def pause_of(client: EmbedClient) -> Pause:
    """What all requests of a client wait for when its API wants to be left alone."""
    return client._endpoint.learned.pause


def count_as_down(client: EmbedClient) -> None:
    """Let the API of a client count as down, as after many attempts that failed."""
    breaker = client._endpoint.learned.breaker
    while not breaker.is_open:
        breaker.end_attempt(failed=True)


class LoopWatch:
    """Collects what the event loop complains about, and counts the tasks that a test adds to it."""

    def __init__(self) -> None:
        self.complaints: list[dict[str, object]] = []
        self._before = asyncio.all_tasks()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.complaints.append(context))

    def tasks(self, *known: set[asyncio.Task[None]]) -> set[asyncio.Task[object]]:
        """Tasks that are neither the test's own nor known ones, such as a server's."""
        return asyncio.all_tasks() - self._before - {asyncio.current_task()} - set().union(*known)

    async def check(self) -> None:
        """Fail if a task is left, or if an exception was never retrieved."""
        gc.collect()
        await turns()
        assert not self.complaints
        assert not self.tasks()


class PeakMemory:
    """The most resident memory of this process while it is entered, over what it was before."""

    def __enter__(self) -> Self:
        gc.collect()
        self._process = psutil.Process(os.getpid())
        self._start = self._peak = self._process.memory_info().rss
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        """Bytes."""
        return self._peak - self._start

    def _sample(self) -> None:
        while not self._done.wait(0.002):
            self._peak = max(self._peak, self._process.memory_info().rss)
