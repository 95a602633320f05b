"""Settings of clients and calls: frozen, and validated when they are built, before any request is sent."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from typing import Final, Literal, TypeAlias, TypeGuard, get_args

from asyncembed._exceptions import ConfigurationError
from asyncembed._repr import ShortRepr, shown

# Each name of a `dtype` belongs to one NumPy type of vectors; overloads choose by these.
Float32: TypeAlias = Literal["float32"]
Int8: TypeAlias = Literal["int8", "binary"]
UInt8: TypeAlias = Literal["uint8", "ubinary"]
Dtype: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Shorten: TypeAlias = Literal["server", "client"]
Encoding: TypeAlias = Literal["auto", "base64", "float"]
LongText: TypeAlias = Literal["fail", "truncate"]
OnError: TypeAlias = Literal["raise", "yield", "skip"]
RaiseOrSkip: TypeAlias = Literal["raise", "skip"]

QUERY_CONCURRENCY: Final = 4
MAX_WAITING_QUERIES: Final = 1_000
QUERY_CACHE: Final = 1_000


def check(condition: bool, message: str) -> None:
    """Raise `ConfigurationError(message)` unless `condition` holds."""
    if not condition:
        raise ConfigurationError(message)


_words_of = cache(get_args)


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `ConfigurationError` unless `value` is one of the values of a `Literal`."""
    words = _words_of(choices)
    if not isinstance(value, str) or value not in words:
        raise ConfigurationError(f"{name}={shown(value)} is not known; use one of {', '.join(map(repr, words))}")


def check_positive(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number above zero."""
    if not is_number(value) or value <= 0:
        raise ConfigurationError(f"{name}={shown(value)} must be a number above 0")


def check_not_negative(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number of at least zero."""
    if not is_number(value) or value < 0:
        raise ConfigurationError(f"{name}={shown(value)} must be a number, 0 or more")


def check_count(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a whole number of at least one."""
    if not is_whole(value) or value < 1:
        raise ConfigurationError(f"{name}={shown(value)} must be a whole number, 1 or more")


def check_queries(concurrency: object, max_waiting: object, cache: object) -> None:
    """Raise `ConfigurationError` unless the settings of queries are right."""
    check_count("query_concurrency", concurrency)
    check_count("max_waiting_queries", max_waiting)
    check(is_whole(cache) and cache >= 0, f"query_cache={shown(cache)} must be a whole number, 0 or more")


def check_flag(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is True or False; Python treats a str such as "no" as True."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name}={shown(value)} must be True or False")


def check_text(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a `str`."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}={shown(value)} must be a str")


def check_path(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a path that is not empty."""
    if not isinstance(value, str | PathLike) or not str(value):
        raise ConfigurationError(f"{name}={shown(value)} must be a str or a path")


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RetryPolicy(ShortRepr):
    """When to retry. Waits are in seconds and drawn with full jitter.

    Attributes:
        max_attempts: Maximum number of attempts without progress, including the first. A response with at least one
            new vector restarts the count.
        initial_backoff: Upper bound of the first wait; it doubles with every attempt.
        max_backoff: Upper bound of every wait, even if the API asks for a longer one.
        max_elapsed: Seconds after the first failure after which no further attempt starts. If the API asks for a
            longer wait than this, there is one more attempt after `max_backoff`. If the API asks for that again, or
            mentions a day or a quota, the run ends.
        probe: Whether the client may send a harmless text if an error does not say whether a text, the request or the
            account causes it. The probe counts as a request and is billed as one.

    Example:
        ```python
        EmbedClient("cohere", api_key="...", retry=RetryPolicy(max_attempts=3, max_elapsed=60.0))
        ```
    """

    max_attempts: int = 8
    initial_backoff: float = 0.5
    max_backoff: float = 60.0
    max_elapsed: float = 600.0
    probe: bool = True

    def __post_init__(self) -> None:
        check_count("max_attempts", self.max_attempts)
        for name in ("initial_backoff", "max_backoff", "max_elapsed"):
            check_positive(name, getattr(self, name))
        check_flag("probe", self.probe)

    @classmethod
    def interactive(cls) -> RetryPolicy:
        """Return a policy for requests whose caller waits: few attempts and short waits."""
        return cls(max_attempts=3, initial_backoff=0.2, max_backoff=2.0, max_elapsed=10.0)

    @classmethod
    def of(cls, given: RetryPolicy | int | None) -> RetryPolicy:
        """Return the policy for the argument `retry=`: a policy, a number of attempts, or None for the default.

        Raises:
            ConfigurationError: if it is something else.
        """
        if given is None or isinstance(given, RetryPolicy):
            return given or cls()
        check(
            is_whole(given) and given >= 1,
            f"retry={shown(given)} must be a RetryPolicy(...) or a number of attempts, 1 or more; 1 tries once",
        )
        return cls(max_attempts=given)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Timeouts(ShortRepr):
    """Time limits in seconds. Time in which the consumer does not take results does not count.

    Attributes:
        connect: Limit for opening one TCP and TLS connection.
        first_byte: Limit from the start of a request to the headers of its response.
        read: Limit between two chunks of a response body.

    Example:
        ```python
        EmbedClient("cohere", api_key="...", timeouts=Timeouts(first_byte=30.0, read=10.0))
        ```
    """

    connect: float = 10.0
    first_byte: float = 120.0
    read: float = 60.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_byte", "read"):
            check_positive(name, getattr(self, name))

    @classmethod
    def of(cls, given: Timeouts | float | None) -> Timeouts:
        """Return the limits for the argument `timeouts=`: time limits, a number of seconds, or None for the default.

        A number sets `first_byte` and `read`, and also `connect` if it is smaller than the default of `connect`.

        Raises:
            ConfigurationError: if it is something else.
        """
        if given is None or isinstance(given, Timeouts):
            return given or cls()
        check(
            is_number(given) and given > 0,
            f"timeouts={shown(given)} must be a number of seconds above 0, or Timeouts(connect=..., first_byte=..., "
            "read=...)",
        )
        return cls(connect=min(given, cls().connect), first_byte=given, read=given)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class EmbedOptions(ShortRepr):
    """Options of the requests of one call.

    Attributes:
        model: The provider's name of the model.
        input_type: "document" or "query", translated for the provider, or the provider's own value.
        dimensions: Length of the vectors, if the model can shorten them.
        truncate: What the API does with a text that is too long; the provider's own value.
        long_text: Whether such a text fails or is truncated, for all providers alike; `truncate` has precedence.
        dtype: Type of the numbers in the vectors.
        extra: Further fields of the request body, sent unchanged.
        prompt: Prefix that the client puts before each text.
        cut_to: Numbers that the client keeps of each vector; None for all.
        normalize: Whether the client scales each vector to length 1.
    """

    model: str
    input_type: str | None = None
    dimensions: int | None = None
    truncate: str | None = None
    long_text: LongText | None = None
    dtype: Dtype = "float32"
    extra: Mapping[str, object] = field(default_factory=dict)
    prompt: str = ""
    cut_to: int | None = None
    normalize: bool = False

    def __post_init__(self) -> None:
        check_text("model", self.model)
        for name in ("input_type", "truncate"):
            if (value := getattr(self, name)) is not None:
                check_text(name, value)
        for given in (self.dimensions, self.cut_to):
            if given is not None:
                check_count("dimensions", given)
        check_choice("dtype", self.dtype, Dtype)
        check(isinstance(self.extra, Mapping), "extra= must be a mapping of field names to values")
