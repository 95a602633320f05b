"""The event loop for code without one: a daemon thread per process, and the clients that run on it.

Callers come from any thread and any event loop, even one that lives for a single call. A client belongs to one loop, so
all their clients run here, one for each spec. A forked process has none of its parent's threads, so it starts its own.
It keeps what it inherited untouched, because closing it would act on the parent's sockets.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from asyncembed._caller_thread import CallerThread
from asyncembed._exceptions import ConfigurationError, StreamClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from asyncembed._client import EmbedClient
    from asyncembed._util import AsyncClosing

T = TypeVar("T")

MAX_SECONDS_AT_EXIT: Final = 5.0


class Background:
    """A thread with an event loop and the clients on it. Creating it starts the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._clients: dict[Hashable, EmbedClient] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_ending = False
        self._streams: weakref.WeakSet[AsyncClosing] = weakref.WeakSet()
        self._thread = threading.Thread(target=self._serve, name="asyncembed", daemon=True)
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether the caller is on this thread."""
        return threading.current_thread() is self._thread

    def client(self, key: Hashable, open_client: Callable[[], EmbedClient]) -> EmbedClient:
        """Return the client of a key, and open it if there is none. Call it on this thread."""
        if key not in self._clients:
            self._clients[key] = open_client()
        return self._clients[key]

    def start(self, coroutine: Coroutine[object, object, T], done: Callable[[asyncio.Task[T]], None]) -> None:
        """Run a coroutine as a task in the caller's context. `done` is called with the task on this thread."""

        def begin() -> None:
            task = self._loop.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(done)
            if self._is_ending:
                task.cancel()

        try:
            self._loop.call_soon_threadsafe(begin)
        except RuntimeError:  # the loop has ended
            coroutine.close()
            raise StreamClosedError("the process is ending") from None

    def cancel(self, coroutine: Coroutine[object, object, object]) -> None:
        """Cancel the task of a started coroutine."""

        def cancel() -> None:
            for task in self._tasks:
                if task.get_coro() is coroutine:
                    task.cancel()

        self._loop.call_soon_threadsafe(cancel)

    def own(self, stream: AsyncClosing) -> None:
        """Close a stream at exit if it still exists."""
        self._streams.add(stream)

    def post(self, function: Callable[[], object]) -> None:
        """Call a function on this thread."""
        self._loop.call_soon_threadsafe(function)

    def forget(self, key: Hashable) -> None:
        """Close the client of a key without waiting. Any thread and the garbage collector may call it."""

        def close() -> None:
            if client := self._clients.pop(key, None):
                task = self._loop.create_task(client.aclose())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(close)

    def stop(self) -> None:
        """Cancel all calls, close all clients and end the thread."""
        ended = threading.Event()

        async def end() -> None:
            self._is_ending = True
            try:
                for task in (tasks := set(self._tasks)):
                    task.cancel()
                if tasks:
                    await asyncio.wait(tasks)
                for each in (*self._streams, *self._clients.values()):
                    with suppress(Exception):
                        await each.aclose()
                await self._loop.shutdown_asyncgens()
            finally:
                ended.set()

        last: list[asyncio.Task[None]] = []
        self.post(lambda: last.append(self._loop.create_task(end())))
        ended.wait(MAX_SECONDS_AT_EXIT)
        self.post(self._loop.stop)
        self._thread.join(MAX_SECONDS_AT_EXIT)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        while self._tasks:  # started at the last moment, and cancelled
            self._loop.run_until_complete(asyncio.wait(self._tasks))
        self._loop.close()


_inherited: Final[list[Background | None]] = []
_lock = threading.Lock()
_background: Background | None = None
_is_exiting = False


def background() -> Background:
    """Return the background of this process. The first call starts it.

    Raises:
        StreamClosedError: if the process is ending.
    """
    global _background  # noqa: PLW0603  # one per process
    with _lock:
        if _is_exiting:
            raise StreamClosedError("the process is ending")
        if _background is None:
            _background = Background()
        return _background


def is_current(there: Background) -> bool:
    """Whether this background belongs to this process and is running."""
    return there is _background


def forget(key: Hashable) -> None:
    """Close the client of a key, if there is one, without waiting."""
    if _background is not None:
        _background.forget(key)


def run_with(
    key: Hashable,
    open_client: Callable[[], EmbedClient],
    call: Callable[[EmbedClient], Coroutine[object, object, T]],
    caller: CallerThread | None = None,
) -> T:
    """Run a call with the client of a key on the background's loop, and wait for its result.

    An interruption of the caller, such as Ctrl-C, cancels the call and is raised after the call has ended.

    Args:
        key: Identifies the client.
        open_client: Opens the client if there is none.
        call: Called with the client on that loop.
        caller: Runs jobs of the call on the caller's thread meanwhile.

    Raises:
        ConfigurationError: if the caller is on that loop itself, which would wait for itself.
    """
    there = background()
    if there.is_here:
        raise ConfigurationError(
            "SyncEmbedder was called on its own event loop, for example in a function for keys or events, and would "
            "wait for itself; await an EmbedClient there"
        )

    async def work() -> T:
        return await call(there.client(key, open_client))

    return (caller or CallerThread()).run(there, work())


async def await_with(
    key: Hashable,
    open_client: Callable[[], EmbedClient],
    call: Callable[[EmbedClient], Coroutine[object, object, T]],
) -> T:
    """Do the same for a caller with an event loop of its own, and do not block that loop."""
    there = background()

    async def work() -> T:
        return await call(there.client(key, open_client))

    if there.is_here:
        return await work()
    coroutine = work()
    result: Future[T] = Future()
    there.start(coroutine, lambda task: _copy(task, result))
    try:
        return await asyncio.wrap_future(result)
    except asyncio.CancelledError:
        there.cancel(coroutine)
        raise


def _copy(task: asyncio.Task[T], result: Future[T]) -> None:
    if not result.set_running_or_notify_cancel():
        if not task.cancelled():
            task.exception()  # marks it as retrieved
    elif task.cancelled():
        result.set_exception(StreamClosedError("the client was closed"))
    elif error := task.exception():
        result.set_exception(error)
    else:
        result.set_result(task.result())


@atexit.register
def _stop() -> None:
    global _background, _is_exiting  # noqa: PLW0603
    with _lock:
        _is_exiting = True
        there, _background = _background, None
    if there:
        there.stop()


def _begin_anew() -> None:
    """Start afresh in a forked process. Another thread may have held the lock during the fork, so make a new one."""
    global _background, _lock
    _inherited.append(_background)
    _background, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
