"""The provenance of vectors, which is stored with them, and digests of texts.

The digests show whether a resumed run has the same texts: there is one of each text, and a `Fingerprint` of all.
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

    from asyncembed._config import Dtype, LongText, Shorten
    from asyncembed._models import EmbedInput, TextId


NUMPY_TYPES: Final[Mapping[Dtype, type[np.float32 | np.int8 | np.uint8]]] = {
    "float32": np.float32,
    "int8": np.int8,
    "uint8": np.uint8,
    "binary": np.int8,
    "ubinary": np.uint8,
}
"""NumPy type of each dtype; "binary" and "ubinary" have 8 dimensions in each number."""

PACKED: Final = frozenset({"binary", "ubinary"})
"""Dtypes with 8 dimensions in each number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where vectors come from: all you need to embed another text, such as a query, into the same vector space.

    It does not contain an API key.

    Attributes:
        provider: Name of the provider.
        model: The provider's name for the model.
        dtype: The requested number type.
        input_type: The requested input type; None if not set.
        dimensions: The requested length of the vectors; None for the model's default.
        truncate: The requested handling of texts that are too long; None if not set.
        long_text: "truncate" if the client or the API cuts texts that are too long, else None.
        max_text_tokens: The tokens to which the caller wants such texts cut; None for the model's limit.
        extra: Digest of the additional request fields; None if there are none.
        prompt: The prompt that the client puts before each text; None if there is none.
        shorten: "client" if the client shortens the vectors to `dimensions`, else None.
        normalize: True if the client scales the vectors to length 1, else None.
        keep_text: Whether the file contains the texts.
        base_url: Address of the server if it is not the provider's own, without user, password and query.
        texts: Number of texts, including those without a row; 0 if not known.
        fingerprint: Digest of all texts and ids, see `Fingerprint`; "" if not known.
        dimension: Number of dimensions of the vectors; 0 if not known yet.
        version: Version of this package that wrote the file.
    """

    provider: str
    model: str
    dtype: Dtype = "float32"
    input_type: str | None = None
    dimensions: int | None = None
    truncate: str | None = None
    long_text: LongText | None = None
    max_text_tokens: int | None = None
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
        """Numbers per vector: the dimension, or an eighth of it for packed bits."""
        return self.dimension // 8 if self.dtype in PACKED else self.dimension

    @property
    def number(self) -> np.dtype[np.float32 | np.int8 | np.uint8]:
        """NumPy type of the numbers."""
        return np.dtype(NUMPY_TYPES[self.dtype])

    @property
    def identity(self) -> dict[str, object]:
        """The properties that all vectors of a file must share, by name.

        The address of a server is not one of them, because a server may move; only whether it is the provider's own.
        A property that is missing, such as one of a later version, equals None.
        """
        return {
            "provider": self.provider,
            "address": "the provider's own" if self.base_url is None else "another",
            "model": self.model,
            "dtype": self.dtype,
            "dimensions": self.dimensions,
            "truncate": self.truncate,
            "long_text": self.long_text,
            "max_text_tokens": self.max_text_tokens,
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
        """Return this as JSON, with more numbers, such as the number of rows."""
        return orjson.dumps({**self.to_dict(), **more}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_dict(cls, given: Mapping[str, object]) -> tuple[Self, list[str]]:
        """Return the provenance that `to_dict` encoded, and the names of unknown fields that are not None.

        Raises:
            TypeError, AttributeError: if the value is not an encoded provenance.
        """
        known = {field.name for field in fields(cls)}
        provenance = cls(**{name: value for name, value in given.items() if name in known})  # type: ignore[arg-type]
        return provenance, [name for name, value in given.items() if name not in known and value is not None]

    @classmethod
    def from_json(cls, text: bytes, source: str) -> Self:
        """Return the provenance that `to_json` encoded.

        Args:
            text: The JSON.
            source: Name of the file, for the error message.

        Raises:
            ConfigurationError: if the text is not an encoded provenance.
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


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return a description of each difference between the identity of earlier vectors and that of new ones."""
    return [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r} now"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


DIGEST_BYTES: Final = 16
"""Length of the digest of a text."""


def digests_of(inputs: Iterable[EmbedInput]) -> bytes:
    """Return the digests of inputs (text, id and metadata), concatenated."""
    given = list(inputs)
    try:
        return b"".join([
            # Inlined for the common case: a function call takes as long as the digest.
            blake2s(item.text.encode(), digest_size=DIGEST_BYTES).digest()
            if item.id is None and not item.metadata
            else _digest(item)
            for item in given
        ])
    except UnicodeEncodeError:  # a text with a lone surrogate fails, but its failure needs a digest
        return b"".join(map(_digest, given))


class Fingerprint:
    """A digest of all texts in order. You can read it while more texts are added."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.texts = 0
        """Number of texts added so far."""

    def add(self, inputs: Iterable[EmbedInput]) -> None:
        """Add the next texts."""
        self.add_digests(digests_of(inputs))

    def add_digests(self, digests: bytes) -> None:
        """Add the next texts by their digests from `digests_of`."""
        self.texts += len(digests) // DIGEST_BYTES
        self._hash.update(digests)

    def hexdigest(self) -> str:
        """Return the digest of the texts so far."""
        return self._hash.hexdigest()


class OldFingerprint(Fingerprint):
    """The digest that version 0.1 of this package wrote into its files."""

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
    # The prefix keeps the ids 1 and "1" apart.
    if value is None:
        return b""
    if isinstance(value, str):
        return f"s{value}".encode("utf-8", "surrogatepass")
    return f"u{value.hex}".encode() if isinstance(value, UUID) else f"i{int(value):x}".encode()
