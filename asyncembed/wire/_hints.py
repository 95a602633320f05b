"""Times to wait as APIs write them: in Go's way, as plain seconds, and in the words of an error message."""

from __future__ import annotations

import math
import re
from typing import Final

_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = (
    r"(\d{1,9}(?:\.\d{1,9})?) ?(ns|us|\u00b5s|ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)(?![a-z])"
)
# Compiled, and kept by `re`, when they are first needed: few programs meet such a text, and it takes a while.
_WHOLE: Final = rf"(?:{_PART} ?)+"
_ASKED: Final = rf"(?:try again|retry) (?:in|after) ({_WHOLE})"


def number(text: str | None) -> float | None:
    """Return a finite number, or None if the text is none."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def duration(text: str | None) -> float | None:
    """Return the seconds that `6m0s`, `12ms`, `33.38s` or `5` stand for; None for anything else."""
    seconds = number(text)
    if seconds is not None:
        return seconds if seconds >= 0 else None
    text = (text or "").strip()
    return _sum(text) if re.fullmatch(_WHOLE, text) else None


def asked_in_words(message: str) -> float | None:
    """Return the seconds that a message asks to wait: "Please try again in 1.156s", "retry after 55 seconds"."""
    found = re.search(_ASKED, message, re.IGNORECASE)
    return _sum(found[1].lower()) if found else None


def _sum(text: str) -> float:
    return sum(float(count) * _SECONDS[_short(unit)] for count, unit in re.findall(_PART, text))


def _short(unit: str) -> str:
    if unit in _SECONDS:
        return unit
    return "ms" if unit.startswith("milli") else unit[0]
