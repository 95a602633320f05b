"""Texts from files and standard input, read as they are wanted; some rows at a time, however large the file."""

from __future__ import annotations

import csv
import os
import sys
import zlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from inspect import isgenerator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio.lowlevel

from asyncembed import ConfigurationError, EmbedInput
from asyncembed.cli import _parquet, _stdin
from asyncembed.cli._files import PACKED, LineSplitter, check_packed, open_packed, packed_errors
from asyncembed.cli._rows import CsvParser, Fields, InputError, JsonlParser, LineParser, TsvParser, TxtParser
from asyncembed.sinks import ARROW_MISSING

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence

Inputs: TypeAlias = "Iterable[EmbedInput] | AsyncIterable[EmbedInput]"

PARSERS: Final[Mapping[str, type[LineParser]]] = {
    "txt": TxtParser,
    "jsonl": JsonlParser,
    "ndjson": JsonlParser,
    "csv": CsvParser,
    "tsv": TsvParser,
}
PARQUET: Final = "parquet"
SUFFIXES: Final = ".txt, .jsonl, .ndjson, .csv, .tsv and .parquet, each also with .gz or .zst"
READ_BYTES: Final = 65_536
ROWS: Final = 1_024
"""Rows that are counted before others get their turn."""
CHEAP_BYTES: Final = 500_000_000
"""Files up to this size together are counted, to know how much is left; compressed ones weigh five times."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input.

    Attributes:
        path: The file; None for standard input.
        kind: A name of `PARSERS`, or "parquet".
        packing: "gz" or "zst", if it is compressed.
        folder: The folder that was named instead of its files.
    """

    path: Path | None
    kind: str
    packing: str = ""
    folder: Path | None = None

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
        return bool(self.packing) and self.kind == PARQUET

    @property
    def weight(self) -> float:
        """Bytes that must be looked at to count the rows; infinite if they can, or should, be read only once."""
        if self.path is None or self.is_packed or not self.path.is_file():
            return float("inf")
        return 0 if self.kind == PARQUET else self.path.stat().st_size * (5 if self.packing else 1)

    def rows(self, fields: Fields, unpacked: io.BufferedIOBase | None = None) -> Iterator[EmbedInput]:
        """Read the inputs.

        Args:
            fields: What is taken of a row.
            unpacked: What is read instead of a packed file, and closed.

        Raises:
            InputError: if the file cannot be read, or does not have the fields.
        """
        try:
            if self.kind == PARQUET:
                yield from _parquet.rows(unpacked or self._open(), self.name, fields)
            else:
                yield from self._text_rows(fields)
        except packed_errors() as error:
            raise InputError(f"{self.name} cannot be read: {error}") from None

    def check(self, fields: Fields) -> None:
        """Raise `InputError` if its beginning shows that it does not have the fields; one read only once is left."""
        if self.weight == float("inf"):
            return
        parser = None if self.kind == PARQUET else PARSERS[self.kind](self.name, fields)
        if isinstance(parser, JsonlParser):
            if parser.unseen:
                self._check_objects(parser)
            return
        rows = self.rows(fields)
        next(rows, None)
        if isgenerator(rows):
            rows.close()

    def _check_objects(self, parser: JsonlParser) -> None:
        lines = 0
        try:
            for line in islice(self._lines(), ROWS):
                lines += 1
                parser.feed(line)
                if not parser.unseen:
                    return
        except packed_errors() as error:
            raise InputError(f"{self.name} cannot be read: {error}") from None
        if lines:
            name, option = next(iter(parser.unseen.items()))
            where = f"{self.name}, in its first {lines:,} lines"
            raise InputError(f"{where}: there is no field {name!r}; choose with {option}")

    def counts(self, delimiter: str | None) -> Iterator[int]:
        """Count the rows, some thousand at a time."""
        if self.kind == PARQUET:
            yield _parquet.count(Path(self.name))
            return
        rows: Iterator[object] = (line for line in self._lines() if not is_blank(line))
        parser = PARSERS[self.kind]
        if issubclass(parser, CsvParser):
            separator = delimiter or parser.usual_delimiter
            records = csv.reader((line.decode("utf-8", "replace") for line in self._lines()), delimiter=separator)
            rows = islice(filter(None, records), 1, None)
        while count := sum(1 for _ in islice(rows, ROWS)):
            yield count

    def _open(self) -> io.BufferedIOBase:
        if self.path is None:
            return os.fdopen(os.dup(_stdin.STDIN), "rb")
        return open_packed(self.path, self.packing) if self.packing else self.path.open("rb")

    def _text_rows(self, fields: Fields) -> Iterator[EmbedInput]:
        parser = PARSERS[self.kind](self.name, fields)
        for line in self._lines():
            if row := parser.feed(line):
                yield row
        parser.close()

    def _lines(self) -> Iterator[bytes]:
        splitter = LineSplitter()
        with self._open() as file:
            while piece := file.read1(READ_BYTES):
                yield from splitter.feed(piece)
            yield from splitter.close()


