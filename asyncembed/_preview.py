"""What errors say, without the texts that servers repeat in them: those belong into no log and no trace.

Which text an error is about, in a few words on one line that any log or terminal takes.
"""

from __future__ import annotations

import json
from itertools import takewhile
from operator import eq
from typing import TYPE_CHECKING, Final

from asyncembed._redaction import MAX_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from asyncembed._exceptions import AsyncEmbedError
    from asyncembed._models import EmbedInput
    from asyncembed._redaction import Secrets


MAX_PREVIEW: Final = 40
"""Characters of a text that may be shown: enough to find it again."""


def redact_inputs(message: str, texts: Iterable[str]) -> str:
    """Cut each of `texts` that `message` repeats from its beginning to its first characters."""
    for text in texts:
        if len(text) > MAX_PREVIEW:
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
    start, at = text[: MAX_PREVIEW + 1], -1
    while (at := message.find(start, at + 1)) >= 0:
        end = at + sum(takewhile(bool, map(eq, message[at:], text)))
        at += MAX_PREVIEW
        message = f"{message[:at]}…{message[end:]}"
    return message


_LOOKED_AT: Final = 2_000
"""Characters of a text that its start is made of: white space is shortened, and a key must not be cut in two."""


def preview(text: str) -> str:
    """Return the start of a text on one line, without what cannot be printed, such as half a surrogate pair."""
    words = " ".join(text[:_LOOKED_AT].split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words[: MAX_PREVIEW + 1])
    return shown if len(shown) <= MAX_PREVIEW else f"{shown[: MAX_PREVIEW - 1]}\N{HORIZONTAL ELLIPSIS}"


def name_texts(error: AsyncEmbedError, lost: Sequence[tuple[int, EmbedInput]], secrets: Secrets) -> None:
    """Say in the message of an error which text it is about, and how many more.

    Args:
        error: The error.
        lost: Index and text of each.
        secrets: Keys, which are not shown even if they are in the text.
    """
    if lost:
        index, item = lost[0]
        more = f", and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        start = preview(secrets.redact(item.text[:_LOOKED_AT], _LOOKED_AT))
        error.args = (f"{error}; this is about texts[{index}], '{start}'{more}",)
