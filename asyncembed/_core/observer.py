"""Requests that wait for the same thing at the same time are one wait to whoever wonders why nothing happens.

One request as it is seen from outside: when it went out, what came of it, and when.

Makes the events of one run and tells them; loaded when somebody listens, as to import it takes its time.

Tells whoever listens what a run does: the caller's `on_event`, and the log. When nobody does, nothing is built.
"""

from __future__ import annotations

import os
import time
from functools import cached_property, partial
from inspect import iscoroutinefunction
from logging import DEBUG, INFO, WARNING
from typing import TYPE_CHECKING, Any, Final, TypedDict
from weakref import WeakKeyDictionary

from asyncembed._config import check
from asyncembed._events import (
    LOGGER,
    BatchSplit,
    EncodingSettled,
    EndpointPaused,
    InputsFailed,
    RequestEnded,
    RequestProbed,
    RequestStarted,
    RequestsThrottled,
    RetryScheduled,
    RunEnded,
    write,
)
from asyncembed._exceptions import APIStatusError, AsyncEmbedError, StreamClosedError
from asyncembed._preview import redact_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Literal, Self

    from asyncembed._config import EmbedOptions
    from asyncembed._decide.delivery import BlockDelivery, ResultDelivery
    from asyncembed._events import Event
    from asyncembed._http.body import Response
    from asyncembed._http.transport import Transport
    from asyncembed._models import EmbedInput, RunSummary
    from asyncembed._parser.parser import ResponseParser


LONG: Final = 1.0
"""Seconds after which somebody may wonder."""


class WaitNotice:
    """Entered by each request of a run that has to wait; a long wait is told, once until nobody waits any more.

    Args:
        tell: Told for how many seconds, as far as is known; None if it is not.
    """

    def __init__(self, tell: Callable[[float | None], None]) -> None:
        self._tell = tell
        self._waiting = 0
        self._is_told = False

    def __enter__(self) -> Self:
        self._waiting += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting -= 1
        self._is_told = self._is_told and self._waiting > 0

    def begins(self, seconds: float | None) -> None:
        """Note how long the wait will be that begins now."""
        if not self._is_told and (seconds is None or seconds > LONG):
            self._is_told = True
            self._tell(seconds)


class RequestSpan:
    """Entered while a request runs. If nobody listens when it starts, it looks at no clock and makes no event.

    Args:
        observer: Whom to tell.
        number: The number of the request.
        delivery: The books of the batch.
        texts: The texts of the request.
        server: Name and port of where it goes.
        encoding: How the vectors are to travel.
    """

    __slots__ = (
        "_before",
        "_began",
        "_observer",
        "_parser",
        "_response",
        "delivery",
        "encoding",
        "number",
        "server",
        "texts",
        "to_first",
        "to_headers",
        "tokens",
    )

    def __init__(
        self,
        observer: Observer,
        number: int,
        delivery: ResultDelivery | BlockDelivery,
        texts: Sequence[str],
        *,
        server: tuple[str | None, int | None],
        encoding: Literal["base64", "float"],
    ) -> None:
        self._observer = observer
        self.number = number
        self.delivery = delivery
        self.texts = texts
        self.server = server
        self.encoding = encoding
        self._began: float | None = None  # as long as nobody listens; the rest is not even set then

    def __enter__(self) -> Self:
        if self._observer.listens(DEBUG):
            self._before = self.delivery.count_missing
            self._response: Response | None = None
            self._parser: ResponseParser[Any] | None = None
            self.to_headers: float | None = None
            self.to_first: float | None = None
            self.tokens: int | None = None
            self._observer.teller.request_started(self)
            self._began = time.monotonic()
        return self

    @property
    def arrived(self) -> int:
        """Vectors that the request has brought."""
        return self._before - self.delivery.count_missing

    @property
    def bytes_received(self) -> int:
        """Bytes of the body that were read."""
        return self._response.bytes_received if self._response else 0

    def opened(self, response: Response, parser: ResponseParser[Any]) -> None:
        """Note that the headers of an answer have come, and what its body will be read by."""
        if self._began is not None:
            self._response, self._parser = response, parser
            self.to_headers = time.monotonic() - self._began

    def progressed(self) -> None:
        """Note that something of the body was read."""
        if self._began is not None and self.to_first is None and self._parser and self._parser.count:
            self.to_first = time.monotonic() - self._began

    def billed(self, tokens: int | None) -> None:
        """Note what the API says it billed, as far as that is believed."""
        if self._began is not None:
            self.tokens = tokens

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._observer.note(error, self.texts)
        if self._began is not None:
            self.progressed()
            self._observer.teller.request_ended(self, error, time.monotonic() - self._began)


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


