"""What an error says by itself, without the texts of the request that it repeats: those may say anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CUT: Final = " \N{HORIZONTAL ELLIPSIS} "
_MARKS: Final = ("'", '"', "`", "\N{LEFT DOUBLE QUOTATION MARK}", "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}")

_LONG: Final = 16
"""Characters of a text whose beginning is not a part of a sentence by chance; shorter ones count in quotes alone."""

_HEAD: Final = 100
"""Characters of a text that its beginning is looked for by."""

_LOOKED_AT: Final = 2_000
"""Characters of a text that can be repeated: a message has no more."""


class OwnWords:
    """The words of an error as they are compared: in lower case, with single spaces, without what they quote.

    Args:
        message: What the error says.
        texts: The texts of the request.
    """

    def __init__(self, message: str, texts: Sequence[str] = ()) -> None:
        self._texts = texts
        self.text = _plain(message)
        for text in texts:
            if any(head and head[:_LONG] in self.text for head in _forms(text[:_HEAD])):
                for form in _forms(text[:_LOOKED_AT]):
                    self.text = _without(self.text, form)

    def may_quote(self, phrase: str) -> bool:
        """Whether a phrase stands in one of the texts, so that it may be theirs also where only a part is repeated."""
        longest = max(phrase.split(), key=len, default="")
        likely = (text for text in self._texts if longest in text.lower())  # the rest is slower
        return any(phrase in _plain(text) for text in likely)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _forms(text: str) -> Iterator[str]:
    """How a text may stand in a message: as it is, and as JSON writes it."""
    yield _plain(text)
    if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
        for ascii_only in (True, False):
            yield _plain(json.dumps(text, ensure_ascii=ascii_only)[1:-1])


def _without(words: str, text: str) -> str:
    if not text:
        return words
    if len(text) < _LONG:
        for mark in _MARKS:
            words = words.replace(f"{mark}{text}", _CUT)
        return words
    start, at = text[:_LONG], -1
    while (at := words.find(start, at + 1)) >= 0:
        size = _LONG
        while size < len(text) and words[at + size : at + size + 1] == text[size]:
            size += 1
        words = words[:at] + _CUT + words[at + size :]
    return words
