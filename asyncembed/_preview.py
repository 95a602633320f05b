"""Shows only the first characters of a text: in messages of servers that quote it, and in our own errors about it.

Texts may be private or long, so a whole text must not get into a log or a trace.
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
"""Characters of a text that may be shown: enough to recognize it."""


def redact_inputs(message: str, texts: Iterable[str]) -> str:
    """Shorten every quote in `message` that begins like one of `texts` to its first characters."""
    for text in texts:
        if len(text) > MAX_PREVIEW:
            for form in _forms(text[:MAX_WORDS]):  # a message has no more characters than this
                message = _cut(message, form)
    return message


def _forms(text: str) -> Iterator[str]:
    """Yield the forms in which a message may quote a text: unchanged, and escaped as JSON."""
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


_PREVIEW_SOURCE: Final = 2_000
"""Characters of a text to make a preview from: white space is collapsed, and a key must not be cut before redaction."""


def preview(text: str) -> str:
    """Return the start of a text on one line; characters that cannot be printed are replaced."""
    words = " ".join(text[:_PREVIEW_SOURCE].split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words[: MAX_PREVIEW + 1])
    return shown if len(shown) <= MAX_PREVIEW else f"{shown[: MAX_PREVIEW - 1]}\N{HORIZONTAL ELLIPSIS}"


_ABOUT: Final = "; this is about texts["


def name_texts(error: AsyncEmbedError, lost: Sequence[tuple[int, EmbedInput]], secrets: Secrets) -> None:
    """Add to the message of an error which text it is about, and how many more.

    Args:
        error: The error.
        lost: Index and text of each failed text.
        secrets: Redacts keys, in case a text contains one.
    """
    if lost:
        index, item = lost[0]
        more = f", and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        start = preview(secrets.redact(item.text[:_PREVIEW_SOURCE], _PREVIEW_SOURCE))
        error.args = (f"{error}{_ABOUT}{index}], '{start}'{more}",)


def unname_texts(error: AsyncEmbedError) -> None:
    """Remove from an error which texts it is about, because they are not the caller's."""
    error.args = (str(error).partition(_ABOUT)[0],)
    error.indices = ()
