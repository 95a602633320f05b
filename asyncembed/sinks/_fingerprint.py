"""What tells whether the texts of a resumed run are the same: a digest of each, and one of all of them in order."""

from __future__ import annotations

import hashlib
from hashlib import blake2s
from typing import TYPE_CHECKING, Final
from uuid import UUID

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._models import EmbedInput, TextId

DIGEST_BYTES: Final = 16
"""Length of the digest of one text."""


def digests_of(inputs: Iterable[EmbedInput]) -> bytes:
    """Return the digests of texts and their ids, one behind the other."""
    given = list(inputs)
    try:
        return b"".join([
            # A call for each text would take as long as its digest.
            blake2s(item.text.encode(), digest_size=DIGEST_BYTES).digest()
            if item.id is None and not item.metadata
            else _digest(item)
            for item in given
        ])
    except UnicodeEncodeError:  # half a pair is no text, but it is counted as a failure
        return b"".join(map(_digest, given))


class Fingerprint:
    """A digest of texts and their ids, in order, that can be read while more are added."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.texts = 0
        """How many were added."""

    def add(self, inputs: Iterable[EmbedInput]) -> None:
        """Add the next texts."""
        self.add_digests(digests_of(inputs))

    def add_digests(self, digests: bytes) -> None:
        """Add the next texts by what `digests_of` gives for them."""
        self.texts += len(digests) // DIGEST_BYTES
        self._hash.update(digests)

    def hexdigest(self) -> str:
        """Return the digest of what was added so far."""
        return self._hash.hexdigest()


class OldFingerprint(Fingerprint):
    """The digest of all texts that version 0.1 wrote into its files."""

    def add(self, inputs: Iterable[EmbedInput]) -> None:
        """Add the next texts."""
        parts = [part for item in inputs for part in (_id_bytes(item.id), item.text.encode("utf-8", "surrogatepass"))]
        self.texts += len(parts) // 2
        self._hash.update(b"".join(b"%d:%b" % (len(part), part) for part in parts))


def _digest(item: EmbedInput) -> bytes:
    text = item.text.encode("utf-8", "surrogatepass")
    if item.metadata:
        options = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY
        parts = [_id_bytes(item.id), text, orjson.dumps(dict(item.metadata), option=options)]
        joined = b"".join(b"%d:%b" % (len(part), part) for part in parts)
        return blake2s(joined, digest_size=DIGEST_BYTES, person=b"metadata").digest()
    if item.id is None:
        return blake2s(text, digest_size=DIGEST_BYTES).digest()
    id_ = _id_bytes(item.id)
    return blake2s(b"%d:%b%b" % (len(id_), id_, text), digest_size=DIGEST_BYTES, person=b"with id").digest()


def _id_bytes(value: TextId | None) -> bytes:
    # The id 1 is not "1".
    if value is None:
        return b""
    if isinstance(value, str):
        return f"s{value}".encode("utf-8", "surrogatepass")
    return f"u{value.hex}".encode() if isinstance(value, UUID) else f"i{int(value):x}".encode()
