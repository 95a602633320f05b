"""Keys, kept out of everything that is shown: servers repeat them in messages, ids and error bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from asyncembed._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_WORDS: Final = 500
"""Characters that are kept of what a server says."""

MIN_SECRET: Final = 4
"""Shorter keys, such as the "x" of a local server, are no secrets, and blotting them out would garble any message."""


_SCHEMES: Final = frozenset({"Bearer", "Basic", "Token"})  # what is left where the key is empty


class Secrets:
    """Makes a server's words fit to be shown.

    Args:
        values: Keys, alone or behind the name of their scheme ("Bearer ...").
    """

    __slots__ = ("_keys",)

    def __init__(self, values: Iterable[str] = ()) -> None:
        keys = {Secret(value.strip().rpartition(" ")[2]) for value in values} - _SCHEMES
        keys |= {Secret(quote(key, safe="")) for key in keys}  # as addresses show them
        self._keys = sorted((key for key in keys if len(key) >= MIN_SECRET), key=len, reverse=True)

    def blot(self, words: str, limit: int = MAX_WORDS) -> str:
        """Return the first `limit` characters of `words`, with every key in them replaced by ***."""
        for key in self._keys:
            words = words.replace(key, "***")
        return words[:limit]
