"""Whether an API refused a request because it holds too much at once, and how much that is: in every API's words.

There is no common form. What is looked for are words that speak of the request as a whole, because a text that is too
long by itself is refused in similar ones, and for it no smaller request is the cure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


Unit: TypeAlias = Literal["inputs", "tokens", "bytes"]

PAYLOAD_TOO_LARGE: Final = 413

_CODES: Final = frozenset({"max_tokens_per_request", "array_above_max_length"})
_THINGS: Final = r"(?:inputs?|texts?|items?|elements?|documents?|strings?|requests?)"
# Compiled, and kept by `re`, when they are first needed: few programs meet such an error, and it takes a while.
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
"""Words without which others about a request say nothing about its size: "no API key found in request"."""

_ONE_INPUT: Final = r"(?i)\binput ?\[\d+\]|\b(?:inputs?|texts?)\.\d+\b"
_NUMBERS: Final = r"(?<![\w.])\d{1,12}(?![\w.]*\w)"


class Refusal(Protocol):
    """What is read of a refusal: an `ErrorAnswer`, or the exception that was made of it."""

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
        """The words."""
        ...


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A request was too large.

    Attributes:
        unit: What there was too much of.
        most: How much is allowed, if the API has said so.
        size: How much there was, if it has said so.
        is_of_one_text: Whether both are about one text of the request, and not about all of them together: then a
            request with fewer texts goes well only if it is without that text.
    """

    unit: Unit
    most: int | None = None
    size: int | None = None
    is_of_one_text: bool = False

    @property
    def is_of_count(self) -> bool:
        """Whether there were too many texts."""
        return self.unit == "inputs" and not self.is_of_one_text

    @property
    def is_told(self) -> bool:
        """Whether the API has said how much there was and how much is allowed."""
        return bool(self.most and self.size)

    @property
    def share(self) -> float:
        """How much of such a request is allowed, above 0 and below 1; half where the API does not say."""
        return self.most / self.size if self.most and self.size else 0.5


def is_too_large_to_process(words: str) -> bool:
    """Whether a message is llama.cpp's about a text that is too long for its buffers.

    It may have status 500, and trying again does not help.
    """
    return re.search(_TO_PROCESS, words) is not None


def read_too_large(error: Refusal) -> TooLarge | None:
    """Return in what a request was too large; None if it was refused for another reason."""
    words = error.provider_message
    numbers = sorted(int(digits) for digits in re.findall(_NUMBERS, words) if int(digits) > 0)
    if is_too_large_to_process(words):
        return TooLarge("tokens" if "token" in words else "inputs", *_bounds(numbers), is_of_one_text=True)
    is_told = bool(re.search(_WHOLE, words) and re.search(_TOO_MUCH, words))
    if not (is_told or error.status == PAYLOAD_TOO_LARGE or error.code in _CODES) or re.search(_ONE_INPUT, words):
        return None
    most, size = _bounds(numbers)
    if most is None and len(numbers) == 1 and error.status != PAYLOAD_TOO_LARGE:
        most = numbers[0]
    return TooLarge(_unit(error, words), most, size)


def _bounds(numbers: Sequence[int]) -> tuple[int | None, int | None]:
    """Return what is allowed and how much there was, in whatever order they are said: what is allowed is less."""
    return (numbers[0], numbers[-1]) if numbers and numbers[0] < numbers[-1] else (None, None)


def _unit(error: Refusal, words: str) -> Unit:
    if "token" in words.lower():
        return "tokens"
    if error.status == PAYLOAD_TOO_LARGE or re.search(r"\bbytes\b|payload", words, re.IGNORECASE):
        return "bytes"
    return "inputs"