class EventEmitter:
    """Makes events of what happens in one run.

    Args:
        hook: The caller's `on_event`, if there is one.
        provider: Name of the provider.
        options: What is asked for.
        asked: The texts that were asked for when an error came, which its message may repeat.
    """

    def __init__(
        self, hook: Hook | None, provider: str, options: EmbedOptions, asked: Mapping[BaseException, Sequence[str]]
    ) -> None:
        self._hook = hook
        self._options = options
        self._asked = asked
        self._given_up: frozenset[int] = frozenset()  # what the last of these events was about
        self._names: Names = {"provider": provider, "model": options.model, "run": os.urandom(6).hex()}

    def reason(self, error: BaseException | None, *texts: str) -> Reason:
        """What may be told of an error; of one that is not ours only its kind, as its words may hold anything."""
        message = ""
        if isinstance(error, AsyncEmbedError):
            message = redact_inputs(str(error), [*self._asked.get(error, ()), *texts])
        status = error.status if isinstance(error, APIStatusError) else None
        return {"error": type(error).__name__ if error else None, "message": message, "status": status}

    def request_started(self, watch: RequestSpan) -> None:
        """Tell that a request goes out."""
        host, port = watch.server
        event = RequestStarted(
            **self._names,
            request=watch.number,
            attempt=watch.delivery.attempts,
            indices=tuple(index for index in watch.delivery.missing if index >= 0),  # none for a harmless text
            encoding=watch.encoding,
            dimensions=self._options.dimensions,
            host=host,
            port=port,
        )
        self._tell(event, DEBUG)

    def request_ended(self, watch: RequestSpan, error: BaseException | None, seconds: float) -> None:
        """Tell how a request went."""
        event = RequestEnded(
            **self._names,
            **self.reason(error),
            request=watch.number,
            attempt=watch.delivery.attempts,
            inputs=len(watch.texts),
            vectors=watch.arrived,
            tokens=watch.tokens,
            bytes_received=watch.bytes_received,
            seconds=seconds,
            seconds_to_headers=watch.to_headers,
            seconds_to_first_vector=watch.to_first,
        )
        self._tell(event, DEBUG)

    def retry(self, error: AsyncEmbedError, seconds: float, delivery: ResultDelivery | BlockDelivery) -> None:
        """Tell that what is missing will be asked for again."""
        missing, attempt = delivery.missing, delivery.attempts
        reason = self.reason(error)
        self._tell(RetryScheduled(**self._names, **reason, attempt=attempt, indices=missing, seconds=seconds), INFO)

    def paused(self, error: AsyncEmbedError, seconds: float, level: int, *, again: bool) -> None:
        """Tell that the API wants to be left alone."""
        self._tell(EndpointPaused(**self._names, **self.reason(error), seconds=seconds, again=again), level)

    def held(self, reason: Literal["rate_limit", "outage"], seconds: float | None, level: int) -> None:
        """Tell that requests begin to wait."""
        self._tell(RequestsThrottled(**self._names, reason=reason, seconds=seconds), level)

    def probed(self, answer: AsyncEmbedError | None, outcome: Literal["taken", "refused", "unclear"]) -> None:
        """Tell what came of a harmless text."""
        self._tell(RequestProbed(**self._names, **self.reason(answer), outcome=outcome), INFO)

    def settled_encoding(self, encoding: Literal["base64", "float"], why: str, level: int) -> None:
        """Tell what came of comparing base64 with numbers."""
        self._tell(EncodingSettled(**self._names, encoding=encoding, why=why), level)

    def split(self, error: AsyncEmbedError, indices: Sequence[int], parts: Sequence[int]) -> None:
        """Tell that texts will be asked for in parts of these sizes."""
        reason = self.reason(error)
        self._tell(BatchSplit(**self._names, **reason, indices=tuple(indices), parts=tuple(parts)), INFO)

    def gave_up(self, index: int, item: EmbedInput, error: AsyncEmbedError, level: int, *, skipped: bool) -> None:
        """Tell that a text is given up, with all others that the error stands for, unless that was told with them."""
        if index not in self._given_up:
            indices = error.indices if index in error.indices else (index,)
            self._given_up = frozenset(indices)
            reason = self.reason(error, item.text)
            self._tell(InputsFailed(**self._names, **reason, indices=indices, skipped=skipped), level)

    def ended(self, error: BaseException | None, summary: RunSummary, level: int) -> None:
        """Tell how the run went."""
        event = RunEnded(
            **self._names,
            **self.reason(error),
            done=summary.done,
            failed=summary.failed,
            requests=summary.requests,
            retries=summary.retries,
            salvaged=summary.salvaged,
            cached=summary.cached,
            duplicates=summary.duplicates,
            tokens=summary.usage.tokens,
            bytes_received=summary.bytes_received,
            seconds=summary.elapsed,
        )
        self._tell(event, level)

    def _tell(self, event: Event, level: int) -> None:
        write(event, level)
        if self._hook:
            self._hook(event)


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


