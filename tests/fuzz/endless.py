"""Responses that never end: a part of one repeats, and memory must not grow."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Final

from asyncembed import ResponseError
from asyncembed._parser import ResponseParser, VectorDecoder

from .cases import case
from .dice import Dice
from .mutations import JUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT: Final = 50_000
"""Most bytes of one value."""

CHUNK: Final = 16_384
CHUNKS: Final = 60
BOUND: Final = 4_000_000
"""Bytes that a parser may take at most, with what it gives for one chunk: an event takes 50 times its bytes."""


def excess_of(seed: int, number: int) -> str:
    """Return how much memory a parser takes if that is too much; empty if it is not."""
    found = case(seed, number)
    chunks = _chunks(Dice(seed << 40 | number), found.data)
    parser = ResponseParser(found.kind.layout, VectorDecoder(found.kind.dtype, expected=found.usual).decode, LIMIT)
    tracemalloc.start()
    try:
        for chunk in chunks:
            parser.feed(chunk)
    except ResponseError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        parser.discard()
    return f"{peak:,} bytes for an endless response" if peak > BOUND else ""


def _chunks(dice: Dice, data: bytes) -> Iterator[bytes]:
    """Yield the start of a response, then repeat a part of it, or anything else."""
    start = dice.below(len(data) + 1)
    part = data[start : start + dice.of((1, 20, 200, 2_000))] if dice.hits(0.7) else dice.of(JUNK)
    block = (part or b" ") * (CHUNK // len(part or b" "))
    yield data[: start + len(part)]
    for _ in range(CHUNKS):
        yield block
