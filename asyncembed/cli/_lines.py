"""Bytes to lines, without I/O, whatever the lines end in: LF, CRLF, or CR alone as old programs write it."""

from __future__ import annotations

from typing import Final

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
