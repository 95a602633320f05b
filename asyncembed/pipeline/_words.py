"""What errors say, without the texts that servers repeat in them: those belong into no log and no trace."""

from __future__ import annotations

import json
from itertools import takewhile
from operator import eq
from typing import TYPE_CHECKING, Final

from asyncembed.wire._secrets import MAX_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_OF_A_TEXT: Final = 40
"""Characters of a text that may be shown: enough to find it again."""


def without_texts(message: str, texts: Iterable[str]) -> str:
    """Cut each of `texts` that `message` repeats from its beginning to its first characters."""
    for text in texts:
        if len(text) > MOST_OF_A_TEXT:
            for form in _forms(text[:MAX_WORDS]):  # more of it is in no message
                message = _cut(message, form)
    return message


def _forms(text: str) -> Iterator[str]:
    """How a text may stand in a message: as it is, and as JSON writes it."""
    yield text
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        if escaped != text:
            yield escaped


def _cut(message: str, text: str) -> str:
    start, at = text[: MOST_OF_A_TEXT + 1], -1
    while (at := message.find(start, at + 1)) >= 0:
        end = at + sum(takewhile(bool, map(eq, message[at:], text)))
        at += MOST_OF_A_TEXT
        message = f"{message[:at]}…{message[end:]}"
    return message
