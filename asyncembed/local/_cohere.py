"""Cohere's `POST /v1/embed` and `POST /v2/embed`, from request body to response body.

v1 answers with plain floats unless the request has `embedding_types`; v2 always answers by type. Keys stand in the
order of recorded responses: id, texts, embeddings, meta, response_type. A static model embeds all texts in the same
way, so `input_type` is checked and has no effect.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, Literal

import orjson

from asyncembed.local._fields import Fields, Reply, RequestError, check_fit, check_list, check_texts
from asyncembed.local._model import ENCODERS, PACKED, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed.local._model import Encoded, LocalModel, Tokens, Vectors

MAX_TEXTS: Final = 96
INPUT_TYPES: Final = ("search_document", "search_query", "classification", "clustering", "image")
OUTPUT_DIMENSIONS: Final = (32, 64, 128, 256, 512, 768, 1024)
"""Values of `output_dimension` below the model's own dimension, which is allowed as well."""

V2_FIELDS: Final = ("inputs", "max_tokens", "output_dimension", "priority")


def answer(model: LocalModel, body: bytes, *, version: Literal["1", "2"]) -> Reply:
    """Answer a request in the form of API version 1 or 2.

    Raises:
        RequestError: Cohere would refuse the request, or it holds images.
    """
    fields = Fields.parse(body)
    _check_version(fields, version)
    types = fields.choices("embedding_types", tuple(ENCODERS), ["float"])
    dimension = _dimension(fields, model)
    _check_packing(types, dimension)
    texts = _texts(fields)
    tokens = _cut(fields, model, model.tokenize(texts))
    vectors = shorten(model.pool(tokens), dimension)
    by_type = version == "2" or "embedding_types" in fields
    reply = {
        "id": str(uuid.uuid4()),
        "texts": texts,
        "embeddings": _encode(vectors, types) if by_type else vectors,
        "meta": {"api_version": {"version": version}, "billed_units": {"input_tokens": sum(map(len, tokens))}},
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
    }
    return Reply(orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY))


def refusal(error: RequestError) -> tuple[int, dict[str, object]]:
    """Return status and body of an error in Cohere's form."""
    return error.status, {"id": str(uuid.uuid4()), "message": error.message}


def _check_version(fields: Fields, version: Literal["1", "2"]) -> None:
    if version == "2":
        fields.string("model")
    elif unknown := [name for name in V2_FIELDS if name in fields]:
        raise RequestError(f"{unknown[0]!r} belongs to the v2 API: send it to /v2/embed")
    if fields.choice("input_type", INPUT_TYPES, None if version == "2" else "search_document") == "image":
        raise RequestError("input_type 'image' is not supported: this model embeds text only")


def _dimension(fields: Fields, model: LocalModel) -> int:
    allowed = [size for size in OUTPUT_DIMENSIONS if size < model.dimension] + [model.dimension]
    if "dimensions" in fields:
        known = ", ".join(map(str, allowed))
        raise RequestError(f"'dimensions' belongs to OpenAI's API: use 'output_dimension' of /v2/embed, one of {known}")
    return fields.integer("output_dimension", allowed, model.dimension)


def _check_packing(types: Sequence[str], dimension: int) -> None:
    if dimension % 8 and not PACKED.isdisjoint(types):
        raise RequestError(
            f"binary types need a dimension that is a multiple of 8, not {dimension}: set output_dimension"
        )


def _texts(fields: Fields) -> list[str]:
    if "images" in fields:
        raise RequestError("'images' is not supported: this model embeds text only")
    if "inputs" not in fields:
        return fields.texts("texts", MAX_TEXTS)
    if "texts" in fields:
        raise RequestError("send either 'texts' or 'inputs', not both")
    inputs = check_list(fields.values["inputs"], "inputs", MAX_TEXTS)
    return check_texts(
        [_input_text(item, f"inputs[{index}]") for index, item in enumerate(inputs)], "inputs", MAX_TEXTS
    )


def _input_text(item: object, place: str) -> str:
    parts = item.get("content") if isinstance(item, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise RequestError(f"{place} must be an object with 'content', a list of objects")
    for part in parts:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise RequestError(f"{place} holds content that is not text: this model embeds text only")
    return "\n".join(part["text"] for part in parts)


def _cut(fields: Fields, model: LocalModel, tokens: list[Tokens]) -> list[Tokens]:
    truncate = fields.choice("truncate", ("NONE", "START", "END"), "END")
    limit = min(model.max_tokens, fields.integer("max_tokens", range(1, 1_000_001), model.max_tokens))
    if truncate == "NONE":
        check_fit(
            tokens, "inputs" if "inputs" in fields else "texts", limit, "; set truncate to START or END to cut them"
        )
    return [ids[-limit:] if truncate == "START" else ids[:limit] for ids in tokens]


def _encode(vectors: Vectors, types: Sequence[str]) -> dict[str, Encoded]:
    return {name: ENCODERS[name](vectors) for name in types}
