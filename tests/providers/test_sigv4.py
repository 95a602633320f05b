"""Signatures of Bedrock: the same bits as Amazon's own library makes."""

from __future__ import annotations

from importlib.util import find_spec
from traceback import TracebackException

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import ConfigurationError, EmbedClient
from asyncembed._http import Route
from asyncembed.providers import BedrockTitan, Credentials
from asyncembed.testing import FakeServer

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
models = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)


async def signed(account: Credentials, url: str, body: bytes = b"{}") -> dict[str, str]:
    return dict(await BedrockTitan(region="eu-west-1", credentials=lambda: account).authorize(None, url, body))


def by_botocore(account: Credentials, url: str, body: bytes, when: str) -> dict[str, str]:
    auth = pytest.importorskip("botocore.auth", reason="botocore is not installed")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as TheirCredentials

    request = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=body)
    request.context["timestamp"] = when
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
async def test_signatures_are_those_of_botocore(model, body, token, query):
    """Whatever stands in the path, the query and the body."""
    account = Credentials(KEYS.key, KEYS.secret, token)
    names = dict(query)
    url = BedrockTitan(region="eu-west-1").route(model).path
    url = Route(url, tuple(names.items())).join("https://bedrock-runtime.eu-west-1.amazonaws.com")
    ours = await signed(account, str(url), body)
    assert ours == by_botocore(account, str(url), body, ours["X-Amz-Date"])


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://h:443/model/m/invoke", "https://h/model/m/invoke"),
        ("http://h:80/model/m/invoke", "http://h/model/m/invoke"),
    ],
)
async def test_a_port_that_no_host_header_names_is_not_signed(url, same):
    other = url.replace("443", "444").replace("80", "81")
    made = [{"X-Amz-Date": str(number)} for number in range(3)]
    while len({headers["X-Amz-Date"] for headers in made}) > 1:  # within the same second
        made = [await signed(KEYS, where) for where in (url, same, other)]
    assert made[0] == made[1] != made[2]


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


def failing() -> Credentials:
    raise RuntimeError(f"the token service says that {KEYS.secret} is wrong")


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (failing, r"raised RuntimeError \(test_sigv4.py:\d+\)"),
        (lambda: ("AKID", KEYS.secret), "returned tuple and not Credentials"),
        (lambda: None, "returned None, and the environment has no keys"),
        (lambda: Credentials("AKID", None), "returned Credentials whose secret is NoneType and not str"),
        (lambda: Credentials("AKID", b"s"), "returned Credentials whose secret is bytes and not str"),
        (lambda: Credentials("AKID\n", KEYS.secret), "returned Credentials whose key is empty or holds characters"),
        (lambda: Credentials("AKID", KEYS.secret, ""), "returned Credentials whose token is empty or holds"),
    ],
)
async def test_a_function_that_returns_no_keys_is_an_error_without_its_secrets(function, fault):
    """Nothing is sent unsigned."""
    provider = BedrockTitan(region="r", credentials=function)
    async with FakeServer() as server, EmbedClient(provider, base_url=server.url) as client:
        with pytest.raises(ConfigurationError, match=rf"^credentials= is a function that {fault}") as caught:
            await client.embed(["a"])
    assert not server.ledger.entries
    shown = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "wJalr" not in shown


async def test_a_function_that_returns_none_leaves_it_to_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    sent = await headers_of(BedrockTitan(region="r", credentials=lambda: None))
    assert "Credential=AKID/" in sent["authorization"]


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-east-2.amazonaws.com", "us-east-2"),
        ("bedrock-runtime.us-east-2.amazonaws.com:443", "us-east-2"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("vpce-1-x.bedrock-runtime.us-east-2.vpce.amazonaws.com", "us-east-2"),
        ("gateway.example", "eu-west-1"),
        ("bedrock-runtime.us-east-2.amazonaws.com.evil.example", "eu-west-1"),
    ],
)
async def test_a_signature_is_for_the_region_in_the_address(host, region):
    """As Amazon refuses it elsewhere; a gateway may have any name, so the setting counts there."""
    headers = await signed(KEYS, f"https://{host}/model/m/invoke")
    assert f"/{region}/bedrock/aws4_request" in headers["Authorization"]


def test_keys_of_an_account_do_not_show():
    assert KEYS.secret not in repr(KEYS)
