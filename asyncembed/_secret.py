"""Texts that are used and not seen: keys, headers that may hold one, addresses with a password.

Whatever shows objects instead of using them asks for their `repr`: tracebacks with local variables, debuggers, error
trackers, `vars`, messages with `!r`. So a key is hidden there, and not only where somebody remembers to. aiohttp takes
such a text for a header as it is, and so does not show it either.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, SupportsIndex, TypeAlias, TypeVar

import yarl

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
