"""Tells whoever listens what a run does: the caller's `on_event`, and the log. When nobody does, nothing is built."""

from __future__ import annotations

import os
from functools import cached_property
from inspect import iscoroutinefunction
from logging import DEBUG, INFO, WARNING
from typing import TYPE_CHECKING, TypedDict
from weakref import WeakKeyDictionary

from asyncembed._errors import APIStatusError, AsyncEmbedError, StreamClosedError
from asyncembed._events import BatchSplit, EndpointPaused, InputsFailed, RetryScheduled, RunEnded
from asyncembed._logs import LOGGER, write
from asyncembed._settings import check
from asyncembed.pipeline._watch import Watch
from asyncembed.pipeline._words import without_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal, Self

    from asyncembed._events import Event
    from asyncembed._models import EmbedInput, RunSummary
    from asyncembed._settings import EmbedOptions
    from asyncembed.pipeline._blocks import BlockDelivery
    from asyncembed.pipeline._delivery import ResultDelivery
    from asyncembed.wire._transport import Transport


class Hook:
    """The caller's `on_event`. What it raises breaks no run: it is logged, once.

    Args:
        function: What is told of each event.
    """

    def __init__(self, function: Callable[[Event], None]) -> None:
        self._function = function
        self._has_failed = False

    @classmethod
    def of(cls, function: Callable[[Event], None] | None) -> Self | None:
        """Return one for this function, if there is one.

        Raises:
            ConfigurationError: if it is no plain function.
        """
        is_async = iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
        plain = function is None or (callable(function) and not is_async)
        check(plain, f"on_event={function!r} must be a plain function of one event; nobody would await an async one")
        return None if function is None else cls(function)

    def __call__(self, event: Event) -> None:
        try:
            self._function(event)
        except Exception:  # noqa: BLE001  # the caller's own, whatever it is
            if not self._has_failed:
                LOGGER.warning("on_event_failed: on_event= raised an error; it will be logged only once", exc_info=True)
            self._has_failed = True


class Names(TypedDict):
    """What every event bears."""

    provider: str
    model: str
    run: str


class Reason(TypedDict):
    """What an event says of the error that it is about."""

    error: str | None
    message: str
    status: int | None


class Observer:
    """Makes events of what happens in one run.

    Args:
        hook: The caller's `on_event`, if there is one.
        provider: Name of the provider.
        options: What is asked for.
        skips: Whether nobody but the log is told of texts that are given up.
    """

    def __init__(self, hook: Hook | None, provider: str, options: EmbedOptions, *, skips: bool) -> None:
        self._hook = hook
        self._provider = provider
        self._skips = skips
        self._requests = 0
        self._given_up: frozenset[int] = frozenset()  # what the last of these events was about
        self._asked: WeakKeyDictionary[BaseException, Sequence[str]] = WeakKeyDictionary()
        self.options = options

    @cached_property
    def names(self) -> Names:
        """What every event of this run bears."""
        return {"provider": self._provider, "model": self.options.model, "run": os.urandom(6).hex()}

    def listens(self, level: int) -> bool:
        """Whether anybody wants an event of this level: only then is it worth making."""
        return self._hook is not None or LOGGER.isEnabledFor(level)

    def tell(self, event: Event, level: int) -> None:
        """Tell everybody."""
        write(event, level)
        if self._hook:
            self._hook(event)

    def request(
        self,
        delivery: ResultDelivery | BlockDelivery,
        texts: Sequence[str],
        transport: Transport,
        encoding: Literal["base64", "float"],
    ) -> Watch:
        """Return what watches the request that is entered next, for what `delivery` misses."""
        self._requests += 1
        return Watch(self, self._requests, delivery, texts, server=transport.server, encoding=encoding)

    def note(self, error: BaseException | None, texts: Sequence[str]) -> None:
        """Remember what was asked for when `error` came: its message may repeat it."""
        if isinstance(error, AsyncEmbedError):
            self._asked[error] = texts

    def reason(self, error: BaseException | None, *texts: str) -> Reason:
        """What may be told of an error; of one that is not ours only its kind, as its words may hold anything."""
        message = ""
        if isinstance(error, AsyncEmbedError):
            message = without_texts(str(error), [*self._asked.get(error, ()), *texts])
        status = error.status if isinstance(error, APIStatusError) else 0
        return {"error": type(error).__name__ if error else None, "message": message, "status": status or None}

    def retry(self, error: AsyncEmbedError, seconds: float, delivery: ResultDelivery | BlockDelivery) -> None:
        """Tell that what is missing will be asked for again."""
        if self.listens(INFO):
            missing, attempt = delivery.missing, delivery.attempts
            names, reason = self.names, self.reason(error)
            self.tell(RetryScheduled(**names, **reason, attempt=attempt, indices=missing, seconds=seconds), INFO)

    def paused(self, error: AsyncEmbedError, seconds: float, *, again: bool) -> None:
        """Tell that the API wants to be left alone."""
        level = DEBUG if again else INFO
        if self.listens(level):
            self.tell(EndpointPaused(**self.names, **self.reason(error), seconds=seconds, again=again), level)

    def split(self, error: AsyncEmbedError, indices: Sequence[int], parts: Sequence[int]) -> None:
        """Tell that the texts with these indices will be asked for in parts of these sizes, because of `error`."""
        if self.listens(INFO):
            names, reason = self.names, self.reason(error)
            self.tell(BatchSplit(**names, **reason, indices=tuple(indices), parts=tuple(parts)), INFO)

    def gave_up(self, index: int, item: EmbedInput, error: AsyncEmbedError) -> None:
        """Tell that a text is given up; one event tells it of all texts that the error stands for."""
        level = WARNING if self._skips else INFO
        if self.listens(level) and index not in self._given_up:
            indices = error.indices if index in error.indices else (index,)
            self._given_up = frozenset(indices)
            names, reason = self.names, self.reason(error, item.text)
            self.tell(InputsFailed(**names, **reason, indices=indices, skipped=self._skips), level)

    def ended(self, error: BaseException | None, summarise: Callable[[], RunSummary]) -> None:
        """Tell how the run went."""
        level = DEBUG if error is None or isinstance(error, StreamClosedError) else INFO
        if self.listens(level):
            self.tell(_run_ended(self.names, self.reason(error), summarise()), level)


def _run_ended(names: Names, reason: Reason, summary: RunSummary) -> RunEnded:
    return RunEnded(
        **names,
        **reason,
        done=summary.done,
        failed=summary.failed,
        requests=summary.requests,
        retries=summary.retries,
        salvaged=summary.salvaged,
        tokens=summary.usage.tokens,
        bytes_received=summary.bytes_received,
        seconds=summary.elapsed,
    )
