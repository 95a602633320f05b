"""Hides secrets: keys, headers with a key, and addresses with a password.

`Secret` is a str whose `repr` does not show it. Tracebacks with local variables, debuggers, error trackers, `vars` and
messages with `!r` all use `repr`, so a key is hidden in all of them. aiohttp accepts a `Secret` as the value of a
header and does not show it either.

`Secrets` redacts keys in messages, ids and error bodies of servers, which may repeat them.
"""

from __future__ import annotations

import re
import string
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, SupportsIndex, TypeAlias, TypeVar
from urllib.parse import quote, urljoin

import yarl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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
    if isinstance(given, NoKey):
        return given
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


def without_secrets(url: str, *, encoded: bool = False, base: str = "") -> str:
    """Return an address without user, password, query and fragment.

    Args:
        url: The address.
        encoded: Whether it is already percent-encoded, so that its escapes are kept.
        base: Address to which it may be relative.
    """
    return str(yarl.URL(urljoin(base, str(url)), encoded=encoded).with_user(None).with_query(None).with_fragment(None))


MAX_WORDS: Final = 500
"""Maximum number of characters of a server's message."""

MIN_SECRET: Final = 4
"""Minimum length of a secret: redacting shorter keys, such as the "x" of a local server, would garble messages."""


MAX_RECENT: Final = 256
"""Maximum number of remembered keys and signatures from later requests; a server may still repeat recent ones."""

_MIN_ANY_CASE: Final = 16
"""Minimum length of a key that is also hidden in other letter cases, or if the end of a message cuts it."""

_MIN_START: Final = 8
"""Characters of such a key at which the end of a message may cut it."""

_SCHEMES: Final = frozenset({"Bearer", "Basic", "Token"})  # the value of a header whose key is empty
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # keeps the length, unlike `str.lower`

_MAX_LAYERS: Final = 3
"""How often a message is decoded: JSON inside JSON, which quotes an HTML page or an address."""

_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_MAX_BEYOND: Final = 16_000
"""Characters beyond the shown ones that are searched, as *** is shorter than what it replaces."""

_ESCAPE: Final = (
    r"(?i)%([0-9a-f]{2})|&#x0{0,4}([0-9a-f]{1,4});|&#0{0,4}([0-9]{1,5});|&(amp|lt|gt|quot|apos);"
    r"|\\u([0-9a-f]{4})|\\([\\/\"'])"
)


class Secrets:
    """Redacts keys in messages of servers, also if they are escaped for an address, for HTML or for JSON.

    Args:
        values: Keys, alone or after the name of their scheme ("Bearer ...").
    """

    __slots__ = ("_fixed", "_keys", "_recent")

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._fixed = frozenset(key for value in values for key in _forms(value))
        self._recent: deque[Secret] = deque(maxlen=MAX_RECENT)
        self._keys = self._fixed

    def keep(self, value: str) -> None:
        """Redact one more key, as long as this object lives."""
        self._fixed |= _forms(value)
        self._keys = self._fixed.union(self._recent)

    def add(self, value: str) -> None:
        """Redact one more key, alone or after the name of its scheme, until `MAX_RECENT` newer ones were added."""
        if value.rpartition(" ")[2] in self._keys:  # nearly always
            return
        if new := _forms(value) - self._keys:
            self._recent.extend(new)
            self._keys = self._fixed.union(self._recent)

    def redact(self, words: str, limit: int = MAX_WORDS) -> str:
        """Replace every key in `words` by ***, and return the first `limit` characters."""
        words = words[: limit + _MAX_BEYOND]
        shown, end = "", 0
        for start, stop in sorted(self._spans(words)):
            if start >= end:
                shown += f"{words[end:start]}***"
            end = max(end, stop)  # of overlapping keys, nothing remains visible
        return f"{shown}{words[end:]}"[:limit]

    def _spans(self, words: str) -> Iterator[tuple[int, int]]:
        """Yield where in `words` keys start and stop, whatever way they are escaped."""
        text, places = words, [*range(len(words) + 1)]
        for _ in range(_MAX_LAYERS):
            for start, stop in self._spans_in(text):
                yield places[start], places[stop]
            if not re.search(_ESCAPE, text):
                break
            text, places = _decoded(text, places)

    def _spans_in(self, text: str) -> Iterator[tuple[int, int]]:
        lowered = text.translate(_LOWER)
        for key in self._keys:
            size = len(key)
            is_long = size >= _MIN_ANY_CASE
            sought, searched = (Secret(key.translate(_LOWER)), lowered) if is_long else (key, text)
            start = searched.find(sought)
            while start >= 0:
                yield start, start + size
                start = searched.find(sought, start + 1)
            if is_long:
                start = searched.rfind(sought[:_MIN_START], max(0, len(text) - size + 1))
                if start >= 0 and sought.startswith(searched[start:]):
                    yield start, len(text)


def _forms(value: str) -> set[Secret]:
    """Return a key, and its UTF-8 percent-encoded; nothing if it is too short or the name of a scheme."""
    key = value.strip().rpartition(" ")[2]
    if len(key) < MIN_SECRET or key in _SCHEMES:
        return set()
    return {Secret(key)} if key.isascii() else {Secret(key), Secret(quote(key, safe="", errors="replace"))}


def _decoded(text: str, places: list[int]) -> tuple[str, list[int]]:
    """Return a text without one layer of escapes, and the place of each character in the original.

    Args:
        text: A text with escapes.
        places: Where each character of `text` starts in the original, and where the last one stops.
    """
    pieces, starts, end = list[str](), list[int](), 0
    for found in re.finditer(_ESCAPE, text):
        pieces += text[end : found.start()], _character(found)
        starts += places[end : found.start() + 1]
        end = found.end()
    return "".join((*pieces, text[end:])), starts + places[end:]


def _character(escape: re.Match[str]) -> str:
    percent, hexadecimal, decimal, name, code, plain = escape.groups()
    if digits := percent or hexadecimal or code:
        return chr(int(digits, 16))
    return chr(int(decimal)) if decimal else _NAMED[name.lower()] if name else plain
