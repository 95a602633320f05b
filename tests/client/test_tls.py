"""TLS is always verified, and no redirect is followed: the key goes to the host it is meant for, or nowhere."""

from __future__ import annotations

import aiohttp
import pytest
from support.certificates import client_side, make_certificate, server_side
from support.scripted import KEY

from asyncembed import APIStatusError, EmbedClient, RetryPolicy, TransportError
from asyncembed.testing import FakeServer, faults, vector_of

ONCE = RetryPolicy(max_attempts=1)
PROVIDERS = {"openai": "/v1", "cohere": "", "cohere-v1": ""}


class Listener:
    """What came to a server in readable form: heads of requests, if any could be read."""

    def __init__(self, server):
        self.server = server
        self.keys = []

    def applies(self, exchange):
        self.keys.append(exchange.request.key)
        return False


@pytest.fixture
async def tls_server(tmp_path):
    certificate = make_certificate(tmp_path)
    async with FakeServer(tls=server_side(certificate)) as server:
        server.rules.append(Listener(server))
        yield server, certificate


def connected(server, provider="openai", **settings):
    url = server.url + PROVIDERS[provider]
    return EmbedClient(provider, api_key=KEY, base_url=url, **{"retry": ONCE, **settings})


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_certificate_that_nobody_vouches_for(tls_server, provider):
    """A plain error, not tried again, and the server has heard nothing."""
    server, _ = tls_server
    async with connected(server, provider, retry=RetryPolicy(initial_backoff=0.001)) as client:
        with pytest.raises(TransportError, match=r"^TLS failed: .*certificate") as caught:
            await client.embed(["a"])
        assert not caught.value.retryable
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert type(caught.value) is TransportError
    assert server.accepted == 1
    assert server.rules[0].keys == []
    assert server.ledger.asked == {}


async def test_a_certificate_for_another_host(tmp_path):
    """Of an authority that is trusted."""
    certificate = make_certificate(tmp_path, "DNS:example.com")
    connector = aiohttp.TCPConnector(ssl=client_side(certificate))
    async with (
        FakeServer(tls=server_side(certificate)) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        server.rules.append(Listener(server))
        async with connected(server, session=session) as client:
            with pytest.raises(TransportError, match="TLS failed"):
                await client.embed(["a"])
        assert server.rules[0].keys == []


async def test_a_certificate_that_is_trusted(tls_server):
    """So the tests above fail for the reason they give."""
    server, certificate = tls_server
    connector = aiohttp.TCPConnector(ssl=client_side(certificate))
    async with aiohttp.ClientSession(connector=connector) as session, connected(server, session=session) as client:
        response = await client.embed(["a"])
    assert (response.embeddings[0] == vector_of("a", server.dimension)).all()
    assert server.rules[0].keys == [KEY]


async def test_plain_http_where_tls_is_spoken(tls_server):
    server, _ = tls_server
    url = server.url.replace("https:", "http:") + "/v1"
    async with EmbedClient("openai", api_key=KEY, base_url=url, retry=ONCE) as client:
        with pytest.raises(TransportError):
            await client.embed(["a"])


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(provider, status):
    """Neither with our session nor with one of the caller's; the other host hears nothing at all."""
    async with FakeServer() as server, FakeServer() as other, aiohttp.ClientSession() as own:
        server.default = faults.Redirect(f"{other.url}/v1/embeddings?key=1", status)
        for session in (None, own):
            async with connected(server, provider, session=session) as client:
                with pytest.raises(APIStatusError, match=str(status)) as caught:
                    await client.embed(["a"])
                assert caught.value.status == status
        assert server.accepted == 2
        assert other.accepted == 0
