"""Damage to the bytes of a response, and the pieces in which they arrive."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .dice import Dice

    Other = Callable[[], bytes]

TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|[\[\]{},:]|\s+', re.DOTALL)
BORDER: Final = re.compile(rb'["\[\]{}\\,]')
PIECES: Final = 16
"""Pieces of one size, where only a part of the response comes in such."""

JUNK: Final = (
    b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"0", b"1", b"-", b" ", b"\n", b"\x00", b"\xff", b"\xc3\xa9",
    b"e", b"null", b"[]", b'""', b'\\"', b"\\u0041", b"\\/", b"\xe2\x80", b"NaN", b"\v", b"\x0c", b"/", b"A", b"=",
    b'"index":3,', b'"embedding":[1],', b'"embedding":null,', b'],"data":[', b"}{", b"[" * 70, b"1" * 25,
    b"\xef\xbb\xbf",
)  # fmt: skip


def mutated(dice: Dice, data: bytes, other: Other) -> bytes:
    """Return the response with no damage or a little; `other` creates another response to splice it with."""
    for _ in range(dice.of((0, 0, 1, 1, 1, 2, 4))):
        data = dice.of(MUTATIONS)(dice, data, other)
    return data


def _flip(dice: Dice, data: bytes, _: Other) -> bytes:
    at = dice.below(len(data))
    return data[:at] + bytes((data[at] ^ 1 << dice.below(8),)) + data[at + 1 :] if data else data


def _insert(dice: Dice, data: bytes, _: Other) -> bytes:
    at = dice.below(len(data) + 1)
    return data[:at] + dice.of(JUNK) + data[at:]


def _escape(dice: Dice, data: bytes, _: Other) -> bytes:
    """Insert one or two backslashes before a quote, so that a string ends elsewhere, or seems to."""
    at = data.find(b'"', dice.below(len(data) + 1))
    return data[:at] + dice.of((b"\\", b"\\", b"\\\\")) + data[at:] if at >= 0 else data


def _delete(dice: Dice, data: bytes, _: Other) -> bytes:
    start, end = _stretch(dice, data)
    return data[:start] + data[end:]


def _double(dice: Dice, data: bytes, _: Other) -> bytes:
    start, end = _stretch(dice, data)
    return data[:end] + data[start:end] * dice.of((1, 1, 1, 8)) + data[end:]


def _swap(dice: Dice, data: bytes, _: Other) -> bytes:
    (a, b), (c, d) = sorted((_stretch(dice, data), _stretch(dice, data)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


def _replace(dice: Dice, data: bytes, _: Other) -> bytes:
    start, end = _token(dice, data)
    return data[:start] + dice.of(JUNK) + data[end:]


def _nest(dice: Dice, data: bytes, _: Other) -> bytes:
    start, end = _token(dice, data)
    opened, closed = dice.of(((b"[", b"]"), (b'{"a":', b"}"), (b'{"embedding":', b"}"), (b" ", b"\n")))
    return data[:start] + opened + data[start:end] + closed + data[end:]


def _cut(dice: Dice, data: bytes, _: Other) -> bytes:
    return data[: dice.below(len(data) + 1)]


def _splice(dice: Dice, data: bytes, other: Other) -> bytes:
    rest = other()
    return data[: dice.below(len(data) + 1)] + rest[dice.below(len(rest) + 1) :]


def _move(dice: Dice, data: bytes, _: Other) -> bytes:
    start, end = _stretch(dice, data)
    rest, moved = data[:start] + data[end:], data[start:end]
    at = dice.below(len(rest) + 1)
    return rest[:at] + moved + rest[at:]


MUTATIONS: Final[tuple[Callable[[Dice, bytes, Other], bytes], ...]] = (
    _flip, _insert, _escape, _delete, _double, _swap, _replace, _replace, _nest, _cut, _splice, _move,
)  # fmt: skip


def _token(dice: Dice, data: bytes) -> tuple[int, int]:
    found = TOKEN.search(data, dice.below(len(data) + 1))
    return found.span() if found else (len(data), len(data))


def _stretch(dice: Dice, data: bytes) -> tuple[int, int]:
    """Return the span of a token, of several tokens, or of any bytes."""
    if dice.hits(0.4):
        return _token(dice, data)
    start = dice.below(len(data) + 1)
    end = min(len(data), start + dice.of((1, 3, 40, 120, 400)))
    if dice.hits(0.5):
        first, last = BORDER.search(data, start), BORDER.search(data, end)
        start = first.start() if first else start
        end = max(start, last.start() if last else end)
    return start, end


def split(dice: Dice, data: bytes) -> list[bytes]:
    """Split the response into pieces: at random, of one size, or near the borders of tokens."""
    size = len(data)
    if not data or dice.hits(0.25):
        return [data]
    if dice.hits(0.13):
        return _in_steps(dice, data)
    cuts = [dice.below(size) for _ in range(dice.of((1, 1, 2, 2, 3, 8)))]
    if dice.hits(0.7):
        found = (BORDER.search(data, cut) for cut in cuts)
        cuts = [min(size, max(0, each.start() + dice.below(4) - 1)) for each in found if each]
    return _cut_at(data, sorted(cuts))


def _in_steps(dice: Dice, data: bytes) -> list[bytes]:
    """Split the response into many pieces of one size, or only a part of it, because many pieces are slow."""
    size = len(data)
    if dice.hits(0.3):
        return _cut_at(data, range(0, size, dice.of((1, 2, 3, 7) if size < 300 else (31, 64, 128, 256))))
    step, start = dice.of((1, 1, 2, 3, 7)), dice.below(size)
    return _cut_at(data, range(start, min(size, start + PIECES * step), step))


def _cut_at(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise((0, *cuts, len(data)))]
