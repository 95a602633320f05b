"""The options of every verb, and their checks. A checked set of options becomes a `Call`."""

from __future__ import annotations

import math
from collections.abc import Mapping  # noqa: TC003  # for `typing.get_type_hints`
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Final, TypedDict, cast

import aiohttp
import orjson

from asyncembed._config import (
    Dtype,
    EmbedOptions,
    LongText,
    OnError,
    Shorten,
    check,
    check_choice,
    check_count,
    check_flag,
    check_positive,
)
from asyncembed._core.call import Call
from asyncembed._core.memory import SMALLEST_BATCH, MemoryBudget
from asyncembed._core.memory_monitor import MemoryMonitor, bytes_of
from asyncembed._core.slots import SlotsByModel
from asyncembed._decide.spending_cap import MILLION, SpendingCap
from asyncembed._events import LOGGER
from asyncembed._exceptions import ConfigurationError
from asyncembed._ratelimit import Limiter, RateLimit, limiter_of
from asyncembed._redaction import NoKey
from asyncembed._repr import shown
from asyncembed._target import identity_of
from asyncembed.providers._base import INPUT_TYPES, Price
from asyncembed.providers.prompts import find_prompts

if TYPE_CHECKING:
    from asyncembed._cache import VectorCache
    from asyncembed._core.endpoint import Endpoint
    from asyncembed._ratelimit import RateLimitOff
    from asyncembed.providers import Provider

MAX_WAIT: Final = 0.5
"""Default of `max_wait`, in seconds."""
DEDUPE_MB: Final = 64
"""Default of `dedupe_mb`."""


class OptionsWithoutDtype(TypedDict, total=False):
    """`RequestOptions` without `dtype`, for overloads."""

    model: str
    input_type: str
    prompts: Mapping[str, str] | str
    dimensions: int
    shorten: Shorten
    normalize: bool
    truncate: str
    long_text: LongText
    max_text_tokens: int
    extra: Mapping[str, object]
    chunk_size: int
    max_concurrency: int
    max_wait: float
    dedupe: bool
    dedupe_mb: float
    max_tokens: int
    max_cost: float
    price: float
    dead_letter: str | PathLike[str]


class RequestOptions(OptionsWithoutDtype, TypedDict, total=False):
    """Options of every verb.

    Attributes:
        model: The provider's name of the model. Default: the model of the client.
        input_type: "document" (default) or "query", which every provider accepts, or the provider's own word. "none"
            sends nothing. The option has no effect if neither the API, nor the model, nor `prompts` knows the type.
        prompts: Prefix of each text, by input type, such as `{"query": "query: "}`, or the name of a model family:
            "e5", "bge", "nomic", "qwen3" or "arctic". Use it only if the server adds no prompt itself.
        dimensions: Length of the vectors, if the model can shorten them.
        shorten: "server" (default), or "client": the client cuts the vectors and normalizes the rest to length 1. Use
            "client" only for models that were trained for it.
        normalize: Whether the client normalizes vectors to length 1. By default it does so if the model is known to
            return vectors of other lengths.
        truncate: How the API treats a text that is too long, in the provider's own word, which has precedence over
            `long_text`.
        long_text: "fail" (default) fails each text that is too long; the client asks APIs to refuse such a text that
            would otherwise cut it silently. "truncate" cuts it, and keeps its start: the API if it can, else the
            client, between words. `EmbedResult.truncated` says which texts were cut.
        max_text_tokens: Maximum number of tokens of one text, in place of the maximum that the client knows of the
            model. With `long_text="truncate"` the client cuts texts to it; without, only the API fails texts. The
            client estimates how many tokens a text has.
        dtype: "float32" (default), "int8", "uint8", or packed bits: "binary" (int8) and "ubinary" (uint8).
        extra: Further fields of the request body.
        chunk_size: Maximum number of texts in one request. Default: the provider's limit.
        max_concurrency: Maximum number of concurrent requests of this call, instead of a share of the client's.
        max_wait: How long a partly filled request waits for more texts of an async iterable, in seconds. Default: 0.5.
        dedupe: Whether the client sends equal texts once. They share the vector, each with its own index and id. On for
            files and stores, off elsewhere.
        dedupe_mb: Memory for the vectors of texts that may come again, in millions of bytes. Default: 64. The client
            sends a text again if its vector has made room for others.
        max_tokens: Maximum number of billed tokens, retries included. Before a request that would exceed it, the run
            ends with `BudgetExceededError`; results of requests in flight still arrive. For a file it applies to all
            runs together. The client estimates the tokens of responses that do not report them.
        max_cost: The same limit in US dollars.
        price: US dollars for a million tokens. By default the client knows published prices, at the providers' own
            addresses.
        dead_letter: File to which the client appends each text that fails, with `on_error` "yield" or "skip". Each
            text is one JSON line, which is on the disk before you get the failure. `asyncembed embed` reads such a
            file. `embed_to_file` writes only those texts that a resumed run does not request again.

    Example:
        ```python
        options: RequestOptions = {"input_type": "query", "dimensions": 256}
        response = await client.embed(texts, **options)
        ```
    """

    dtype: Dtype


