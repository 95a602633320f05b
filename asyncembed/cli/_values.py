"""Values of options that are more than a word or a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from asyncembed import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED: Final = {r"\t": "\t", "tab": "\t"}


def parse_extra(given: Sequence[str]) -> dict[str, object]:
    """Return fields for the request body.

    Args:
        given: `NAME=VALUE` each; a value that is JSON is taken as such, and else as text.

    Raises:
        ConfigurationError: if a name is missing or there twice.
    """
    extra: dict[str, object] = {}
    for field in given:
        name, is_there, value = field.partition("=")
        if not is_there or not name:
            raise ConfigurationError("--extra needs a name and a value: --extra NAME=VALUE")
        if name in extra:
            raise ConfigurationError(f"--extra {name} is given twice")
        try:
            extra[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            extra[name] = value
    return extra


def parse_delimiter(given: str) -> str:
    """Return the character between the fields of CSV.

    Raises:
        ConfigurationError: if it is none, or one that CSV needs for something else.
    """
    delimiter = _NAMED.get(given, given)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigurationError(f"--delimiter {given!r} must be one character, such as ';' or '\\t'")
    return delimiter
