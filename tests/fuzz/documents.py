"""Responses in every layout, built from pieces of text, because `json.dumps` cannot write what servers get wrong.

The most useful response is a long run of equal items with a single deviating one.
"""

from __future__ import annotations

import base64
import functools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from asyncembed import EmbedOptions
from asyncembed.providers import Cohere, CohereV1, OpenAI

if TYPE_CHECKING:
    from asyncembed import Dtype, Layout, Provider

    from .dice import Dice

FLOATS: Final = EmbedOptions(model="m")
BYTES: Final = EmbedOptions(model="m", dtype="int8")
BITS: Final = EmbedOptions(model="m", dtype="ubinary")


@dataclass(frozen=True)
class Kind:
    """A layout, the type of its vectors, and the text before and after them."""

    layout: Layout
    dtype: Dtype
    is_base64: bool
    opening: str
    closing: str


COHERE = '{"id":"0f","texts":["[1,2]","say \\"x\\""],"embeddings":'
META = ',"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":7},"warnings":["[1]",[]]}}'
DATA, DATA_LAST = '{"object":"list","data":[', '{"model":"m","usage":{"prompt_tokens":6},"data":['
USAGE = '],"model":"m","usage":{"prompt_tokens":6,"total_tokens":7}}'


def _either(provider: Provider) -> Layout:
    options = EmbedOptions(model="m")
    base64, floats = provider.layout(options, "base64"), provider.layout(options, "float")
    return replace(floats, vectors=base64.vectors | floats.vectors, one_list=True)


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
    # As in `StreamingEmbedResponse`: the encoding is not known, and only the first list counts.
    Kind(_either(CohereV1()), "float32", True, COHERE + '{"base64":[', "]}" + META),
    Kind(_either(OpenAI()), "float32", False, DATA, USAGE),
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
    "-%d", "0%d", "0%d", "00%d", "%d.0", "%de0", '"%d"', "1%d", "null", "-0", "0", "true", "", " %d", "%d ",
    "%d0000000000000000000", "9223372036854775807", "[%d]", "{}", "3", "%d,", "%d\n",
)  # fmt: skip
LONG: Final = "long enough to be cut out: 0123456789 0123456789 0123456789 "
ODD_VECTORS: Final = (
    "null", "{}", "[]", '""', "[[1,2]]", "[%s]", "[1,null]", "[1,{}]", "[1,,2]", "[NaN]", "[1,NaN]", "[true]", '"AAAA"',
    "7", '{"a":%s}', "[1e999]", "[1,1e39]", "[-0,0.0]", "[18446744073709551616,1]", "[1 2]", " %s", "%s ", "%t",
    "[1.0,2.0,3.0]", '["AAAA"]', "[1,[2]]", "[\n1 ]", "[\v1]", '"%d', "[%d", "%s%s", "%e",
    f'"{LONG}\\""', f'"{LONG}\\\\"',
)  # fmt: skip
TEXTS: Final = [
    f'"{text}"'
    for text in (LONG, LONG + "\\\\", LONG + '\\"' + LONG, LONG + '\\\\\\"', "\\\\", '[1] \\"[2', '"},{', "")
]


WIDTHS: Final = (*9 * ("<f4",), "<f8", "<f2", "bfloat16")
"""Floats that base64 is of: also those that were not asked for."""

COUNTS: Final = (0, 1, 2, 3, 6, 8, 9, 9, 10, 11, 12, 16)
TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\[\]|\{\}|[\[{,:}\]]', re.DOTALL)
STYLES: Final = [
    {"[": f"[{line}", "{": f"{{{line}", ",": f",{line}", ":": ": ", "}": f"{line}}}", "]": f"{line}]"}
    for line in ("\n", "\n  ", "\n    ")
]


@functools.cache
def pool(kind: Kind, dimension: int, width: str) -> list[str]:
    """Return vectors as they are written in a document; cached, because writing them takes the most time."""
    draw = np.random.default_rng(dimension)
    if kind.is_base64:
        matrix = _in_width(draw.standard_normal((100, dimension)), width)
        return ['"' + base64.b64encode(row.tobytes()).decode() + '"' for row in matrix]
    if kind.dtype == "float32":
        floats = draw.standard_normal((100, dimension)).astype("<f4")
        return ["[" + ",".join(map(str, row)) + "]" for row in floats]
    low = 0 if kind.dtype == "ubinary" else -128
    return [str(row).replace(" ", "") for row in draw.integers(low, low + 256, (100, dimension)).tolist()]


def _in_width(matrix: np.ndarray, width: str) -> np.ndarray:
    if width == "bfloat16":
        return (matrix.astype("<f4").view("<u4") >> 16).astype("<u2")
    return matrix.astype(width)


def document(dice: Dice, kind: Kind, dimension: int) -> str:
    """Return a response of equal items and a few deviating ones."""
    vectors = pool(kind, dimension, dice.of(WIDTHS) if kind.is_base64 else "")
    shape = dice.of(ITEMS[: dice.of((5, 5, len(ITEMS)))])
    shape = "%s" if kind.layout.item is None else shape
    count, first = dice.of(COUNTS), dice.of((0, 0, 0, 0, 5, 95))
    # Late deviations are more useful: more equal items come before them.
    deviants = {
        max(dice.below(count), dice.below(count), dice.below(count)) for _ in range(dice.of((0, 0, 1, 1, 1, 2, 3)))
    }
    comma, turn = dice.of((",", ",", ",", ", ", ",\n  ")), dice.of((0, 0, 0, 0, 4, 7))
    items = []
    for place in range(count):
        item = _deviant(dice, shape) if place in deviants else shape
        number = str(first + abs(place - turn))  # up, or down and then up
        items.append(_filled(item, number, dice.of(vectors)))
    text = kind.opening + comma.join(items) + kind.closing
    return _styled(text, dice.of(STYLES)) if dice.hits(0.15) else text


def _deviant(dice: Dice, shape: str) -> str:
    """Return an item that differs slightly from the others."""
    what = dice.below(8)
    if what in {0, 6, 7}:
        return shape.replace("%d", dice.of(ODD_NUMBERS), dice.of((1, 1, 2)))
    if what == 1:
        return shape.replace("%s", dice.of(ODD_VECTORS))
    if what == 2:
        return dice.of(ITEMS) if shape != "%s" else dice.of(ODD_VECTORS)
    if what == 3:
        return dice.of(NO_ITEMS)
    if what == 4:
        return shape + dice.of(SHORT_CUTS) + shape
    return shape.replace(*dice.of(((",", ", "), (":", " :"), ("{", "{\n"), ("%d", "%n"), ('"e', '"\\u0065'))))


def _filled(item: str, number: str, vector: str) -> str:
    if item == "%s":
        return vector
    if "%n" in item:  # the index of another item
        item = item.replace("%n", str(int(number) // 2))
    if "%t" in item:
        item = item.replace("%t", TEXTS[int(number) % 8])
    if "%e" in item:
        item = item.replace("%e", vector.replace("/", "\\/"))
    return item.replace("%d", number).replace("%s", vector)


def _styled(text: str, style: dict[str, str]) -> str:
    """Return the document with white space, as `json.dumps` would indent it, but much faster."""
    return TOKEN.sub(lambda token: style.get(token[0], token[0]), text)
