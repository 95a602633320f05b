"""Ollama's `POST /api/embed`, and what its clients ask of a server: its version, its models and what they are.

Keys stand in the order of Ollama's source: vectors first, counters last. The server has one model and accepts every
name for it, so it never answers that a model has to be pulled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed.local._fields import Fields, Reply, RequestError
from asyncembed.local._model import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed.local._model import LocalModel, Tokens

MAX_INPUTS: Final = 2_048
"""Ollama has no limit; this one keeps a request from holding the only worker for seconds."""

_DETAILS: Final = {"format": "safetensors", "family": "model2vec", "families": ["model2vec"]}


def answer(model: LocalModel, body: bytes) -> Reply:
    """Answer a request for embeddings.

    Raises:
        RequestError: Ollama would refuse the request.
    """
    began = time.perf_counter_ns()
    fields = Fields.parse(body)
    name = fields.string("model")
    tokens = _cut(model.tokenize(_texts(fields)), model.max_tokens, fields.boolean("truncate", default=True))
    dimension = fields.integer("dimensions", range(1, model.dimension + 1), model.dimension)
    reply = {
        "model": name,
        "embeddings": shorten(model.pool(tokens), dimension),
        "total_duration": time.perf_counter_ns() - began,
        "load_duration": 0,
        "prompt_eval_count": sum(map(len, tokens)),
    }
    return Reply(orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY))


def show(model: LocalModel, body: bytes) -> Reply:
    """Answer `POST /api/show`: what the model is.

    Raises:
        RequestError: The request names no model.
    """
    Fields.parse(body).string("model")
    facts = {
        "general.architecture": "model2vec",
        "general.basename": model.name,
        "model2vec.context_length": model.max_tokens,
        "model2vec.embedding_length": model.dimension,
    }
    return Reply(orjson.dumps({"details": _DETAILS, "model_info": facts, "capabilities": ["embedding"]}))


def tags(model: LocalModel) -> dict[str, object]:
    """Return the answer to `GET /api/tags`: the list of models."""
    entry = {"name": model.name, "model": model.name, "digest": model.fingerprint, "details": _DETAILS}
    return {"models": [entry]}


def refusal(error: RequestError) -> tuple[int, dict[str, object]]:
    """Return status and body of an error in Ollama's form."""
    return error.status, {"error": error.message}


def _texts(fields: Fields) -> list[str]:
    """Return the texts; Ollama answers an empty input with no vectors."""
    return [] if fields.values.get("input", []) in ("", []) else fields.text_or_texts("input", MAX_INPUTS)


def _cut(tokens: Sequence[Tokens], limit: int, truncate: bool) -> list[Tokens]:
    if not truncate and any(len(ids) > limit for ids in tokens):
        raise RequestError("the input length exceeds the context length")
    return [ids[:limit] for ids in tokens]
