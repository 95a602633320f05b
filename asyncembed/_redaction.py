"""Hides secrets: keys, headers with a key, and addresses with a password.

`Secret` is a str whose `repr` does not show it. Tracebacks with local variables, debuggers, error trackers, `vars` and
messages with `!r` all use `repr`, so a key is hidden in all of them. aiohttp accepts a `Secret` as the value of a
header and does not show it either.

`Secrets` redacts keys in messages, ids and error bodies of servers, which may repeat them.
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
"""Returns the current key; it may be a coroutine function."""


class Secret(str):
    """A str whose `repr` does not show it, and that cannot be pickled; otherwise it behaves like a str."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        return Secret(super().__getitem__(key))  # debuggers and loggers slice a long str before they show it

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError("a key cannot be pickled or copied; pass it again where you need it")


class Address(Secret):
    """An address whose `repr` shows it without secrets."""

    __slots__ = ()

    def __repr__(self) -> str:
        try:
            return repr(without_secrets(self))
        except ValueError:  # not a valid address
            return super().__repr__()


def hide(value: T) -> T | Secret:
    """Return a str as a `Secret`, and any other value, such as None or a mistake of the caller, unchanged."""
    return Secret(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class NoKey:
    """Stands for an argument of a wrong type in the place of a key or of headers, as its value may contain a key.

    Attributes:
        kind: Name of its type.
    """

    kind: str


def hide_key(given: object) -> Secret | KeyFunction | NoKey | None:
    """Return a key, or a function that returns one, in a form whose `repr` shows no secret."""
    if given is None or isinstance(given, str):
        return None if given is None else Secret(given)
    if not callable(given):
        return NoKey(type(given).__name__)

    def get_key() -> str | Awaitable[str]:
        key: str | Awaitable[str] = given()
        return key

    return get_key  # the `repr` of a method or a partial function shows its object or its arguments


_NAMES: Final = (
    r"(?i)(?:^|[-_.])(?:[a-z0-9]*(?:key|token|secret|password|passwd|signature|credentials?|cookie)|x?auth|oauth2?|"
    r"auth(?:orization|entication)|jwt|bearer|session(?:id)?)[0-9]*(?:$|[-_.])"
)
_PLAIN_VALUES: Final = frozenset({"true", "false", "yes", "no", "none", "null", "on", "off", "bearer", "basic"})


def names_secret(header: str) -> bool:
    """Return whether a header of this name holds a key or something derived from one."""
    return re.search(_NAMES, header) is not None


def holds_secret(header: str, value: str) -> bool:
    """Return whether a header holds a key, by its name or its value; flags and other plain words are no keys."""
    has_scheme = re.match(r"(?i)(?:bearer|basic|token)\s+\S", value) is not None
    return (names_secret(header) and value.lower() not in _PLAIN_VALUES) or has_scheme


def is_sendable(text: str) -> bool:
    """Return whether a text can be the value of a header."""
    return text.isascii() and text.isprintable() and text == text.strip()


def hide_address(url: T) -> T | Address:
    """Return a str as an `Address`, and any other value unchanged."""
    return Address(url) if isinstance(url, str) else url


def hide_headers(given: Mapping[str, str] | None) -> Mapping[str, str] | NoKey:
    """Return headers with hidden values, or a `NoKey` if the argument is not a mapping."""
    return hide_values(given) if given is None or isinstance(given, Mapping) else NoKey(type(given).__name__)


def hide_values(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return headers with hidden values."""
    return {name: hide(value) for name, value in (headers or {}).items()}


def without_secrets(url: str, *, encoded: bool = False) -> str:
    """Return an address without user, password, query and fragment.

    Args:
        url: The address.
        encoded: Whether it is already percent-encoded, so that its escapes are kept.
    """
    return str(yarl.URL(str(url), encoded=encoded).with_user(None).with_query(None).with_fragment(None))


MAX_WORDS: Final = 500
"""Maximum number of characters of a server's message."""

MIN_SECRET: Final = 4
"""Minimum length of a secret: redacting shorter keys, such as the "x" of a local server, would garble messages."""


MAX_RECENT: Final = 256
"""Maximum number of remembered keys and signatures from later requests; a server may still repeat recent ones."""

_SCHEMES: Final = frozenset({"Bearer", "Basic", "Token"})  # the value of a header whose key is empty


class Secrets:
    """Redacts keys in messages of servers.

    Args:
        values: Keys, alone or after the name of their scheme ("Bearer ...").
    """

    __slots__ = ("_fixed", "_keys", "_known", "_recent")

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._fixed = frozenset(key for value in values for key in _forms(value))
        self._recent: deque[Secret] = deque(maxlen=MAX_RECENT)
        self._sort()

    def keep(self, value: str) -> None:
        """Redact one more key, as long as this object lives."""
        self._fixed |= _forms(value)
        self._sort()

    def add(self, value: str) -> None:
        """Redact one more key, alone or after the name of its scheme, until `MAX_RECENT` newer ones were added."""
        if value.rpartition(" ")[2] in self._known:  # nearly always
            return
        if new := _forms(value) - self._known:
            self._recent.extend(new)
            self._sort()

    def _sort(self) -> None:
        self._known = self._fixed.union(self._recent)
        # The longest first: if a key contains a shorter one, the rest of it would remain visible otherwise.
        self._keys = sorted(self._known, key=len, reverse=True)

    def redact(self, words: str, limit: int = MAX_WORDS) -> str:
        """Replace every key in `words` by ***, and return the first `limit` characters."""
        for key in self._keys:
            words = words.replace(key, "***")
        return words[:limit]


def _forms(value: str) -> set[Secret]:
    """Return a key unchanged and percent-encoded; nothing if it is too short or the name of a scheme."""
    key = value.strip().rpartition(" ")[2]
    forms = {Secret(key), Secret(quote(key, safe="", errors="replace"))} if key not in _SCHEMES else set()
    return {form for form in forms if len(form) >= MIN_SECRET}
