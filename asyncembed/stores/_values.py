"""Ids and metadata as databases take them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final
from uuid import UUID

import numpy as np
import orjson

from asyncembed._exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncembed._models import Metadata, TextId

INT64_BITS: Final = 63
OWN_COLUMNS: Final = frozenset({"id", "hash", "embedding", "text"})
"""Columns that no metadata may have the name of."""


def plain_id(value: TextId) -> str | int:
    """Return an id as a text or a whole number; a UUID is spelled as usual.

    Raises:
        ConfigurationError: if a database cannot keep it.
    """
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        if not value.isascii() or "\0" in value:
            _check_text_id(value)
        return value
    number = int(value)  # it may be NumPy's
    if number.bit_length() > INT64_BITS:
        raise ConfigurationError(f"the id {number:#x} has more than 64 bits; give it as a str")
    return number


def _check_text_id(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"the id {value!r} holds half a surrogate pair; a store keeps valid Unicode") from None
    if "\0" in value:
        raise ConfigurationError(f"the id {value!r} holds a NUL character; give another one")


def names_of(metadata: Iterable[Metadata | None]) -> list[str]:
    """Return all names in metadata, in the order in which they come.

    Raises:
        ConfigurationError: if one of them is the name of a column with another meaning.
    """
    names = list(dict.fromkeys(name for row in metadata if row for name in row))
    for name in names:
        if name.lower() in OWN_COLUMNS:
            raise ConfigurationError(f"metadata has the name {name!r}, which the store uses itself; choose another one")
    return names


def first_values(metadata: Sequence[Metadata | None], names: Iterable[str]) -> dict[str, object]:
    """Return the first value of each name that is not None; names without one are left out."""
    found: dict[str, object] = {}
    for name in names:
        for row in metadata:
            if row and (value := row.get(name)) is not None:
                found[name] = value
                break
    return found


def to_json(value: object) -> str:
    """Return a value as JSON."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def scalar(value: object) -> str | int | float | bytes | None:
    """Return a value of metadata as a database without types takes it; lists and mappings as JSON, dates as ISO."""
    if value is None or isinstance(value, str | float | bytes):
        return value
    if isinstance(value, bool | np.bool_ | int | np.integer):
        number = int(value)
        return number if number.bit_length() <= INT64_BITS else str(number)
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else to_json(value)
