"""Error answers of every provider: the words found, the status mapped, the wait understood, the key blotted out."""

from __future__ import annotations

import codecs
import json
import time
from typing import TYPE_CHECKING

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
from asyncembed._exceptions import answer_of
from asyncembed._http.error_answer import read_answer, status_error
from asyncembed._redaction import Secrets

BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

if TYPE_CHECKING:
    from asyncembed._exceptions import ErrorAnswer


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
        ({"success": False, "errors": [{"code": 7, "message": "m"}], "messages": []}, "m", "7"),
        ({"error": {"message": ""}, "message": "m"}, "m", None),
        ({"error": None, "detail": [], "errors": [], "title": "m"}, "m", None),
        (b"<html>m</html>\n", "m", None),
        (b"m", "m", None),
        (b"\xff", "\ufffd", None),
        (b"[" * 5_000, "[" * 500, None),
        (["m"], "m", None),
        ("m", "m", None),
        ({"error": "Bad Request", "message": ["a m", "n"], "statusCode": 400}, "a m", None),
        ({"status": 404, "error": "Not Found", "path": "/v1"}, "Not Found", None),
        ({"error": "invalid_token", "error_description": "the token m"}, "the token m", "invalid_token"),
        ({"detail": {"error": "m", "code": "c"}}, "m", "c"),
        ({"detail": {"message": "m"}}, "m", None),
        ({"message": {"detail": [{"loc": ["body", "input"], "msg": "m"}]}, "type": "t"}, "body.input: m", "t"),
        ({"title": "One or more faults", "errors": {"input": ["too long"]}}, "input: too long", None),
        ({"__type": "com.amazon.coral#ThrottlingException", "message": "m"}, "m", "ThrottlingException"),
        ({"fault": {"faultstring": "m", "detail": {"errorcode": "oauth.c"}}}, "m", "oauth.c"),
        ({"base_resp": {"status_code": 1004, "status_msg": "m"}}, "m", "1004"),
        ({"error": {"message": "m", "type": "None", "param": "None", "code": "c"}}, "m", "c"),
        ({"error": True}, '{\n    "error": true\n}', None),
    ],
)
def test_the_words_are_found_in_every_shape(body, message, code):
    """Of a provider, a framework, or a proxy in between."""
    caught = error(body)
    assert (caught.provider_message, caught.code, caught.status) == (message, code, 400)
    assert str(caught).startswith(f"acme answered 400: {message}")


def answer(body: object = b"", status: int = 400, **headers: str) -> ErrorAnswer:
    found = answer_of(error(body, status, **headers))
    assert found
    return found


