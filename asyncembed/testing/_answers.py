"""Correct answers in every wire format: their items, their bytes, and what the client knows at which byte.

A fault changes the items of an answer before they are written, or the bytes after that.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from asyncembed._repr import ShortRepr
from asyncembed.testing._vectors import packed_value_of, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from random import Random

    from asyncembed.testing._dialects import LayoutName
    from asyncembed.testing._request import Request
    from asyncembed.testing._vectors import Kind


_GZIP: Final = 31
"""Window bits of zlib that make a gzip stream."""
_FLUSH: Final = 8
"""Bytes at the end of a flushed piece that may only end the flush and hold no data."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the client knows once the bytes before `end` have been sent.

    Attributes:
        end: Offset in the body.
        text: The text whose correct vector is complete at this offset.
        tokens: Tokens that the document has reported as used at this offset.
        is_cut: Whether the vectors begin or one vector ends here; faults cut the answer at such offsets.
    """

    end: int = 0
    text: str | None = None
    tokens: int = 0
    is_cut: bool = False


Piece: TypeAlias = tuple[bytes, Mark | None]
"""Bytes, and the mark at their end."""


@dataclass(frozen=True, slots=True, repr=False)
class Body(ShortRepr):
    """The bytes of an answer, and marks that say what the client knows at which offset.

    Attributes:
        data: The bytes.
        marks: The marks, by ascending offset.
    """

    data: bytes
    marks: tuple[Mark, ...] = ()

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Body:
        """Join pieces into one body."""
        ends = accumulate(len(data) for data, _ in pieces)
        # A parser knows that a number has ended only after it has seen the next byte.
        marks = [_moved(mark, end + bool(mark.tokens)) for (_, mark), end in zip(pieces, ends, strict=True) if mark]
        return cls(b"".join(data for data, _ in pieces), tuple(marks))

    @property
    def cuts(self) -> list[int]:
        """Offsets where the vectors begin, where each vector ends, and where the document ends."""
        return [*(mark.end for mark in self.marks if mark.is_cut), len(self.data)]

    def after(self, count: int, part: float = 0.0) -> int:
        """Return the offset after `count` vectors plus the fraction `part` of the distance to the next cut."""
        cuts = self.cuts
        start, end = list(pairwise(cuts))[min(count, len(cuts) - 2)] if len(cuts) > 1 else (0, cuts[0])
        return start + int(part * (end - start))

    def spoiled(self, offset: int, rest: bytes) -> Body:
        """Return the body up to the offset, followed by `rest`."""
        return Body(self.data[:offset] + rest, tuple(mark for mark in self.marks if mark.end <= offset))

    def between(self, start: int, stop: int) -> Body:
        """Return the bytes from `start` to `stop`, with the marks in that range."""
        marks = (_moved(mark, mark.end - start) for mark in self.marks if start < mark.end <= stop)
        return Body(self.data[start:stop], tuple(marks))

    def gzipped(self) -> Body:
        """Return the body compressed with gzip; it is flushed at every mark, so the marks stay correct."""
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
    """Return how many bytes of a flushed piece are enough to decompress its `size` bytes."""
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
    """Writes JSON as pieces, compact or pretty."""

    pretty: bool = False

    def value(self, value: object, depth: int, mark: Mark | None = None) -> list[Piece]:
        """Return any value as one piece."""
        text = json.dumps(value, ensure_ascii=False, **_PRETTY if self.pretty else _COMPACT)
        try:
            data = text.encode()
        except UnicodeEncodeError:  # a lone surrogate: JSON can hold it only as an escape
            data = json.dumps(value, separators=(",", ":")).encode()
        return [(data.replace(b"\n", self._gap(depth)) if self.pretty else data, mark)]

    def array(self, items: Iterable[list[Piece]], depth: int, opened: Mark | None = None) -> list[Piece]:
        """Return a list of values that are already written; the mark `opened` is at its opening bracket."""
        return [(b"[", opened), *self._separated(items, depth), (self._gap(depth) + b"]", None)]

    def record(self, fields: Iterable[tuple[str, list[Piece]]], depth: int, mark: Mark | None = None) -> list[Piece]:
        """Return an object of values that are already written."""
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


T = TypeVar("T")
Order: TypeAlias = Literal["usual", "reversed", "shuffled"]
Fields: TypeAlias = list[tuple[str, list[Piece]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a document is written; its meaning is always the same.

    Attributes:
        pretty: Whether it is indented, one number per line.
        key_order: Order of the keys in every object.
        item_order: Order of the vectors, in formats where each vector has an index.
    """

    pretty: bool = False
    key_order: Order = "usual"
    item_order: Order = "usual"


