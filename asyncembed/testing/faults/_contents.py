"""Complete answers with wrong content."""

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
_BASE64_VALUES: Final = {"nan", "infinite", "short", "long", "empty"}
"""Wrong values that base64 can hold, too."""


@dataclass(frozen=True, slots=True)
class WrongVector:
    """Sends one vector that is wrong or not a vector at all.

    Attributes:
        what: A "nan" or "infinite" number in the vector, "null" in place of the vector or "null-inside" it, a "nested",
            "short", "long" or "empty" list, a "string" or an "object".
        at: Position of the text; None draws one.
    """

    what: WrongValue = "nan"
    at: int | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with one wrong vector."""
        item = _pick_item(exchange, self.at)
        for kind, right in item.values.items():
            numbers = vector_of(item.text, _dimension(exchange)).tolist() if isinstance(right, str) else right
            wrong = _VALUES[self.what](numbers if isinstance(numbers, list) else [])
            as_base64 = kind == "base64" and self.what in _BASE64_VALUES
            item.values[kind] = base64_of(np.array(wrong, np.float32)) if as_base64 else wrong
        item.is_right = False
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class OtherDimension:
    """Sends correct vectors of another length than the request or the server's `dimension` says.

    Attributes:
        dimension: Their length.
    """

    dimension: int = 5

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with vectors of the other length."""
        for item in exchange.answer.items:
            item.values = {kind: value_of(item.text, self.dimension, kind) for kind in item.values}
            item.is_right = False
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class WrongCount:
    """Sends fewer or more vectors than texts.

    Attributes:
        by: Number of extra vectors; if negative, number of vectors missing at the end.
    """

    by: int = -1

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with missing or extra vectors."""
        items = exchange.answer.items
        extra = [replace(items[-1], index=len(items) + place, is_right=False) for place in range(self.by)]
        exchange.answer.items = [*items[: len(items) + min(0, self.by)], *extra]
        if exchange.request.layout != "openai":  # without indices, a client cannot know which vector is missing
            _mark_wrong(exchange.answer.items)
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class WrongIndex:
    """Sends one wrong `index`; formats without an index are answered correctly.

    Attributes:
        what: "doubled" repeats the index of another text (a request with one text is answered correctly),
            "out-of-range" is one above the last; the others are "negative", a "text" and "missing".
        at: Position of the text; None draws one.
    """

    what: WrongIndexing = "doubled"
    at: int | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with one wrong index."""
        if exchange.request.layout == "openai":
            items = exchange.answer.items
            item = _pick_item(exchange, self.at)
            other = items[items.index(item) - 1]
            wrong: dict[WrongIndexing, object] = {
                "doubled": other.index,
                "out-of-range": len(items),
                "negative": -1,
                "text": "first",
                "missing": None,
            }
            item.index = wrong[self.what]
            if self.what != "doubled":
                _mark_wrong([item])
            elif other is not item:
                _mark_wrong([item, other])
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Sends the vectors in random order, each with its `index`; formats without an index keep the order."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer correctly, in random order."""
        exchange.style = replace(exchange.style, item_order="shuffled")
        await exchange.deliver()


@dataclass(frozen=True, slots=True)
class WrongBase64:
    """Answers requests for base64 in another or a broken encoding; other requests are answered correctly.

    Attributes:
        what: "floats" sends lists of numbers, as many servers do; "float64" encodes numbers of eight bytes; "padding"
            cuts off the end, and "letters" has a character that base64 does not allow.
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
    """Answers with an error that has status 200.

    Attributes:
        message: The error message.
    """

    message: str = "the model is overloaded"

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with the error."""
        await exchange.refuse(200, self.message)


def _pick_item(exchange: Exchange, at: int | None) -> Item:
    items = exchange.answer.items
    return exchange.random.choice(items) if at is None else items[min(at, len(items) - 1)]


def _mark_wrong(items: list[Item]) -> None:
    for item in items:
        item.is_right = False


def _dimension(exchange: Exchange) -> int:
    return exchange.answer.dimension
