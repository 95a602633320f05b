"""Describes the responses of a provider: the paths of vectors, indices and token counts, as ijson prefixes.

Two shapes cover all providers: vectors in a bare list, whose order gives their positions, and vectors inside items,
which may have an `index` before or after the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from asyncembed._repr import ShortRepr

ARRAY_ITEM: Final = "item"
"""ijson's name for the items of an array in a path."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Layout(ShortRepr):
    """The paths of the values in a response, as ijson prefixes.

    Attributes:
        vectors: Paths of a vector; several if the API answers in several shapes.
        item: Path of the object around a vector; None if vectors stand in a bare list.
        index: Path of the position inside an item, if the API sends it.
        tokens: Paths of the billed tokens. The first one above 0 counts.
        added: Path of the tokens of one item, if the API sends them per item. The parser adds them up.
        messages: Paths of an error message, in case the body is an error.
        one_list: Whether only the first list of vectors counts, as others hold the same vectors in another encoding.
        alone: Whether the response may be a vector alone, without the list around it.
        proof: Path of a second, base64 copy of each vector, to compare with the first.
    """

    vectors: frozenset[str]
    item: str | None = None
    index: str | None = None
    tokens: tuple[str, ...] = ()
    added: str | None = None
    messages: tuple[str, ...] = ("error.message", "error", "message", "detail", "base_resp.status_msg")
    one_list: bool = False
    alone: bool = False
    proof: str | None = None


class Place:
    """A node in the tree of a layout's paths."""

    __slots__ = ("children", "is_added", "is_alone", "is_index", "is_item", "is_proof", "is_vector", "prefix")

    def __init__(self, prefix: str, layout: Layout) -> None:
        self.prefix = prefix
        self.children: dict[str, Place] = {}
        self.is_vector = prefix in layout.vectors
        self.is_item = prefix == layout.item
        self.is_index = prefix == layout.index
        self.is_proof = prefix == layout.proof
        self.is_added = prefix == layout.added
        self.is_alone = layout.alone and not prefix


@cache
def places(layout: Layout) -> Place:
    """Return the root of the tree of a layout's paths."""
    root = Place("", layout)
    for path in (
        *layout.vectors,
        layout.item,
        layout.index,
        layout.added,
        layout.proof,
        *layout.tokens,
        *layout.messages,
    ):
        place = root
        for name in path.split(".") if path else ():
            prefix = f"{place.prefix}.{name}" if place.prefix else name
            place = place.children.setdefault(name, Place(prefix, layout))
    return root
