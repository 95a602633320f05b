"""OpenAI's `POST /v1/embeddings`, from request body to response body.

Keys have the order of recorded replies: object, data, model, usage; within an item object, index, embedding. The
`model` of the reply is the one that did the work, whatever the request called it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from asyncembed.local._fields import Fields, RequestError, check_fit, check_texts
from asyncembed.local._model import shorten, to_base64

if TYPE_CHECKING:
    from asyncembed.local._model import LocalModel

MAX_INPUTS: Final = 2_048
MAX_REQUEST_TOKENS: Final = 300_000
FIELDS: Final = ("input", "model", "encoding_format", "dimensions", "user")


def answer(model: LocalModel, body: bytes) -> bytes:
    """Answer a request.

    Raises:
        RequestError: The request is not one that OpenAI would take, or gives tokens in place of text.
    """
    fields = Fields.parse(body)
    fields.allow(FIELDS)
    fields.string("model")
    encoding = fields.choice("encoding_format", ("float", "base64"), "float")
    dimension = fields.integer("dimensions", range(1, model.dimension + 1), model.dimension)
    tokens = model.tokenize(_texts(fields))
    check_fit(tokens, "input", model.max_tokens)
    total = _total(sum(map(len, tokens)))
    vectors = shorten(model.pool(tokens), dimension)
    rows = to_base64(vectors) if encoding == "base64" else vectors
    reply = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "model": model.name,
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


def error_body(error: RequestError) -> dict[str, object]:
    """Return the error in OpenAI's form."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"  # noqa: PLR2004  # HTTP's own line
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def _texts(fields: Fields) -> list[str]:
    value = fields.values.get("input")
    if isinstance(value, str):
        return check_texts([value], "input", MAX_INPUTS)
    if isinstance(value, list) and any(isinstance(item, int | list) for item in value):
        raise RequestError(
            "'input' holds token numbers, which belong to another model's tokeniser: send text", param="input"
        )
    return fields.texts("input", MAX_INPUTS)


def _total(tokens: int) -> int:
    if tokens > MAX_REQUEST_TOKENS:
        message = f"Requested {tokens} tokens, max {MAX_REQUEST_TOKENS} tokens per request"
        raise RequestError(message, param="input", code="max_tokens_per_request")
    return tokens