# All bases are named, as pdoc follows those of a TypedDict for one step only.
class EmbedOptionsArgs(RequestOptions, OptionsWithoutDtype, TypedDict, total=False):
    """Options of every verb except `embed_large_dataset`: `RequestOptions` and `max_memory_mb`.

    Attributes:
        max_memory_mb: Memory budget of this call, in millions of bytes, instead of a share of the client's.

    Example:
        ```python
        options: EmbedOptionsArgs = {"dtype": "int8", "max_memory_mb": 64}
        response = await client.embed(texts, **options)
        ```
    """

    max_memory_mb: float


def new_call(
    endpoint: Endpoint, model: str, given: EmbedOptionsArgs, on_error: OnError, *, dedupe: bool = False
) -> Call:
    """Check the options of a call, and return the `Call`. Nothing is sent.

    Args:
        endpoint: The endpoint of the client.
        model: The model of the client, which an option may replace.
        given: The options.
        on_error: "raise", "yield" or "skip".
        dedupe: The verb's default of the option `dedupe`.

    Raises:
        ConfigurationError: if an option is wrong, unknown, or not supported by the provider.
    """
    check_choice("on_error", on_error, OnError)
    check_names(given)
    given = cast("EmbedOptionsArgs", {name: value for name, value in given.items() if value is not None})
    chunk_size, max_wait = given.get("chunk_size"), given.get("max_wait", MAX_WAIT)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    if "max_text_tokens" in given:
        check_count("max_text_tokens", given["max_text_tokens"])
    check_positive("max_wait", max_wait)
    options = _embed_options(endpoint, model, given)
    endpoint.provider.check(options)
    if endpoint.knows_models:
        endpoint.provider.check_model(options)
    if "extra" in given:  # empty ones too, as they may be filled later
        options = replace(options, extra=_own_extra(endpoint.provider, options))
    if "max_memory_mb" in given:
        endpoint = replace(endpoint, budget=new_budget(given["max_memory_mb"]))
    if "max_concurrency" in given:
        endpoint = replace(endpoint, slots=new_slots(given["max_concurrency"]))
    price = _price(endpoint, options.model, given.get("price"))
    call = Call(
        endpoint=endpoint,
        options=options,
        chunk_size=chunk_size,
        max_wait=max_wait,
        on_error=on_error,
        price=price,
        cap=_cap(given, price),
        max_text_tokens=given.get("max_text_tokens"),
    )
    dedupe_bytes = _dedupe_bytes(given, dedupe=dedupe)
    if dedupe_bytes or endpoint.cache:
        call = replace(call, dedupe_bytes=dedupe_bytes, identity=identity_of(call))
    return _with_dead_letters(call, given["dead_letter"]) if "dead_letter" in given else call


def check_names(given: EmbedOptionsArgs) -> None:
    """Raise `ConfigurationError` if an option is none that a call has."""
    if unknown := sorted(set(given) - EmbedOptionsArgs.__optional_keys__):
        names = ", ".join(sorted(EmbedOptionsArgs.__optional_keys__))
        raise ConfigurationError(f"this call has no option {', '.join(map(repr, unknown))}; it has: {names}")


def for_texts(given: EmbedOptionsArgs, input_type: str) -> EmbedOptionsArgs:
    """Return the options, with `input_type` unless they already have one."""
    return given if given.get("input_type") is not None else {**given, "input_type": input_type}


def new_budget(megabytes: float) -> MemoryBudget:
    """Return a memory budget of `megabytes` millions of bytes."""
    return MemoryBudget(bytes_of(megabytes))


