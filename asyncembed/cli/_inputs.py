"""Inputs from files and standard input, read lazily and a few rows at a time."""

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
from asyncembed.cli._console import say
from asyncembed.cli._files import COMPRESSIONS, LineSplitter, check_compression, open_compressed, read_errors
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
NAMED: Final = 3
"""Maximum number of files that a message names."""
ROWS: Final = 1_024
"""Rows to count or check in one step."""
CHEAP_BYTES: Final = 500_000_000
"""Maximum total size of files whose rows are counted for the progress display. Compressed files count five times."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input of the command line: a file or standard input.

    Attributes:
        path: The file; None for standard input.
        format: A name of `PARSERS`, or "parquet".
        compression: "gz", "zst", or "" if the file is not compressed.
        folder: The folder on the command line, if the file was found in one.
    """

    path: Path | None
    format: str
    compression: str = ""
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Name for messages."""
        return str(self.path) if self.path else "standard input"

    @property
    def is_csv(self) -> bool:
        """Whether it is CSV or TSV."""
        return issubclass(PARSERS.get(self.format, TxtParser), CsvParser)

    @property
    def is_async(self) -> bool:
        """Whether the event loop must wait for the rows."""
        return self.is_compressed_parquet or _stdin.needs_waiting(self.path)

    @property
    def is_compressed_parquet(self) -> bool:
        """Whether the whole file must be decompressed before it can be read."""
        return bool(self.compression) and self.format == PARQUET

    @property
    def weight(self) -> float:
        """Bytes to read to count the rows; infinite if the source can, or should, be read only once."""
        if self.path is None or self.is_compressed_parquet or not self.path.is_file():
            return float("inf")
        return 0 if self.format == PARQUET else self.path.stat().st_size * (5 if self.compression else 1)

    def rows(self, fields: Fields, decompressed: io.BufferedIOBase | None = None) -> Iterator[EmbedInput]:
        """Yield the inputs.

        Args:
            fields: The fields to read from each row.
            decompressed: The decompressed content of the file, to read in its place. It is closed at the end.

        Raises:
            InputError: if the file cannot be read, or does not have the fields.
        """
        try:
            if self.format == PARQUET:
                yield from _parquet.rows(decompressed or self._open(), self.name, fields)
            else:
                yield from self._text_rows(fields)
        except read_errors() as error:
            raise InputError(f"{self.name} cannot be read: {error}") from None

    def check(self, fields: Fields) -> None:
        """Raise `InputError` if the first rows lack the fields. A source that can be read only once is not checked."""
        if self.weight == float("inf"):
            return
        parser = None if self.format == PARQUET else PARSERS[self.format](self.name, fields)
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
        except read_errors() as error:
            raise InputError(f"{self.name} cannot be read: {error}") from None
        if lines:
            name, option = next(iter(parser.unseen.items()))
            where = f"{self.name}, in its first {lines:,} lines"
            raise InputError(f"{where}: there is no field {name!r}; choose with {option}")

    def counts(self, delimiter: str | None) -> Iterator[int]:
        """Yield the number of rows in parts, to be added up."""
        if self.format == PARQUET:
            yield _parquet.count(Path(self.name))
            return
        rows: Iterator[object] = (line for line in self._lines() if not is_blank(line))
        parser = PARSERS[self.format]
        if issubclass(parser, CsvParser):
            separator = delimiter or parser.usual_delimiter
            records = csv.reader((line.decode("utf-8", "replace") for line in self._lines()), delimiter=separator)
            rows = islice(filter(None, records), 1, None)
        while count := sum(1 for _ in islice(rows, ROWS)):
            yield count

    def _open(self) -> io.BufferedIOBase:
        if self.path is None:
            return os.fdopen(os.dup(_stdin.STDIN), "rb")
        return open_compressed(self.path, self.compression) if self.compression else self.path.open("rb")

    def _text_rows(self, fields: Fields) -> Iterator[EmbedInput]:
        parser = PARSERS[self.format](self.name, fields)
        for line in self._lines():
            if row := parser.feed(line):
                yield row
        parser.close()

    def _lines(self) -> Iterator[bytes]:
        splitter = LineSplitter()
        with self._open() as file:
            while chunk := file.read1(READ_BYTES):
                yield from splitter.feed(chunk)
            yield from splitter.close()


def parse_sources(arguments: Sequence[str], default_format: str | None) -> list[Source]:
    """Return the inputs of the command line.

    Args:
        arguments: Paths of files, paths of folders with Parquet files, and "-" for standard input.
        default_format: Format of standard input, and of files whose suffix does not tell it.

    Raises:
        ConfigurationError: if a file does not exist, or its format is unknown or unsupported.
    """
    if list(arguments).count("-") > 1:
        raise ConfigurationError("standard input (-) can be read only once")
    return [source for argument in arguments for source in _parse_argument(argument, default_format)]


def read(sources: Sequence[Source], fields: Fields, limit: int | None = None) -> Inputs:
    """Return the inputs of all sources one after another, at most `limit` of them.

    The result is an async iterable if the event loop must wait for one of the sources.
    """
    if any(source.is_async for source in sources):
        return _read_async(sources, fields, limit)
    return (row for row in islice((row for source in sources for row in source.rows(fields)), limit))


async def count(sources: Sequence[Source], fields: Fields | None = None, limit: int | None = None) -> int | None:
    """Return the number of texts, without blocking the event loop; None if counting is too slow or not possible."""
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
    except read_errors():
        return None
    except (InputError, csv.Error):
        return None  # reading the rows raises the error again
    return total


async def _read_async(sources: Sequence[Source], fields: Fields, limit: int | None) -> AsyncIterator[EmbedInput]:
    remaining = sys.maxsize if limit is None else limit
    for source in sources:
        if not remaining:
            return
        rows = _rows_async(source, fields)
        try:
            async for row in rows:
                yield row
                remaining -= 1
                if not remaining:
                    return
        finally:
            await rows.aclose()


async def _rows_async(source: Source, fields: Fields) -> AsyncGenerator[EmbedInput, None]:
    if source.is_async and not source.is_compressed_parquet:
        parser = PARSERS[source.format](source.name, fields)
        lines = _stdin.lines(source.path, compressed=source.compression == "gz")
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
    decompressed = None
    if source.is_compressed_parquet:
        decompressed = await _parquet.decompress(Path(source.name), source.compression)
    for row in source.rows(fields, decompressed):
        yield row


def _parse_argument(argument: str, default_format: str | None) -> list[Source]:
    if argument == "-":
        if default_format == PARQUET:
            raise ConfigurationError("Parquet cannot be read from standard input; name a file")
        return [Source(None, default_format or "txt")]
    path = Path(argument)
    if not path.exists():
        raise ConfigurationError(f"there is no file {argument}")
    return _folder(path) if path.is_dir() else [_parse_file(path, default_format)]


def _folder(folder: Path) -> list[Source]:
    """Return the Parquet files in a folder, without those that earlier runs wrote there."""
    found = _parquet_files(folder)
    written = [source for source in found if source.path and not source.compression and _parquet.is_output(source.path)]
    if not written:
        return found
    names = ", ".join(source.name for source in written[:NAMED]) + (", ..." if len(written) > NAMED else "")
    if written == found:
        raise ConfigurationError(
            f"the folder {folder} has only files of vectors that this command wrote: {names}; to embed their texts "
            "again, name the files"
        )
    say(f"left out of the folder {folder}, because this command wrote them: {names}", "yellow")
    return [source for source in found if source not in written]


def _parquet_files(folder: Path) -> list[Source]:
    """Return the Parquet files in a folder and its subfolders, sorted by name.

    Names that begin with "." or "_" are skipped: other programs use them for files that are not part of the table.
    """
    sources: list[Source] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.suffix == ".partial":
            continue
        if path.is_dir():
            sources += _parquet_files(path)
        elif _parse_suffixes(path)[0] == PARQUET:
            sources.append(_parse_file(path, None))
    if not sources:
        raise ConfigurationError(f"there is no Parquet file in the folder {folder}; name files of other formats")
    return [replace(source, folder=folder) for source in sources]


def _parse_file(path: Path, default_format: str | None) -> Source:
    suffix, compression = _parse_suffixes(path)
    file_format = suffix if suffix in {*PARSERS, PARQUET} else default_format
    if file_format is None:
        raise ConfigurationError(f"{path}: the suffix does not tell the format; use {SUFFIXES}, or --format")
    if _stdin.needs_waiting(path):
        check_pipe(path, file_format, compression)
    if file_format == PARQUET and find_spec("pyarrow") is None:
        raise ConfigurationError(ARROW_MISSING)
    check_compression(compression)
    return Source(path, file_format, compression)


def is_blank(line: bytes) -> bool:
    """Return whether a line is empty or only white space."""
    return not line.decode("utf-8", "replace").lstrip("\ufeff").strip()


def check_pipe(path: Path, file_format: str, compression: str) -> None:
    """Raise `ConfigurationError` if a pipe has a format that can only be read from a file."""
    if file_format == PARQUET:
        raise ConfigurationError(f"{path} is a pipe, and Parquet cannot be read from a pipe; name a file")
    if compression not in {"", "gz"}:
        raise ConfigurationError(
            f"{path} is a pipe, and .{compression} cannot be read from a pipe; decompress it before the pipe"
        )


def _parse_suffixes(path: Path) -> tuple[str, str]:
    """Return the suffixes of the format and of the compression, without dots."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in COMPRESSIONS:
        return suffix, ""
    return path.with_suffix("").suffix.lower().removeprefix("."), suffix
