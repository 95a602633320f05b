"""Lines of text files, and decompression of files with gzip or Zstandard.

Lines may end in LF, CRLF, or CR alone, as some old programs write them.
"""

from __future__ import annotations

import gzip
import io
import zlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from asyncembed._missing import missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import WriteableBuffer


MAX_LINE_BYTES: Final = 64_000_000
"""Maximum length of a line; a file with a longer line is probably not a text file."""


class LineSplitter:
    """Splits a stream of bytes into lines, without I/O.

    CR alone ends a line only if the first chunk with a line ending has no LF; otherwise it is a character of the text.
    Such line endings are converted to LF.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._uses_cr: bool | None = None  # None before the first line ending
        self._is_after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that the next chunk completes, line endings included.

        A line longer than `MAX_LINE_BYTES` is returned in parts.
        """
        if self._uses_cr is None:
            chunk = self._detect(chunk)
        if self._uses_cr:
            chunk = self._with_lf(chunk)
        *complete, rest = chunk.split(b"\n")
        lines = []
        for line in complete:
            lines.append(bytes(self._rest) + line + b"\n")
            self._rest.clear()
        self._rest += rest
        return lines + self.close() if len(self._rest) > MAX_LINE_BYTES else lines

    def close(self) -> list[bytes]:
        """Return the last line, if it has no line ending."""
        rest = bytes(self._rest)
        self._rest.clear()
        return [rest] if rest else []

    def _detect(self, chunk: bytes) -> bytes:
        if b"\n" in chunk:
            self._uses_cr = False
        elif b"\r" in chunk[:-1] or self._rest.endswith(b"\r"):
            self._uses_cr = True
            chunk = bytes(self._rest) + chunk
            self._rest.clear()
        return chunk

    def _with_lf(self, chunk: bytes) -> bytes:
        if self._is_after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._is_after_cr = chunk.endswith(b"\r") or (self._is_after_cr and not chunk)
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


COMPRESSIONS: Final = ("gz", "zst")
"""Suffixes of compressed files, without the dot."""


READ_BYTES: Final = 1_024
"""Compressed bytes to decompress at once; they expand to at most 33 MB."""


class Decompressor(Protocol):
    """Decompresses one frame."""

    @property
    def eof(self) -> bool:
        """Whether the end of the frame has been reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """The bytes after the frame."""
        ...

    def decompress(self, data: bytes, /) -> bytes:
        """Return the decompressed content of the next bytes."""
        ...


class FramesFile(io.RawIOBase):
    """Reads a file of consecutive compressed frames, and raises an error if the last one is incomplete.

    Args:
        file: The compressed file. It is closed with this object.
        new_decompressor: Returns a decompressor for one frame.
    """

    def __init__(self, file: io.BufferedIOBase, new_decompressor: Callable[[], Decompressor]) -> None:
        self._file = file
        self._new_decompressor = new_decompressor
        self._frame: Decompressor | None = None
        self._buffered = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer as far as possible with decompressed bytes, and return their number; 0 at the end.

        Raises:
            EOFError: if the last frame is incomplete.
            Exception: the decompressor's own errors, if the data is invalid.
        """
        while not self._buffered:
            data = self._frame.unused_data if self._frame and self._frame.eof else b""
            data = data or self._file.read(READ_BYTES)
            if not data:
                if self._frame and not self._frame.eof:
                    raise EOFError("Compressed file ended before the end of its last frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._new_decompressor()
            self._buffered = memoryview(self._frame.decompress(data))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._buffered))
        target[:count] = self._buffered[:count]
        self._buffered = self._buffered[count:]
        return count

    def close(self) -> None:
        """Close this object and the compressed file."""
        self._file.close()
        super().close()


def check_compression(compression: str) -> None:
    """Raise `ConfigurationError` if the package that decompresses such files is not installed."""
    if compression == "zst" and find_spec("zstandard") is None:
        raise missing(".zst", "zstandard", "zstd")


def open_compressed(path: Path, compression: str) -> io.BufferedIOBase:
    """Open a compressed file to read its decompressed content."""
    if compression == "gz":
        return gzip.GzipFile(path)
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    return io.BufferedReader(FramesFile(path.open("rb"), decompressor.decompressobj), 65_536)


def read_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that reading raises if a file is unreadable, truncated or not in its suffix's format."""
    errors: list[type[Exception]] = [OSError, EOFError, zlib.error]
    if find_spec("zstandard") is not None:
        import zstandard

        errors.append(zstandard.ZstdError)
    return tuple(errors)
