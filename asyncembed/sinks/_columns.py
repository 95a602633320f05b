"""Types of the id and metadata columns of a file, collected while its rows arrive.

So the type of each column is known when the file is written at the end, without reading the rows twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias
from uuid import UUID

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncembed._models import EmbedInput, TextId

ColumnType: TypeAlias = Literal["int", "float", "bool", "text", "json"]
"""Type of a column: int64, float64, booleans, strings, or each value as JSON in a string."""

_FLOAT_BITS: Final = 53

_DIGITS: Final = re.compile(r"0|-?[1-9][0-9]*")
"""Text that looks like an integer."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The kinds of values that the rows have so far.

    Attributes:
        ids: Kinds of the ids: "int" for integers of up to 64 bits, "big" for larger ones, "digits" for text that looks
            like an integer, "text" for other text.
        metadata: Kinds of the values of each metadata name: "bool", "int" for integers that a float holds exactly,
            "long" for others of up to 64 bits, "float", "text", "json".
    """

    ids: frozenset[str] = frozenset()
    metadata: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def id_type(self) -> ColumnType:
        """Type of the id column.

        It is JSON if there are both integers and text that looks like integers, because 1 and "1" are different ids.
        """
        if self.ids and self.ids <= {"int"}:
            return "int"
        return "json" if "digits" in self.ids and self.ids & {"int", "big"} else "text"

    @property
    def types(self) -> dict[str, ColumnType]:
        """Types of the metadata columns, sorted by name."""
        return {name: _type_of(kinds) for name, kinds in sorted(self.metadata.items())}

    def after(self, inputs: Sequence[EmbedInput]) -> Columns:
        """Return these columns together with the kinds of more inputs."""
        ids = {_id_kind(item.id) for item in inputs if item.id is not None}
        metadata: dict[str, set[str]] = {}
        for item in inputs:
            if item.metadata:
                for name, value in item.metadata.items():
                    metadata.setdefault(name, set()).update(_kinds(value))
        seen = self.metadata
        if ids <= self.ids and all(name in seen and kinds <= seen[name] for name, kinds in metadata.items()):
            return self
        more = {name: self.metadata.get(name, frozenset()) | kinds for name, kinds in metadata.items()}
        return Columns(self.ids | ids, {**self.metadata, **more})

    def to_dict(self) -> dict[str, object]:
        """Return this as the fields of a JSON object."""
        return {"ids": sorted(self.ids), "metadata": {name: sorted(kinds) for name, kinds in self.metadata.items()}}

    @classmethod
    def from_dict(cls, given: object) -> Self:
        """Return the columns that `to_dict` encoded. Any other value means text ids, as in files of old versions."""
        match given:
            case {"ids": [*ids], "metadata": {**metadata}}:
                kinds = {str(name): frozenset(_strings(values)) for name, values in metadata.items()}
                return cls(frozenset(_strings(ids)), kinds)
        return cls(frozenset({"text"}))


def _strings(values: object) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def is_int64(number: int) -> bool:
    """Whether an integer fits into 64 bits with a sign."""
    return -(2**63) <= number < 2**63


def _id_kind(value: TextId) -> str:
    if isinstance(value, str):
        return "digits" if _DIGITS.fullmatch(value) else "text"
    if isinstance(value, UUID):
        return "text"
    return "int" if is_int64(int(value)) else "big"


def _kinds(value: object) -> set[str]:
    """Return the kind of a value, in a set that is empty for null."""
    if value is None:
        return set()
    if isinstance(value, bool | np.bool_):
        return {"bool"}
    if isinstance(value, int | np.integer):
        number = int(value)
        return {"int"} if number.bit_length() <= _FLOAT_BITS else {"long"} if is_int64(number) else {"json"}
    if isinstance(value, float | np.floating):
        return {"float"}
    return {"json"} if isinstance(value, dict | list | tuple | np.ndarray) else {"text"}  # includes dates and UUIDs


def _type_of(kinds: frozenset[str]) -> ColumnType:
    if kinds == {"bool"}:
        return "bool"
    if kinds and kinds <= {"int", "long"}:
        return "int"
    if kinds and kinds <= {"int", "float"}:
        return "float"
    return "text" if kinds <= {"text"} else "json"
