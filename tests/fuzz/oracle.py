"""The expected content of a response, found in another way: `json.loads`, and a walk through the whole document.

Repeated names count in the order of the document, as a stream must read them; inside an item, the last one wins.
"""

from __future__ import annotations

import binascii
import functools
import json
import math
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed import Dtype, Layout

SIGNS: Final = {"int8": "b", "uint8": "B", "binary": "b", "ubinary": "B"}


class Fields(list[tuple[str, object]]):
    """An object with all of its names, including repeated ones."""


class Constant:
    """`NaN` or `Infinity`, which are not JSON."""

    def __init__(self, _: str) -> None:
        pass


DECODER: Final = json.JSONDecoder(object_pairs_hook=Fields, parse_constant=Constant)
"""What `json.loads` would make anew for each document."""


def parsed(text: str) -> object:
    """Return the parsed document.

    Raises:
        ValueError: if Python does not accept it as JSON.
    """
    return DECODER.decode(text)


class Walk:
    """All values of a document that a layout names, in the order of the document.

    Attributes:
        document: The whole document.
        items: Index and vector of each item; the index is None if the item has none.
        vectors: Position and vector of each item.
        by_order: Whether positions follow only from the order.
        contradicts: Whether an index contradicts the order of earlier items without an index.
        tokens: Billed tokens.
    """

    def __init__(self, document: object, layout: Layout) -> None:
        self._layout = layout
        self.document = document
        self._found: dict[str, object] = {}
        self.items: list[tuple[object, object]] = []
        self.by_order = self.contradicts = False
        self._visit(document, "")
        self.vectors = list(self._in_order())

    @property
    def tokens(self) -> int | None:
        values = (self._found.get(path) for path in self._layout.tokens)
        counts = [int(value) for value in values if type(value) in {int, float}]
        return next((count for count in counts if count > 0), counts[0] if counts else None)

    def _in_order(self) -> Iterator[tuple[object, object]]:
        """Yield positions and vectors until a contradiction; an item without index among others has no position."""
        has_indices = False
        for place, (index, value) in enumerate(self.items):
            has_indices = has_indices or index is not None
            self.by_order = self.by_order or not has_indices
            if self.by_order and type(index) is int and index != place:
                self.contradicts = True
                return
            yield index if has_indices else place, value

    def _visit(self, value: object, path: str) -> None:
        layout = self._layout
        if path == layout.item:
            self.items.append(_of_item(value))
        elif path in layout.vectors:
            self.items.append((None, value))
        elif isinstance(value, Fields):
            for name, field in value:
                if name and "." not in name:
                    self._visit(field, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            self._visit_list(value, f"{path}.item" if path else "item")
        elif path in layout.tokens:
            self._found[path] = value

    def _visit_list(self, values: list[object], path: str) -> None:
        if _is_vector_like(values) or (self._layout.one_list and self.items and path in self._layout.vectors):
            return
        for value in values:
            self._visit(value, path)


def _of_item(value: object) -> tuple[object, object]:
    if not isinstance(value, Fields):
        return None, None
    fields = dict(value)
    return fields.get("index"), fields.get("embedding")


def _is_vector_like(values: list[object]) -> bool:
    """Return whether a list starts with a number and holds no string and no list, so it can only be one vector."""
    return bool(values) and _begins_as_number(values[0]) and not any(map(_holds_more, values))


def _holds_more(value: object) -> bool:
    return isinstance(value, str | list) and not (isinstance(value, Fields) and not value)


def _begins_as_number(value: object) -> bool:
    return _is_number(value) or isinstance(value, Constant)


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is float


def readings(value: object, dtype: Dtype, dimension: int | None) -> tuple[list[bytes], bool]:
    """Return the bytes that the vector of `value` may have, and whether it must have one of them.

    Base64 that is not float32 of the known dimension may be refused, or read as numbers of another size.
    """
    if isinstance(value, str):
        return _from_base64(value, dtype, dimension)
    if not isinstance(value, list) or isinstance(value, Fields) or not value or not all(map(_is_number, value)):
        return [], False
    data, size = _packed(value, dtype), len(value) * (8 if dtype in {"binary", "ubinary"} else 1)
    right = bool(data) and dimension in {None, size}
    return ([data] if right else []), right


def _packed(numbers: list[float], dtype: Dtype) -> bytes:
    """Return the bytes of the numbers; empty if one does not fit."""
    try:
        if dtype == "float32":
            return struct.pack(f"<{len(numbers)}f", *numbers) if all(map(math.isfinite, numbers)) else b""
        whole = list(map(int, numbers))
        return struct.pack(f"{len(numbers)}{SIGNS[dtype]}", *whole) if whole == numbers else b""
    except (OverflowError, struct.error):
        return b""


@functools.lru_cache(2_048)
def _from_base64(text: str, dtype: Dtype, dimension: int | None) -> tuple[list[bytes], bool]:
    if len(text) % 4:  # Python accepts one padding character too many
        return [], False
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        return [], False
    if dtype != "float32":
        size = len(data) * (8 if dtype in {"binary", "ubinary"} else 1)
        right = bool(data) and dimension in {None, size}
        return ([data] if right else []), right
    if dimension is not None and len(data) == 4 * dimension:
        right = all(map(math.isfinite, struct.unpack(f"<{dimension}f", data)))
        return ([data] if right else []), right
    found = [vector for vector in _floats(data) if len(vector) and dimension in {None, len(vector)}]
    return [vector.tobytes() for vector in found if np.isfinite(vector).all()], False


def _floats(data: bytes) -> Iterator[np.ndarray]:
    for size in (4, 8, 2):
        if len(data) % size == 0:
            with np.errstate(over="ignore", invalid="ignore"):
                yield np.frombuffer(data, f"<f{size}").astype(np.float32)
    if len(data) % 2 == 0:
        yield (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
