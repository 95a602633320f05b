"""What happens to the bytes of a response on their way, and in which pieces they arrive."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Other = Callable[[], bytes]

TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|[\[\]{},:]|\s+', re.DOTALL)
BORDER: Final = re.compile(rb'["\[\]{}\\,]')
JUNK: Final = (
    b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"0", b"1", b"-", b" ", b"\n", b"\x00", b"\xff", b"\xc3\xa9",
    b"e", b"null", b"[]", b'""', b'\\"', b"\\u0041", b"\\/", b"\xe2\x80", b"NaN", b"\v", b"\x0c", b"/", b"A", b"=",
    b'"index":3,', b'"embedding":[1],', b'"embedding":null,', b'],"data":[', b"}{", b"[" * 70, b"1" * 25,
    b"\xef\xbb\xbf",
)  # fmt: skip


def mutated(random: Random, data: bytes, other: Other) -> bytes:
    """The response with nothing wrong, or with a few things; `other` makes another one to splice it with."""
    for _ in range(random.choice((0, 0, 1, 1, 1, 2, 4))):
        data = random.choice(MUTATIONS)(random, data, other)
    return data


def _flip(random: Random, data: bytes, _: Other) -> bytes:
    at = random.randrange(len(data) or 1)
    return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :] if data else data


def _insert(random: Random, data: bytes, _: Other) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(JUNK) + data[at:]


def _delete(random: Random, data: bytes, _: Other) -> bytes:
    start, end = _stretch(random, data)
    return data[:start] + data[end:]


def _double(random: Random, data: bytes, _: Other) -> bytes:
    start, end = _stretch(random, data)
    return data[:end] + data[start:end] * random.choice((1, 1, 1, 8)) + data[end:]


def _swap(random: Random, data: bytes, _: Other) -> bytes:
    (a, b), (c, d) = sorted((_stretch(random, data), _stretch(random, data)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


def _replace(random: Random, data: bytes, _: Other) -> bytes:
    start, end = _token(random, data)
    return data[:start] + random.choice(JUNK) + data[end:]


def _nest(random: Random, data: bytes, _: Other) -> bytes:
    start, end = _token(random, data)
    opened, closed = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"embedding":', b"}"), (b" ", b"\n")))
    return data[:start] + opened + data[start:end] + closed + data[end:]


def _cut(random: Random, data: bytes, _: Other) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _splice(random: Random, data: bytes, other: Other) -> bytes:
    rest = other()
    return data[: random.randrange(len(data) + 1)] + rest[random.randrange(len(rest) + 1) :]


def _move(random: Random, data: bytes, _: Other) -> bytes:
    start, end = _stretch(random, data)
    rest, moved = data[:start] + data[end:], data[start:end]
    at = random.randrange(len(rest) + 1)
    return rest[:at] + moved + rest[at:]


MUTATIONS: Final[tuple[Callable[[Random, bytes, Other], bytes], ...]] = (
    _flip, _insert, _delete, _double, _swap, _replace, _replace, _nest, _cut, _splice, _move,
)  # fmt: skip


def _token(random: Random, data: bytes) -> tuple[int, int]:
    found = TOKEN.search(data, random.randrange(len(data) + 1))
    return found.span() if found else (len(data), len(data))


def _stretch(random: Random, data: bytes) -> tuple[int, int]:
    """A token, or what lies from one border of tokens to another one, or any bytes."""
    if random.random() < 0.4:
        return _token(random, data)
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((1, 3, 40, 120, 400)))
    if random.random() < 0.5:
        first, last = BORDER.search(data, start), BORDER.search(data, end)
        start = first.start() if first else start
        end = max(start, last.start() if last else end)
    return start, end


def split(random: Random, data: bytes) -> list[bytes]:
    """The response in pieces: any, of one size, or with borders near those of tokens."""
    how, size = random.random(), len(data)
    if how < 0.25 or not data:
        return [data]
    if how < 0.35:
        step = random.choice((1, 2, 3, 7) if size < 300 else (31, 64, 128, 256))
        return [data[at : at + step] for at in range(0, size, step)]
    cuts = [random.randrange(size) for _ in range(random.choice((1, 1, 2, 3, 5, 9)))]
    if how < 0.8:
        found = (BORDER.search(data, cut) for cut in cuts)
        cuts = [min(size, max(0, each.start() + random.randrange(-1, 3))) for each in found if each]
    edges = [0, *sorted(cuts), size]
    return [data[start:end] for start, end in pairwise(edges)]
