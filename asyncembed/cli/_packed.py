"""Files that are compressed, with gzip or Zstandard."""

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