@dataclass(slots=True, repr=False)
class Item(ShortRepr):
    """One vector of an answer.

    Attributes:
        text: The text it belongs to.
        index: Its position in the request, as the answer states it.
        values: Its JSON value for each requested type.
        is_right: Whether the vector is correct; a fault that changes it sets this to False.
    """

    text: str
    index: object
    values: dict[Kind, object]
    is_right: bool = True


@dataclass(slots=True, repr=False)
class Answer(ShortRepr):
    """A document with vectors.

    Attributes:
        layout: Its wire format.
        items: Its vectors, in the order of the request.
        kinds: Types of the vectors.
        is_typed: Whether Cohere's vectors are grouped by the name of their type.
        model: The model that it reports.
        tokens: The number of tokens that it reports.
        dimension: Length of its vectors.
    """

    layout: LayoutName
    items: list[Item]
    kinds: tuple[Kind, ...]
    is_typed: bool
    model: str
    tokens: int
    dimension: int

    @classmethod
    def right(cls, request: Request, dimension: int, tokens: int) -> Answer:
        """Return the answer of the real service."""
        make = packed_value_of if request.is_packed else value_of
        items = [
            Item(text, index, {kind: make(text, dimension, kind) for kind in request.kinds})
            for index, text in enumerate(request.texts)
        ]
        layout = request.layout or "openai"
        return cls(layout, items, request.kinds, request.is_typed, request.model, tokens, dimension)

    def written(self, style: Style, random: Random) -> Body:
        """Return its bytes; `random` draws the orders that the style calls "shuffled"."""
        return Body.joined(_WRITERS[self.layout](self, style, random))


def error_body(
    layout: LayoutName | None, message: str, *, status: int = 400, code: str | None = None, kind: str | None = None
) -> bytes:
    """Return an error in the shape of this API."""
    if layout in {"cohere", "cohere-v1"}:
        return json.dumps({"id": "fake", "message": message}).encode()
    if layout in {"titan", "nova"}:
        return json.dumps({"message": message}).encode()
    if layout == "ollama":
        return json.dumps({"error": message}).encode()
    if layout == "tei":
        return json.dumps({"error": message, "error_type": code or "Validation"}).encode()
    if layout in {"gemini", "vertex"}:
        error = {"code": status, "message": message, "status": code or _GOOGLE.get(status, "UNKNOWN")}
        return json.dumps({"error": error}, indent=2).encode() + b"\n"
    fields = {"message": message, "type": kind or "invalid_request_error", "param": None, "code": code}
    return json.dumps({"error": fields}, indent=4).encode() + b"\n"


def _openai(answer: Answer, style: Style, random: Random) -> list[Piece]:
    writer = Writer(style.pretty)

    def item(item: Item) -> list[Piece]:
        fields = [
            ("object", writer.value("embedding", 3)),
            ("index", writer.value(item.index, 3)),
            ("embedding", writer.value(item.values[answer.kinds[0]], 3)),
        ]
        kept = [(name, value) for name, value in fields if name != "index" or item.index is not None]
        return writer.record(ordered(kept, style.key_order, random), 2, _mark(item))

    items = map(item, ordered(answer.items, style.item_order, random))
    numbers = [("prompt_tokens", Mark(tokens=answer.tokens)), ("total_tokens", None)]
    usage = writer.record(((name, writer.value(answer.tokens, 2, mark)) for name, mark in numbers), 1)
    fields: Fields = [
        ("object", writer.value("list", 1)),
        ("data", writer.array(items, 1, Mark(is_cut=True))),
        ("model", writer.value(answer.model, 1)),
        ("usage", usage),
    ]
    return writer.record(ordered(fields, style.key_order, random), 0)


def _cohere(answer: Answer, style: Style, random: Random) -> list[Piece]:
    writer = Writer(style.pretty)
    kinds = ordered(answer.kinds, style.key_order, random)

    def vectors(kind: Kind, depth: int) -> list[Piece]:
        # A text is complete when the vector of its last type is.
        marks = [_mark(item) if kind == kinds[-1] else Mark(is_cut=True) for item in answer.items]
        values = [
            writer.value(item.values[kind], depth + 1, mark) for item, mark in zip(answer.items, marks, strict=True)
        ]
        return writer.array(values, depth, Mark(is_cut=kind == kinds[0]))

    typed: Fields = [(kind, vectors(kind, 2)) for kind in kinds]
    version = {"version": "2" if answer.layout == "cohere" else "1"}
    tokens = [("input_tokens", writer.value(answer.tokens, 3, Mark(tokens=answer.tokens)))]
    meta = writer.record([("api_version", writer.value(version, 2)), ("billed_units", writer.record(tokens, 2))], 1)
    fields: Fields = [
        ("id", writer.value("fake", 1)),
        ("texts", writer.value([item.text for item in answer.items], 1)),
        ("embeddings", writer.record(typed, 1) if answer.is_typed else vectors(kinds[0], 1)),
        ("meta", meta),
        ("response_type", writer.value(f"embeddings_{'by_type' if answer.is_typed else 'floats'}", 1)),
    ]
    return writer.record(ordered(fields, style.key_order, random), 0)


