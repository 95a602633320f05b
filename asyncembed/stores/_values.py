"""Ids and metadata as databases take them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final
from uuid import UUID

import numpy as np
import orjson

from asyncembed._exceptions import ConfigurationError
from asyncembed.sinks._columns import is_int64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from asyncembed._models import Metadata, TextId

OWN_COLUMNS: Final = frozenset({"id", "hash", "embedding", "text"})
"""Columns of the store itself, whose names metadata must not have."""


def plain_id(value: TextId) -> str | int:
    """Return an id as a string or an integer; a UUID becomes its usual string.

    Raises:
        ConfigurationError: if databases cannot keep it.
    """
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        if not value.isascii() or "\0" in value:
            _check_text_id(value)
        return value
    number = int(value)  # NumPy's integers, too
    if not is_int64(number):
        raise ConfigurationError(f"the id {number:#x} has more than 64 bits; pass it as a str")
    return number


def _check_text_id(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"the id {value!r} holds half a surrogate pair, which is not valid Unicode") from None
    if "\0" in value:
        raise ConfigurationError(f"the id {value!r} holds a NUL character, which databases do not keep")


def names_of(metadata: Iterable[Metadata | None], check_name: Callable[[str], None] | None = None) -> list[str]:
    """Return all names in metadata, in order of their first use.

    Raises:
        ConfigurationError: if one of them is a column of the store itself, empty, or has a NUL character; or what
            `check_name` raises for it.
    """
    names = list(dict.fromkeys(name for row in metadata if row for name in row))
    for name in names:
        if not name or "\0" in name:
            raise ConfigurationError(f"metadata has the name {name!r}, which no database can give a column")
        if name.lower() in OWN_COLUMNS:
            raise ConfigurationError(f"metadata has the name {name!r}, which the store uses itself; choose another one")
        if check_name:
            check_name(name)
    return names


def first_values(metadata: Sequence[Metadata | None], names: Iterable[str]) -> dict[str, object]:
    """Return the first value of each name that is not None, and leave out names without one."""
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
    """Return a value of metadata for a database without such types: lists and mappings as JSON, dates in ISO form."""
    if value is None or isinstance(value, str | float | bytes):
        return value
    if isinstance(value, bool | np.bool_ | int | np.integer):
        number = int(value)
        return number if is_int64(number) else str(number)
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else to_json(value)
