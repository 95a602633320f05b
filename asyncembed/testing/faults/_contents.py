"""Answers that are sent well and are wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from asyncembed.testing._vectors import base64_of, value_of, vector_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncembed.testing._answers import Item
    from asyncembed.testing._exchange import Exchange

WrongValue: TypeAlias = Literal[
    "nan", "infinite", "null", "null-inside", "nested", "short", "long", "empty", "string", "object"
]
WrongIndexing: TypeAlias = Literal["doubled", "out-of-range", "negative", "text", "missing"]
WrongEncoding: TypeAlias = Literal["floats", "float64", "padding", "letters"]

_VALUES: Final[Mapping[WrongValue, Callable[[list[float]], object]]] = {
    "nan": lambda numbers: [math.nan, *numbers[1:]],
    "infinite": lambda numbers: [math.inf, *numbers[1:]],
    "null": lambda _: None,
    "null-inside": lambda numbers: [None, *numbers[1:]],
    "nested": lambda numbers: [numbers],
    "short": lambda numbers: numbers[1:],
    "long": lambda numbers: [*numbers, 0.5],
    "empty": lambda _: [],
    "string": lambda _: "no vector",
    "object": lambda numbers: {"values": numbers},
}
_OF_NUMBERS: Final = {"nan", "infinite", "short", "long", "empty"}
"""Wrong values that base64 can express too."""


@dataclass(frozen=True, slots=True)
class WrongVector:
    """One vector is no vector, or another than it should be.

    Attributes:
        what: "nan" and "infinite" numbers, "null" in the vector's place or "null-inside" it, a "nested" list, a "short"
            or "long" one or an "empty" one, a "string" or an "object".
        at: Position of the text; None for any.
    """

    what: WrongValue = "nan"
    at: int | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with a vector spoiled."""
        item = _one(exchange, self.at)
        for kind, right in item.values.items():
            numbers = vector_of(item.text, _dimension(exchange)).tolist() if isinstance(right, str) else right
            wrong = _VALUES[self.what](numbers if isinstance(numbers, list) else [])
            as_base64 = kind == "base64" and self.what in _OF_NUMBERS
            item.values[kind] = base64_of(np.array(wrong, np.float32)) if as_base64 else wrong
        item.is_right = False
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class OtherDimension:
    """All vectors are right, but of another length than those of other requests.

    Attributes:
        dimension: That length.
    """

    dimension: int = 5

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with other vectors."""
        for item in exchange.answer.items:
            item.values = {kind: value_of(item.text, self.dimension, kind) for kind in item.values}
            item.is_right = False
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class WrongCount:
    """The answer has fewer vectors than texts, or more.

    Attributes:
        by: Vectors too many, or below 0 those that are missing at the end.
    """

    by: int = -1

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with vectors left out, or made up."""
        items = exchange.answer.items
        extra = [replace(items[-1], index=len(items) + place, is_right=False) for place in range(self.by)]
        exchange.answer.items = [*items[: len(items) + min(0, self.by)], *extra]
        if exchange.request.layout != "openai":  # without an index nobody knows which is missing
            _spoil(exchange.answer.items)
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class WrongIndex:
    """One `index` is wrong; where the format has none, the answer is right.

    Attributes:
        what: "doubled" is that of another text (nothing is wrong with a single text), "out-of-range" is the first
            behind the last, and there are "negative", a "text" and "missing".
        at: Position of the text; None for any.
    """

    what: WrongIndexing = "doubled"
    at: int | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with an index changed."""
        if exchange.request.layout == "openai":
            items = exchange.answer.items
            item = _one(exchange, self.at)
            place = items.index(item)
            other = items[place - 1]
            wrong: dict[WrongIndexing, object] = {
                "doubled": other.index,
                "out-of-range": len(items),
                "negative": -1,
                "text": "first",
                "missing": None,
            }
            item.index = wrong[self.what]
            _spoil([item, other] if self.what == "doubled" and other is not item else [item])
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class Shuffled:
    """The vectors come in any order, each with its `index`; where the format has none, they come in order."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer rightly, in another order."""
        exchange.style = replace(exchange.style, item_order="shuffled")
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class WrongBase64:
    """Base64 that was asked for comes otherwise; where it was not, the answer is right.

    Attributes:
        what: "floats" are lists of numbers, as of many servers; "float64" are numbers of eight bytes; "padding" lacks
            its end, and "letters" holds what no base64 has.
    """

    what: WrongEncoding = "floats"

    async def __call__(self, exchange: Exchange) -> None:
        """Answer in another encoding."""
        for item in exchange.answer.items:
            for kind in item.values:
                if kind == "base64":
                    item.values[kind] = self._value(item, exchange)
                    item.is_right = self.what in {"floats", "float64"}
        await exchange.deliver()

    def _value(self, item: Item, exchange: Exchange) -> object:
        dimension = _dimension(exchange)
        if self.what == "floats":
            return value_of(item.text, dimension, "float")
        if self.what == "float64":
            return base64_of(vector_of(item.text, dimension), "<f8")
        text = base64_of(vector_of(item.text, dimension))
        return text.rstrip("=")[:-1] if self.what == "padding" else f"!{text[1:]}"


@dataclass(frozen=True, slots=True)
class ErrorInside:
    """An error with status 200.

    Attributes:
        message: What it says.
    """

    message: str = "the model is overloaded"

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with the error."""
        await exchange.refuse(200, self.message)


def _one(exchange: Exchange, at: int | None) -> Item:
    items = exchange.answer.items
    return exchange.random.choice(items) if at is None else items[min(at, len(items) - 1)]


def _spoil(items: list[Item]) -> None:
    for item in items:
        item.is_right = False


def _dimension(exchange: Exchange) -> int:
    return exchange.answer.dimension
