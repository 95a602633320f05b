"""Responses in every layout, put together from pieces of text: `json.dumps` could not write what servers get wrong.

What is worth attacking most is a long run of items that are alike, with a single one among them that is not.
"""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from asyncembed import EmbedOptions
from asyncembed._response import _layout
from asyncembed.providers import Cohere, CohereV1, OpenAI

if TYPE_CHECKING:
    from random import Random

    from asyncembed._settings import Dtype
    from asyncembed.wire._layout import Layout

FLOATS: Final = EmbedOptions(model="m")
BYTES: Final = EmbedOptions(model="m", dtype="int8")
BITS: Final = EmbedOptions(model="m", dtype="ubinary")


@dataclass(frozen=True)
class Kind:
    """A layout, what its vectors are, and what stands before and behind them."""

    layout: Layout
    dtype: Dtype
    is_base64: bool
    opening: str
    closing: str


COHERE = '{"id":"0f","texts":["[1,2]","say \\"x\\""],"embeddings":'
META = ',"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":7},"warnings":["[1]",[]]}}'
DATA, DATA_LAST = '{"object":"list","data":[', '{"model":"m","usage":{"prompt_tokens":6},"data":['
USAGE = '],"model":"m","usage":{"prompt_tokens":6,"total_tokens":7}}'


def _cohere(provider: Cohere, name: str) -> Kind:
    kinds = {"int8": BYTES, "ubinary": BITS}
    options, encoding = kinds.get(name, FLOATS), "base64" if name == "base64" else "float"
    layout = provider.layout(options, encoding)
    return Kind(layout, options.dtype, name == "base64", f'{COHERE}{{"{name}":[', "]}" + META)


KINDS: Final = (
    Kind(OpenAI().layout(FLOATS, "base64"), "float32", True, DATA, USAGE),
    Kind(OpenAI().layout(FLOATS, "base64"), "float32", True, DATA_LAST, "]}"),
    Kind(OpenAI().layout(FLOATS, "float"), "float32", False, DATA, USAGE),
    Kind(CohereV1().layout(FLOATS, "float"), "float32", False, COHERE + "[", "]" + META),
    *(_cohere(Cohere(), name) for name in ("float", "base64", "int8", "ubinary")),
    *(_cohere(CohereV1(), name) for name in ("float", "int8")),
    # As `StreamingEmbedResponse` has it, where the encoding is not known and only the first list counts.
    Kind(_layout(CohereV1(), "float32"), "float32", True, COHERE + '{"base64":[', "]}" + META),
    Kind(_layout(OpenAI(), "float32"), "float32", False, DATA, USAGE),
)

ITEMS: Final = (
    '{"object":"embedding","index":%d,"embedding":%s}',
    '{"object":"embedding","embedding":%s,"index":%d}',
    '{"index":%d,"object":"embedding","embedding":%s}',
    '{"embedding":%s,"index":%d,"object":"embedding"}',
    '{"embedding":%s}',
    '{"index":%d,"embedding":%s,"n":%d}',
    '{"n":%d,"index":%d,"embedding":%s}',
    '{"n":0,"embedding":%s,"index":%d}',
    '{"n":%d,"index":3,"embedding":%s}',
    '{"index":%d,"text":%t,"embedding":%s}',
    '{"embedding":%s,"index":%d,"text":%t}',
    '{"embedding":%s,"more":[%s,%s,%s]}',
    '{"embedding":%s,"index":%d,"more":{"embedding":%s}}',
    '{"index":null,"embedding":%s,"usage":{"total_tokens":%d}}',
    '{"embedding":%s,"more":{"index":%d}}',
    '{"embedding":%s,"more":[%d]}',
    '{"index":%d,"index":%d,"embedding":%s}',
    '{"index":%d,"embedding":%s,"index":%d}',
    '{"embedding":%s,"index":%d,"embedding":%s}',
    '{"index":1%d,"embedding":%s}',
    '{"index":-%d,"embedding":%s}',
    '{"index":%d.0,"embedding":%s}',
    '{"index":"%d","embedding":%s}',
)
NO_ITEMS: Final = (
    "null",
    "7",
    "[]",
    "{}",
    '"%d"',
    "[[]]",
    "[%s]",
    "%t",
    "{%s}",
    '{"item":{"embedding":%s}}',
    "",
    "[1]",
)
SHORT_CUTS: Final = (
    '],"data":[', "],[", '],"embeddings":[', '],"float":[', '}]},{"embedding":[', "]}", "]", "]]", ',"embedding":%s,',
)  # fmt: skip
ODD_NUMBERS: Final = (
    "-%d", "0%d", "%d.0", "%de0", '"%d"', "1%d", "null", "-0", "0", "true", "", " %d", "%d ", "%d0000000000000000000",
    "9223372036854775807", "[%d]", "{}", "3", "%d,", "%d\n",
)  # fmt: skip
ODD_VECTORS: Final = (
    "null", "{}", "[]", '""', "[[1,2]]", "[%s]", "[1,null]", "[1,{}]", "[1,,2]", "[NaN]", "[1,NaN]", "[true]", '"AAAA"',
    "7", '{"a":%s}', "[1e999]", "[1,1e39]", "[-0,0.0]", "[18446744073709551616,1]", "[1 2]", " %s", "%s ", "%t",
    "[1.0,2.0,3.0]", '["AAAA"]', "[1,[2]]", "[\n1 ]", "[\v1]", '"%d', "[%d", "%s%s", "%e",
)  # fmt: skip
LONG: Final = "long enough to be cut out: 0123456789 0123456789 0123456789 "
TEXTS: Final = [
    f'"{text}"'
    for text in (LONG, LONG + "\\\\", LONG + '\\"' + LONG, LONG + '\\\\\\"', "\\\\", '[1] \\"[2', '"},{', "")
]