def parse_sources(arguments: Sequence[str], kind: str | None) -> list[Source]:
    """Return the inputs that are named on the command line.

    Args:
        arguments: Paths of files, of folders with Parquet files, and "-" for standard input.
        kind: Format of standard input, and of files whose suffix does not say it.

    Raises:
        ConfigurationError: if a file does not exist, or its format is unknown.
    """
    if list(arguments).count("-") > 1:
        raise ConfigurationError("standard input (-) can be read only once")
    return [source for argument in arguments for source in _parse_argument(argument, kind)]


def read(sources: Sequence[Source], fields: Fields, limit: int | None = None) -> Inputs:
    """Return the inputs of all sources, one after the other, the first `limit` of them.

    They are an async iterable if one of the sources must be waited for.
    """
    if any(source.is_awaited for source in sources):
        return _read_async(sources, fields, limit)
    return (row for row in islice((row for source in sources for row in source.rows(fields)), limit))


async def count(sources: Sequence[Source], fields: Fields | None = None, limit: int | None = None) -> int | None:
    """Count the texts, a little at a time; None where that would be much work or cannot be done."""
    total = 0
    if sum(source.weight for source in sources) > CHEAP_BYTES:
        return None
    try:
        for source in sources:
            for rows in source.counts(fields.delimiter if fields else None):
                total += rows
                if limit is not None and total >= limit:
                    return limit
                await anyio.lowlevel.checkpoint()
    except packed_errors():
        return None
    except (InputError, csv.Error):
        return None  # whoever reads the rows will say what is wrong
    return total


async def _read_async(sources: Sequence[Source], fields: Fields, limit: int | None) -> AsyncIterator[EmbedInput]:
    left = sys.maxsize if limit is None else limit
    for source in sources:
        if not left:
            return
        rows = _rows_async(source, fields)
        try:
            async for row in rows:
                yield row
                left -= 1
                if not left:
                    return
        finally:
            await rows.aclose()


async def _rows_async(source: Source, fields: Fields) -> AsyncGenerator[EmbedInput, None]:
    if source.is_awaited and not source.is_packed:
        parser = PARSERS[source.kind](source.name, fields)
        lines = _stdin.lines(source.path, compressed=source.packing == "gz")
        try:
            async for line in lines:
                if found := parser.feed(line):
                    yield found
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{source.name} cannot be read: {error}") from None
        finally:
            await lines.aclose()
        parser.close()
        return
    unpacked = await _parquet.unpack(Path(source.name), source.packing) if source.is_packed else None
    for row in source.rows(fields, unpacked):
        yield row


def _parse_argument(argument: str, kind: str | None) -> list[Source]:
    if argument == "-":
        if kind == PARQUET:
            raise ConfigurationError("Parquet cannot be read from standard input; name a file")
        return [Source(None, kind or "txt")]
    path = Path(argument)
    if not path.exists():
        raise ConfigurationError(f"there is no file {argument}")
    return _parts_of(path) if path.is_dir() else [_parse_file(path, kind)]


def _parts_of(folder: Path) -> list[Source]:
    """Return the Parquet files in a folder, sorted by name, as other programs write large tables.

    Names that begin with "." or "_" are no parts of it.
    """
    sources: list[Source] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.suffix == ".partial":
            continue
        if path.is_dir():
            sources += _parts_of(path)
        elif _kind_and_packing(path)[0] == PARQUET:
            sources.append(_parse_file(path, None))
    if not sources:
        raise ConfigurationError(f"there is no Parquet file in the folder {folder}; name files of other formats")
    return [replace(source, folder=folder) for source in sources]


def _parse_file(path: Path, kind: str | None) -> Source:
    known, packing = _kind_and_packing(path)
    found = known if known in {*PARSERS, PARQUET} else kind
    if found is None:
        raise ConfigurationError(f"{path}: the suffix does not say the format; use {SUFFIXES}, or --format")
    if _stdin.is_awaited(path):
        check_pipe(path, found, packing)
    if found == PARQUET and find_spec("pyarrow") is None:
        raise ConfigurationError(ARROW_MISSING)
    check_packed(packing)
    return Source(path, found, packing)


def is_blank(line: bytes) -> bool:
    """Whether a line is none: it is empty, or white space of any kind."""
    return not line.decode("utf-8", "replace").lstrip("\ufeff").strip()


def check_pipe(path: Path, kind: str, packing: str) -> None:
    """Raise `ConfigurationError` if what a pipe holds can only be read from a file."""
    if kind == PARQUET:
        raise ConfigurationError(f"{path} is a pipe, and Parquet cannot be read from one; name a file")
    if packing not in {"", "gz"}:
        raise ConfigurationError(f"{path} is a pipe, and .{packing} cannot be read from one; unpack it before the pipe")


def _kind_and_packing(path: Path) -> tuple[str, str]:
    packing = path.suffix.lower().removeprefix(".")
    if packing not in PACKED:
        return packing, ""
    return path.with_suffix("").suffix.lower().removeprefix("."), packing
