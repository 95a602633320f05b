"""Which text an error is about, in a few words on one line that any log or terminal takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed.pipeline._words import MOST_OF_A_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._errors import AsyncEmbedError
    from asyncembed._models import EmbedInput
    from asyncembed.wire._secrets import Secrets

_LOOKED_AT: Final = 2_000
"""Characters of a text that its start is made of: white space is shortened, and a key must not be cut in two."""


def excerpt(text: str) -> str:
    """Return the start of a text on one line, without what cannot be printed, such as half a surrogate pair."""
    words = " ".join(text[:_LOOKED_AT].split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words[: MOST_OF_A_TEXT + 1])
    return shown if len(shown) <= MOST_OF_A_TEXT else f"{shown[: MOST_OF_A_TEXT - 1]}\N{HORIZONTAL ELLIPSIS}"


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
        start = excerpt(secrets.blot(item.text[:_LOOKED_AT], _LOOKED_AT))
        error.args = (f"{error}; this is about texts[{index}], '{start}'{more}",)
