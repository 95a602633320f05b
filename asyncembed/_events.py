"""What `on_event` is told: small frozen values, without a text, a header or a key in them.

    request_started ── request_ended ─┬─ nothing, if all vectors came
                                      ├─ retry_scheduled ── endpoint_paused, if the API asks ── request_started ...
                                      ├─ request_probed, if nothing tells what is to blame
                                      ├─ batch_split ── request_started ...
                                      └─ inputs_failed
    encoding_settled, when base64 was compared with numbers
    requests_held, wherever a request waits for long that nobody asked to wait
    run_ended, once, after everything else

Every `request_started` is followed by one `request_ended` with the same `run` and `request`, however it ends.

Events as lines of a log: `request_ended provider=openai model=m run=1f0c... request=3 seconds=0.213 vectors=96`.

The fields are in the record too, as `record.fields`, with the event's name as `record.event`. Nothing is shown unless
the application says so; a healthy run has nothing to say above DEBUG.
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
    """Something that happened in a run; the base of all events.

    Attributes:
        provider: Name of the provider.
        model: The provider's name of the model.
        run: Random id of the run: of one call of one of the client's verbs.
        error: Name of the class of the error that it is about, None where there is none.
        message: What that error says; each text that it repeats is cut to 40 characters.
        status: The HTTP status that the error comes from, None where it does not come from one.
    """

    name: ClassVar[str] = "event"
    """What the kind of event is called in logs."""

    provider: str
    model: str
    run: str
    error: str | None = None
    message: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestStarted(Event):
    """A request goes out.

    Attributes:
        request: Its number in the run, from 1.
        attempt: Which request it is for texts of its batch, from 1.
        indices: Input indices of its texts.
        encoding: How the vectors are to travel.
        dimensions: Length of the vectors, if one was asked for.
        host: Name or address of the server.
        port: Its port.
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
    """A request has ended, well or with an error, or because the run did ("CancelledError").

    The time that the consumer takes for results that wait is part of the seconds, where it slows the request down.

    Attributes:
        request: Its number in the run, from 1.
        attempt: Which request it was for texts of its batch, from 1.
        inputs: How many texts it asked for.
        vectors: How many vectors it brought; those are kept, whatever the error.
        tokens: What the API says it billed, None if it did not say.
        bytes_received: Bytes of the body of the answer, decompressed.
        seconds: From its start to its end.
        seconds_to_headers: To the headers of an answer that was no error, None if there was none.
        seconds_to_first_vector: Until the first vector was read, None if there was none.
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
    """What a request did not bring will be asked for again.

    Attributes:
        attempt: Which request the one that ended was for texts of its batch, from 1.
        indices: Input indices of the texts that are still missing.
        seconds: The wait before that; rate limits and a pause of the API may make it longer.
    """

    name: ClassVar[str] = "retry_scheduled"

    attempt: int
    indices: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EndpointPaused(Event):
    """The API asked to be left alone, so that no request of the client starts for a while.

    Attributes:
        seconds: For how long, from now.
        again: Whether there was a pause already, which may be longer now.
    """

    name: ClassVar[str] = "endpoint_paused"

    seconds: float
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestsThrottled(Event):
    """The client itself lets a request of the run wait, for more than a second or nobody knows how long.

    Others that come to wait for the same reason meanwhile are not told of.

    Attributes:
        reason: "rate_limit", as what the API allows in a minute is used up; or "outage", as the API is down, and one
            request at a time finds out whether it is back.
        seconds: For how long, as far as is known: until the request may start, or the next one may find out; None while
            one does.
    """

    name: ClassVar[str] = "requests_held"

    reason: Literal["rate_limit", "outage"]
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class BatchSplit(Event):
    """What the API did not take as a whole will be asked for in parts.

    Where the first of two halves is taken, the other one must hold the bad text. It is halved again without being asked
    for, with an event of its own, and the error is the one that both halves were refused with.

    Attributes:
        indices: Input indices of the texts.
        parts: How many texts each part has.
    """

    name: ClassVar[str] = "batch_split"

    indices: tuple[int, ...]
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestProbed(Event):
    """A harmless text was asked for with the same options, as a refusal did not tell what is to blame.

    It is a request like any other, with events of its own. The error is what the harmless text was refused with.

    Attributes:
        outcome: "taken", so that a text is to blame; "refused" as the texts were, so that the request or the account
            is; "unclear", if it failed in another way.
    """

    name: ClassVar[str] = "request_probed"

    outcome: Literal["taken", "refused", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EncodingSettled(Event):
    """One response had the vectors as numbers and as base64, and they were compared.

    Attributes:
        encoding: How vectors of this address, model and dimension travel from now on.
        why: What decided it.
    """

    name: ClassVar[str] = "encoding_settled"

    encoding: Literal["base64", "float"]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class InputsFailed(Event):
    """Texts were given up, and the run goes on without them (`on_error` is "yield" or "skip").

    Attributes:
        indices: Their input indices.
        skipped: Whether they are left out without an `EmbedFailure`, so that this is where they are heard of.
    """

    name: ClassVar[str] = "inputs_failed"

    indices: tuple[int, ...]
    skipped: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RunEnded(Event):
    """The work of a run is done; results may still wait for their consumer.

    A run that was left before its end has the error "StreamClosedError". The numbers are those of `RunSummary`.

    Attributes:
        done: How many texts have their vectors.
        failed: How many were given up.
        requests: How many requests were sent.
        retries: How many of them asked again, for what was missing or for parts.
        salvaged: How many vectors came in answers that broke.
        cached: How many came out of the cache.
        duplicates: How many texts got the vector of an equal one.
        tokens: What the API says it billed.
        bytes_received: Bytes of all answers, decompressed.
        seconds: From its first step to its last.
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


LOGGER: Final = logging.getLogger("asyncembed")
LOGGER.addHandler(logging.NullHandler())


def write(event: Event, level: int) -> None:
    """Log an event, if that level is logged."""
    if not LOGGER.isEnabledFor(level):
        return
    known = {field.name: getattr(event, field.name) for field in fields(event)}
    known = {name: value for name, value in known.items() if value is not None and value != ""}
    line = " ".join(f"{name}={_shown(value)}" for name, value in known.items())
    template = f"{event.name} %s"
    LOGGER.log(level, template, line, extra={"event": event.name, "fields": known})


def _shown(value: object) -> str:
    """Write a value so that it is one word, or in quotes; nothing in it can begin a line of its own."""
    if isinstance(value, tuple):
        return ranges(value)
    if isinstance(value, float):
        return str(round(value, 4))
    words = str(value)
    return words if words.isprintable() and not set(words) & set(" '\"=") else repr(words)


def ranges(numbers: Iterable[int]) -> str:
    """Write ascending numbers as ranges: "0-4,7"."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        first = found.pop()[0] if found and found[-1][1] == number - 1 else number
        found.append((first, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
