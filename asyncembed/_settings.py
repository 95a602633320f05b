"""Settings: frozen, and validated when they are built, so that a wrong one costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from asyncembed._errors import ConfigurationError

Dtype: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Shorten: TypeAlias = Literal["server", "client"]
Encoding: TypeAlias = Literal["auto", "base64", "float"]
OnError: TypeAlias = Literal["raise", "yield", "skip"]


def check(condition: bool, message: str) -> None:
    """Raise `ConfigurationError(message)` unless `condition` holds."""
    if not condition:
        raise ConfigurationError(message)


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise `ConfigurationError` unless `value` is one of a `Literal`'s words."""
    words = get_args(choices)
    check(value in words, f"{name}={value!r} is not known; use one of {', '.join(map(repr, words))}")


def check_positive(name: str, value: float) -> None:
    """Raise `ConfigurationError` unless `value` is a finite number above zero."""
    ok = isinstance(value, (int, float)) and 0 < value <= sys.float_info.max
    check(ok, f"{name}={value!r} must be a number above 0")


def check_count(name: str, value: int) -> None:
    """Raise `ConfigurationError` unless `value` is a whole number of at least one."""
    check(isinstance(value, int) and value >= 1, f"{name}={value!r} must be a whole number, 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time limits in seconds; time in which the consumer does not take results does not count.

    Attributes:
        connect: To open one TCP and TLS connection.
        first_byte: From the start of a request to its response headers.
        read: Between two chunks of a response body.
    """

    connect: float = 10.0
    first_byte: float = 120.0
    read: float = 60.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_byte", "read"):
            check_positive(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
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
        for given in (self.dimensions, self.cut_to):
            if given is not None:
                check_count("dimensions", given)
        check_choice("dtype", self.dtype, Dtype)
        check(isinstance(self.extra, Mapping), "extra= must be a mapping of field names to values")