def _gemini(answer: Answer, style: Style, _: Random) -> list[Piece]:
    writer = Writer(style.pretty)
    vectors = [
        writer.record([("values", writer.value(item.values["float"], 3))], 2, _mark(item)) for item in answer.items
    ]
    return writer.record([("embeddings", writer.array(vectors, 1, Mark(is_cut=True)))], 0)


def _vertex(answer: Answer, style: Style, random: Random) -> list[Piece]:
    writer = Writer(style.pretty)

    def prediction(place: int, item: Item) -> list[Piece]:
        # The first item reports all tokens, so the sum over the items is correct.
        tokens = 0 if place else answer.tokens
        mark = Mark(tokens=tokens) if tokens else None
        count = [("truncated", writer.value(False, 4)), ("token_count", writer.value(tokens, 4, mark))]
        parts: Fields = [
            ("statistics", writer.record(count, 4)),
            ("values", writer.value(item.values["float"], 4)),
        ]
        embeddings = writer.record(ordered(parts, style.key_order, random), 3)
        return writer.record([("embeddings", embeddings)], 2, _mark(item))

    items = [prediction(place, item) for place, item in enumerate(answer.items)]
    fields: Fields = [
        ("predictions", writer.array(items, 1, Mark(is_cut=True))),
        ("metadata", writer.value({"billableCharacterCount": sum(len(item.text) for item in answer.items)}, 1)),
    ]
    return writer.record(ordered(fields, style.key_order, random), 0)


def _titan(answer: Answer, style: Style, random: Random) -> list[Piece]:
    """Write Titan's document: it holds the floats twice, and needs no mark for tokens, which a header reports."""
    writer = Writer(style.pretty)
    (item, *_) = answer.items
    floats = item.values["float"]
    fields: Fields = [
        ("embedding", writer.value(floats, 1, _mark(item))),
        ("embeddingsByType", writer.value({"float": floats}, 1)),
        ("inputTextTokenCount", writer.value(answer.tokens, 1)),
    ]
    opening = ("id", writer.value("fake", 1, Mark(is_cut=True)))
    return writer.record([opening, *ordered(fields, style.key_order, random)], 0)


def _nova(answer: Answer, style: Style, random: Random) -> list[Piece]:
    writer = Writer(style.pretty)

    def item(item: Item) -> list[Piece]:
        fields = [
            ("embeddingType", writer.value("TEXT", 3)),
            ("embedding", writer.value(item.values["float"], 3)),
        ]
        return writer.record(ordered(fields, style.key_order, random), 2, _mark(item))

    return writer.record([("embeddings", writer.array(map(item, answer.items), 1, Mark(is_cut=True)))], 0)


def _ollama(answer: Answer, style: Style, random: Random) -> list[Piece]:
    writer = Writer(style.pretty)
    vectors = [writer.value(item.values["float"], 2, _mark(item)) for item in answer.items]
    fields: Fields = [
        ("model", writer.value(answer.model, 1)),
        ("embeddings", writer.array(vectors, 1, Mark(is_cut=True))),
        ("total_duration", writer.value(1, 1)),
        ("load_duration", writer.value(1, 1)),
        ("prompt_eval_count", writer.value(answer.tokens, 1, Mark(tokens=answer.tokens))),
    ]
    return writer.record(ordered(fields, style.key_order, random), 0)


def _tei(answer: Answer, style: Style, _: Random) -> list[Piece]:
    writer = Writer(style.pretty)
    vectors = [writer.value(item.values["float"], 1, _mark(item)) for item in answer.items]
    return writer.array(vectors, 0, Mark(is_cut=True))


_WRITERS: Final[Mapping[LayoutName, Callable[[Answer, Style, Random], list[Piece]]]] = {
    "openai": _openai,
    "cohere": _cohere,
    "cohere-v1": _cohere,
    "gemini": _gemini,
    "vertex": _vertex,
    "titan": _titan,
    "nova": _nova,
    "ollama": _ollama,
    "tei": _tei,
}
_GOOGLE: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def _mark(item: Item) -> Mark:
    return Mark(text=item.text if item.is_right else None, is_cut=True)


def ordered(things: Sequence[T], order: Order, random: Random) -> list[T]:
    """Return the things in this order."""
    if order == "shuffled":
        return random.sample(things, len(things))
    return list(things) if order == "usual" else list(reversed(things))
