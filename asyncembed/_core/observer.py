"""Reports what a run does to the caller's `on_event` and to the log. Without a listener, it builds no events.

`Observer` knows whether there is a listener, `EventEmitter` builds and sends the events, `RequestSpan` measures one
request, and `WaitNotice` reports the waits of many requests for the same thing as one.
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


LONG_WAIT: Final = 1.0
"""Seconds of waiting that are worth an event."""


class WaitNotice:
    """Reports a long wait once, until no request of the run waits any more; each waiting request enters it.

    Args:
        report: Called with the seconds to wait, or None if they are not known.
    """

    def __init__(self, report: Callable[[float | None], None]) -> None:
        self._report = report
        self._waiting = 0
        self._is_reported = False

    def __enter__(self) -> Self:
        self._waiting += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting -= 1
        self._is_reported = self._is_reported and self._waiting > 0

    def starts(self, seconds: float | None) -> None:
        """Report a wait that starts now if it is long, or if its length is not known."""
        if not self._is_reported and (seconds is None or seconds > LONG_WAIT):
            self._is_reported = True
            self._report(seconds)


class RequestSpan:
    """Measures one request, from entering to leaving it. Without a listener at its start, it reads no clock.

    Args:
        observer: Sends the events.
        number: Number of the request in its run.
        delivery: Matches vectors to the texts of the batch.
        texts: The texts of the request.
        server: Host and port of the server.
        encoding: The requested encoding of the vectors.
    """

    __slots__ = (
        "_missing_before",
        "_observer",
        "_parser",
        "_response",
        "_started",
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
        self._started: float | None = None  # stays None without a listener; then the other attributes are never set

    def __enter__(self) -> Self:
        if self._observer.is_enabled_for(DEBUG):
            self._missing_before = self.delivery.count_missing
            self._response: Response | None = None
            self._parser: ResponseParser[Any] | None = None
            self.to_headers: float | None = None
            self.to_first: float | None = None
            self.tokens: int | None = None
            self._observer.emitter.request_started(self)
            self._started = time.monotonic()
        return self

    @property
    def arrived(self) -> int:
        """Number of vectors that the request has brought."""
        return self._missing_before - self.delivery.count_missing

    @property
    def bytes_received(self) -> int:
        """Bytes of the response body that were read."""
        return self._response.bytes_received if self._response else 0

    def opened(self, response: Response, parser: ResponseParser[Any]) -> None:
        """Record that the headers of a response have arrived, and the parser that reads its body."""
        if self._started is not None:
            self._response, self._parser = response, parser
            self.to_headers = time.monotonic() - self._started

    def progressed(self) -> None:
        """Record that a piece of the body was parsed."""
        if self._started is not None and self.to_first is None and self._parser and self._parser.count:
            self.to_first = time.monotonic() - self._started

    def billed(self, tokens: int | None) -> None:
        """Record the number of billed tokens that the API reports, if it is plausible."""
        if self._started is not None:
            self.tokens = tokens

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._observer.remember_texts(error, self.texts)
        if self._started is not None:
            self.progressed()
            self._observer.emitter.request_ended(self, error, time.monotonic() - self._started)


class Names(TypedDict):
    """Fields of every event."""

    provider: str
    model: str
    run: str


class Reason(TypedDict):
    """Fields of an event about an error."""

    error: str | None
    message: str
    status: int | None


class EventEmitter:
    """Builds the events of one run and sends them to the log and the caller's `on_event`.

    Args:
        hook: The caller's `on_event`, if there is one.
        provider: Name of the provider.
        options: Options of the run.
        texts_of: The texts of the request that an error belongs to; the error's message may quote them.
    """

    def __init__(
        self, hook: Hook | None, provider: str, options: EmbedOptions, texts_of: Mapping[BaseException, Sequence[str]]
    ) -> None:
        self._hook = hook
        self._options = options
        self._texts_of = texts_of
        self._failed: frozenset[int] = frozenset()  # indices in the last `InputsFailed`
        self._names: Names = {"provider": provider, "model": options.model, "run": os.urandom(6).hex()}

    def reason(self, error: BaseException | None, *texts: str) -> Reason:
        """Return the fields that describe an error; texts that its message quotes are shortened.

        Of an error that is not an `AsyncEmbedError` only the type is shown: its message may contain anything.
        """
        message = ""
        if isinstance(error, AsyncEmbedError):
            message = redact_inputs(str(error), [*self._texts_of.get(error, ()), *texts])
        status = error.status if isinstance(error, APIStatusError) else None
        return {"error": type(error).__name__ if error else None, "message": message, "status": status}

    def request_started(self, span: RequestSpan) -> None:
        """Report that a request is sent."""
        host, port = span.server
        event = RequestStarted(
            **self._names,
            request=span.number,
            attempt=span.delivery.attempts,
            indices=tuple(index for index in span.delivery.missing if index >= 0),  # a probe has index -1
            encoding=span.encoding,
            dimensions=self._options.dimensions,
            host=host,
            port=port,
        )
        self._emit(event, DEBUG)

    def request_ended(self, span: RequestSpan, error: BaseException | None, seconds: float) -> None:
        """Report how a request ended."""
        event = RequestEnded(
            **self._names,
            **self.reason(error),
            request=span.number,
            attempt=span.delivery.attempts,
            inputs=len(span.texts),
            vectors=span.arrived,
            tokens=span.tokens,
            bytes_received=span.bytes_received,
            seconds=seconds,
            seconds_to_headers=span.to_headers,
            seconds_to_first_vector=span.to_first,
        )
        self._emit(event, DEBUG)

    def retry(self, error: AsyncEmbedError, seconds: float, delivery: ResultDelivery | BlockDelivery) -> None:
        """Report that the missing texts will be requested again."""
        missing, attempt = delivery.missing, delivery.attempts
        reason = self.reason(error)
        self._emit(RetryScheduled(**self._names, **reason, attempt=attempt, indices=missing, seconds=seconds), INFO)

    def paused(self, error: AsyncEmbedError, seconds: float, level: int, *, again: bool) -> None:
        """Report that the API asks for a pause."""
        self._emit(EndpointPaused(**self._names, **self.reason(error), seconds=seconds, again=again), level)

    def throttled(self, reason: Literal["rate_limit", "outage"], seconds: float | None, level: int) -> None:
        """Report that requests are waiting."""
        self._emit(RequestsThrottled(**self._names, reason=reason, seconds=seconds), level)

    def probed(self, answer: AsyncEmbedError | None, outcome: Literal["taken", "refused", "unclear"]) -> None:
        """Report the outcome of a probe."""
        self._emit(RequestProbed(**self._names, **self.reason(answer), outcome=outcome), INFO)

    def settled_encoding(self, encoding: Literal["base64", "float"], why: str, level: int) -> None:
        """Report the result of comparing base64 with numbers."""
        self._emit(EncodingSettled(**self._names, encoding=encoding, why=why), level)

    def split(self, error: AsyncEmbedError, indices: Sequence[int], parts: Sequence[int]) -> None:
        """Report that texts will be requested in parts of these sizes."""
        reason = self.reason(error)
        self._emit(BatchSplit(**self._names, **reason, indices=tuple(indices), parts=tuple(parts)), INFO)

    def gave_up(self, index: int, item: EmbedInput, error: AsyncEmbedError, level: int, *, skipped: bool) -> None:
        """Report a failed text together with all other texts of the same error, in one event for the first of them."""
        if index not in self._failed:
            indices = error.indices if index in error.indices else (index,)
            self._failed = frozenset(indices)
            reason = self.reason(error, item.text)
            self._emit(InputsFailed(**self._names, **reason, indices=indices, skipped=skipped), level)

    def ended(self, error: BaseException | None, summary: RunSummary, level: int) -> None:
        """Report how the run ended."""
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
            truncated=summary.truncated,
            tokens=summary.usage.tokens,
            bytes_received=summary.bytes_received,
            seconds=summary.elapsed,
        )
        self._emit(event, level)

    def _emit(self, event: Event, level: int) -> None:
        write(event, level)
        if self._hook:
            self._hook(event)


class Hook:
    """The caller's `on_event`. Exceptions in it do not stop the run; the first one is logged.

    Args:
        function: Called with each event.
    """

    def __init__(self, function: Callable[[Event], None]) -> None:
        self._function = function
        self._has_failed = False

    @classmethod
    def of(cls, function: Callable[[Event], None] | None) -> Self | None:
        """Return a hook for `function`, or None without one.

        Raises:
            ConfigurationError: if it is not a plain function.
        """
        is_async = iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
        plain = function is None or (callable(function) and not is_async)
        check(plain, f"on_event={function!r} must be a plain function of one event; an async one is never awaited")
        return None if function is None else cls(function)

    def __call__(self, event: Event) -> None:
        try:
            self._function(event)
        except Exception:  # noqa: BLE001  # the caller's function may raise anything
            if not self._has_failed:
                LOGGER.warning("on_event_failed: on_event= raised an error; it will be logged only once", exc_info=True)
            self._has_failed = True


class Observer:
    """Sends the events of one run, if there is a listener, and remembers the texts of failed requests.

    Args:
        hook: The caller's `on_event`, if there is one.
        provider: Name of the provider.
        options: Options of the run.
        skips: Whether failed texts are skipped, so that only events and the log mention them.
    """

    def __init__(self, hook: Hook | None, provider: str, options: EmbedOptions, *, skips: bool) -> None:
        self._hook = hook
        self._provider = provider
        self._options = options
        self._skips = skips
        self._requests = 0
        self._texts_of: WeakKeyDictionary[BaseException, Sequence[str]] = WeakKeyDictionary()

    def is_enabled_for(self, level: int) -> bool:
        """Whether the caller or the log receives events of this level."""
        return self._hook is not None or LOGGER.isEnabledFor(level)

    @cached_property
    def emitter(self) -> EventEmitter:
        """Builds and sends the events."""
        return EventEmitter(self._hook, self._provider, self._options, self._texts_of)

    def request(
        self,
        delivery: ResultDelivery | BlockDelivery,
        texts: Sequence[str],
        transport: Transport,
        encoding: Literal["base64", "float"],
    ) -> RequestSpan:
        """Return the span of the next request, which asks for what `delivery` misses."""
        self._requests += 1
        return RequestSpan(self, self._requests, delivery, texts, server=transport.server, encoding=encoding)

    def remember_texts(self, error: BaseException | None, texts: Sequence[str]) -> None:
        """Remember the texts of the request that raised `error`: its message may quote them."""
        if isinstance(error, AsyncEmbedError):
            self._texts_of[error] = texts

    def copy_texts(self, cause: BaseException, error: BaseException) -> None:
        """Remember for `error` the texts of `cause`, which it was made from."""
        if cause in self._texts_of:
            self._texts_of[error] = self._texts_of[cause]

    def retry(self, error: AsyncEmbedError, seconds: float, delivery: ResultDelivery | BlockDelivery) -> None:
        """Report that the missing texts will be requested again."""
        if self.is_enabled_for(INFO):
            self.emitter.retry(error, seconds, delivery)

    def paused(self, error: AsyncEmbedError, seconds: float, *, again: bool) -> None:
        """Report that the API asks for a pause; `again` if one was on already."""
        level = DEBUG if again else INFO
        if self.is_enabled_for(level):
            self.emitter.paused(error, seconds, level, again=again)

    @cached_property
    def rate_limit_notice(self) -> WaitNotice:
        """Entered by requests that wait for the rate limit, which also happens in a healthy run."""
        return WaitNotice(partial(self._throttled, "rate_limit", DEBUG))

    @cached_property
    def outage_notice(self) -> WaitNotice:
        """Entered by requests that wait until the API is back."""
        return WaitNotice(partial(self._throttled, "outage", INFO))

    def _throttled(self, reason: Literal["rate_limit", "outage"], level: int, seconds: float | None) -> None:
        if self.is_enabled_for(level):
            self.emitter.throttled(reason, seconds, level)

    def probed(self, answer: AsyncEmbedError | None, outcome: Literal["taken", "refused", "unclear"]) -> None:
        """Report the outcome of a probe."""
        if self.is_enabled_for(INFO):
            self.emitter.probed(answer, outcome)

    def settled_encoding(self, encoding: Literal["base64", "float"], why: str) -> None:
        """Report the result of comparing base64 with numbers."""
        level = DEBUG if encoding == "base64" else INFO
        if self.is_enabled_for(level):
            self.emitter.settled_encoding(encoding, why, level)

    def split(self, error: AsyncEmbedError, indices: Sequence[int], parts: Sequence[int]) -> None:
        """Report that the texts with these indices will be requested in parts of these sizes, because of `error`."""
        if self.is_enabled_for(INFO):
            self.emitter.split(error, indices, parts)

    def gave_up(self, index: int, item: EmbedInput, error: AsyncEmbedError) -> None:
        """Report a failed text; one event covers all texts of the same error."""
        level = WARNING if self._skips else INFO
        if self.is_enabled_for(level):
            self.emitter.gave_up(index, item, error, level, skipped=self._skips)

    def ended(self, error: BaseException | None, summarise: Callable[[], RunSummary]) -> None:
        """Report how the run ended."""
        level = DEBUG if error is None or isinstance(error, StreamClosedError) else INFO
        if self.is_enabled_for(level):
            self.emitter.ended(error, summarise(), level)
