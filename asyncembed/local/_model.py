"""The model: a table with one vector per token. A text's vector is the mean of its tokens' rows, scaled to length 1.

model2vec loads the folder (safetensors and JSON; it executes and downloads nothing) and tokenises. This module takes
the mean, because the server also needs token counts and truncation at either end, and tokenising is nine tenths of the
work: one pass serves all three. It takes the mean one text at a time, so that not even the last bit of a vector depends
on the batch around it.

Components of a unit vector lie in [-1, 1], so the integer types need no calibration data: int8 is the component times
127, uint8 is int8 + 128, ubinary packs the signs (bit 1 where the component is > 0, first dimension in the highest bit)
and binary is ubinary - 128, the offset binary that Voyage and Mistral document. base64 is little-endian float32.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import pybase64

from asyncembed._exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from model2vec import StaticModel
    from numpy.typing import NDArray

    Tokens: TypeAlias = NDArray[np.int32]
    Vectors: TypeAlias = NDArray[np.float32]
    Encoded: TypeAlias = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.uint8] | list[str]


def normalise(vectors: Vectors) -> Vectors:
    """Scale each row of an (n, dim) array to length 1; all numbers of a row of length 0 become the same.

    A vector of zeros has no cosine with any other, and stores and clients report it as a fault.
    """
    lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    scaled = np.divide(vectors, np.where(lengths > 0, lengths, 1), dtype=np.float32)
    scaled[lengths[:, 0] == 0] = vectors.shape[1] ** -0.5
    return scaled


def shorten(vectors: Vectors, dimension: int) -> Vectors:
    """Keep the first `dimension` columns, scaled to length 1 again; keeping all of them changes no bit."""
    return vectors if dimension == vectors.shape[1] else normalise(vectors[:, :dimension])


def to_float(vectors: Vectors) -> Vectors:
    """Return the (n, dim) float32 array itself."""
    return vectors


def to_int8(vectors: Vectors) -> NDArray[np.int8]:
    """Return (n, dim) int8: round(127 * x), with x clipped to [-1, 1]."""
    return np.rint(np.clip(vectors, -1, 1) * 127).astype(np.int8)


def to_uint8(vectors: Vectors) -> NDArray[np.uint8]:
    """Return (n, dim) uint8: the int8 value plus 128."""
    return (to_int8(vectors).astype(np.int16) + 128).astype(np.uint8)


def to_ubinary(vectors: Vectors) -> NDArray[np.uint8]:
    """Return (n, dim / 8) uint8: one bit a dimension, 1 where x > 0, the first dimension in the highest bit."""
    return np.packbits(vectors > 0, axis=1)


def to_binary(vectors: Vectors) -> NDArray[np.int8]:
    """Return (n, dim / 8) int8: the ubinary value minus 128."""
    return (to_ubinary(vectors).astype(np.int16) - 128).astype(np.int8)


def to_base64(vectors: Vectors) -> list[str]:
    """Return n strings: each row as little-endian float32 in standard base64."""
    return [pybase64.b64encode_as_string(row) for row in np.ascontiguousarray(vectors, dtype="<f4")]


ENCODERS: Final[dict[str, Callable[[Vectors], Encoded]]] = {
    "float": to_float,
    "int8": to_int8,
    "uint8": to_uint8,
    "binary": to_binary,
    "ubinary": to_ubinary,
    "base64": to_base64,
}
PACKED: Final = frozenset({"binary", "ubinary"})
"""Types that hold eight dimensions per number."""

BUNDLED: Final = Path(__file__).parent / "model"
BUNDLED_NAME: Final = "all-MiniLM-L6-v2-static"
MAX_TOKENS: Final = 8_192
"""Number of tokens of a text that count. The model itself has no limit: it could take the mean of any number."""

BLOCK_CHARACTERS: Final = 1_000_000
"""The model tokenises texts in blocks of about this size: the tokeniser holds about 70 bytes per character."""


class LocalModel:
    """A static embedding model in memory; embeds thousands of short texts per second on one core, in any thread.

    It reads `model.safetensors`, `tokenizer.json`, `config.json` and the head of `README.md`, or the same files in the
    layout of sentence-transformers. None of these can hold code, and it opens no other file of the folder.

    Args:
        path: Folder of a model2vec model; by default the model that comes with the package.

    Attributes:
        name: Name of the model: the folder's name, unless it is the model that comes with the package.
        dimension: Length of a vector.
        max_tokens: Number of tokens of a text that count, 8,192; `embed` ignores the rest.
        fingerprint: First 16 hexadecimal digits of the SHA-256 of weights and tokeniser.

    Raises:
        ConfigurationError: model2vec is not installed, or cannot read a model from the folder.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        folder = BUNDLED if path is None else Path(path)
        self._model = _load(folder)
        self.name = BUNDLED_NAME if path is None else folder.resolve().name
        self.dimension = int(self._model.embedding.shape[1])
        self.max_tokens = MAX_TOKENS
        self.fingerprint = _fingerprint(self._model)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, each cut to its first `max_tokens` tokens.

        Returns:
            (n, dimension) float32, each row of length 1. A text without any token that the model knows, such as blanks
            or emoji, has no direction of its own: all numbers of its vector are the same.
        """
        return self.pool([tokens[: self.max_tokens] for tokens in self.tokenize(texts)])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text that the model knows, without truncation."""
        return [len(tokens) for tokens in self.tokenize(texts)]

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Return each text's token numbers as an int32 array, not truncated and without unknown tokens."""
        return [np.asarray(ids, np.int32) for block in _blocks(texts) for ids in self._model.tokenize(block)]

    def pool(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        """Return the unit vectors of texts that are given as token numbers: (n, dimension) float32."""
        vectors = np.zeros((len(tokens), self.dimension), np.float32)
        for vector, ids in zip(vectors, tokens, strict=True):
            if ids.size:
                self._rows(ids).mean(axis=0, dtype=np.float32, out=vector)
        return normalise(vectors)

    def _rows(self, ids: Tokens) -> NDArray[np.generic]:
        mapping, weights = self._model.token_mapping, self._model.weights
        rows = self._model.embedding[ids if mapping is None else mapping[ids]]
        return rows if weights is None else rows * weights[ids, None]


def _load(folder: Path) -> StaticModel:
    try:
        from model2vec import StaticModel  # noqa: PLC0415  # takes a third of a second, and is an extra
    except ImportError as error:
        message = 'the embedded model needs the package model2vec: pip install "asyncembed[local]"'
        raise ConfigurationError(message) from error
    # model2vec would download a model whose name is a path that does not exist.
    if not folder.is_dir():
        raise ConfigurationError(f"model folder {str(folder)!r} does not exist: give the folder of a model2vec model")
    try:
        model = StaticModel.from_pretrained(folder)
    except Exception as error:  # safetensors and tokenizers raise types of their own, and bare Exception
        raise ConfigurationError(f"{str(folder)!r} holds no readable model2vec model: {error}") from error
    model.tokenizer.no_truncation()
    return model


def _fingerprint(model: StaticModel) -> str:
    digest = hashlib.sha256(model.tokenizer.to_str().encode())
    for array in (model.embedding, model.weights, model.token_mapping):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    block: list[str] = []
    room = BLOCK_CHARACTERS
    for text in texts:
        if block and len(text) > room:
            yield block
            block, room = [], BLOCK_CHARACTERS
        block.append(text)
        room -= len(text)
    if block:
        yield block