def new_guarded_budget(megabytes: float) -> MemoryBudget:
    """Return a memory budget that keeps the whole process below `megabytes` millions of bytes.

    Raises:
        ConfigurationError: if the process already uses too much memory for one small batch.
    """
    monitor = MemoryMonitor(megabytes)
    check(
        monitor.available_bytes() >= SMALLEST_BATCH,
        f"max_memory_mb={megabytes!r} is a limit for the whole process, which already uses "
        f"{monitor.current_mb:.0f} MB; raise the limit",
    )
    return MemoryBudget(monitor.threshold_bytes, monitor)


def new_slots(maximum: int, initial: int | None = None) -> SlotsByModel:
    """Return slots for at most `maximum` concurrent requests, of which `initial` are free at first.

    Raises:
        ConfigurationError: if a number is not a whole number of at least 1, or `initial` exceeds `maximum`.
    """
    check_count("max_concurrency", maximum)
    if initial is not None:
        check_count("initial_concurrency", initial)
        check(initial <= maximum, f"initial_concurrency={initial} must not be above max_concurrency={maximum}")
    return SlotsByModel(maximum, initial)


def check_headers(given: Mapping[str, str] | NoKey) -> Mapping[str, str]:
    """Return the headers.

    Raises:
        ConfigurationError: if they are not a mapping.
    """
    if isinstance(given, NoKey):
        raise ConfigurationError(f"headers= is a {given.kind}, but must map names to values: {{'X-Name': 'value'}}")
    return given


def check_session(session: aiohttp.ClientSession | None) -> None:
    """Raise `ConfigurationError` unless `session` is None or an open `aiohttp.ClientSession`."""
    if session is None:
        return
    kind = session if isinstance(session, type) else type(session)
    what = f"the class {kind.__qualname__}" if kind is session else f"a {kind.__module__}.{kind.__qualname__}"
    check(
        isinstance(session, aiohttp.ClientSession),
        f"session= is {what}, but must be an aiohttp.ClientSession object; without session=, the client makes one",
    )
    check(not session.closed, "session= is closed; pass an open aiohttp.ClientSession, or leave it out")


def find_limiter(given: RateLimit | RateLimitOff | None, provider: Provider, *, is_official: bool) -> Limiter:
    """Return the state of the given rate limit, or a new one for the limits that the provider has published.

    Raises:
        ConfigurationError: if `given` is something else.
    """
    if given == "off":
        return Limiter(follow_headers=False)
    check(
        given is None or isinstance(given, RateLimit),
        f"rate_limit={shown(given)} must be a RateLimit, such as RateLimit(requests_per_minute=600), or 'off'",
    )
    if given is None:
        given = replace(provider.rate_limit) if is_official and provider.rate_limit else RateLimit()
    return limiter_of(given)


def _price(endpoint: Endpoint, model: str, given: float | None) -> Price | None:
    """Return what a million tokens cost: what the caller says, or what was published, at the provider's own address."""
    if given is None:
        return endpoint.provider.model(model).price if endpoint.is_official else None
    check_positive("price", given)
    return Price(given, "")


def _cap(given: EmbedOptionsArgs, price: Price | None) -> SpendingCap | None:
    max_tokens, max_cost = given.get("max_tokens"), given.get("max_cost")
    if max_tokens is None and max_cost is None:
        return None
    if max_tokens is not None:
        check_count("max_tokens", max_tokens)
    if max_cost is not None:
        check_positive("max_cost", max_cost)
        check(
            price is not None,
            f"max_cost={max_cost!r} needs the price of the model, which is not known here: give the US dollars for a "
            "million tokens with price=, or limit the tokens with max_tokens=",
        )
        check(
            price is None or math.isfinite(max_cost / price.dollars * MILLION),
            f"max_cost={max_cost!r} pays for more tokens than can be counted; lower it, or check price=",
        )
    return SpendingCap(max_tokens, max_cost, price.dollars if price else None)


def _dedupe_bytes(given: EmbedOptionsArgs, *, dedupe: bool) -> int:
    wanted, megabytes = given.get("dedupe", dedupe), given.get("dedupe_mb", DEDUPE_MB)
    check_flag("dedupe", wanted)
    check_positive("dedupe_mb", megabytes)
    return bytes_of(megabytes, "dedupe_mb") if wanted else 0


