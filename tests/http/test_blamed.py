"""Which fields and which texts an error blames, in the words and the structures of many services."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncembed._exceptions import ErrorAnswer
from asyncembed._http.error_answer import read_answer
from asyncembed._redaction import Secrets


def read(document: object) -> ErrorAnswer:
    return read_answer(400, CIMultiDict(), json.dumps(document).encode(), Secrets())


def fault(*loc: object) -> dict[str, object]:
    return {"detail": [{"type": "value_error", "loc": list(loc), "msg": "no"}]}


def google(field: str) -> dict[str, object]:
    return {"error": {"message": "m", "details": [{"@type": "BadRequest", "fieldViolations": [{"field": field}]}]}}


@pytest.mark.parametrize(
    ("document", "fields", "positions"),
    [
        ({"error": {"message": "m", "param": "dimensions"}}, ("dimensions",), ()),
        ({"error": {"message": "m", "param": "input[371]"}}, ("input",), (371,)),
        ({"error": {"message": "m", "param": "input.3"}}, ("input",), (3,)),
        ({"error": {"message": "m", "param": "$.input[7]"}}, ("input",), (7,)),
        ({"error": {"message": "m", "param": None}}, (), ()),
        ({"error": {"message": "m", "param": "None"}}, (), ()),
        ({"message": "m", "param": "model"}, ("model",), ()),
        (fault("body", "dimensions"), ("dimensions",), ()),
        (fault("body", "input", 371), ("input",), (371,)),
        (fault("body", "input", "list[str]", 371), ("input",), (371,)),
        (fault("body", "input", "str"), ("input",), ()),
        (fault("body", "input", 4, 0), ("input",), (4,)),
        (fault("body", "EmbeddingCompletionRequest", "dimensions"), ("dimensions",), ()),
        (fault("body", "function-wrap[__log_extra_fields__()]", "normalize"), ("normalize",), ()),
        (fault("body", 12), (), ()),
        (fault("body"), (), ()),
        (fault("header", "authorization"), ("authorization",), ()),
        ([{"type": "missing", "loc": ["body", "model"], "msg": "no"}], ("model",), ()),
        ({"detail": [{"loc": ["body", "inputs", 3], "msg": "a"}, {"loc": ["body", "inputs", 1], "msg": "b"}]},
         ("inputs",), (1, 3)),
        (google("encoding_format"), ("encoding_format",), ()),
        (google("requests[0].output_dimensionality"), ("output_dimensionality",), ()),
        (google("requests[3].content.parts[0].text"), ("content",), (3,)),
        (google("instances[2]"), ("instances",), (2,)),
        (google("parameters.outputDimensionality"), ("outputDimensionality",), ()),
        ({"title": "t", "errors": {"Dimensions": ["must be positive"]}}, ("Dimensions",), ()),
        ({"errors": [{"message": "m", "field": "truncate"}]}, ("truncate",), ()),
        ({"message": "[{'type': 'x', 'loc': ('body', 'normalize'), 'msg': 'no'}]"}, ("normalize",), ()),
        ({"message": "1 validation error for EmbedRequest\ndimensions\n  Input should be a valid integer"},
         ("dimensions",), ()),
        ({"message": "* BatchEmbedContentsRequest.requests[3].content: empty"}, ("content",), (3,)),
        ({"message": "* BatchEmbedContentsRequest.requests[3].model: unexpected"}, ("model",), ()),
    ],
)  # fmt: skip
def test_fields(document, fields, positions):
    """Without the objects around them."""
    found = read(document)
    assert (found.fields, found.positions) == (fields, positions)


@pytest.mark.parametrize(
    ("message", "positions"),
    [
        ("input[371] has 11539 tokens; the limit is 512", (371,)),
        ("Invalid 'input[3]': maximum input length is 8192 tokens.", (3,)),
        ("'$.input[7]' is invalid", (7,)),
        ("$.input[7] is invalid", (7,)),
        ("inputs.3: String should have at most 2048 characters", (3,)),
        ("texts[5] must not be empty", (5,)),
        ("#/texts/3: expected maxLength: 2048, actual: 2500", (3,)),
        ("input at index 4 is too long", (4,)),
        ("The example at index 0 in your batch has too many tokens", (0,)),
        ("item 12: too long", (12,)),
        ("item 12 is too long", (12,)),
        ("text at position 3 is too long", (3,)),
        ("document at position 3, too long", (3,)),
        ("Input #7 is too long", (7,)),
        ("index 4 of the batch is bad", (4,)),
        ("texts[5] and texts[2] are too long", (2, 5)),
        ("bad text (index 4)", ()),
        ("input 402 tokens is larger than 256", ()),
        ("input (402 tokens) is larger than 256", ()),
        ("input exceeds 8192 tokens", ()),
        ("at most 96 texts, received 97", ()),
        ("text 3 of 96", ()),
        ("invalid character in JSON at position 17", ()),
        ("text-embedding-3-small", ()),
        ("model text-embedding-004 is not found", ()),
        ("up to 2048 inputs", ()),
        ("line 1 column 5", ()),
        ("input[-1]", ()),
        ("Item 1.5 is no number", ()),
        ("", ()),
    ],
)
def test_positions_in_words(message, positions):
    """A number of tokens, of texts or of anything else is none."""
    assert read({"message": message}).positions == positions


def test_positions_that_no_text_of_the_request_has():
    """Show that the numbers mean something else."""
    found = ErrorAnswer(status=400, positions=(2, 7))
    assert found.named(8) == (2, 7)
    assert found.named(7) == found.named(0) == ()
    assert ErrorAnswer(status=400).named(5) == ()


@pytest.mark.parametrize(
    ("fields", "blames_none"),
    [((), False), (("input",), False), (("INPUT", "dimensions"), False), (("dimensions",), True), (("a", "b"), True)],
)
def test_whether_only_other_fields_are_blamed(fields, blames_none):
    """Of fields with other names than ours, nothing is known to hold a text."""
    assert ErrorAnswer(status=400, fields=fields).blames_no_text is blames_none


@settings(deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from(["input[{}]", "$.inputs[{}]", "body.texts.{}", "text at index {}", "item {} is bad"]),
)
def test_every_position_is_found(position, form):
    """However large the request."""
    assert read({"message": f"no: {form.format(position)}"}).positions == (position,)


@settings(deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=4)))
def test_no_place_is_too_strange(place):
    """Fields are names, positions are numbers from 0 up."""
    found = read({"param": place, "detail": [{"loc": place, "msg": "m"}], "errors": {str(place): ["m"]}})
    assert all(isinstance(field, str) and field for field in found.fields)
    assert all(position >= 0 for position in found.positions)
