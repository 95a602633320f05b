"""The proxy that other tests use does what proxies do."""

from __future__ import annotations

import aiohttp
import pytest
from support.connect_proxy import ConnectProxy
from support.tls import new_certificate

from asyncembed.testing import FakeServer


@pytest.fixture
def contexts(tmp_path):
    import ssl

    certificate, key = new_certificate(tmp_path)
    for_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for_server.load_cert_chain(certificate, key)
    return for_server, ssl.create_default_context(cafile=certificate)


async def ask(http, url, proxy, tls):
    body = {"model": "m", "input": ["a"]}
    async with http.post(f"{url}/v1/embeddings", json=body, proxy=proxy.url, ssl=tls) as reply:
        return reply.status, await reply.json()


async def test_it_tunnels(contexts):
    async with FakeServer(tls=contexts[0]) as server, ConnectProxy() as proxy, aiohttp.ClientSession() as http:
        status, document = await ask(http, server.url, proxy, contexts[1])
    assert status == 200
    assert len(document["data"]) == 1
    assert [(asked.method, asked.target) for asked in proxy.asked] == [("CONNECT", server.url.removeprefix("https://"))]


@pytest.mark.parametrize("status", [401, 403, 407, 503])
async def test_it_refuses(contexts, status):
    async with (
        FakeServer(tls=contexts[0]) as server,
        ConnectProxy(refusal=status) as proxy,
        aiohttp.ClientSession() as http,
    ):
        with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
            await ask(http, server.url, proxy, contexts[1])
    assert caught.value.status == status
    assert server.ledger.requests == 0