def new_cache(path: str | PathLike[str] | None, megabytes: float) -> VectorCache | None:
    """Return the cache at `path`, or None without a path. It opens the file when it needs it."""
    check_positive("cache_mb", megabytes)
    if path is None:
        return None
    check(isinstance(path, str | PathLike), f"cache={shown(path)} must be the path of a file")
    from asyncembed._cache import VectorCache  # noqa: PLC0415  # few clients have one, and importing sqlite3 takes time

    return VectorCache(path, bytes_of(megabytes, "cache_mb"))


def _with_dead_letters(call: Call, path: str | PathLike[str]) -> Call:
    from asyncembed.sinks._dead_letters import DeadLetterFile  # noqa: PLC0415  # most programs do without

    check(isinstance(path, str | PathLike), f"dead_letter={shown(path)} must be the path of a file")
    check(
        call.on_error != "raise",
        "dead_letter= collects texts that fail, but with on_error='raise' the first failure ends the run; "
        "use on_error='skip' (--on-error skip), or 'yield' if the verb has it",
    )
    letters = DeadLetterFile(path, provider=call.endpoint.provider.name, model=call.options.model)
    letters.check()
    return replace(call, dead_letters=letters)


def _embed_options(endpoint: Endpoint, model: str, given: EmbedOptionsArgs) -> EmbedOptions:
    shorten, dimensions = given.get("shorten", "server"), given.get("dimensions")
    check_choice("shorten", shorten, Shorten)
    long_text = given.get("long_text", "fail")
    check_choice("long_text", long_text, LongText)
    is_cut = shorten == "client"
    check(not is_cut or dimensions is not None, "shorten='client' needs dimensions=, the length to shorten vectors to")
    dtype, normalize = given.get("dtype", "float32"), given.get("normalize")
    if normalize is not None:
        check_flag("normalize", normalize)
    check_choice("dtype", dtype, Dtype)
    check(
        dtype == "float32" or not (is_cut or normalize),
        f"the client cannot shorten or normalize vectors of dtype={dtype!r}; leave out shorten= and normalize=",
    )
    options = EmbedOptions(
        model=given.get("model", model),
        input_type=given.get("input_type"),
        dimensions=None if is_cut else dimensions,
        truncate=given.get("truncate"),
        long_text=long_text,
        dtype=dtype,
        extra=given.get("extra", {}),
        cut_to=dimensions if is_cut else None,
    )
    return replace(
        options,
        prompt=_prompt(endpoint, options, find_prompts(given.get("prompts")) or endpoint.prompts),
        normalize=is_cut if normalize is False else bool(is_cut or normalize or _needs_length(endpoint, options)),
    )


def _prompt(endpoint: Endpoint, options: EmbedOptions, prompts: Mapping[str, str]) -> str:
    """Return the prefix of each text, and log an input type that has no effect."""
    kind, provider = options.input_type or "document", endpoint.provider
    prompt = prompts.get(kind, "") if prompts else provider.prompt(options)
    has_effect = (
        prompt or provider.input_type(options) or kind not in INPUT_TYPES or options.input_type in {None, "none"}
    )
    if not has_effect and options.model not in endpoint.learned.warned_models:
        endpoint.learned.warned_models.add(options.model)
        LOGGER.debug("input_type=%r changes nothing: provider %s has no word for it", kind, provider.name)
    return prompt


def _needs_length(endpoint: Endpoint, options: EmbedOptions) -> bool:
    """Whether the model is known to return vectors of other lengths than 1."""
    if not endpoint.knows_models or options.dtype != "float32":
        return False
    unit, dimension = endpoint.provider.model(options.model).unit, endpoint.provider.dimension(options)
    return unit is not None and dimension is not None and dimension not in unit


def _own_extra(provider: Provider, options: EmbedOptions) -> dict[str, object]:
    """Check further fields, and return a copy: the caller may change its own, which are part of a vector's identity."""
    if taken := sorted(provider.own_fields(options) & options.extra.keys()):
        raise ConfigurationError(f"extra= must not contain {', '.join(taken)}, which the client sets from its options")
    try:
        copied: dict[str, object] = orjson.loads(orjson.dumps(dict(options.extra)))
    except TypeError as error:
        raise ConfigurationError(f"extra= cannot be sent as JSON: {error}") from None
    return copied
