"""Keys, kept out of everything that is shown: servers repeat them in messages, ids and error bodies."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from asyncembed._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_WORDS: Final = 500
"""Characters that are kept of what a server says."""

MIN_SECRET: Final = 4
"""Shorter keys, such as the "x" of a local server, are no secrets, and blotting them out would garble any message."""


MOST_RECENT: Final = 256
"""Keys and signatures that came later and are remembered; those that a server may still repeat are among them."""

_SCHEMES: Final = frozenset({"Bearer", "Basic", "Token"})  # what is left where the key is empty


class Secrets:
    """Makes a server's words fit to be shown.

    Args:
        values: Keys, alone or behind the name of their scheme ("Bearer ...").
    """

    __slots__ = ("_fixed", "_keys", "_known", "_recent")

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._fixed = frozenset(key for value in values for key in _forms(value))
        self._recent: deque[Secret] = deque(maxlen=MOST_RECENT)
        self._sort()

    def keep(self, value: str) -> None:
        """Blot out one more key, for as long as this object lives."""
        self._fixed |= _forms(value)
        self._sort()

    def add(self, value: str) -> None:
        """Blot out one more key from now on, alone or behind the name of its scheme; of such, the latest are kept."""
        if value.rpartition(" ")[2] in self._known:
            return  # as with nearly every request
        if new := _forms(value) - self._known:
            self._recent.extend(new)
            self._sort()

    def _sort(self) -> None:
        self._known = self._fixed.union(self._recent)
        # Longer ones first, or the rest of one would be shown that a shorter one is a part of.
        self._keys = sorted(self._known, key=len, reverse=True)

    def blot(self, words: str, limit: int = MAX_WORDS) -> str:
        """Return the first `limit` characters of `words`, with every key in them replaced by ***."""
        for key in self._keys:
            words = words.replace(key, "***")
        return words[:limit]


def _forms(value: str) -> set[Secret]:
    """Return a key as it is and as addresses show it; nothing for what is no secret."""
    key = value.strip().rpartition(" ")[2]
    forms = {Secret(key), Secret(quote(key, safe="", errors="replace"))} if key not in _SCHEMES else set()
    return {form for form in forms if len(form) >= MIN_SECRET}
