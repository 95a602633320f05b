"""`python -m benchmarks decode`: cost of decoding the bytes of a response to vectors, without a network.

All ways alternate in one process. The figures are medians in microseconds per vector, for the whole and for each stage.
Writes `decode.json` and `decode.md`.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson
import pybase64

from asyncembed import EmbedOptions
from asyncembed._parser.parser import ResponseParser
from asyncembed._parser.splitter import scan
from asyncembed._parser.structure import EventReader, StructureReader
from asyncembed._parser.vectors import VectorDecoder, number_reader, quiet
from asyncembed.providers import get_provider
from benchmarks.measure import RESULTS, describe, machine, write
from benchmarks.server import CANNED, Canned

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from asyncembed import Dtype
    from asyncembed._parser.vectors import Value
    from benchmarks.measure import Row

Kind = Literal["float", "int8", "base64"]
BATCH = 96
WAYS = {
    "vectors": "**`ResponseParser`, to vectors**",
    "rows": "**`ResponseParser`, to rows of a block**",
    "scan": "splitter",
    "events": "structure, with ijson alone",
    "structure": "structure to positions, with ijson and orjson",
    "decode": "one array or string to a checked vector",
    "library": "simdjson or pybase64 alone",
    "orjson": "orjson, whole body, and numpy",
}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("decode", help="bytes to vectors, without network")
    parser.add_argument("--dimension", type=int, default=1_536)
    parser.add_argument("--chunk", type=int, default=131_072, help="bytes of the response per piece")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=measure)


def measure(given: argparse.Namespace) -> None:
    rows: list[Row] = []
    for kind in ("float", "int8", "base64"):
        for way, costs in _rounds(_ways(kind, given.dimension, given.chunk), given.rounds).items():
            low, middle, high = min(costs), statistics.median(costs), max(costs)
            rows.append({"kind": kind, "way": way, "us": round(middle, 2), "us_range": [round(low, 2), round(high, 2)]})
    on = machine()
    lines = ["| µs for each vector | float | int8 | base64 |", "|---|---:|---:|---:|"]
    for way, name in WAYS.items():
        cells = [next((f"{row['us']:.1f}" for row in rows if (row["kind"], row["way"]) == (kind, way)), "")
                 for kind in ("float", "int8", "base64")]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    note = f"{given.dimension} dimensions, {BATCH} vectors in a response, chunks of {given.chunk:,} bytes."
    write(given.output, "decode", {"machine": on, "rows": rows}, "\n".join([*lines, "", note, describe(on), ""]))


def _rounds(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    costs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            started = time.process_time()
            run()
            costs[way].append((time.process_time() - started) / BATCH * 1e6)
    return costs


def _ways(kind: Kind, dimension: int, chunk: int) -> dict[str, Callable[[], None]]:
    canned, picked = Canned(dimension), tuple(number % CANNED for number in range(BATCH))
    texts = [memoryview(canned.rows[kind][number]) for number in picked]
    provider = "openai" if kind == "base64" else "cohere-v1" if kind == "float" else "cohere"
    path, field = ("/v1/embeddings", "input") if kind == "base64" else ("/v1/embed", "texts")
    asked = {field: [f"text {n}" for n in picked], "encoding_format": kind}
    body = canned.body(path, orjson.dumps(asked if kind != "int8" else {**asked, "embedding_types": ["int8"]}))
    chunks = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    dtype: Dtype = "int8" if kind == "int8" else "float32"
    layout = get_provider(provider).layout(
        EmbedOptions(model="m", dtype=dtype), "base64" if kind == "base64" else "float"
    )
    scanned = _scan_all(chunks)

    def parse(rows: bool) -> None:
        decoder = VectorDecoder(dtype, dimension)
        decode, decode_run = (decoder.decode_row, decoder.decode_rows) if rows else (decoder.decode, decoder.decode_run)
        parser: ResponseParser[Any] = ResponseParser(layout, decode, decode_run=decode_run)
        found = [vector for data in chunks for vector in parser.feed(data)]
        assert len(found + parser.close()) == BATCH

    def follow() -> None:
        reader = StructureReader(layout)
        for structure, values in scanned:
            reader.feed(structure, values)
        assert reader.positions.count == BATCH
        reader.discard()

    def decode() -> None:
        decoder = VectorDecoder(dtype, dimension)
        with quiet():
            for text in texts:
                decoder.decode(text)

    ways: dict[str, Callable[[], None]] = {
        "vectors": lambda: parse(rows=False),
        "rows": lambda: parse(rows=True),
        "scan": lambda: _scan_all(chunks),
        "events": lambda: _feed(EventReader(), [structure for structure, _ in scanned]),
        "structure": follow,
        "decode": decode,
        "library": lambda: _library(kind, texts),
        "orjson": lambda: _whole(kind, body),
    }
    return ways


def _scan_all(chunks: list[bytes]) -> list[tuple[bytes, list[memoryview]]]:
    """Return the structure and the values of each chunk; a value that is incomplete is scanned with the next chunk."""
    scanned, rest = [], b""
    for data in chunks:
        piece = rest + data
        structure, values, end = scan(piece, len(rest))
        rest = piece[end:]
        scanned.append((structure, values))
    return scanned


def _feed(reader: EventReader, chunks: list[bytes]) -> None:
    for data in chunks:
        reader.feed(data)


def _library(kind: Kind, texts: list[Value]) -> None:
    read = number_reader(integers=kind == "int8")
    for text in texts:
        pybase64.b64decode_as_bytearray(text[1:-1], validate=True) if kind == "base64" else read(text)


def _whole(kind: Kind, body: bytes) -> None:
    if kind == "base64":
        for item in orjson.loads(body)["data"]:
            np.frombuffer(pybase64.b64decode(item["embedding"], validate=True), np.float32)
        return
    rows = orjson.loads(body)["embeddings"]
    np.array(rows["int8"] if kind == "int8" else rows, np.int8 if kind == "int8" else np.float32)
