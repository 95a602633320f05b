"""Signatures of Bedrock: the same bits as Amazon's own library makes."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import ConfigurationError, EmbedClient
from asyncembed._http.route import Route
from asyncembed.providers import BedrockTitan, Credentials
from asyncembed.providers._sigv4 import signature_headers
from asyncembed.testing import FakeServer

NOW = datetime(2026, 11, 29, 1, 2, 3, tzinfo=UTC)
KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
models = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)


def by_botocore(account: Credentials, url: str, body: bytes) -> dict[str, str]:
    from botocore import auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as TheirCredentials

    request = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=body)
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    signer = auth.SigV4Auth(TheirCredentials(account.key, account.secret, account.token), "bedrock", "eu-west-1")
    text = signer.string_to_sign(request, _canonical(signer, request, account))
    request.headers["Authorization"] = "made by hand"
    signature = signer.signature(text, request)
    names = signer.signed_headers(signer.headers_to_sign(_without(request)))
    who = f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"
    return {
        **{name: request.headers[name] for name in request.headers if name.startswith("X-Amz")},
        "Authorization": who,
    }


def _without(request):
    del request.headers["Authorization"]
    return request


def _canonical(signer, request, account):
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if account.token:
        request.headers["X-Amz-Security-Token"] = account.token
    return signer.canonical_request(request)


@pytest.mark.skipif(find_spec("botocore") is None, reason="botocore is not installed")
@given(model=models, body=st.binary(max_size=64), token=st.none() | words, query=st.lists(st.tuples(words, words)))
def test_signatures_are_those_of_botocore(model, body, token, query):
    """Whatever stands in the path, the query and the body."""
    account = Credentials(KEYS.key, KEYS.secret, token)
    names = dict(query)
    url = BedrockTitan(region="eu-west-1").route(model).path
    url = Route(url, tuple(names.items())).join("https://bedrock-runtime.eu-west-1.amazonaws.com")
    ours = signature_headers(account, str(url), body, region="eu-west-1", service="bedrock", now=NOW)
    assert dict(ours) == by_botocore(account, str(url), body)


def test_fields_of_a_query_are_signed_in_the_order_of_their_names():
    """As by botocore: a name comes before a longer one that begins with it."""
    url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/invoke?00=0&0=0"
    signed = signature_headers(KEYS, url, b"{}", region="eu-west-1", service="bedrock", now=NOW)
    assert signed["Authorization"].endswith("=ff7192e544643944315548e3858fdefed3a8f5c62d02a672f23ad1cfc3182b40")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://h:443/model/m/invoke", "https://h/model/m/invoke"),
        ("http://h:80/model/m/invoke", "http://h/model/m/invoke"),
    ],
)
def test_a_port_that_no_host_header_names_is_not_signed(url, same):
    def sign(where: str):
        return signature_headers(KEYS, where, b"{}", region="r", service="bedrock", now=NOW)

    assert sign(url) == sign(same) != sign(url.replace("443", "444").replace("80", "81"))


async def headers_of(provider: BedrockTitan, **options: object) -> dict[str, str]:
    """What the server was sent."""
    seen = {}

    async def note(exchange):
        seen.update(exchange.request.headers)
        await exchange.deliver()

    async with FakeServer(default=note) as server, EmbedClient(provider, base_url=server.url, **options) as client:
        await client.embed(["a"])
    return seen


async def test_a_request_is_signed_by_the_keys_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    sent = await headers_of(BedrockTitan(region="eu-west-1"))
    names = "content-type;host;x-amz-date;x-amz-security-token"
    assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert f"/eu-west-1/bedrock/aws4_request, SignedHeaders={names}, Signature=" in sent["authorization"]
    assert sent["x-amz-security-token"] == "session"


async def test_a_bearer_key_wins_over_keys_of_an_account(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    sent = await headers_of(BedrockTitan(region="eu-west-1"), api_key="bearer")
    assert sent["authorization"] == "Bearer bearer"
    assert "x-amz-date" not in sent


async def test_keys_that_end_are_asked_for_before_each_attempt():
    given = iter("AB")

    async def credentials() -> Credentials:
        return Credentials(next(given), "secret")

    provider = BedrockTitan(credentials=credentials, region="r")
    assert "Credential=A/" in (await headers_of(provider))["authorization"]
    assert "Credential=B/" in (await headers_of(provider))["authorization"]


def test_without_any_keys_one_is_asked_for_at_amazons_own_address():
    with pytest.raises(ConfigurationError, match="provider 'bedrock-titan' needs a key: set AWS_BEARER_TOKEN_BEDROCK"):
        EmbedClient(BedrockTitan(region="eu-west-1"))
    EmbedClient(BedrockTitan(region="eu-west-1", credentials=lambda: KEYS))


def test_keys_of_an_account_do_not_show():
    assert KEYS.secret not in repr(KEYS)
