"""Whether an API refused a request because it holds too much at once, and how much that is: in every API's words.

There is no common form. What is looked for are words that speak of the request as a whole, because a text that is too
long by itself is refused in similar ones, and for it no smaller request is the cure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from asyncembed._errors import APIStatusError

Unit: TypeAlias = Literal["inputs", "tokens", "bytes"]

PAYLOAD_TOO_LARGE: Final = 413
TOO_LARGE_TO_PROCESS: Final = "input is too large to process"
"""llama.cpp says so with status 500, and trying again does not help."""

_CODES: Final = frozenset({"max_tokens_per_request", "array_above_max_length"})
_THINGS: Final = r"(?:inputs?|texts?|items?|elements?|documents?|strings?|requests?)"
# Compiled, and kept by `re`, when they are first needed: few programs meet such an error, and it takes a while.
_WHOLE: Final = rf"""(?ix)split\ into\ more\ batches
    | \bbatch\ size\b
    | \b(?:per|in|of|a|one)\ (?:a\ |one\ |the\ |submitted\ |single\ )*(?:batch|request)\b
    | \btoo\ many\ {_THINGS}\b
    | \bnumber\ of\ {_THINGS}
    | \b(?:at\ most|up\ to|maximum\ of|more\ than|exceeds?)\ \d+\ {_THINGS}\b
    | \barray\ too\ long\b
    | \bpayload\ too\ large\b
    | {re.escape(TOO_LARGE_TO_PROCESS)}"""
_ONE_INPUT: Final = r"(?i)\binput ?\[\d+\]|\b(?:inputs?|texts?)\.\d+\b"
_NUMBERS: Final = r"(?<![\w.])\d{1,12}(?![\w.]*\w)"


@dataclass(frozen=True, slots=True)
class Excess:
    """A request was too large.

    Attributes:
        unit: What there was too much of.
        most: How much is allowed, if the API has said so.
        size: How much there was, if it has said so.
    """

    unit: Unit
    most: int | None = None
    size: int | None = None

    @property
    def share(self) -> float:
        """How much of such a request is allowed, above 0 and below 1; half where nobody knows."""
        return self.most / self.size if self.most and self.size else 0.5


def read_excess(error: APIStatusError) -> Excess | None:
    """Return in what a request was too large; None if it was refused for another reason."""
    words = error.provider_message
    is_whole = error.status == PAYLOAD_TOO_LARGE or error.code in _CODES or re.search(_WHOLE, words)
    if not is_whole or re.search(_ONE_INPUT, words):
        return None
    numbers = sorted(int(digits) for digits in re.findall(_NUMBERS, words) if int(digits) > 0)
    # Whatever the order in which they are said: what is allowed is less than what was too much.
    most, size = (numbers[0], numbers[-1]) if numbers and numbers[0] < numbers[-1] else (None, None)
    if most is None and len(numbers) == 1 and error.status != PAYLOAD_TOO_LARGE:
        most = numbers[0]
    return Excess(_unit(error, words), most, size)


def _unit(error: APIStatusError, words: str) -> Unit:
    if "token" in words.lower():
        return "tokens"
    if error.status == PAYLOAD_TOO_LARGE or re.search(r"\bbytes\b|payload", words, re.IGNORECASE):
        return "bytes"
    return "inputs"
