"""`python -m benchmarks parsers`: one JSON array of floats to a float32 vector, with each library that can do it.

It shows how fast decoding floats can be without a parser of our own. All ways alternate in one process over different
vectors, so no parser profits from seeing the same text again. Writes `parsers.json` and `parsers.md`.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from benchmarks.measure import RESULTS, describe, machine, write
from benchmarks.server import Canned, vectors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Read = Callable[[bytes], np.ndarray]


def _simdjson() -> Read:
    import simdjson

    parser = simdjson.Parser()
    return lambda text: np.frombuffer(parser.parse(text).as_buffer(of_type="d"), np.float64).astype(np.float32)


def _simdjson_parse_only() -> Read:
    import simdjson

    parser = simdjson.Parser()

    def read(text: bytes) -> np.ndarray:
        parser.parse(text)
        return np.empty(0)

    return read


def _orjson() -> Read:
    return lambda text: np.array(orjson.loads(text), np.float32)


def _msgspec() -> Read:
    import msgspec

    decoder = msgspec.json.Decoder(list[float])
    return lambda text: np.array(decoder.decode(text), np.float32)


def _json() -> Read:
    return lambda text: np.array(json.loads(text), np.float32)


def _numpy() -> Read:
    return lambda text: np.fromstring(text[1:-1], np.float32, sep=",")


def _pyarrow() -> Read:
    import pyarrow as pa
    from pyarrow import csv

    read = csv.ReadOptions(column_names=["n"], use_threads=False)
    convert = csv.ConvertOptions(column_types={"n": pa.float32()})

    def parse(text: bytes) -> np.ndarray:
        column = csv.read_csv(io.BytesIO(text[1:-1].replace(b",", b"\n")), read_options=read, convert_options=convert)
        return column["n"].to_numpy()

    return parse


def _polars() -> Read:
    import polars as pl

    return lambda text: pl.Series([text[1:-1].decode()]).str.split(",").explode().cast(pl.Float32).to_numpy()


WAYS: dict[str, Callable[[], Read]] = {
    "simdjson, `as_buffer`, `astype`": _simdjson,
    "of that, the parsing alone": _simdjson_parse_only,
    "orjson, `numpy.array`": _orjson,
    "msgspec, `numpy.array`": _msgspec,
    "json, `numpy.array`": _json,
    "`numpy.fromstring`": _numpy,
    "pyarrow, as CSV": _pyarrow,
    "polars, split and cast": _polars,
}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("parsers", help="JSON numbers to float32, by each library that can")
    parser.add_argument("--dimension", type=int, default=1_536)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.set_defaults(run=measure)


def measure(given: argparse.Namespace) -> None:
    texts, expected = Canned(given.dimension).rows["float"], vectors(given.dimension)
    costs: dict[str, list[float]] = {}
    readers: dict[str, Read] = {}
    for name, make in WAYS.items():
        try:
            readers[name] = make()
        except ModuleNotFoundError as error:
            print(f"{name} is left out: {error.name} is not installed")
            continue
        found = readers[name](texts[0])
        if len(found) and not np.allclose(found, expected[0], rtol=1e-6):
            raise SystemExit(f"{name} reads wrong numbers")
        exact = bool(len(found)) and np.array_equal(found, expected[0])
        print(f"{name}: {'exact' if exact else 'rounded differently'}" if len(found) else name)
    for _ in range(given.rounds):
        for name, read in readers.items():
            started = time.process_time()
            for text in texts:
                read(text)
            costs.setdefault(name, []).append((time.process_time() - started) / len(texts) * 1e6)
    rows = [
        {"way": name, "us": round(statistics.median(found), 1), "least_us": round(min(found), 1)}
        for name, found in costs.items()
    ]
    on = machine()
    lines = ["| one vector from JSON to float32 | µs, median | µs, least |", "|---|---:|---:|"]
    lines += [f"| {row['way']} | {row['us']} | {row['least_us']} |" for row in rows]
    size = sum(map(len, texts)) / len(texts)
    note = f"{given.dimension} dimensions, {size:,.0f} bytes of JSON on average."
    write(given.output, "parsers", {"machine": on, "rows": rows}, "\n".join([*lines, "", note, describe(on), ""]))
