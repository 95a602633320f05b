"""`POST /embed` and `GET /info` of Hugging Face's text-embeddings-inference (TEI).

An answer is a bare list of vectors; headers say how many characters and tokens it took. TEI's own server embeds a whole
request or none of it, and so does this one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed._version import __version__
from asyncembed.local._fields import Fields, Reply, RequestError
from asyncembed.local._model import shorten

if TYPE_CHECKING:
    from asyncembed.local._model import LocalModel, Tokens

MAX_BATCH: Final = 32
MAX_BATCH_TOKENS: Final = 16_384
"""`/info` announces it; as in TEI it bounds a batch of the model and not a request."""

SIDES: Final = ("Left", "Right", "left", "right")
"""TEI's documents write the first two; it accepts all, and newer SDKs send the last two."""

_UNPROCESSABLE: Final = 422


def answer(model: LocalModel, body: bytes) -> Reply:
    """Answer a request for embeddings.

    Raises:
        RequestError: TEI would refuse the request, it holds token numbers instead of text, or it asks for vectors that
            are not of length 1.
    """
    began = time.perf_counter()
    fields = Fields.parse(body)
    texts = _texts(fields)
    _check_options(fields)
    tokens = _cut(fields, model, model.tokenize(texts))
    dimension = fields.integer("dimensions", range(1, model.dimension + 1), model.dimension)
    vectors = orjson.dumps(shorten(model.pool(tokens), dimension), option=orjson.OPT_SERIALIZE_NUMPY)
    milliseconds = str(round(1_000 * (time.perf_counter() - began)))
    headers = {
        "x-compute-type": "cpu",
        "x-compute-time": milliseconds,
        "x-compute-characters": str(sum(map(len, texts))),
        "x-compute-tokens": str(sum(map(len, tokens))),
        "x-total-time": milliseconds,
    }
    return Reply(vectors, headers)


def info(model: LocalModel) -> dict[str, object]:
    """Return the answer to `GET /info`: the model, and what a request may hold."""
    return {
        "model_id": model.name,
        "model_sha": model.fingerprint,
        "model_dtype": "float32",
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": 512,
        "max_input_length": model.max_tokens,
        "max_batch_tokens": MAX_BATCH_TOKENS,
        "max_batch_requests": None,
        "max_client_batch_size": MAX_BATCH,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": __version__,
    }


def refusal(error: RequestError) -> tuple[int, dict[str, object]]:
    """Return status and body of an error in TEI's form."""
    status = _UNPROCESSABLE if error.status == 400 and error.code != "Empty" else error.status  # noqa: PLR2004
    kind = error.code or ("Validation" if status == _UNPROCESSABLE else "Backend")
    return status, {"error": error.message, "error_type": kind}


def _texts(fields: Fields) -> list[str]:
    value = fields.values.get("inputs")
    if value == []:
        raise RequestError("`inputs` cannot be empty", code="Empty")
    if isinstance(value, list) and len(value) > MAX_BATCH:
        raise RequestError(f"batch size {len(value)} > maximum allowed batch size {MAX_BATCH}", param="inputs")
    return fields.text_or_texts("inputs", MAX_BATCH)


def _check_options(fields: Fields) -> None:
    if "prompt_name" in fields:
        raise RequestError("'prompt_name' is not supported: this model has no prompts", param="prompt_name")
    if not fields.boolean("normalize", default=True):
        raise RequestError("'normalize' must be true: all vectors of this model have length 1", param="normalize")


def _cut(fields: Fields, model: LocalModel, tokens: list[Tokens]) -> list[Tokens]:
    limit = model.max_tokens
    side = fields.choice("truncation_direction", SIDES, "Right")
    may_cut = fields.boolean("truncate", default=True)
    longest = max(map(len, tokens))
    if longest > limit and not may_cut:
        raise RequestError(
            f"Input validation error: `inputs` must have less than {limit} tokens. Given: {longest}", param="inputs"
        )
    return [ids[-limit:] if side in {"Left", "left"} else ids[:limit] for ids in tokens]