ERROR = {"error": {"message": "no good", "type": "t", "param": "input", "code": "c"}}
JSON = json.dumps(ERROR)
WRAPPINGS = {
    "list": f"[{JSON}]".encode(),
    "list of lists": f"[[{JSON}]]".encode(),
    "list behind others": f'["x", {JSON}]'.encode(),
    "string": json.dumps(JSON).encode(),
    "list of strings": json.dumps([JSON]).encode(),
    "byte order mark": b"\xef\xbb\xbf" + JSON.encode(),
    "two byte order marks": "\ufeff".encode() + JSON.encode("utf-8-sig"),
    "UTF-16": JSON.encode("utf-16"),
    "lines": f'{{"object":"list"}}\n{JSON}\n{{"error": "another"}}\n'.encode(),
    "events": f"event: error\ndata: {JSON}\n\n".encode(),
    "white space": b" \r\n" + JSON.encode() + b"\n\n",
    "NaN beside it": JSON[:-1].encode() + b', "took": NaN}',
    "line end inside a string": JSON[:-1].encode() + b', "note": "a\nb"}',
    "half a surrogate beside it": JSON[:-1].encode() + b', "input": "\\ud83d"}',
    "cut off": JSON[:-1].encode() + b', "input": ["' + b"x" * 70_000,
    "message as JSON": json.dumps({"error": {"message": JSON, "type": "None", "param": "None"}}).encode(),
    "message as Python": json.dumps({"message": repr(ERROR)}).encode(),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_an_error_is_wrapped_in_makes_no_difference(wrapping):
    """Message, codes and the field that is blamed are found all the same."""
    found = answer(WRAPPINGS[wrapping][:65_536])
    assert (found.provider_message, found.fields, found.is_api_form) == ("no good", ("input",), True)
    assert set(found.codes) == {"c", "t"}


@pytest.mark.parametrize(
    "message",
    [
        f"litellm.BadRequestError: OpenAIException - Error code: 400 - {ERROR}. Received Model Group=m\nFallbacks=None",
        f"litellm.BadRequestError: OpenAIException - {json.dumps(ERROR, indent=2)}",
        f"VertexAIException BadRequestError - b'{json.dumps(ERROR)}'",
        f"Error: {[ERROR]}",
    ],
)
def test_an_error_that_a_proxy_quotes_gives_its_codes(message):
    """And the proxy's own words stay."""
    found = answer({"error": {"message": message, "type": None, "param": None, "code": "400"}})
    assert found.provider_message == message
    assert (found.codes, found.fields) == (("400", "c", "t"), ("input",))


@pytest.mark.parametrize(
    "message",
    [
        'cannot embed \'{"code": "insufficient_quota", "message": "m"}\'',
        "this text is too long: {'error': {'code': 'insufficient_quota', 'message': 'm'}}",
        "{'message': \"the text 'code': 'insufficient_quota' is too long\", 'code': None}",
    ],
)
def test_a_text_that_looks_like_an_error_gives_none(message):
    """It is quoted, and not by a proxy."""
    assert "insufficient_quota" not in answer({"error": {"message": message}}).codes


def test_half_a_surrogate_in_the_words_is_replaced():
    """Or the message could not be printed."""
    caught = error(b'{"error": {"message": "bad: \\ud83d here", "code": "\\udc00"}}')
    assert (caught.provider_message, caught.code) == ("bad: \ufffd here", "\ufffd")
    assert error(b'{"message": "\\ud83d\\ude00", "x": "\\ud83d"}').provider_message == "\N{GRINNING FACE}"


PAGES = {
    "title": "<!DOCTYPE html><html><head><title>\n Request\n blocked </title></head><h1>other</h1></html>",
    "heading": "<html><body><h1 class='x'>Request <b>blocked</b></h1>Ray 1</body></html>",
    "entities": "<html><title>Request&nbsp;block&#101;d</title>",
    "no title": "<html><style>a{b:c}</style><!-- x --><body>Request<br>blocked<script>f()</script></body></html>",
    "empty title": "<html><title> </title><h2>Request blocked</h2></html>",
    "XML": '<?xml version="1.0"?><Error><Code>c</Code><Message>Request blocked</Message></Error>',
    "in a string": json.dumps("<html><title>Request blocked</title></html>"),
}


@pytest.mark.parametrize("page", PAGES)
def test_of_a_page_the_title_is_shown(page):
    """On one line; it is no form of an API."""
    found = answer(PAGES[page].encode(), 403)
    assert found.provider_message.replace("\xa0", " ") == "Request blocked"
    assert (found.is_html, found.is_api_form) == (True, False)


@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"plain text", b"5", b"null", b"{}", b"[]", b"true", b"{", b'{"data": []}']
)
def test_what_is_in_no_form_of_an_api(body):
    """Proxies say such things."""
    found = answer(body)
    assert (found.is_api_form, found.is_html, found.codes) == (False, False, ())


