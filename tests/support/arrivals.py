"""What a client was given of the vectors that a server sent, byte by byte and apart from all that is tested.

A vector has arrived when its closing quote lies in bytes that aiohttp was given. `PROGRAM` notes in a file what that
was, and when, in a process that may be killed at any moment.
"""

from __future__ import annotations

import base64
import re
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Self

import aiohttp

from asyncembed.testing import vector_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_ITEM = re.compile(rb'"embedding"\s*:\s*"([A-Za-z0-9+/=]+)"')
_HEAD = struct.Struct("<dQI")

PROGRAM = """
import os, struct, sys, time
import aiohttp
from asyncembed import providers

def note(path):
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    feed = aiohttp.StreamReader.feed_data
    def feed_and_note(reader, data, size=0):
        os.write(log, struct.pack("<dQI", time.monotonic(), id(reader), len(data)) + data)
        return feed(reader, data, size)
    aiohttp.StreamReader.feed_data = feed_and_note

class Own(providers.OpenAI):
    name, base_url, dimensions, default_model = "own", sys.argv.pop(1), {}, "fake"
    base_url_variable, key_variables = None, ()

providers.PROVIDERS["own"] = Own
note(sys.argv.pop(1))
from asyncembed.cli import main
main()
"""
"""The command line with a provider `own`, whose address is the first argument; the second is the file of notes."""


class Vectors:
    """The texts by what a `FakeServer` sends for them."""

    def __init__(self, texts: Iterable[str], dimension: int) -> None:
        self._texts = {base64.b64encode(vector_of(text, dimension).tobytes()): text for text in texts}

    def arrived(self, path: Path) -> dict[str, float]:
        """Return the texts whose vectors `PROGRAM` has noted, with the moment of `time.monotonic()`."""
        pieces = defaultdict(list)
        for moment, reader, data in _notes(path.read_bytes()):
            pieces[reader].append((moment, data))
        return {text: moment for each in pieces.values() for text, moment in self._closed(each)}

    def closed(self, data: bytes) -> set[str]:
        """Return the texts whose vectors are closed in the bytes of a response."""
        return {self._texts[value] for value in _ITEM.findall(data)}

    def _closed(self, pieces: list[tuple[float, bytes]]) -> Iterator[tuple[str, float]]:
        ends, size = [], 0
        for moment, data in pieces:
            size += len(data)
            ends.append((size, moment))
        moments = iter(ends)
        end, moment = next(moments)
        for item in _ITEM.finditer(b"".join(data for _, data in pieces)):
            while item.end() > end:
                end, moment = next(moments)
            yield self._texts[item[1]], moment


class Arrivals:
    """Notes what clients in this process are given, while it is entered."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._data: dict[aiohttp.StreamReader, bytearray] = defaultdict(bytearray)

    def __enter__(self) -> Self:
        self._feed = feed = aiohttp.StreamReader.feed_data

        def feed_and_note(reader: aiohttp.StreamReader, data: bytes, size: int = 0) -> bool:
            self._data[reader] += data
            return feed(reader, data, size)

        aiohttp.StreamReader.feed_data = feed_and_note
        return self

    def __exit__(self, *exc_info: object) -> None:
        aiohttp.StreamReader.feed_data = self._feed

    @property
    def responses(self) -> set[aiohttp.StreamReader]:
        """The responses whose first bytes have arrived."""
        return set(self._data)

    @property
    def texts(self) -> set[str]:
        """Texts whose vectors have arrived."""
        return self.texts_of(self._data)

    def texts_of(self, responses: Iterable[aiohttp.StreamReader]) -> set[str]:
        """Return the texts whose vectors have arrived in these responses."""
        return set().union(*(self._vectors.closed(bytes(self._data[each])) for each in responses))


def _notes(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(data):
        moment, reader, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + size <= len(data):
            yield moment, reader, data[at : at + size]
        at += size
