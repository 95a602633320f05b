"""The options of every verb: named once, checked before anything is sent, and made into a `Call`."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Final, TypedDict, cast

import orjson

from asyncembed._errors import ConfigurationError
from asyncembed._settings import Dtype, EmbedOptions, OnError, check, check_choice, check_count, check_positive
from asyncembed.flow._memory import SMALLEST_BATCH, MemoryBudget
from asyncembed.flow._monitor import MemoryMonitor, bytes_of
from asyncembed.flow._rate import RateLimit, limiter_of
from asyncembed.flow._slots import SlotsByModel
from asyncembed.pipeline._call import Call

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from asyncembed.flow._rate import Limiter
    from asyncembed.pipeline._endpoint import Endpoint
    from asyncembed.providers import Provider

MAX_WAIT: Final = 0.5


class RequestOptions(TypedDict, total=False):
    """Options of every verb: what is asked of the API for each text, and how.

    Attributes:
        model: The provider's name of the model, instead of the client's.
        input_type: "document" (default) or "query", or the provider's own word.
        dimensions: Length of the vectors, where the model can shorten them.
        truncate: What the API does with a text that is too long; the provider's own word.
        dtype: "float32" (default), "int8", "uint8", or packed bits: "binary" (int8) and "ubinary" (uint8).
        extra: Fields put into the request body as they are.
        chunk_size: Most texts in one request; the provider's limit if not given.
        max_concurrency: Most requests at once for this call alone, instead of a share of the client's.
        max_wait: Seconds that a request which is not full waits for more texts of an async iterable; 0.5.
        dead_letter: File that texts which fail are appended to, with `on_error` "yield" or "skip": a JSON line each,
            on the disk before the failure is given or counted. `asyncembed embed` takes it as an input. Half a
            surrogate pair is spelled out in it. `embed_to_file` writes those that resuming does not ask for again.
    """

    model: str
    input_type: str
    dimensions: int
    truncate: str
    dtype: Dtype
    extra: Mapping[str, object]
    chunk_size: int
    max_concurrency: int
    max_wait: float
    dead_letter: str | os.PathLike[str]


class EmbedOptionsArgs(RequestOptions, total=False):
    """Options of the verbs that share the client's memory: `RequestOptions`, and a share of one's own.

    Attributes:
        max_memory_mb: Memory for this call alone, in millions of bytes, instead of a share of the client's.
    """

    max_memory_mb: float


def new_call(endpoint: Endpoint, model: str, given: EmbedOptionsArgs, on_error: OnError) -> Call:
    """Check everything that a call was given, and return what it asks for; nothing is sent yet.

    Raises:
        ConfigurationError: if something is wrong, unknown, or not known to the provider.
    """
    check_choice("on_error", on_error, OnError)
    if unknown := sorted(set(given) - EmbedOptionsArgs.__optional_keys__):
        names = ", ".join(sorted(EmbedOptionsArgs.__optional_keys__))
        raise ConfigurationError(f"this call has no option {', '.join(map(repr, unknown))}; it has: {names}")
    given = cast("EmbedOptionsArgs", {name: value for name, value in given.items() if value is not None})
    chunk_size, max_wait = given.get("chunk_size"), given.get("max_wait", MAX_WAIT)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    check_positive("max_wait", max_wait)
    options = _embed_options(model, given)
    endpoint.provider.check(options)
    _check_extra(endpoint.provider, options)
    if "max_memory_mb" in given:
        endpoint = replace(endpoint, budget=new_budget(given["max_memory_mb"]))
    if "max_concurrency" in given:
        endpoint = replace(endpoint, slots=new_slots(given["max_concurrency"]))
    call = Call(endpoint=endpoint, options=options, chunk_size=chunk_size, max_wait=max_wait, on_error=on_error)
    return _with_dead_letters(call, given["dead_letter"]) if "dead_letter" in given else call


def for_query(provider: Provider, given: EmbedOptionsArgs) -> EmbedOptionsArgs:
    """Return the options of a call for queries: the provider is told so, if it knows the difference."""
    return for_texts(provider, given, "query")


def for_texts(provider: Provider, given: EmbedOptionsArgs, input_type: str) -> EmbedOptionsArgs:
    """Return the options of a call that says what its texts are where the provider asks that, and nothing elsewhere."""
    if "input_type" not in provider.options or given.get("input_type") is not None:
        return given
    return {**given, "input_type": input_type}


def new_budget(megabytes: float) -> MemoryBudget:
    """Return a memory budget of so many millions of bytes."""
    return MemoryBudget(bytes_of(megabytes))


def new_guarded_budget(megabytes: float) -> MemoryBudget:
    """Return a memory budget of what so many millions of bytes leave beside everything else in the process.

    Raises:
        ConfigurationError: if they leave nothing.
    """
    monitor = MemoryMonitor(megabytes)
    check(
        monitor.room() >= SMALLEST_BATCH,
        f"max_memory_mb={megabytes!r} is for the whole process, which holds {monitor.current_mb:.0f} MB already; "
        "give it more",
    )
    return MemoryBudget(monitor.brink, monitor)


def new_slots(maximum: int, initial: int | None = None) -> SlotsByModel:
    """Return slots for at most so many requests at once, `initial` to begin with."""
    check_count("max_concurrency", maximum)
    if initial is not None:
        check_count("initial_concurrency", initial)
        check(initial <= maximum, f"initial_concurrency={initial} must not be above max_concurrency={maximum}")
    return SlotsByModel(maximum, initial)


def find_limiter(given: RateLimit | None, provider: Provider, *, is_official: bool) -> Limiter:
    """Return the state of the rate limit that was given, or one of one's own for what the provider has published.

    Raises:
        ConfigurationError: if what was given is no rate limit.
    """
    check(given is None or isinstance(given, RateLimit), f"rate_limit={given!r} must be a RateLimit")
    if given is None:
        given = copy(provider.rate_limit) if is_official and provider.rate_limit else RateLimit()
    return limiter_of(given)


def _with_dead_letters(call: Call, path: str | os.PathLike[str]) -> Call:
    from asyncembed.sinks._dead_letters import DeadLetterFile  # noqa: PLC0415  # few calls need it

    check(isinstance(path, str | PathLike), f"dead_letter={path!r} must be the path of a file")
    check(
        call.on_error != "raise",
        "dead_letter= keeps the texts that fail while the others go on, but with on_error='raise', as in embed(), the "
        "first of them ends the run; use on_error='skip' (--on-error skip) or 'yield'",
    )
    letters = DeadLetterFile(path, provider=call.endpoint.provider.name, model=call.options.model)
    letters.check()
    return replace(call, dead_letters=letters)


def _embed_options(model: str, given: EmbedOptionsArgs) -> EmbedOptions:
    return EmbedOptions(
        model=given.get("model", model),
        input_type=given.get("input_type"),
        dimensions=given.get("dimensions"),
        truncate=given.get("truncate"),
        dtype=given.get("dtype", "float32"),
        extra=given.get("extra", {}),
    )


def _check_extra(provider: Provider, options: EmbedOptions) -> None:
    if not options.extra:
        return
    own = provider.body([], options, "float").keys() | provider.body([], options, "base64").keys()
    if taken := sorted(own & options.extra.keys()):
        raise ConfigurationError(f"extra= may not hold {', '.join(taken)}, which the client sets from its options")
    try:
        orjson.dumps(options.extra)
    except TypeError as error:
        raise ConfigurationError(f"extra= cannot be sent as JSON: {error}") from None
