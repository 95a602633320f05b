"""What a right answer looks like in each wire format; vectors follow from the text, so a swapped one is noticed."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass

import numpy as np

Headers = dict[str, str]
DIMENSION = 8


def vector_of(text: str, dimension: int = DIMENSION) -> np.ndarray:
    """The one right vector of a text."""
    return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(dimension, dtype=np.float32)


@dataclass
class Request:
    """One request as it came, and the pieces of its right answer.

    `pieces[0]` is what comes before the vectors, `pieces[k]` ends after the k-th, `pieces[-1]` closes the document.
    """

    path: str
    headers: Headers
    body: dict[str, object]
    dimension: int

    @property
    def texts(self) -> list[str]:
        return self.body.get("input") or self.body["texts"]

    @property
    def base64(self) -> bool:
        return "base64" in (self.body.get("encoding_format"), *self.body.get("embedding_types", ()))

    @property
    def pieces(self) -> list[bytes]:
        return _openai(self) if "input" in self.body else _cohere(self)

    def values(self) -> list[bytes]:
        """The vectors as JSON."""
        vectors = [vector_of(text, self.dimension) for text in self.texts]
        if self.base64:
            return [b'"' + base64.b64encode(vector.tobytes()) + b'"' for vector in vectors]
        return [json.dumps(vector.astype(float).tolist()).encode() for vector in vectors]


def _openai(request: Request) -> list[bytes]:
    items = [
        b'{"object":"embedding","index":%d,"embedding":%s}' % (index, value)
        for index, value in enumerate(request.values())
    ]
    count = len(items)
    tail = b'],"model":"scripted","usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (count, count)
    return [b'{"object":"list","data":[', *_separated(items), tail]


def _cohere(request: Request) -> list[bytes]:
    values, echo = request.values(), json.dumps(request.texts).encode()
    meta = b'"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":%d}}' % len(values)
    if types := request.body.get("embedding_types"):
        head = b'{"id":"r-1","embeddings":{"%s":[' % types[0].encode()
        return [head, *_separated(values), b']},"texts":' + echo + b"," + meta + b"}"]
    return [b'{"id":"r-1","texts":' + echo + b',"embeddings":[', *_separated(values), b"]," + meta + b"}"]


def _separated(items: list[bytes]) -> list[bytes]:
    return [b"," * (place > 0) + item for place, item in enumerate(items)]
