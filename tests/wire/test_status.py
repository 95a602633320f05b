"""Error answers of every provider: the words found, the status mapped, the wait understood, the key blotted out."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncembed import (
    APIStatusError,
    AuthenticationError,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from asyncembed.wire._secrets import Secrets
from asyncembed.wire._status import status_error


def error(body: object = b"", status: int = 400, secrets: tuple[str, ...] = (), **headers: str) -> APIStatusError:
    data = body if isinstance(body, bytes) else json.dumps(body, indent=4).encode()
    names = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return status_error("acme", status, names, data, Secrets(secrets))


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "m", "type": "t", "param": None, "code": "c"}}, "m", "c"),
        ({"error": {"message": "m", "type": "t", "code": None}}, "m", "t"),
        ({"error": {"code": "429", "message": "m"}}, "m", "429"),
        ({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": []}}, "m", "429"),
        ({"error": "m"}, "m", None),
        ({"error": "m", "error_type": "Overloaded"}, "m", "Overloaded"),
        ({"message": "m"}, "m", None),
        ({"id": "i", "message": "m"}, "m", None),
        ({"message": "m", "code": "1300", "type": "t"}, "m", "1300"),
        ({"object": "error", "message": "m", "type": "invalid", "code": 3210}, "m", "3210"),
        ({"object": "error", "message": "m", "detail": {}}, "m", None),
        ({"detail": "m"}, "m", None),
        ({"detail": "m", "code": "RATE_TOKEN_LIMIT_EXCEEDED"}, "m", "RATE_TOKEN_LIMIT_EXCEEDED"),
        ({"detail": [{"loc": ["body", "input", 3], "msg": "m", "type": "missing"}]}, "body.input.3: m", None),
        ({"detail": [{"loc": [], "msg": "m"}]}, "m", None),
        ({"detail": [{"msg": "m"}], "message": "n"}, "m", None),
        ({"detail": [{"msg": 7}], "message": "m"}, "m", None),
        ({"status": 429, "title": "m"}, "m", None),
        ({"success": False, "errors": [{"code": 7, "message": "m"}], "messages": []}, "m", None),
        ({"error": {"message": ""}, "message": "m"}, "m", None),
        ({"error": None, "detail": [], "errors": [], "title": "m"}, "m", None),
        (b"<html>m</html>\n", "<html>m</html>", None),
        (b"m", "m", None),
        (b"\xff", "\ufffd", None),
        (b"[" * 5_000, "[" * 500, None),
        (["m"], '[\n    "m"\n]', None),
        ({"error": True}, '{\n    "error": true\n}', None),
    ],
)
def test_the_words_are_found_in_every_shape(body, message, code):
    """Of a provider, a framework, or a proxy in between."""
    caught = error(body)
    assert (caught.provider_message, caught.code, caught.status) == (message, code, 400)
    assert str(caught).startswith(f"acme answered 400: {message}")


def test_an_empty_body_is_said_to_be_one():
    """Then the status alone speaks."""
    caught = error(b"", 500)
    assert (caught.provider_message, str(caught)) == ("", "acme answered 500: no message")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInputError), (401, AuthenticationError), (402, QuotaExceededError), (403, AuthenticationError),
        (404, ModelNotFoundError), (413, InvalidInputError), (422, InvalidInputError), (429, RateLimitError),
        (500, ServerError), (501, ServerError), (503, ServerError), (529, ServerError), (599, ServerError),
        (302, APIStatusError), (408, APIStatusError), (409, APIStatusError), (498, APIStatusError),
    ],
)  # fmt: skip
def test_each_status_has_its_class(status, kind):
    """As the tree of errors says."""
    caught = error({"message": "m"}, status)
    assert type(caught) is kind
    assert caught.status == status


@pytest.mark.parametrize("status", [429, 403, 400])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}},
        {"error": {"message": "m", "type": "insufficient_quota", "code": None}},
        {"detail": "m", "code": "AUTHZ_INSUFFICIENT_BALANCE"},
    ],
)
def test_a_quota_that_is_used_up_is_no_rate_limit(body, status):
    """Waiting does not help."""
    assert type(error(body, status)) is QuotaExceededError


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"X_Request_ID": "a"}, {"id": "b"}, "a"),
        ({"x_debug_trace_id": "a"}, {}, "a"),
        ({"apim_request_id": "a"}, {}, "a"),
        ({"mistral_correlation_id": "a"}, {}, "a"),
        ({}, {"request_id": "a", "id": "b"}, "a"),
        ({}, {"id": "b"}, "b"),
        ({}, {}, None),
    ],
)
def test_the_id_of_the_request(headers, body, expected):
    """From the header, else from the body; shown for the provider's support."""
    caught = error(body | {"message": "m"}, **headers)
    assert caught.request_id == expected
    assert str(caught).endswith(f"(request {expected})" if expected else "m")


def test_words_are_shortened():
    """To 500 characters of the provider's."""
    assert error({"message": "x" * 10_000}).provider_message == "x" * 500
    assert len(str(error(b"y" * 10_000))) < 600


def test_keys_are_blotted_out():
    """In JSON, in plain text, in the code, and before the message is shortened."""
    key = "sk-verysecret"
    caught = error({"error": {"message": f"wrong key {key}, {key}", "code": key}}, 401, (key,))
    assert caught.provider_message == "wrong key ***, ***"
    assert caught.code == "***"
    for body in (f"no: {key}".encode(), b"x" * (500 - 5) + key.encode()):
        caught = error(body, 401, ("other", key))
        assert "sk-v" not in repr(caught) + repr(vars(caught))


@pytest.mark.parametrize("place", ["body", "header"])
def test_a_key_given_back_as_the_request_id_is_blotted_out(place):
    """A proxy may put anything there."""
    key = "sk-verysecret"
    headers = {"x_request_id": key} if place == "header" else {}
    caught = error({"message": "m", "id": key}, 401, (key,), **headers)
    assert key not in repr(caught) + repr(vars(caught))


def test_an_empty_secret_blots_nothing_out():
    """Such as that of `Authorization: Bearer `."""
    assert error({"message": "m"}, 401, ("",)).provider_message == "m"


@pytest.mark.parametrize("name", ["code", "id"])
def test_code_and_request_id_are_shortened(name):
    """A body of 64 kB makes no message of 64 kB."""
    caught = error({"message": "m", name: "x" * 50_000})
    assert len(repr(caught) + repr(vars(caught))) < 5_000


def test_a_wait_is_part_of_the_error():
    """Reckoned from now."""
    assert error(status=429, Retry_After="7").retry_after == pytest.approx(7, abs=0.01)
    reset = error(status=429, X_RateLimit_Reset=str(time.time() + 9)).retry_after
    assert reset == pytest.approx(9, abs=1)


@settings(max_examples=150)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["error", "message", "detail", "errors", "code", "id", "msg"]), inner)
        ),
        max_leaves=10,
    ),
    st.integers(300, 599),
)
def test_any_json_makes_an_error(document, status):
    """Whatever its shape."""
    caught = error(document, status)
    assert isinstance(caught, APIStatusError)
    assert caught.status == status
    assert isinstance(caught.code, str | None)
    assert isinstance(caught.request_id, str | None)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_make_an_error(data):
    """Also no JSON and no text."""
    assert error(data, 502).provider_message or not data.decode("utf-8", "replace").strip()
