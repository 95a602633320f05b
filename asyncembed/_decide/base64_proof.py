"""Proves that the base64 of an API holds the same numbers as its JSON. No I/O.

Some services document base64, but no recording shows what they send: the type or byte order may differ. These services
can send several types in one response. So the second request asks for numbers and base64. The numbers become the
results, and the client compares the base64 with them, bit by bit. If all bits match, later requests ask for base64
alone; if any differ, they keep asking for numbers. A process does this once per address, model and dimension.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import numpy as np
import pybase64

from asyncembed._parser.splitter import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from asyncembed._parser.vectors import RawRow, Value


RowT = TypeVar("RowT", bound="RawRow")

MAX_TRIES: Final = 3
"""Inconclusive responses after which the client stays with numbers."""


@dataclass(slots=True, eq=False)
class Proof:
    """State of the proof for one address, model and dimension.

    Attributes:
        encoding: Encoding of all further requests; None until it is decided.
        why: Reason for the decision.
        dimension: Dimension of the compared vectors.
    """

    encoding: Literal["base64", "float"] | None = None
    why: str = ""
    dimension: int | None = None
    _requests: int = 0
    _tries: int = 0
    _is_running: bool = False

    def begin(self) -> bool:
        """Count a request and return whether it shall ask for both encodings. If so, call `end` afterwards."""
        self._requests += 1
        if self.encoding or self._is_running or self._requests == 1:
            return False
        self._is_running = True
        return True

    def end(self) -> None:
        """Note that the request for both encodings has ended, with any outcome."""
        self._is_running = False

    def settle(self, found: Comparison) -> bool:
        """Apply the comparison of a complete response and return whether it decides the encoding."""
        if found.is_same:
            self.encoding, self.why, self.dimension = "base64", "identical to the numbers", found.dimension
        elif found.difference:
            self.refuse(found.difference)
        else:
            return self.try_failed("the response holds no base64")
        return True

    def try_failed(self, why: str) -> bool:
        """Count an inconclusive request and return whether it was the last try."""
        self._tries += 1
        if self._tries >= MAX_TRIES:
            self.refuse(why)
        return self.encoding is not None

    def refuse(self, why: str) -> None:
        """Decide for numbers."""
        self.encoding, self.why = "float", why


@dataclass(slots=True, eq=False)
class Comparison:
    """Compares the numbers and the base64 of one response. Keeps only a digest per vector.

    Attributes:
        dimension: Dimension of the vectors.
    """

    dimension: int | None = None
    _numbers: list[bytes] = field(default_factory=list)
    _base64: list[bytes] = field(default_factory=list)
    _has_content: bool = False

    def recording(self, decode: Callable[[Value], RowT]) -> Callable[[Value], RowT]:
        """Return a function that decodes a vector and records its numbers."""

        def record(value: Value) -> RowT:
            row = decode(value)
            numbers = np.frombuffer(row, "<f4") if isinstance(row, bytearray) else np.asarray(row).astype("<f4")
            self._numbers.append(_digest(numbers.tobytes()))
            self._has_content |= bool(numbers.any())
            self.dimension = len(numbers)
            return row

        return record

    def add_base64(self, values: Sequence[Value]) -> None:
        """Record base64 strings as they appear in the response."""
        self._base64 += map(_digest_of_base64, values)

    @property
    def is_same(self) -> bool:
        """Whether base64 and numbers are identical, and not all of them are 0."""
        return self._has_content and self._numbers == self._base64

    @property
    def difference(self) -> str:
        """The first difference; empty if there is none or the response proves nothing."""
        if not self._base64 or not self._numbers or not self._has_content:
            return ""
        if len(self._base64) != len(self._numbers):
            return f"{len(self._base64)} vectors as base64 but {len(self._numbers)} as numbers"
        pairs = zip(self._numbers, self._base64, strict=True)
        position = next((position for position, (one, other) in enumerate(pairs) if one != other), None)
        return "" if position is None else f"the base64 of vector {position} differs from its numbers"


_PROOFS: Final[dict[Hashable, Proof]] = {}


def proof_of(key: Hashable) -> Proof:
    """Return this process's proof for an address, a model and a dimension."""
    return _PROOFS.setdefault(key, Proof())


def _digest(data: bytes | bytearray) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _digest_of_base64(value: Value) -> bytes:
    """Return the digest of the decoded bytes; for invalid base64, a value that no digest equals."""
    if value is None:
        return b""
    text = value if isinstance(value, str) else text_of(value)  # JSON may escape a slash
    try:
        return _digest(pybase64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return b""
