"""Texts that are used and not seen: keys, headers that may hold one, addresses with a password.

Whatever shows objects instead of using them asks for their `repr`: tracebacks with local variables, debuggers, error
trackers, `vars`, messages with `!r`. So a key is hidden there, and not only where somebody remembers to. aiohttp takes
such a text for a header as it is, and so does not show it either.

Keys, kept out of everything that is shown: servers repeat them in messages, ids and error bodies.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, SupportsIndex, TypeAlias, TypeVar
from urllib.parse import quote

import yarl

if TYPE_CHECKING:
    from collections.abc import Iterable


T = TypeVar("T")

KeyFunction: TypeAlias = Callable[[], str | Awaitable[str]]
"""Gives a key whenever it is called; it may be a coroutine function."""


class Secret(str):
    """A text whose `repr` does not show it, and that no pickle holds; for everything else it is the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        return Secret(super().__getitem__(key))  # long texts are shown by their beginning

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError("a key cannot be pickled or copied; give it again where it is needed")


class Address(Secret):
    """An address whose `repr` shows it without what may be a secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        try:
            return repr(without_secrets(self))
        except ValueError:  # it is no address
            return super().__repr__()


def hide(value: T) -> T | Secret:
    """Return a text as a secret, and anything else, such as None or a mistake, as it is."""
    return Secret(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class NoKey:
    """Stands for something that was given as a key or as headers and is neither: it may hold a key all the same.

    Attributes:
        kind: Name of its type.
    """

    kind: str


def hide_key(given: object) -> Secret | KeyFunction | NoKey | None:
    """Return a key, or a function that gives one, so that it does not show."""
    if given is None or isinstance(given, str):
        return None if given is None else Secret(given)
    if not callable(given):
        return NoKey(type(given).__name__)

    def ask() -> str | Awaitable[str]:
        answer: str | Awaitable[str] = given()
        return answer

    return ask  # the `repr` of a method or a partial function shows what it belongs to


_NAMES: Final = (
    r"(?i)(?:^|[-_.])(?:[a-z0-9]*(?:key|token|secret|password|passwd|signature|credentials?|cookie)|x?auth|oauth2?|"
    r"auth(?:orization|entication)|jwt|bearer|session(?:id)?)[0-9]*(?:$|[-_.])"
)
_PLAIN_VALUES: Final = frozenset({"true", "false", "yes", "no", "none", "null", "on", "off", "bearer", "basic"})


def names_secret(header: str) -> bool:
    """Whether a header of this name holds a key, or something that is made of one."""
    return re.search(_NAMES, header) is not None


def holds_secret(header: str, value: str) -> bool:
    """Whether a header holds a key, by its name or by what stands in it; flags and other plain words are none."""
    has_scheme = re.match(r"(?i)(?:bearer|basic|token)\s+\S", value) is not None
    return (names_secret(header) and value.lower() not in _PLAIN_VALUES) or has_scheme


def is_sendable(text: str) -> bool:
    """Whether a header can carry a text as it is."""
    return text.isascii() and text.isprintable() and text == text.strip()


def hide_address(url: T) -> T | Address:
    """Return an address as one that hides what may be secret in it, and anything else as it is."""
    return Address(url) if isinstance(url, str) else url


def hide_headers(given: Mapping[str, str] | None) -> Mapping[str, str] | NoKey:
    """Return headers whose values are secrets, and what is no mapping so that it does not show."""
    return hide_values(given) if given is None or isinstance(given, Mapping) else NoKey(type(given).__name__)


def hide_values(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return headers whose values are secrets."""
    return {name: hide(value) for name, value in (headers or {}).items()}


def without_secrets(url: str, *, encoded: bool = False) -> str:
    """Return an address without what may be a secret: user, password, query and fragment.

    Args:
        url: The address.
        encoded: Whether it is escaped as it is sent, which is kept then.
    """
    return str(yarl.URL(str(url), encoded=encoded).with_user(None).with_query(None).with_fragment(None))


MAX_WORDS: Final = 500
"""Characters that are kept of what a server says."""

MIN_SECRET: Final = 4
"""Shorter keys, such as the "x" of a local server, are no secrets, and blotting them out would garble any message."""


MAX_RECENT: Final = 256
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
        self._recent: deque[Secret] = deque(maxlen=MAX_RECENT)
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

    def redact(self, words: str, limit: int = MAX_WORDS) -> str:
        """Return the first `limit` characters of `words`, with every key in them replaced by ***."""
        for key in self._keys:
            words = words.replace(key, "***")
        return words[:limit]


def _forms(value: str) -> set[Secret]:
    """Return a key as it is and as addresses show it; nothing for what is no secret."""
    key = value.strip().rpartition(" ")[2]
    forms = {Secret(key), Secret(quote(key, safe="", errors="replace"))} if key not in _SCHEMES else set()
    return {form for form in forms if len(form) >= MIN_SECRET}
