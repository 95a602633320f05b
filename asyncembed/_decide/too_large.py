"""Detects that an API refused a request as too large, and reads the limit from its message.

Every API words this differently. The patterns look for words about the request as a whole, because a single text that
is too long is refused in similar words, and a smaller request would not help then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


Unit: TypeAlias = Literal["inputs", "tokens", "bytes"]

PAYLOAD_TOO_LARGE: Final = 413

MIN_SHARE: Final = 1 / 64
"""Smallest share of a refused request that is believed as the server's limit: numbers in messages may mean anything."""

_CODES: Final = frozenset({"max_tokens_per_request", "array_above_max_length"})
_THINGS: Final = r"(?:inputs?|texts?|items?|elements?|documents?|strings?|requests?)"
# Strings, which `re` compiles and caches on first use: compiling is slow, and few programs meet such an error.
_TO_PROCESS: Final = (
    r"(?i)\binput (?:\(\d+ tokens\) )?is too large to process\b"
    r"|\binput \(\d+ tokens\) is larger than the max(?:imum)? context size\b"
)
_WHOLE: Final = rf"""(?ix)split\ into\ more\ batches
    | \bbatch\ size\b
    | \b(?:per|in|of|a|one)\ (?:a\ |one\ |the\ |submitted\ |single\ )*(?:batch|request)\b
    | \btoo\ many\ {_THINGS}\b
    | \bnumber\ of\ {_THINGS}
    | \b(?:at\ most|up\ to|maximum\ of|more\ than|exceeds?)\ \d+\ {_THINGS}\b
    | \barray\ too\ long\b
    | \bpayload\ too\ large\b
    | \bpayload\ size\ exceeds\b"""
_TOO_MUCH: Final = (
    r"(?i)\btoo (?:many|large|long|big)\b|\bexceed|\bmax|\blimit|\bat most\b|\bup to\b|\bmore than\b|\bsplit\b"
    r"|\blarger\b|>"
)
"""Words of excess, without which `_WHOLE` says nothing about size: "no API key found in request"."""

_ONE_INPUT: Final = r"(?i)\binput ?\[\d+\]|\b(?:inputs?|texts?)\.\d+\b"
_NUMBERS: Final = r"(?<![\w.])\d{1,12}(?![\w.]*\w)"


class Refusal(Protocol):
    """A refusal: an `ErrorAnswer`, or the exception made from it."""

    @property
    def status(self) -> int | None:
        """HTTP status."""
        ...

    @property
    def code(self) -> str | None:
        """The first error code."""
        ...

    @property
    def provider_message(self) -> str:
        """The message."""
        ...


@dataclass(frozen=True, slots=True)
class TooLarge:
    """How a request was too large.

    Attributes:
        unit: Unit of the exceeded limit.
        limit: The limit, if the message names it.
        size: The size of the request in that unit, if the message names it.
        is_of_one_text: Whether the limit applies to a single text. Then a request with fewer texts succeeds only
            without that text.
    """

    unit: Unit
    limit: int | None = None
    size: int | None = None
    is_of_one_text: bool = False

    @property
    def is_of_count(self) -> bool:
        """Whether there were too many texts."""
        return self.unit == "inputs" and not self.is_of_one_text

    @property
    def has_numbers(self) -> bool:
        """Whether the message names both the limit and the size."""
        return bool(self.limit and self.size)

    @property
    def share(self) -> float:
        """Share of the request that is allowed, between 0 and 1; half if the message names no numbers."""
        return self.limit / self.size if self.limit and self.size else 0.5


def is_too_large_to_process(words: str) -> bool:
    """Whether a message is llama.cpp's error about a text that exceeds its buffers.

    It may come with status 500, but a retry does not help.
    """
    return re.search(_TO_PROCESS, words) is not None


def read_too_large(error: Refusal) -> TooLarge | None:
    """Return how a request was too large; None if it was refused for another reason."""
    words = error.provider_message
    numbers = sorted(int(digits) for digits in re.findall(_NUMBERS, words) if int(digits) > 0)
    if is_too_large_to_process(words):
        return TooLarge("tokens" if "token" in words else "inputs", *_bounds(numbers), is_of_one_text=True)
    in_words = bool(re.search(_WHOLE, words) and re.search(_TOO_MUCH, words))
    if not (in_words or error.status == PAYLOAD_TOO_LARGE or error.code in _CODES) or re.search(_ONE_INPUT, words):
        return None
    limit, size = _bounds(numbers)
    if limit is None and len(numbers) == 1 and error.status != PAYLOAD_TOO_LARGE:
        limit = numbers[0]
    return TooLarge(_unit(error, words), limit, size)


def _bounds(numbers: Sequence[int]) -> tuple[int | None, int | None]:
    """Return limit and size, in whatever order the message names them: the limit is the smaller one."""
    return (numbers[0], numbers[-1]) if numbers and numbers[0] < numbers[-1] else (None, None)


def _unit(error: Refusal, words: str) -> Unit:
    if "token" in words.lower():
        return "tokens"
    if error.status == PAYLOAD_TOO_LARGE or re.search(r"\bbytes\b|payload", words, re.IGNORECASE):
        return "bytes"
    return "inputs"
