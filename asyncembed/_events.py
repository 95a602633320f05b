"""The events that `on_event` receives: small frozen values without texts, headers or keys.

    request_started ── request_ended ─┬─ nothing, if all vectors arrived
                                      ├─ retry_scheduled ── endpoint_paused, if the API asks ── request_started ...
                                      ├─ request_probed, if the error does not say what causes it
                                      ├─ batch_split ── request_started ...
                                      └─ inputs_failed
    encoding_settled, when base64 was compared with numbers
    requests_throttled, when the client lets requests wait for a long time
    run_ended, once, after all other events

Every `request_started` is followed by one `request_ended` with the same `run` and `request`, however it ends.

Events are also log lines: `request_ended provider=openai model=m run=1f0c... request=3 seconds=0.213 vectors=96`. The
log record has the fields as `record.fields` and the event's name as `record.event`. Your application decides what is
shown; a healthy run logs nothing above DEBUG.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Event(ShortRepr):
    """Base class of all events.

    Attributes:
        provider: Name of the provider.
        model: The provider's name of the model.
        run: Random id of the run, which is one call of one of the client's verbs.
        error: Class name of the error that the event is about; None if there is none.
        message: Message of that error, with each quoted text cut to 40 characters.
        status: HTTP status of the response that caused the error; None if there was none.
    """

    name: ClassVar[str] = "event"
    """Name of the event in logs."""

    provider: str
    model: str
    run: str
    error: str | None = None
    message: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestStarted(Event):
    """A request is being sent.

    Attributes:
        request: Number of the request in the run, from 1.
        attempt: Number of the request for its batch, from 1.
        indices: Input indices of its texts.
        encoding: Requested encoding of the vectors.
        dimensions: Requested length of the vectors; None for the model's own.
        host: Name or address of the server.
        port: Port of the server.
    """

    name: ClassVar[str] = "request_started"

    request: int
    attempt: int
    indices: tuple[int, ...]
    encoding: Literal["base64", "float"]
    dimensions: int | None
    host: str | None
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestEnded(Event):
    """A request has ended: successfully, with an error, or because the run ended ("CancelledError").

    If a slow consumer delays the request, the seconds include that time.

    Attributes:
        request: Number of the request in the run, from 1.
        attempt: Number of the request for its batch, from 1.
        inputs: Number of texts in the request.
        vectors: Number of vectors that arrived; they are kept whatever the error.
        tokens: Tokens that the API reports as billed; None if it does not report them.
        bytes_received: Bytes of the response body, decompressed.
        seconds: Duration of the request.
        seconds_to_headers: Seconds until the headers of a successful response; None if there was none.
        seconds_to_first_vector: Seconds until the first vector was read; None if there was none.
    """

    name: ClassVar[str] = "request_ended"

    request: int
    attempt: int
    inputs: int
    vectors: int
    tokens: int | None
    bytes_received: int
    seconds: float
    seconds_to_headers: float | None
    seconds_to_first_vector: float | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RetryScheduled(Event):
    """The missing texts of a request will be requested again.

    Attributes:
        attempt: Number of the failed request for its batch, from 1.
        indices: Input indices of the texts that are still missing.
        seconds: Wait before the next request, in seconds; rate limits and a pause of the API may make it longer.
    """

    name: ClassVar[str] = "retry_scheduled"

    attempt: int
    indices: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EndpointPaused(Event):
    """The API asked for a pause, so no request of the client starts for a while.

    Attributes:
        seconds: Length of the pause from now, in seconds.
        again: Whether a pause was on already; it may be longer now.
    """

    name: ClassVar[str] = "endpoint_paused"

    seconds: float
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestsThrottled(Event):
    """The client lets a request of the run wait for more than a second, or for an unknown time.

    Requests that join the wait for the same reason cause no further event.

    Attributes:
        reason: "rate_limit" if the limit per minute is used up; "outage" if the API is down and one request at a time
            probes whether it is back.
        seconds: Seconds until the request may start, or until the next probe; None while a probe is in flight.
    """

    name: ClassVar[str] = "requests_throttled"

    reason: Literal["rate_limit", "outage"]
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class BatchSplit(Event):
    """Texts that the API did not accept together will be requested in parts.

    If the API accepts the first of two halves, the bad text must be in the other. That half is split again without a
    request; its event repeats the error of the undivided texts.

    Attributes:
        indices: Input indices of the texts.
        parts: Number of texts in each part.
    """

    name: ClassVar[str] = "batch_split"

    indices: tuple[int, ...]
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestProbed(Event):
    """The client sent a harmless text with the same options, because an error did not say what causes it.

    The probe is a request like any other, with events of its own. The error is the API's answer to the probe.

    Attributes:
        outcome: "taken" if the API accepted it, so a text causes the error; "refused" if it failed like the texts, so
            the request or the account causes the error; "unclear" if it failed in another way.
    """

    name: ClassVar[str] = "request_probed"

    outcome: Literal["taken", "refused", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EncodingSettled(Event):
    """The client has compared the numbers and the base64 of one response.

    Attributes:
        encoding: Encoding that it requests from now on for this address, model and dimension.
        why: Reason for it.
    """

    name: ClassVar[str] = "encoding_settled"

    encoding: Literal["base64", "float"]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class InputsFailed(Event):
    """Texts have failed, and the run goes on without them (`on_error` is "yield" or "skip").

    Attributes:
        indices: Input indices of the texts.
        skipped: Whether the run yields no `EmbedFailure` for them, so that only this event mentions them.
    """

    name: ClassVar[str] = "inputs_failed"

    indices: tuple[int, ...]
    skipped: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RunEnded(Event):
    """The work of a run has ended; results may still wait for the consumer.

    A run that was closed before its end has the error "StreamClosedError". The numbers are those of `RunSummary`.

    Attributes:
        done: Number of texts with vectors.
        failed: Number of failed texts.
        requests: Number of requests sent.
        retries: Number of requests that repeated texts of an earlier one.
        salvaged: Number of vectors from responses that broke.
        cached: Number of vectors from the cache.
        duplicates: Number of texts that got the vector of an equal text.
        truncated: Number of texts that are known to have been cut because they were too long.
        tokens: Tokens that the API reports as billed.
        bytes_received: Bytes of all response bodies, decompressed.
        seconds: Duration of the run.
    """

    name: ClassVar[str] = "run_ended"

    done: int
    failed: int
    requests: int
    retries: int
    salvaged: int
    tokens: int
    bytes_received: int
    seconds: float
    cached: int = 0
    duplicates: int = 0
    truncated: int = 0


LOGGER: Final = logging.getLogger("asyncembed")
LOGGER.addHandler(logging.NullHandler())


def write(event: Event, level: int) -> None:
    """Log an event, if the logger is enabled for `level`."""
    if not LOGGER.isEnabledFor(level):
        return
    known = {field.name: getattr(event, field.name) for field in fields(event)}
    known = {name: value for name, value in known.items() if value is not None and value != ""}
    line = " ".join(f"{name}={_shown(value)}" for name, value in known.items())
    template = f"{event.name} %s"
    LOGGER.log(level, template, line, extra={"event": event.name, "fields": known})


def _shown(value: object) -> str:
    """Format a value as one word, or in quotes, so that it never starts a new line of the log."""
    if isinstance(value, tuple):
        return ranges(value)
    if isinstance(value, float):
        return str(round(value, 4))
    words = str(value)
    return words if words.isprintable() and not set(words) & set(" '\"=") else repr(words)


def ranges(numbers: Iterable[int]) -> str:
    """Format ascending numbers as ranges: "0-4,7"."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        first = found.pop()[0] if found and found[-1][1] == number - 1 else number
        found.append((first, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
