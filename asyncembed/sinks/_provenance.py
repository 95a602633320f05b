"""Where the vectors of a file come from, as it is written into the file or beside it.

What tells whether the texts of a resumed run are the same: a digest of each, and one of all of them in order.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from hashlib import blake2s
from typing import TYPE_CHECKING, Final, Self
from uuid import UUID

import numpy as np
import orjson

from asyncembed._exceptions import ConfigurationError
from asyncembed._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asyncembed._config import Dtype, Shorten
    from asyncembed._models import EmbedInput, TextId


NUMPY_TYPES: Final[Mapping[Dtype, type[np.float32 | np.int8 | np.uint8]]] = {
    "float32": np.float32,
    "int8": np.int8,
    "uint8": np.uint8,
    "binary": np.int8,
    "ubinary": np.uint8,
}
"""Type of the numbers of each dtype; the last two hold 8 dimensions in each number."""

PACKED: Final = frozenset({"binary", "ubinary"})
"""The dtypes with 8 dimensions in each number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What is needed to embed a further text, such as a query, into the same space. It holds no key.

    Attributes:
        provider: Name of the provider.
        model: The provider's name of the model.
        dtype: Type of the vectors, as it was asked for.
        input_type: What the texts were said to be, None if nothing was said.
        dimensions: Length that was asked for, None if the model's own length was taken.
        truncate: What the API was told to do with texts that are too long.
        extra: Digest of the fields that were passed to the API as they are, None if there were none.
        prompt: What the client put before each text, None if nothing.
        shorten: "client" if the client cut the vectors to `dimensions`, None if it did not.
        normalize: True if the client brought the vectors to length 1, None if it did not.
        keep_text: Whether the texts are in the file.
        base_url: Address of the server if it is not the provider's own, without user, password and query.
        texts: How many texts there were, those without a row included; 0 if that is not known.
        fingerprint: Digest of all texts and ids, see `Fingerprint`; empty if it is not known.
        dimension: Length of the vectors in dimensions; 0 before the first vector is known.
        version: Version of this package that wrote the file.
    """

    provider: str
    model: str
    dtype: Dtype = "float32"
    input_type: str | None = None
    dimensions: int | None = None
    truncate: str | None = None
    extra: str | None = None
    prompt: str | None = None
    shorten: Shorten | None = None
    normalize: bool | None = None
    keep_text: bool = True
    base_url: str | None = None
    texts: int = 0
    fingerprint: str = ""
    dimension: int = 0
    version: str = __version__

    @property
    def width(self) -> int:
        """Numbers in one vector: the dimension, or an eighth of it for packed bits."""
        return self.dimension // 8 if self.dtype in PACKED else self.dimension

    @property
    def number(self) -> np.dtype[np.float32 | np.int8 | np.uint8]:
        """The numpy type of the numbers."""
        return np.dtype(NUMPY_TYPES[self.dtype])

    @property
    def identity(self) -> dict[str, object]:
        """What vectors must share to belong into one file, if not their texts; None where nothing was asked for.

        Of the server only whether it is the provider's own: another one may move. What a later version adds counts as
        None where it is missing.
        """
        return {
            "provider": self.provider,
            "address": "the provider's own" if self.base_url is None else "another",
            "model": self.model,
            "dtype": self.dtype,
            "dimensions": self.dimensions,
            "truncate": self.truncate,
            "extra": self.extra,
            "prompt": self.prompt,
            "shorten": self.shorten,
            "normalize": self.normalize,
            "keep_text": self.keep_text,
            "input_type": self.input_type or "document",
        }

    @property
    def digest(self) -> bytes:
        """Digest of everything that shapes a vector besides its text, the server's address included."""
        shaping = {**self.identity, "keep_text": None, "address": self.base_url}
        return hashlib.sha256(orjson.dumps(shaping, option=orjson.OPT_SORT_KEYS)).digest()

    def to_dict(self) -> dict[str, object]:
        """Return this as the fields of a JSON object."""
        return asdict(self)

    def to_json(self, **more: int) -> bytes:
        """Return this as JSON, with further numbers such as the count of rows."""
        return orjson.dumps({**self.to_dict(), **more}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_dict(cls, given: Mapping[str, object]) -> tuple[Self, list[str]]:
        """Read what `to_dict` gave, and name the fields that this version does not know and that say something.

        Raises:
            TypeError, AttributeError: if it is something else.
        """
        known = {field.name for field in fields(cls)}
        provenance = cls(**{name: value for name, value in given.items() if name in known})  # type: ignore[arg-type]
        return provenance, [name for name, value in given.items() if name not in known and value is not None]

    @classmethod
    def from_json(cls, text: bytes, source: str) -> Self:
        """Read what `to_json` wrote.

        Args:
            text: The JSON.
            source: Where it was found, for the error.

        Raises:
            ConfigurationError: if it is something else.
        """
        try:
            provenance, _ = cls.from_dict(orjson.loads(text))
            valid = provenance.dtype in NUMPY_TYPES and provenance.dimension > 0
        except (ValueError, TypeError, AttributeError):
            valid = False
        if not valid:
            raise ConfigurationError(f"{source} does not say which provider and model its vectors are from")
        return provenance


def digest_of_fields(extra: Mapping[str, object]) -> str | None:
    """Return a short digest of request fields, which may hold secrets; None if there are none."""
    if not extra:
        return None
    return hashlib.sha256(orjson.dumps(extra, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def differences(mine: Mapping[str, object], others: Mapping[str, object]) -> list[str]:
    """Say where two identities differ."""
    names = [*mine, *(name for name in others if name not in mine)]
    pairs = [(name, mine.get(name), others.get(name)) for name in names]
    return [f"{name} was {found!r} and is {now!r} now" for name, found, now in pairs if found != now]


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
