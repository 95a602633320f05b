"""Reads requests: each method of `Fields` takes one field, checks it, and names it in the error if it is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from reprlib import repr  # noqa: A004  # a value may be megabytes long
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from asyncembed.local._model import Tokens

MAX_CHARACTERS: Final = 1_000_000
"""Length of the longest accepted text. Only its first tokens count, but the model has to tokenise all of it."""


class Reply(NamedTuple):
    """The body of a successful response, and the headers that the API adds to it."""

    body: bytes
    headers: Mapping[str, str] = {}


class RequestError(Exception):
    """Raised when the server cannot answer a request; each API turns it into its own form."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a request. A field that is null counts as absent, as in Cohere's API."""

    values: dict[str, object]

    @classmethod
    def parse(cls, body: bytes) -> Self:
        try:
            values = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RequestError(f"the body is not valid JSON: {error}") from error
        if not isinstance(values, dict):
            raise RequestError("the body must be a JSON object")
        return cls({name: value for name, value in values.items() if value is not None})

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def allow(self, names: Collection[str]) -> None:
        for name in self.values:
            if name not in names:
                raise RequestError(f"unknown field {name!r}; known are {', '.join(names)}", param=name)

    def string(self, name: str) -> str:
        value = self._required(name)
        if not isinstance(value, str) or not value:
            raise RequestError(f"{name!r} must be a non-empty string", param=name)
        return value

    def choice(self, name: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Return one of the allowed words; without a default the field is required."""
        value = self._required(name) if default is None else self.values.get(name, default)
        return _one_of(name, value, allowed)

    def choices(self, name: str, allowed: Sequence[str], default: Sequence[str]) -> list[str]:
        """Return the allowed words of a list, each once and in the given order."""
        value = self.values.get(name, list(default))
        if not isinstance(value, list) or not value:
            raise RequestError(f"{name!r} must be a non-empty list of {', '.join(allowed)}", param=name)
        return list(dict.fromkeys(_one_of(name, word, allowed) for word in value))

    def integer(self, name: str, allowed: Sequence[int], default: int) -> int:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            is_range = isinstance(allowed, range)
            choice = f"from {allowed[0]} to {allowed[-1]}" if is_range else f"out of {', '.join(map(str, allowed))}"
            raise RequestError(f"{name!r} must be an integer {choice}, not {repr(value)}", param=name)
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise RequestError(f"{name!r} must be true or false, not {repr(value)}", param=name)
        return value

    def texts(self, name: str, limit: int) -> list[str]:
        return check_texts(self._required(name), name, limit)

    def text_or_texts(self, name: str, limit: int) -> list[str]:
        """Return a list of strings, also where the request gives a single string; refuse token numbers."""
        value = self._required(name)
        if isinstance(value, list) and any(isinstance(item, int | list) for item in value):
            message = f"{name!r} holds token numbers, which belong to another model's tokeniser: send text"
            raise RequestError(message, param=name)
        return check_texts([value] if isinstance(value, str) else value, name, limit)

    def _required(self, name: str) -> object:
        if name not in self.values:
            raise RequestError(f"the field {name!r} is required", param=name)
        return self.values[name]


def check_list(value: object, name: str, limit: int) -> list[object]:
    """Return the value as a list of 1 to `limit` items; errors call it `name`."""
    if not isinstance(value, list) or not value:
        raise RequestError(f"{name!r} must be a non-empty list", param=name)
    if len(value) > limit:
        raise RequestError(f"{name!r} may hold at most {limit} items; received {len(value)}", param=name)
    return value


def check_texts(value: object, name: str, limit: int) -> list[str]:
    """Return the value as a list of 1 to `limit` strings, none of them empty."""
    return [_text(text, f"{name}[{index}]", name) for index, text in enumerate(check_list(value, name, limit))]


def check_fit(tokens: Sequence[Tokens], name: str, limit: int, hint: str = "") -> None:
    """Refuse texts that have more than `limit` tokens."""
    for index, ids in enumerate(tokens):
        if len(ids) > limit:
            raise RequestError(f"{name}[{index}] has {len(ids)} tokens; the limit is {limit}{hint}", param=name)


def _text(value: object, place: str, name: str) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{place} must be a string, not {repr(value)}", param=name)
    if not value:
        raise RequestError(f"{place} is an empty string", param=name)
    if len(value) > MAX_CHARACTERS:
        raise RequestError(f"{place} has {len(value)} characters; the limit is {MAX_CHARACTERS}", param=name)
    return value


def _one_of(name: str, value: object, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise RequestError(f"{name!r} must be one of {', '.join(allowed)}, not {repr(value)}", param=name)
    return value
