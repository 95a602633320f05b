"""The bytes of an answer, and what has been told by the time each of them is sent."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GZIP: Final = 31
"""Window bits of zlib that make a gzip stream."""
_FLUSH: Final = 8
"""Bytes at the end of a flushed piece that may say nothing more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What has been told when the byte before `end` is sent.

    Attributes:
        end: Offset in the body.
        text: The text whose right vector is complete there.
        tokens: Tokens the document says were used.
        is_cut: Whether the vectors begin here, or one of them ends: a place to break off.
    """

    end: int = 0
    text: str | None = None
    tokens: int = 0
    is_cut: bool = False


Piece: TypeAlias = tuple[bytes, Mark | None]
"""Bytes, and what is told at their end."""


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of an answer, and what they tell.

    Attributes:
        data: The bytes.
        marks: What is told where, in ascending order.
    """

    data: bytes
    marks: tuple[Mark, ...] = ()

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Body:
        """Put pieces together."""
        ends = accumulate(len(data) for data, _ in pieces)
        # A number is known when the byte after it is.
        marks = [_moved(mark, end + bool(mark.tokens)) for (_, mark), end in zip(pieces, ends, strict=True) if mark]
        return cls(b"".join(data for data, _ in pieces), tuple(marks))

    @property
    def cuts(self) -> list[int]:
        """Where the vectors begin, where each of them ends, and the end of the document."""
        return [*(mark.end for mark in self.marks if mark.is_cut), len(self.data)]

    def after(self, count: int, part: float = 0.0) -> int:
        """Return the offset behind `count` vectors and a `part` of what follows them."""
        cuts = self.cuts
        start, end = list(pairwise(cuts))[min(count, len(cuts) - 2)] if len(cuts) > 1 else (0, cuts[0])
        return start + int(part * (end - start))

    def spoiled(self, offset: int, rest: bytes) -> Body:
        """Return what comes before the offset, and something else after it."""
        return Body(self.data[:offset] + rest, tuple(mark for mark in self.marks if mark.end <= offset))

    def between(self, start: int, stop: int) -> Body:
        """Return a part, with the marks in it."""
        marks = (_moved(mark, mark.end - start) for mark in self.marks if start < mark.end <= stop)
        return Body(self.data[start:stop], tuple(marks))

    def gzipped(self) -> Body:
        """Return it compressed, flushed at every mark so that marks stay true."""
        packer = zlib.compressobj(wbits=_GZIP)
        bounds = [0, *(mark.end for mark in self.marks), len(self.data)]
        packed = [
            packer.compress(self.data[start:end]) + packer.flush(zlib.Z_SYNC_FLUSH) for start, end in pairwise(bounds)
        ]
        starts = accumulate(map(len, packed), initial=0)
        unpacker, sizes = zlib.decompressobj(wbits=_GZIP), (end - start for start, end in pairwise(bounds))
        pieces = zip(self.marks, starts, packed, sizes, strict=False)
        marks = tuple(_moved(mark, start + _needed(unpacker, piece, size)) for mark, start, piece, size in pieces)
        return Body(b"".join([*packed, packer.flush()]), marks)


def _needed(unpacker: zlib._Decompress, piece: bytes, size: int) -> int:
    """How many bytes of a flushed piece give its `size` bytes; the last of them only end the flush."""
    at = max(0, len(piece) - _FLUSH)
    left = size - len(unpacker.decompress(piece[:at]))
    while left > 0:
        at += 1
        left -= len(unpacker.decompress(piece[at - 1 : at]))
    unpacker.decompress(piece[at:])
    return at


def _moved(mark: Mark, end: int) -> Mark:
    return Mark(end, mark.text, mark.tokens, mark.is_cut)


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes pieces of JSON, compact or pretty."""

    pretty: bool = False

    def value(self, value: object, depth: int, mark: Mark | None = None) -> list[Piece]:
        """Return any value as one piece."""
        text = json.dumps(value, ensure_ascii=False, **_PRETTY if self.pretty else _COMPACT)
        try:
            data = text.encode()
        except UnicodeEncodeError:  # half a surrogate, which can only be written as an escape
            data = json.dumps(value, separators=(",", ":")).encode()
        return [(data.replace(b"\n", self._gap(depth)) if self.pretty else data, mark)]

    def array(self, items: Iterable[list[Piece]], depth: int, opened: Mark | None = None) -> list[Piece]:
        """Return a list of values made before; `opened` is told after its bracket."""
        return [(b"[", opened), *self._separated(items, depth), (self._gap(depth) + b"]", None)]

    def record(self, fields: Iterable[tuple[str, list[Piece]]], depth: int, mark: Mark | None = None) -> list[Piece]:
        """Return an object of values made before."""
        colon = b": " if self.pretty else b":"
        named = ([(json.dumps(name).encode() + colon, None), *value] for name, value in fields)
        return [(b"{", None), *self._separated(named, depth), (self._gap(depth) + b"}", mark)]

    def _separated(self, parts: Iterable[list[Piece]], depth: int) -> list[Piece]:
        pieces: list[Piece] = []
        for part in parts:
            pieces += [(b"," * bool(pieces) + self._gap(depth + 1), None), *part]
        return pieces

    def _gap(self, depth: int) -> bytes:
        return b"\n" + b"  " * depth if self.pretty else b""


_COMPACT: Final[dict[str, tuple[str, str]]] = {"separators": (",", ":")}
_PRETTY: Final[dict[str, int]] = {"indent": 2}