def test_all_codes_are_kept():
    """Wherever they stand; the exception shows the first."""
    google = {
        "code": 403,
        "status": "PERMISSION_DENIED",
        "message": "m",
        "details": [{"reason": "API_KEY_INVALID"}, {"violations": [{"quotaId": "PerDay"}, {}, 5]}, 7],
    }
    found = answer({"error": google, "error_type": "x"}, x_amzn_ErrorType="SomeException:http://internal/")
    assert found.codes == ("403", "x", "PERMISSION_DENIED", "API_KEY_INVALID", "PerDay", "SomeException")
    assert found.code == "403"
    assert answer(b"", x_amzn_errortype="ThrottlingException").codes == ("ThrottlingException",)
    assert len(answer({"errors": [{"code": number} for number in range(1_000)]}).codes) < 50


def test_what_google_says_of_a_field_is_shown():
    """Its message may say nothing."""
    violations = [{"field": "encoding_format", "description": "unsupported"}, {"field": "x"}, 5]
    error_of = {"message": "Invalid argument.", "details": [{"fieldViolations": violations}]}
    assert error({"error": error_of}).provider_message == "Invalid argument. (encoding_format: unsupported)"


def test_more_of_a_message_is_kept_than_is_shown():
    """What decides may come after a text that is repeated."""
    found = answer({"message": "x" * 1_000 + "too long" + "y" * 5_000})
    assert "too long" in found.provider_message
    assert len(found.provider_message) == 2_000


def test_an_exception_that_no_answer_made_has_none():
    """As of a text that was refused before it was sent."""
    assert answer_of(InvalidInputError("x")) is None
    assert answer_of(ValueError("x")) is None


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (500, "input (3002 tokens) is too large to process. increase the physical batch size", InvalidInputError),
        (400, "input (402 tokens) is larger than the max context size (256 tokens)", InvalidInputError),
        (500, "too large to process", ServerError),
    ],
)
def test_a_text_that_is_too_long_for_llama_cpp_is_to_blame(status, words, kind):
    """With whatever status."""
    assert type(error({"error": {"message": words, "code": status}}, status)) is kind


@pytest.mark.parametrize(
    ("param", "kind"),
    [
        ("input_tokens", InvalidInputError),
        ("input_text", InvalidInputError),
        ("dimensions", APIStatusError),
        ("None", InvalidInputError),
    ],
)
def test_a_field_without_texts_is_no_matter_of_a_text(param, kind):
    """Then every request would be refused."""
    assert type(error({"error": {"message": "m", "param": param}})) is kind


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
    caught = error({"message": "no such model"}, status)
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
            | st.dictionaries(
                st.sampled_from([
                    "error",
                    "message",
                    "detail",
                    "errors",
                    "code",
                    "id",
                    "msg",
                    "loc",
                    "details",
                    "param",
                ]),
                inner,
            )
        ),
        max_leaves=10,
    ),
    st.integers(300, 599),
)
def test_any_json_makes_an_error(document, status):
    """Whatever its shape, and that of the answer that it carries."""
    caught = error(document, status)
    found = answer_of(caught)
    assert (found.status, found.code, found.provider_message[:500]) == (status, caught.code, caught.provider_message)
    caught.provider_message.encode()
    assert isinstance(caught, APIStatusError)
    assert caught.status == status
    assert isinstance(caught.code, str | None)
    assert isinstance(caught.request_id, str | None)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_make_an_error(data):
    """The body need not be JSON, nor text; only a body with nothing in it gives no message."""
    found = read_answer(502, CIMultiDict(), data, Secrets())
    is_marked = data.startswith(BYTE_ORDER_MARKS)  # the text behind the mark may be empty
    assert found.provider_message or is_marked or not data.decode("utf-8", "replace").strip()


@settings(max_examples=100)
@given(st.sampled_from(sorted(WRAPPINGS)), st.integers(0, 400), st.binary(max_size=5))
def test_a_body_that_is_cut_or_garbled_makes_an_error(wrapping, cut, garbage):
    """At whatever place."""
    body = WRAPPINGS[wrapping]
    assert isinstance(error(body[:cut] + garbage, 502), ServerError)
    assert isinstance(error(body[:cut] + garbage + body[cut:], 502), ServerError)
