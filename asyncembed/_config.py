"""Settings: frozen, and validated when they are built, so that a wrong one costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypeGuard, get_args

from asyncembed._exceptions import ConfigurationError
from asyncembed._repr import ShortRepr, shown

Dtype: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Shorten: TypeAlias = Literal["server", "client"]
Encoding: TypeAlias = Literal["auto", "base64", "float"]
OnError: TypeAlias = Literal["raise", "yield", "skip"]

QUERY_CONCURRENCY: Final = 4
MAX_WAITING_QUERIES: Final = 1_000
QUERY_CACHE: Final = 1_000


def check(condition: bool, message: str) -> None:
    """Raise `ConfigurationError(message)` unless `condition` holds."""
    if not condition:
        raise ConfigurationError(message)


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `ConfigurationError` unless `value` is one of a `Literal`'s words."""
    words = get_args(choices)
    is_known = isinstance(value, str) and value in words
    check(is_known, f"{name}={shown(value)} is not known; use one of {', '.join(map(repr, words))}")


def check_positive(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number above zero."""
    check(is_number(value) and value > 0, f"{name}={shown(value)} must be a number above 0")


def check_not_negative(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number of at least zero."""
    check(is_number(value) and value >= 0, f"{name}={shown(value)} must be a number, 0 or more")


def check_count(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a whole number of at least one."""
    check(is_whole(value) and value >= 1, f"{name}={shown(value)} must be a whole number, 1 or more")


def check_queries(concurrency: object, max_waiting: object, cache: object) -> None:
    """Raise `ConfigurationError` unless the settings of queries are right."""
    check_count("query_concurrency", concurrency)
    check_count("max_waiting_queries", max_waiting)
    check(is_whole(cache) and cache >= 0, f"query_cache={shown(cache)} must be a whole number, 0 or more")


def check_flag(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is True or False: a word such as "no" would count as True."""
    check(isinstance(value, bool), f"{name}={shown(value)} must be True or False")


def check_text(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless `value` is a `str`."""
    check(isinstance(value, str), f"{name}={shown(value)} must be a str")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RetryPolicy(ShortRepr):
    """When to try again; waits are in seconds and drawn with full jitter.

    Attributes:
        max_attempts: Attempts without progress before giving up, the first included; a response that delivered
            at least one new vector starts the count again.
        initial_backoff: Upper end of the first wait; it doubles with every attempt.
        max_backoff: Upper end of any wait, also where the API asks for a longer one.
        max_elapsed: Seconds after the first failure at which no further attempt is begun. If the API asks to wait for
            longer than this, there is one more attempt after `max_backoff`. If the API asks for that again, or speaks
            of a day or a quota, the run ends.
        probe: Whether a harmless text may be asked for where a refusal does not tell whether a text, the request or the
            account is to blame. It counts as a request and is billed as one.

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
        """Return a policy for what somebody waits for: few attempts, short waits."""
        return cls(max_attempts=3, initial_backoff=0.2, max_backoff=2.0, max_elapsed=10.0)

    @classmethod
    def of(cls, given: RetryPolicy | int | None) -> RetryPolicy:
        """Return what was given as `retry=`: a policy, a number of attempts, or None for the default.

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
    """Time limits in seconds; time in which the consumer does not take results does not count.

    Attributes:
        connect: To open one TCP and TLS connection.
        first_byte: From the start of a request to its response headers.
        read: Between two chunks of a response body.

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
        """Return what was given as `timeouts=`: time limits, a number of seconds, or None for the default.

        A number is how long the server may take to its answer, and be silent inside it. It is the limit for the
        connection too, where it is smaller than the default of that.

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
    """What is asked of the API for every text of one call.

    Attributes:
        model: The provider's name of the model.
        input_type: "document" or "query", translated for the provider, or the provider's own word.
        dimensions: Length of the vectors, where the model can shorten them.
        truncate: What the API does with a text that is too long; the provider's own word.
        dtype: Type of the numbers that come back.
        extra: Fields put into the request body as they are.
        prompt: What the client puts before each text.
        cut_to: Numbers that the client keeps of each vector; None for all.
        normalize: Whether the client brings each vector to length 1.
    """

    model: str
    input_type: str | None = None
    dimensions: int | None = None
    truncate: str | None = None
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