class Observer:
    """Knows whether anybody listens to one run, and what was asked for when it went wrong.

    Args:
        hook: The caller's `on_event`, if there is one.
        provider: Name of the provider.
        options: What is asked for.
        skips: Whether nobody but the log is told of texts that are given up.
    """

    def __init__(self, hook: Hook | None, provider: str, options: EmbedOptions, *, skips: bool) -> None:
        self._hook = hook
        self._provider = provider
        self._options = options
        self._skips = skips
        self._requests = 0
        self._asked: WeakKeyDictionary[BaseException, Sequence[str]] = WeakKeyDictionary()

    def listens(self, level: int) -> bool:
        """Whether anybody wants an event of this level: only then is it worth making."""
        return self._hook is not None or LOGGER.isEnabledFor(level)

    @cached_property
    def teller(self) -> EventEmitter:
        """What makes the events and tells them."""
        from asyncembed._core.observer import EventEmitter  # noqa: PLC0415  # few runs have a listener, and it takes a while

        return EventEmitter(self._hook, self._provider, self._options, self._asked)

    def request(
        self,
        delivery: ResultDelivery | BlockDelivery,
        texts: Sequence[str],
        transport: Transport,
        encoding: Literal["base64", "float"],
    ) -> RequestSpan:
        """Return what watches the request that is entered next, for what `delivery` misses."""
        self._requests += 1
        return RequestSpan(self, self._requests, delivery, texts, server=transport.server, encoding=encoding)

    def note(self, error: BaseException | None, texts: Sequence[str]) -> None:
        """Remember what was asked for when `error` came: its message may repeat it."""
        if isinstance(error, AsyncEmbedError):
            self._asked[error] = texts

    def copy_note(self, cause: BaseException, error: BaseException) -> None:
        """Remember for `error` what is remembered for what it was made of."""
        if cause in self._asked:
            self._asked[error] = self._asked[cause]

    def retry(self, error: AsyncEmbedError, seconds: float, delivery: ResultDelivery | BlockDelivery) -> None:
        """Tell that what is missing will be asked for again."""
        if self.listens(INFO):
            self.teller.retry(error, seconds, delivery)

    def paused(self, error: AsyncEmbedError, seconds: float, *, again: bool) -> None:
        """Tell that the API wants to be left alone."""
        level = DEBUG if again else INFO
        if self.listens(level):
            self.teller.paused(error, seconds, level, again=again)

    @cached_property
    def limit_hold(self) -> WaitNotice:
        """Entered by what waits for the rate limits; they may be used up in a run that is well."""
        return WaitNotice(partial(self._held, "rate_limit", DEBUG))

    @cached_property
    def outage_hold(self) -> WaitNotice:
        """Entered by what waits until the API is back."""
        return WaitNotice(partial(self._held, "outage", INFO))

    def _held(self, reason: Literal["rate_limit", "outage"], level: int, seconds: float | None) -> None:
        if self.listens(level):
            self.teller.held(reason, seconds, level)

    def probed(self, answer: AsyncEmbedError | None, outcome: Literal["taken", "refused", "unclear"]) -> None:
        """Tell what came of a harmless text."""
        if self.listens(INFO):
            self.teller.probed(answer, outcome)

    def settled_encoding(self, encoding: Literal["base64", "float"], why: str) -> None:
        """Tell what came of comparing base64 with numbers."""
        level = DEBUG if encoding == "base64" else INFO
        if self.listens(level):
            self.teller.settled_encoding(encoding, why, level)

    def split(self, error: AsyncEmbedError, indices: Sequence[int], parts: Sequence[int]) -> None:
        """Tell that the texts with these indices will be asked for in parts of these sizes, because of `error`."""
        if self.listens(INFO):
            self.teller.split(error, indices, parts)

    def gave_up(self, index: int, item: EmbedInput, error: AsyncEmbedError) -> None:
        """Tell that a text is given up; one event tells it of all texts that the error stands for."""
        level = WARNING if self._skips else INFO
        if self.listens(level):
            self.teller.gave_up(index, item, error, level, skipped=self._skips)

    def ended(self, error: BaseException | None, summarise: Callable[[], RunSummary]) -> None:
        """Tell how the run went."""
        level = DEBUG if error is None or isinstance(error, StreamClosedError) else INFO
        if self.listens(level):
            self.teller.ended(error, summarise(), level)
