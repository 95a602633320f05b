"""OpenAI's `POST /v1/embeddings`, from request body to response body.

Keys stand in the order of recorded responses: object, data, model, usage; within an item object, index, embedding. The
`model` of the response is the model that embedded the texts, whatever the request calls it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed.local._fields import Fields, Reply, RequestError, check_fit
from asyncembed.local._model import shorten, to_base64

if TYPE_CHECKING:
    from asyncembed.local._model import LocalModel

MAX_INPUTS: Final = 2_048
MAX_REQUEST_TOKENS: Final = 300_000
FIELDS: Final = ("input", "model", "encoding_format", "dimensions", "user")


def answer(model: LocalModel, body: bytes) -> Reply:
    """Answer a request.

    Raises:
        RequestError: OpenAI would refuse the request, or it holds token numbers instead of text.
    """
    fields = Fields.parse(body)
    fields.allow(FIELDS)
    fields.string("model")
    encoding = fields.choice("encoding_format", ("float", "base64"), "float")
    dimension = fields.integer("dimensions", range(1, model.dimension + 1), model.dimension)
    tokens = model.tokenize(fields.text_or_texts("input", MAX_INPUTS))
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
    return Reply(orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY))


def models(model: LocalModel) -> dict[str, object]:
    """Return the answer to `GET /v1/models`; the server has one model, whatever requests call it."""
    entry = {"id": model.name, "object": "model", "created": int(time.time()), "owned_by": "asyncembed"}
    return {"object": "list", "data": [entry]}


def refusal(error: RequestError) -> tuple[int, dict[str, object]]:
    """Return status and body of an error in OpenAI's form."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"  # noqa: PLR2004  # where HTTP draws it
    body = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return error.status, {"error": body}


def _total(tokens: int) -> int:
    if tokens > MAX_REQUEST_TOKENS:
        message = f"Requested {tokens} tokens, max {MAX_REQUEST_TOKENS} tokens per request"
        raise RequestError(message, param="input", code="max_tokens_per_request")
    return tokens