@functools.cache
def pool(kind: Kind, dimension: int) -> list[str]:
    """Vectors as they stand in a document, written once: that takes longer than everything else."""
    draw = np.random.default_rng(dimension)
    if kind.is_base64:
        matrix = draw.standard_normal((100, dimension)).astype("<f4")
        return ['"' + base64.b64encode(row.tobytes()).decode() + '"' for row in matrix]
    if kind.dtype == "float32":
        floats = draw.standard_normal((100, dimension)).astype("<f4")
        return ["[" + ",".join(map(str, row)) + "]" for row in floats]
    low = 0 if kind.dtype == "ubinary" else -128
    return [str(row).replace(" ", "") for row in draw.integers(low, low + 256, (100, dimension)).tolist()]


def document(random: Random, kind: Kind, dimension: int) -> str:
    """A response whose items are alike, but for those that are not."""
    vectors, shape = pool(kind, dimension), random.choice(ITEMS[: random.choice((5, len(ITEMS)))])
    shape = "%s" if kind.layout.item is None else shape
    count, first = random.choice((0, 1, 2, 3, 6, 8, 9, 10, 12, 16, 24)), random.choice((0, 0, 0, 0, 5, 95))
    deviants = set(random.choices(range(count), k=random.choice((0, 0, 1, 1, 1, 2, 3)))) if count else ()
    comma, turn = random.choice((",", ",", ",", ", ", ",\n  ")), random.choice((0, 0, 0, 0, 4, 7))
    items = []
    for place in range(count):
        item = _deviant(random, shape) if place in deviants else shape
        number = str(first + abs(place - turn))  # up, or down and then up
        items.append(_filled(item, number, random.choice(vectors)))
    return _styled(random, kind.opening + comma.join(items) + kind.closing)


def _deviant(random: Random, shape: str) -> str:
    """An item that is like the others, nearly."""
    what = random.randrange(8)
    if what in {0, 6, 7}:
        return shape.replace("%d", random.choice(ODD_NUMBERS), random.choice((1, 1, 2)))
    if what == 1:
        return shape.replace("%s", random.choice(ODD_VECTORS))
    if what == 2:
        return random.choice(ITEMS) if shape != "%s" else random.choice(ODD_VECTORS)
    if what == 3:
        return random.choice(NO_ITEMS)
    if what == 4:
        return shape + random.choice(SHORT_CUTS) + shape
    return shape.replace(*random.choice(((",", ", "), (":", " :"), ("{", "{\n"), ("%d", "%n"), ('"e', '"\\u0065'))))


def _filled(item: str, number: str, vector: str) -> str:
    if "%n" in item:  # the number of another one
        item = item.replace("%n", str(int(number) // 2))
    if "%t" in item:
        item = item.replace("%t", TEXTS[int(number) % 8])
    return item.replace("%d", number).replace("%s", vector).replace("%e", vector.replace("/", "\\/"))


def _styled(random: Random, text: str) -> str:
    if random.random() > 0.15:
        return text
    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    return json.dumps(parsed, indent=random.choice((0, 2, 4))) + random.choice(("", "\n"))
