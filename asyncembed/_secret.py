"""Texts that are used and not seen: keys, headers that may hold one, addresses with a password.

Whatever shows objects instead of using them asks for their `repr`: tracebacks with local variables, debuggers, error
trackers, `vars`, messages with `!r`. So a key is hidden there, and not only where somebody remembers to. aiohttp takes
such a text for a header as it is, and so does not show it either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, SupportsIndex, TypeVar

import yarl

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


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


def hide_address(url: T) -> T | Address:
    """Return an address as one that hides what may be secret in it, and anything else as it is."""
    return Address(url) if isinstance(url, str) else url


def hide_values(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return headers whose values are secrets."""
    return {name: hide(value) for name, value in (headers or {}).items()}


def without_secrets(url: str) -> str:
    """Return an address without what may be a secret: user, password, query and fragment."""
    return str(yarl.URL(str(url)).with_user(None).with_query(None).with_fragment(None))
