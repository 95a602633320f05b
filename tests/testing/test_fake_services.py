"""Errors in the form of real services: which requests they refuse, and what goes over the wire."""

from __future__ import annotations

import json
import re

import pytest
from support.heard import hear
from support.services import fault_of

from asyncembed import ConfigurationError, EmbedClient, TransportError
from asyncembed.testing import Limit, faults
from asyncembed.testing.faults import KNOWN_ERRORS, ServiceError

LONG = "x" * 4 * 600
OF_TEXTS = ("long text", "bad text")
BASE64 = {"openai": {"encoding_format": "base64"}, "cohere": {"embedding_types": ["base64"]}}
EVERY_ERROR = pytest.mark.parametrize("known", KNOWN_ERRORS, ids=lambda known: known.name)


def is_bad(text):
    return text == "bad"


def is_json(body):
    try:
        json.loads(body.decode("utf-8-sig"))
    except ValueError:
        return False
    return True


@pytest.fixture
def refuse(server):
    """Refuses requests with a known error, where two texts are one too many; returns what the client hears."""

    async def refuse(known, layout="openai", texts=("a", "bad", LONG)):
        server.rules[:] = [fault_of(known, only=is_bad if known.meaning == "bad text" else None, most=2)]
        return await hear(server, texts, layout=layout, **(BASE64[layout] if known.meaning == "base64" else {}))

    return refuse


async def statuses(server, *requests, **fields):
    return [(await hear(server, texts, **fields)).status for texts in requests]


@EVERY_ERROR
@pytest.mark.parametrize("layout", ["openai", "cohere"])
async def test_every_known_error(server, refuse, known, layout):
    """Its status and its media type are there, every name is filled in, and no vector is sent or billed."""
    heard = await refuse(known, layout)
    assert heard.status == known.status
    assert not re.search(rb"\{(model|text|position|count|tokens|size|most)\}", heard.body)
    kind = "text/html" if heard.body.startswith(b"<") else "application/json" if is_json(heard.body) else "text/plain"
    assert heard.headers["content-type"].startswith(kind)
    assert int(heard.headers["content-length"]) == len(heard.body)
    (entry,) = server.ledger.entries
    assert entry.reply.startswith("ServiceError(")
    assert not entry.sent
    assert (entry.billed_tokens, entry.told_tokens) == ((602, 602) if known.is_billed else (0, 0))


@EVERY_ERROR
async def test_the_position_is_that_of_the_text(refuse, known):
    """Two requests that differ in the place of the text to blame are refused in the same bytes, unless it is named."""
    first, last = [(await refuse(known, texts=texts)).body for texts in (["bad", "abc", LONG], ["abc", "bad", LONG])]
    if known.meaning == "long text":
        first, last = [(await refuse(known, texts=texts)).body for texts in ([LONG, "a", "b"], ["a", "b", LONG])]
    assert (first != last) == known.names_position
    assert known.names_position <= (known.meaning in OF_TEXTS)


def test_every_known_error_has_a_name_of_its_own():
    names = [known.name for known in KNOWN_ERRORS]
    assert len(set(names)) == len(names)


async def test_long_texts(server):
    """Texts of more tokens than the limit, or those that the test says."""
    server.rules.append(ServiceError(service="voyage", meaning="long text", most=500))
    assert await statuses(server, ["a", "b"], ["a", LONG], [LONG], ["x" * 2_000]) == [200, 400, 400, 200]
    assert "index 1 in your batch" in (await hear(server, ["a", LONG, LONG])).document["detail"]
    assert "window of 500 tokens" in (await hear(server, ["a", LONG, LONG])).document["detail"]
    server.rules[:] = [ServiceError(service="voyage", meaning="long text", only=is_bad)]
    assert await statuses(server, [LONG], ["a", "bad"]) == [200, 400]


async def test_bad_texts(server):
    server.rules.append(ServiceError(service="cloudflare", meaning="bad text", only=is_bad))
    assert await statuses(server, ["a", "b"], ["a", "bad"], ["bad"]) == [200, 403, 403]


@pytest.mark.parametrize(
    ("meaning", "service", "most", "said"),
    [
        ("many texts", "cohere", 2, "must be at most 2 - received 3"),
        ("many tokens", "openai", 30, "Requested 75 tokens, max 30 tokens"),
        ("many bytes", "gemini", 200, "exceeds the limit: 200 bytes"),
    ],
)
async def test_sizes(server, meaning, service, most, said):
    """Only what is above the limit is refused, and the answer says how large it may be."""
    server.rules.append(ServiceError(service=service, meaning=meaning, most=most))
    heard = await hear(server, ["x" * 100] * 3)
    assert heard.status == 400
    assert said in heard.body.decode()
    assert await statuses(server, ["x"], ["x" * 100]) == [200, 200]


