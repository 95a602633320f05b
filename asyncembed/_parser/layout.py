"""Where things lie in a provider's responses, as ijson prefixes.

Two shapes cover all providers: vectors in a bare list (position is their place in it), and vectors inside items that
may carry an `index` before or after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from asyncembed._repr import ShortRepr

ARRAY_ITEM: Final = "item"
"""ijson's word for any item of an array in a path."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Layout(ShortRepr):
    """Where things lie in a response, as ijson prefixes.

    Attributes:
        vectors: Where one vector lies; several where one API answers in several shapes.
        item: The object around one vector, None where vectors stand in a bare list.
        index: The position inside the item, where the API sends one.
        tokens: Billed tokens; the first of these that is present counts.
        added: Tokens of one item, where the API tells them for each; they are added up.
        messages: Error messages, in case the body is an error after all.
        one_list: Whether only the first list of vectors counts; others would hold the same in another encoding.
        proof: Where base64 of the vectors lies besides, to be compared with them.
    """

    vectors: frozenset[str]
    item: str | None = None
    index: str | None = None
    tokens: tuple[str, ...] = ()
    added: str | None = None
    messages: tuple[str, ...] = ("error.message", "error", "message", "detail", "base_resp.status_msg")
    one_list: bool = False
    proof: str | None = None


class Place:
    """A place that a layout names, or that leads to one: a node of the tree of its paths."""

    __slots__ = ("children", "is_added", "is_index", "is_item", "is_proof", "is_vector", "prefix")

    def __init__(self, prefix: str, layout: Layout) -> None:
        self.prefix = prefix
        self.children: dict[str, Place] = {}
        self.is_vector = prefix in layout.vectors
        self.is_item = prefix == layout.item
        self.is_index = prefix == layout.index
        self.is_proof = prefix == layout.proof
        self.is_added = prefix == layout.added


@cache
def places(layout: Layout) -> Place:
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
