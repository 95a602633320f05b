"""Texts from files and standard input, read as they are wanted; some rows at a time, however large the file."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio.lowlevel

from asyncembed import ConfigurationError, EmbedInput
from asyncembed.cli import _parquet, _stdin
from asyncembed.cli._rows import MAX_LINE_BYTES, CsvParser, Fields, InputError, JsonlParser, LineParser, TxtParser
from asyncembed.sinks import ARROW_MISSING

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence

Inputs: TypeAlias = "Iterable[EmbedInput] | AsyncIterable[EmbedInput]"

PARSERS: Final[Mapping[str, type[LineParser]]] = {"txt": TxtParser, "jsonl": JsonlParser, "csv": CsvParser}
PARQUET: Final = "parquet"
SUFFIXES: Final = ".txt, .jsonl, .csv and .parquet, each also with .gz"
ROWS: Final = 1_024
"""Rows that are counted before others get their turn."""
CHEAP_BYTES: Final = 500_000_000
"""Files up to this size together are counted, to know how much is left; compressed ones weigh five times."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input.

    Attributes:
        path: The file; None for standard input.
        kind: "txt", "jsonl", "csv" or "parquet".
        compressed: Whether it is compressed with gzip.
    """

    path: Path | None
    kind: str
    compressed: bool = False

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return str(self.path) if self.path else "standard input"

    @property
    def is_awaited(self) -> bool:
        """Whether the rows must be waited for."""
        return self.is_packed or _stdin.is_awaited(self.path)

    @property
    def is_packed(self) -> bool:
        """Whether the file must be unpacked before it can be read."""
        return self.compressed and self.kind == PARQUET

    @property
    def weight(self) -> float:
        """Bytes that must be looked at to count the rows; infinite if they can, or should, be read only once."""
        if self.path is None or self.is_packed or not self.path.is_file():
            return float("inf")
        return 0 if self.kind == PARQUET else self.path.stat().st_size * (5 if self.compressed else 1)

    def rows(self, fields: Fields, unpacked: io.BufferedIOBase | None = None) -> Iterator[EmbedInput]:
        """Read the inputs.

        Args:
            fields: Where text and id lie in a row.
            unpacked: What is read instead of a packed file, and closed.

        Raises:
            InputError: if a row cannot be used, or the file cannot be read.
        """
        try:
            if self.kind == PARQUET:
                yield from _parquet.rows(unpacked or self._open(), self.name, fields)
            else:
                yield from self._text_rows(fields)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self.name} cannot be read: {error}") from None

    def counts(self) -> Iterator[int]:
        """Count the rows, some thousand at a time."""
        if self.kind == PARQUET:
            yield _parquet.count(Path(self.name))
            return
        with self._open() as file:
            if self.kind == "csv":
                records = csv.reader(line.decode("utf-8", "replace") for line in file)
                rows: Iterator[object] = islice(filter(None, records), 1, None)
            else:
                rows = (line for line in file if line.decode("utf-8", "replace").lstrip("\ufeff").strip())
            while count := sum(1 for _ in islice(rows, ROWS)):
                yield count

    def _open(self) -> io.BufferedIOBase:
        if self.path is None:
            return os.fdopen(os.dup(_stdin.STDIN), "rb")
        return gzip.GzipFile(self.path) if self.compressed else self.path.open("rb")

    def _text_rows(self, fields: Fields) -> Iterator[EmbedInput]:
        parser = PARSERS[self.kind](self.name, fields)
        with self._open() as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                if row := parser.feed(line):
                    yield row
        parser.close()


def parse_sources(arguments: Sequence[str], kind: str | None) -> list[Source]:
    """Return the inputs that are named on the command line.

    Args:
        arguments: Paths, and "-" for standard input.
        kind: Format of standard input, and of files whose suffix does not say it.

    Raises:
        ConfigurationError: if a file does not exist, or its format is unknown.
    """
    if list(arguments).count("-") > 1:
        raise ConfigurationError("standard input (-) can be read only once")
    return [_parse_source(argument, kind) for argument in arguments]


def read(sources: Sequence[Source], fields: Fields) -> Inputs:
    """Return the inputs of all sources, one after the other; an async iterable if one of them must be waited for."""
    if any(source.is_awaited for source in sources):
        return _read_async(sources, fields)
    return (row for source in sources for row in source.rows(fields))


async def count(sources: Sequence[Source]) -> int | None:
    """Count the texts, a little at a time; None where that would be much work or cannot be done."""
    total = 0
    if sum(source.weight for source in sources) > CHEAP_BYTES:
        return None
    try:
        for source in sources:
            for rows in source.counts():
                total += rows
                await anyio.lowlevel.checkpoint()
    except (InputError, OSError, EOFError, csv.Error, zlib.error):
        return None  # whoever reads the rows will say what is wrong
    return total


async def _read_async(sources: Sequence[Source], fields: Fields) -> AsyncIterator[EmbedInput]:
    for source in sources:
        if not source.is_awaited:
            for row in source.rows(fields):
                yield row
            continue
        if source.is_packed:
            for row in source.rows(fields, await _parquet.unpack(Path(source.name))):
                yield row
            continue
        parser = PARSERS[source.kind](source.name, fields)
        lines = _stdin.lines(source.path, compressed=source.compressed)
        try:
            async for line in lines:
                if found := parser.feed(line):
                    yield found
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{source.name} cannot be read: {error}") from None
        finally:
            await lines.aclose()
        parser.close()


def _parse_source(argument: str, kind: str | None) -> Source:
    if argument == "-":
        if kind == PARQUET:
            raise ConfigurationError("Parquet cannot be read from standard input; name a file")
        return Source(None, kind or "txt")
    path = Path(argument)
    if not path.exists() or path.is_dir():
        raise ConfigurationError(f"there is no file {argument}")
    compressed = path.suffix == ".gz"
    known = (path.with_suffix("") if compressed else path).suffix.removeprefix(".")
    found = known if known in {*PARSERS, PARQUET} else kind
    if found is None:
        raise ConfigurationError(f"{argument}: the suffix does not say the format; use {SUFFIXES}, or --format")
    if found == PARQUET and _stdin.is_awaited(path):
        raise ConfigurationError(f"{argument} is a pipe, and Parquet cannot be read from one; name a file")
    if found == PARQUET and find_spec("pyarrow") is None:
        raise ConfigurationError(ARROW_MISSING)
    return Source(path, found, compressed)