async def test_base64(server):
    server.rules.append(ServiceError(service="fireworks", meaning="base64"))
    assert await statuses(server, ["a"]) == [200]
    assert await statuses(server, ["a"], encoding_format="base64") == [400]
    assert await statuses(server, ["a"], layout="cohere", embedding_types=["float", "base64"]) == [400]


async def test_an_answer_without_vectors_is_billed(server):
    """A router that forwards a request for base64 to a model without it charges all the same."""
    server.rules.append(ServiceError(service="router", meaning="base64", form="null vectors"))
    heard = await hear(server, ["a", "b"], encoding_format="base64")
    assert [item["embedding"] for item in heard.document["data"]] == [None, None]
    assert [item["index"] for item in heard.document["data"]] == [0, 1]
    assert heard.document["usage"]["total_tokens"] == server.ledger.billed_tokens == server.ledger.told_tokens == 2


async def test_slow_for_large_requests(server):
    server.rules.append(ServiceError(service="nginx", meaning="slow", most=2))
    assert await statuses(server, ["a", "b"], ["a", "b", "c"]) == [200, 504]


async def test_from_one_request_until_another(server):
    server.rules.append(ServiceError(service="openai", meaning="key", from_request=1, until_request=3))
    assert await statuses(server, *["abcde"] * 5) == [200, 401, 401, 200, 200]


async def test_a_request_that_comes_again_is_taken(server):
    server.rules.append(ServiceError(service="tei", meaning="busy", attempts=1))
    assert await statuses(server, ["a"], ["b"], ["a"], ["b"], ["b"]) == [429, 429, 200, 200, 200]


async def test_any_error_may_be_about_certain_texts(server):
    server.rules.append(ServiceError(service="openai", meaning="busy", status=500, only=is_bad))
    assert await statuses(server, ["a", "bad"], ["a"]) == [500, 200]


async def test_the_first_form_is_taken_where_none_is_named(server):
    server.default = ServiceError(service="gemini", meaning="key")
    (error,) = (await hear(server)).document
    assert error["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    server.default = ServiceError(service="gemini", meaning="key", status=403)
    assert (await hear(server)).status == 403
    server.default = ServiceError(service="gemini", meaning="key", form="expired")
    assert "expired" in (await hear(server)).document[0]["error"]["message"]


async def test_the_key_of_the_request_is_not_repeated(server):
    for known in KNOWN_ERRORS:
        server.rules[:] = [fault_of(known, only=is_bad if known.meaning == "bad text" else None, most=2)]
        heard = await hear(server, ["a", "bad", LONG], headers=["Authorization: Bearer sk-very-secret"])
        assert b"sk-very-secret" not in heard.data


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"service": "opanai", "meaning": "key"}, "use one of akamai, .*openai"),
        ({"service": "tei", "meaning": "quota"}, "it has address 404 tei, .*key 401 tei"),
        ({"service": "openai", "meaning": "key", "status": 400}, "it has .*key 401 openai"),
        ({"service": "openai", "meaning": "bad text"}, "only="),
        ({"service": "openai", "meaning": "many texts"}, "most="),
    ],
)
def test_errors_that_are_not_known(arguments, words):
    with pytest.raises(ConfigurationError, match=words):
        faults.ServiceError(**arguments)


TUNNELS = [
    (407, lambda server: server.rules.append(ServiceError(service="squid", meaning="key"))),
    (403, lambda server: server.script.append(ServiceError(service="squid", meaning="key", status=403))),
    (407, lambda server: server.script.append(faults.Refused(407))),
    (503, lambda server: setattr(server, "default", faults.Html(503))),
    (405, lambda server: None),
]


@pytest.mark.parametrize(("status", "prepare"), TUNNELS)
async def test_a_client_that_takes_it_for_its_proxy_is_refused_a_tunnel(server, monkeypatch, status, prepare):
    """By rules, script and default; the key of the API and its limit are not the proxy's."""
    prepare(server)
    server.key, server.limit = "sk-of-the-api", Limit(inputs=1, announce=True)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    async with EmbedClient("openai", base_url="https://llm.example/v1", api_key="k", retry=1) as client:
        with pytest.raises(TransportError, match=rf"^the proxy refused: {status} "):
            await client.embed(["a"])
    (entry,) = server.ledger.entries
    assert (entry.path, entry.status, entry.texts) == ("llm.example:443", status, ())
