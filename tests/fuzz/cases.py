"""One case: a response, its damage, the pieces in which it arrives, and the check of the outcome."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from asyncembed import ResponseError
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed._parser.vectors import read_numbers_json, read_numbers_orjson

from .dice import Dice
from .documents import KINDS, Kind, document
from .mending import mended
from .mutations import mutated, split
from .oracle import Constant, Fields, Walk, readings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEEPEST: Final = 64
LARGEST: Final = 1 << 63
ALIKE: Final = 2
"""Cases in a row that begin with the same response: to write one takes as long as all else that makes a case."""

MISSED: Final = 1
"""Vectors that may be missing of a document that is not JSON: that of the item which was open."""


@dataclass(frozen=True)
class Case:
    """A response as it arrives, and the settings that read it.

    Attributes:
        kind: The kind of response before the damage.
        pieces: The bytes that arrive, piece by piece.
        demanded: Requested dimension.
        usual: Expected dimension if none was requested.
        rows: Whether vectors are for the rows of a matrix.
        limit: Maximum number of bytes of one value.
        reader: The reader of numbers.
    """

    kind: Kind
    pieces: list[bytes]
    demanded: int | None
    usual: int | None
    rows: bool
    limit: int
    reader: int

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@dataclass(frozen=True)
class Original:
    """An undamaged response, shared by a few cases."""

    kind: Kind
    dimension: int
    data: bytes


@functools.lru_cache(8)
def _original(seed: int, number: int) -> Original:
    dice = Dice(seed << 40 | number << 1)
    kind = dice.of(KINDS)
    dimension = dice.of((12, 12, 13, 16, 3, 8) if kind.is_base64 else (1, 2, 3, 4, 8))
    return Original(kind, dimension, document(dice, kind, dimension).encode())


def case(seed: int, number: int) -> Case:
    """Return the case of a seed and a number; it depends on nothing else."""
    group, dice = number // ALIKE, Dice(seed << 40 | number << 1 | 1)
    original = _original(seed, group)
    kind, dimension = original.kind, original.dimension
    data = mutated(dice, original.data, lambda: (original if dice.hits(0.3) else _original(seed, group ^ 1)).data)
    full = dimension * 8 if kind.dtype == "ubinary" else dimension
    return Case(
        kind,
        split(dice, data),
        demanded=full if dice.hits(0.2) else None,
        usual=full if dice.hits(0.5) else None,
        rows=dice.hits(0.25),
        limit=dice.of((100, 200)) if dice.hits(0.1) else 1_000_000,
        reader=dice.below(4),
    )


class Outcome:
    """The outcome of a case.

    Attributes:
        given: Position and bytes of each vector.
        error: The error that ended it, empty if there was none.
        keeps_chunk: Whether the parser kept a reference to a chunk, which may be large and hold few useful bytes.
    """

    def __init__(self, case: Case) -> None:
        readers = (None, None, read_numbers_orjson, read_numbers_json)
        self.decoder = VectorDecoder(case.kind.dtype, case.demanded, readers[case.reader], case.usual)
        decode, decode_run = _decoders(self.decoder, rows=case.rows)
        self.parser = ResponseParser(case.kind.layout, decode, case.limit, decode_run)
        self.given: list[tuple[int, bytes]] = []
        self.error = ""
        self.keeps_chunk = False
        try:
            for piece in case.pieces:
                held = sys.getrefcount(piece)
                self._take(self.parser.feed(piece))
                is_held = sys.getrefcount(piece) > held and len(piece) > 1  # Python caches bytes of length one
                self.keeps_chunk |= is_held and not self.parser.has_failed
            self._take(self.parser.close())
        except ResponseError as error:
            self.error = str(error) or "an error without words"
        finally:
            self.parser.discard()

    def _take(self, vectors: list[tuple[int, np.ndarray]]) -> None:
        self.given += [(position, vector.tobytes()) for position, vector in vectors]


def _decoders(decoder: VectorDecoder, *, rows: bool) -> tuple[Callable[..., np.ndarray], Callable[..., object]]:
    if not rows:
        return decoder.decode, decoder.decode_run

    def decode(value: object) -> np.ndarray:
        row = decoder.decode_row(value)
        vector = np.frombuffer(row, "<f4") if isinstance(row, bytearray) else row.astype(decoder.stored)
        if not np.isfinite(vector).all():
            raise ResponseError("found by the matrix")
        return vector

    def decode_run(values: Sequence[object]) -> list[np.ndarray] | None:
        run = [np.frombuffer(row, "<f4") for row in decoder.decode_rows(values) or ()]
        return run if np.isfinite(run).all() else None

    return decode, decode_run


def fault_of(case: Case) -> str:
    """Return what is wrong with the outcome of a case; empty if it is correct."""
    outcome = Outcome(case)
    if outcome.keeps_chunk:
        return "the parser holds a chunk that it has read"
    text = case.data.decode("utf-8", "surrogateescape")
    try:
        whole = mended(text)
        if not (whole.is_all or outcome.error):
            return "no error, but the document is not JSON"
        return _compared(case, outcome, Walk(whole.document, case.kind.layout), text, is_json=whole.is_json)
    except RecursionError:
        return ""


def _compared(case: Case, outcome: Outcome, walk: Walk, text: str, *, is_json: bool) -> str:
    given, missed = _matched(case, outcome.given, walk)
    if given < len(outcome.given):
        return f"vector {given} is not in the document, or not there: {outcome.given[given]!r:.120}"
    if missed > MISSED * (not is_json) and not (outcome.error and _may_be_refused(case, text, walk, outcome.error)):
        return f"{missed} vectors are missing after {given}; {outcome.error or 'no error'}"
    if walk.contradicts:
        return "" if outcome.error else "a contradiction was overlooked"
    if outcome.error and is_json and not _may_be_refused(case, text, walk, outcome.error):
        return f"the document is JSON, but: {outcome.error}"
    if not outcome.error and (outcome.parser.by_order, outcome.parser.tokens) != (walk.by_order, walk.tokens):
        return f"by order {outcome.parser.by_order}, tokens {outcome.parser.tokens}; not {walk.by_order}, {walk.tokens}"
    return ""


def _matched(case: Case, given: list[tuple[int, bytes]], walk: Walk) -> tuple[int, int]:
    """Return how many of the decoded vectors are in the document, in its order, and how many are missing."""
    found, missed, dimension = 0, 0, case.demanded
    size = 1 if case.kind.dtype != "float32" else 4
    for position, value in walk.vectors:
        if type(position) is not int:
            continue
        right, is_sure = readings(value, case.kind.dtype, dimension)
        if not missed and found < len(given) and given[found][0] == position and given[found][1] in right:
            dimension = len(given[found][1]) // size * (8 if case.kind.dtype == "ubinary" else 1)
            found += 1
        elif is_sure:
            missed += 1
    return found, missed


def _may_be_refused(case: Case, text: str, walk: Walk, error: str) -> bool:
    """Return whether there is a reason to refuse a document that Python accepts as JSON."""
    if "bytes" in error and case.limit < 1_000_000:
        return True
    if "dimensions instead of" in error:
        return case.demanded is not None
    if "nested" in error:
        return text.count("[") + text.count("{") > DEEPEST
    return not _is_unicode(text) or _holds_odd(walk.document)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _holds_odd(value: object) -> bool:
    """Return whether a document has a value that only Python accepts, or a number that ijson refuses."""
    if isinstance(value, Fields):
        return any(_holds_odd(field) for _, field in value)
    if isinstance(value, list):
        return any(map(_holds_odd, value))
    if type(value) is int:
        return not -LARGEST <= value < LARGEST
    return isinstance(value, Constant) or value in {float("inf"), float("-inf")}
