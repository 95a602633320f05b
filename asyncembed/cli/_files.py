"""Bytes to lines, without I/O, whatever the lines end in: LF, CRLF, or CR alone as old programs write it.

Files that are compressed, with gzip or Zstandard.
"""

from __future__ import annotations

import gzip
import io
import zlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from asyncembed import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import WriteableBuffer


MAX_LINE_BYTES: Final = 64_000_000
"""Longest line that is read; a file with a longer one is no text file."""


class LineSplitter:
    """Cuts what comes in pieces into lines.

    A CR alone ends a line only in a file whose first piece with a line end has no LF in it; elsewhere it is a character
    of the text. Such lines are given with LF.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._ends_in_cr: bool | None = None  # None before the first line end
        self._is_after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next piece, and return the lines it completes, their ends included; one too long is cut."""
        if self._ends_in_cr is None:
            piece = self._first(piece)
        if self._ends_in_cr:
            piece = self._with_lf(piece)
        *whole, end = piece.split(b"\n")
        lines = []
        for line in whole:
            lines.append(bytes(self._rest) + line + b"\n")
            self._rest.clear()
        self._rest += end
        return lines + self.close() if len(self._rest) > MAX_LINE_BYTES else lines

    def close(self) -> list[bytes]:
        """Return the last line, if it has no end."""
        rest = bytes(self._rest)
        self._rest.clear()
        return [rest] if rest else []

    def _first(self, piece: bytes) -> bytes:
        if b"\n" in piece:
            self._ends_in_cr = False
        elif b"\r" in piece[:-1] or self._rest.endswith(b"\r"):
            self._ends_in_cr = True
            piece = bytes(self._rest) + piece
            self._rest.clear()
        return piece

    def _with_lf(self, piece: bytes) -> bytes:
        if self._is_after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._is_after_cr = piece.endswith(b"\r") or (self._is_after_cr and not piece)
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


PACKED: Final = ("gz", "zst")
"""The suffixes."""

ZSTD_MISSING: Final = '.zst needs zstandard, which is not installed: pip install "asyncembed[zstd]"'

READ_BYTES: Final = 1_024
"""Compressed bytes that are unpacked at once: at most 33 MB may come of them."""


class Decompressor(Protocol):
    """What unpacks one frame."""

    @property
    def eof(self) -> bool:
        """Whether the end of the frame was reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What came after it."""
        ...

    def decompress(self, data: bytes, /) -> bytes:
        """Return what comes of the next bytes."""
        ...


class FramesFile(io.RawIOBase):
    """Reads frames that follow one another, and says so if the last one is cut off.

    Args:
        file: The compressed bytes, which are closed with this.
        decompressor: Makes what unpacks a frame.
    """

    def __init__(self, file: io.BufferedIOBase, decompressor: Callable[[], Decompressor]) -> None:
        self._file = file
        self._new = decompressor
        self._frame: Decompressor | None = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there, 0 bytes at the end.

        Raises:
            EOFError: if a frame has no end.
            Exception: what the decompressor raises at something else.
        """
        while not self._ready:
            data = self._frame.unused_data if self._frame and self._frame.eof else b""
            data = data or self._file.read(READ_BYTES)
            if not data:
                if self._frame and not self._frame.eof:
                    raise EOFError("Compressed file ended before the end of its last frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._new()
            self._ready = memoryview(self._frame.decompress(data))
        room = memoryview(buffer).cast("B")
        count = min(len(room), len(self._ready))
        room[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        """Close the file, too."""
        self._file.close()
        super().close()


def check_packed(suffix: str) -> None:
    """Raise `ConfigurationError` if the package is missing that unpacks files of this suffix."""
    if suffix == "zst" and find_spec("zstandard") is None:
        raise ConfigurationError(ZSTD_MISSING)


def open_packed(path: Path, suffix: str) -> io.BufferedIOBase:
    """Open a file so that what it holds is read."""
    if suffix == "gz":
        return gzip.GzipFile(path)
    import zstandard

    unpacker = zstandard.ZstdDecompressor()
    return io.BufferedReader(FramesFile(path.open("rb"), unpacker.decompressobj), 65_536)


def packed_errors() -> tuple[type[Exception], ...]:
    """Return what reading raises if a file is not what its suffix says, or is cut off."""
    errors: list[type[Exception]] = [OSError, EOFError, zlib.error]
    if find_spec("zstandard") is not None:
        import zstandard

        errors.append(zstandard.ZstdError)
    return tuple(errors)
