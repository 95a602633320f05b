"""Whether base64 of an API holds the very numbers that the same response has as text. Without I/O.

Some services promise base64, and what they put into it was never recorded: it may be of another type or byte order. But
they send several types in one response. So the second request asks for numbers and base64. The numbers are the results,
and the base64 is compared with them, bit by bit. If all is the same, base64 alone is asked for from then on, and
numbers for good if anything differs. A process finds it out once for each address, model and dimension.
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
"""Responses without an answer to the question, after which it is not asked any more."""


@dataclass(slots=True, eq=False)
class Proof:
    """What is known of the base64 of one address, model and dimension.

    Attributes:
        encoding: What is asked for from now on, None while that is not settled.
        why: What decided it.
        dimension: Length of the vectors that were compared.
    """

    encoding: Literal["base64", "float"] | None = None
    why: str = ""
    dimension: int | None = None
    _requests: int = 0
    _tries: int = 0
    _is_asked: bool = False

    def begin(self) -> bool:
        """Note a request, and return whether it is to ask for both; then `end` follows."""
        self._requests += 1
        if self.encoding or self._is_asked or self._requests == 1:
            return False
        self._is_asked = True
        return True

    def end(self) -> None:
        """Note that the request that asked for both has ended, whatever came of it."""
        self._is_asked = False

    def settle(self, found: Comparison) -> bool:
        """Take over what a whole response has shown, and return whether that settles it."""
        if found.is_same:
            self.encoding, self.why, self.dimension = "base64", "the same bits as in the numbers", found.dimension
        elif found.difference:
            self.refuse(found.difference)
        else:
            return self.try_failed("no base64 came beside the numbers")
        return True

    def try_failed(self, why: str) -> bool:
        """Note that a request which asked for both shows nothing; whether that was the last of them."""
        self._tries += 1
        if self._tries >= MAX_TRIES:
            self.refuse(why)
        return self.encoding is not None

    def refuse(self, why: str) -> None:
        """Stay with numbers."""
        self.encoding, self.why = "float", why


@dataclass(slots=True, eq=False)
class Comparison:
    """The vectors of one response, as numbers and as base64; of each no more is kept than a digest.

    Attributes:
        dimension: Length of the vectors.
    """

    dimension: int | None = None
    _numbers: list[bytes] = field(default_factory=list)
    _base64: list[bytes] = field(default_factory=list)
    _has_content: bool = False

    def noting(self, decode: Callable[[Value], RowT]) -> Callable[[Value], RowT]:
        """Return a function that decodes a vector, and notes its numbers."""

        def note(value: Value) -> RowT:
            row = decode(value)
            numbers = np.frombuffer(row, "<f4") if isinstance(row, bytearray) else np.asarray(row).astype("<f4")
            self._numbers.append(_digest(numbers.tobytes()))
            self._has_content |= bool(numbers.any())
            self.dimension = len(numbers)
            return row

        return note

    def saw(self, values: Sequence[Value]) -> None:
        """Note base64, as it stands in the response."""
        self._base64 += map(_digest_of_base64, values)

    @property
    def is_same(self) -> bool:
        """Whether base64 and numbers are the same, and not all of them are 0."""
        return self._has_content and self._numbers == self._base64

    @property
    def difference(self) -> str:
        """What differs; empty if there is nothing to compare, or nothing that shows anything."""
        if not self._base64 or not self._numbers or not self._has_content:
            return ""
        if len(self._base64) != len(self._numbers):
            return f"{len(self._base64)} vectors as base64 beside {len(self._numbers)} of numbers"
        pairs = zip(self._numbers, self._base64, strict=True)
        place = next((place for place, (one, other) in enumerate(pairs) if one != other), None)
        return "" if place is None else f"the base64 of vector {place} holds other bits than its numbers"


_PROOFS: Final[dict[Hashable, Proof]] = {}


def proof_of(key: Hashable) -> Proof:
    """Return what this process knows of the base64 of an address, a model and a dimension."""
    return _PROOFS.setdefault(key, Proof())


def forget_proofs() -> None:
    """Forget everything, as a new process would; for tests."""
    _PROOFS.clear()


def _digest(data: bytes | bytearray) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _digest_of_base64(value: Value) -> bytes:
    """Return the digest of what base64 holds; of what is no base64, one that nothing else has."""
    if value is None:
        return b""
    text = value if isinstance(value, str) else text_of(value)  # in which a slash may be escaped
    try:
        return _digest(pybase64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return b""
