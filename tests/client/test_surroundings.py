"""What surrounds the program: ~/.netrc, proxies, certificate authorities, Unix sockets."""

from __future__ import annotations

import asyncio
import subprocess

import aiohttp
import pytest
from support.certificates import make_certificate, server_side
from support.proxies import LoopbackProxy
from support.scripted import KEY, raw, refused, said, vector_of
from support.watching import leftovers

from asyncembed import APIStatusError, ConfigurationError, EmbedClient, ResponseError, RetryPolicy, TransportError
from asyncembed.testing import FakeServer

FAST = RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.002)
HOST = "http://llm.example/v1"


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)


async def ask(base_url, **settings):
    async with EmbedClient("openai", **{"base_url": base_url, "api_key": KEY, "retry": FAST, **settings}) as client:
        response = await client.embed(["one"])
        assert not leftovers(client)
    return response[0].tolist()


async def refusal(kind, base_url, **settings):
    with pytest.raises(kind) as caught:
        await ask(base_url, **settings)
    return caught.value


@pytest.mark.parametrize("netrc", ["", "machine llm.example login a password b\n", "default login a password b\n"])
@pytest.mark.parametrize("key", [KEY, None])
async def test_nothing_of_netrc_is_sent(server, monkeypatch, tmp_path, netrc, key):
    (tmp_path / "netrc").write_text(netrc)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with LoopbackProxy(server.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        assert await ask(HOST, api_key=key) == vector_of("one").tolist()
    assert server.requests[0].headers.get("authorization") == (key and f"Bearer {key}")


async def test_a_session_of_ones_own_keeps_its_own_rules(server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with aiohttp.ClientSession(trust_env=True) as session:
        await ask(f"{server.url}/v1", api_key=None, session=session)
    assert server.requests[0].headers["authorization"] == "Basic YTpi"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("login", ["", "user:proxy-secret@"])
async def test_a_proxy_resolves_the_host(server, monkeypatch, name, login):
    async with LoopbackProxy(server.port) as proxy:
        monkeypatch.setenv(name, f"http://{login}{proxy.address}")
        assert await ask(HOST) == vector_of("one").tolist()
    assert proxy.asked == ["POST http://llm.example/v1/embeddings HTTP/1.1"]
    assert ("Proxy-Authorization: Basic dXNlcjpwcm94eS1zZWNyZXQ=" in proxy.heads[0]) is bool(login)


async def test_this_machine_is_reached_without(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert await ask(f"{server.url}/v1") == vector_of("one").tolist()


async def test_tls_goes_through_a_tunnel(monkeypatch, tmp_path):
    """And the certificate authority of the company is believed."""
    certificate = make_certificate(tmp_path, "DNS:llm.example")
    async with FakeServer(tls=server_side(certificate)) as server, LoopbackProxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        await ask("https://llm.example/v1")
    assert proxy.asked == ["CONNECT llm.example:443 HTTP/1.1"]
    assert KEY not in proxy.heads[0]


@pytest.mark.parametrize(
    ("line", "attempts"),
    [
        ("401 Unauthorized", 1),
        ("403 Forbidden", 1),
        ("405 Method Not Allowed", 1),
        ("407 Proxy Authentication Required", 1),
        ("429 Too Many Requests", 3),
        ("502 Bad Gateway", 3),
        ("503 Service Unavailable", 3),
    ],
)
async def test_a_proxy_that_refuses_to_connect(monkeypatch, line, attempts):
    async with LoopbackProxy(refusal=line) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-secret@{proxy.address}")
        error = await refusal(TransportError, "https://llm.example/v1")
    assert f"the proxy refused: {line}" in str(error)
    assert f"via the proxy http://{proxy.address} of HTTPS_PROXY" in str(error)
    assert "proxy-secret" not in str(error)
    assert len(proxy.heads) == attempts


async def test_a_proxy_that_wants_a_login(monkeypatch):
    """Of a request without TLS, which it would pass on itself."""
    async with LoopbackProxy(refusal="407 Proxy Authentication Required") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        error = await refusal(TransportError, HOST)
    assert "the proxy refused: 407 Proxy Authentication Required" in str(error)
    assert len(proxy.heads) == 1


async def test_a_proxy_that_is_not_there(monkeypatch):
    async with LoopbackProxy() as proxy:
        pass
    monkeypatch.setenv("HTTP_PROXY", f"http://user:proxy-secret@{proxy.address}")
    error = await refusal(TransportError, HOST)
    assert f"via the proxy http://{proxy.address} of HTTP_PROXY" in str(error)
    assert "proxy-secret" not in str(error)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
async def test_a_proxy_that_is_not_spoken_gets_nothing(monkeypatch, name):
    async with LoopbackProxy() as proxy:
        monkeypatch.setenv(name, f"socks5://user:proxy-secret@{proxy.address}")
        error = await refusal(ConfigurationError, HOST)
    assert str(error).startswith(f"{name} names a socks5://")
    assert "proxy-secret" not in str(error)
    assert proxy.heads == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_an_authority_that_a_variable_names(monkeypatch, tmp_path, name):
    """Set after the import."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv(name, str(certificate))
    async with FakeServer(tls=server_side(certificate)) as server:
        await ask(f"{server.url}/v1")


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
async def test_a_folder_of_authorities(monkeypatch, tmp_path, name):
    certificate, folder = make_certificate(tmp_path), tmp_path / "authorities"
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", certificate]
    digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    folder.mkdir()
    (folder / f"{digest}.0").write_bytes(certificate.read_bytes())
    monkeypatch.setenv(name, str(folder))
    async with FakeServer(tls=server_side(certificate)) as server:
        await ask(f"{server.url}/v1")


@pytest.mark.parametrize("name", [None, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
async def test_an_authority_that_is_not_believed_is_told(monkeypatch, tmp_path, name):
    certificate = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    if name:
        monkeypatch.setenv(name, str(other))
    async with FakeServer(tls=server_side(certificate)) as server:
        error = await refusal(TransportError, f"{server.url}/v1")
        assert server.accepted == 1
    assert (f"{name}={other}" if name else "the system's authorities") in str(error)
    assert "SSL_CERT_FILE" in str(error)
    assert "REQUESTS_CA_BUNDLE" in str(error)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_bundle_that_cannot_be_read(monkeypatch, tmp_path, content):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(path))
    error = await refusal(ConfigurationError, "https://127.0.0.1:9/v1")
    assert str(error).startswith(f"CURL_CA_BUNDLE={str(path)!r} ")


class UnixServer:
    """Answers 200 with one vector, or 404, on a Unix socket, and keeps the heads of requests."""

    def __init__(self, path):
        self.path, self.heads, self.status = path, [], "200 OK"

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        body = b'{"data":[{"index":0,"embedding":[1.0,2.0]}]}'
        writer.write(
            f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("form", ["http+unix://{}/v1", "HTTP+UNIX://{}/v1/", "http+unix://{}/v1/embeddings"])
async def test_a_unix_socket_whose_path_keeps_its_case(tmp_path, monkeypatch, form):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    url = form.format(f"{tmp_path}/Server.Sock".replace("/", "%2F"))
    async with UnixServer(tmp_path / "Server.Sock") as server:
        assert await ask(url) == [1.0, 2.0]
        assert server.heads[0].startswith("POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n")
        server.status = "404 Not Found"
        error = await refusal(APIStatusError, url)
    shown = f"{tmp_path}/Server.Sock".replace("/", "%2F")
    assert f"openai at http+unix://{shown}/v1/embeddings answered 404" in str(error)


async def test_a_unix_socket_that_is_not_there(tmp_path):
    error = await refusal(TransportError, f"http+unix://{tmp_path}/none".replace("/", "%2F").replace("%2F%2F", "//", 1))
    assert "none" in str(error)


@pytest.mark.parametrize("url", ["unix:///run/a.sock", "http+unix:///run/a.sock", "http+unix://run%2Fa.sock/v1"])
def test_a_unix_socket_that_is_written_wrong(url):
    with pytest.raises(ConfigurationError, match=r"http\+unix://%2Frun%2Fserver.sock/v1"):
        EmbedClient("openai", base_url=url, api_key=KEY)


async def test_a_unix_socket_and_a_session_of_ones_own():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="UnixConnector"):
            EmbedClient("openai", base_url="http+unix://%2Fa/v1", api_key=KEY, session=session)


@pytest.mark.parametrize("form", ["{}/v1", "{}/v1/", "{}/v1/embeddings", "{}/v1/embeddings/", "  {}/v1\n"])
async def test_an_address_as_people_copy_it(server, form):
    await ask(form.format(server.url))
    assert server.requests[0].path == "/v1/embeddings"


ENDPOINTS = [
    ("azure-openai", "m", "/openai/deployments/m/embeddings"),
    ("azure-openai", "a b", "/openai/deployments/a%20b/embeddings"),
    ("gemini", "gemini-embedding-001", "/v1beta/models/gemini-embedding-001:batchEmbedContents"),
    ("bedrock-titan", "amazon.titan-embed-text-v2:0", "/model/amazon.titan-embed-text-v2%3A0/invoke"),
    ("huggingface", "owner/name", "/owner/name/pipeline/feature-extraction"),
    ("huggingface", "name", "/name/pipeline/feature-extraction"),
    ("cohere", "m", "/v2/embed"),
]


@pytest.mark.parametrize(("provider", "model", "endpoint"), ENDPOINTS)
@pytest.mark.parametrize("given", ["", "/", "{}", "{}/", "{}?own=own-secret"])
async def test_an_address_may_hold_the_endpoint_of_a_model(server, provider, model, endpoint, given):
    """The message shows the address that was asked, without values of its query."""
    server.default = refused(404, "page not found")
    url = f"{server.url}/base{given.format(endpoint)}"
    async with EmbedClient(provider, base_url=url, model=model, api_key=KEY, retry=1) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.embed(["one"])
    assert server.requests[0].path.partition("?")[0] == f"/base{endpoint}"
    assert f"{provider} at {server.url}/base{endpoint}" in str(caught.value)
    assert "own-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "start", "path"),
    [
        ("cohere", "/v2", "/v2/embed"),
        ("cohere", "/v1", "/v1/v2/embed"),
        ("cohere-v1", "/v1", "/v1/embed"),
        ("gemini", "/v1beta", "/v1beta/models/m:batchEmbedContents"),
        ("azure-openai", "/openai/v1", "/openai/deployments/m/embeddings"),
        ("azure-openai", "/openai/v1/embeddings", "/openai/deployments/m/embeddings"),
        ("openai", "/v1", "/v1/embeddings"),
        ("ollama", "/api", "/api/api/embed"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_an_address_may_end_with_the_version_of_the_api(server, provider, start, path, slash):
    """As services show it; other ends belong to the address, as a proxy may have them."""
    server.default = refused(404, "page not found")
    async with EmbedClient(provider, base_url=f"{server.url}/base{start}{slash}", model="m", retry=1) as client:
        with pytest.raises(APIStatusError):
            await client.embed(["one"])
    assert server.requests[0].path.partition("?")[0] == f"/base{path}"


async def test_limits_are_asked_for_by_the_proxy_too(monkeypatch):
    async with FakeServer(info={"max_client_batch_size": 2}) as server, LoopbackProxy(server.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:proxy-secret@{proxy.address}")
        async with EmbedClient("tei", base_url="http://llm.example") as client:
            await client.embed(["a", "b", "c"])
    assert proxy.asked[0] == "GET http://llm.example/info HTTP/1.1"
    assert "Proxy-Authorization: Basic dXNlcjpwcm94eS1zZWNyZXQ=" in proxy.heads[0]


async def test_limits_are_asked_for_through_the_socket_too(tmp_path):
    async with UnixServer(tmp_path / "s.sock") as server:
        url = f"http+unix://{tmp_path}/s.sock".replace("/", "%2F").replace("%2F%2F", "//", 1)
        async with EmbedClient("tei", base_url=url, retry=1) as client:
            with pytest.raises(ResponseError):
                await client.embed(["one"])
    assert [head.split("\r\n")[0] for head in server.heads[:2]] == ["GET /info HTTP/1.1", "POST /embed HTTP/1.1"]


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ("openai", "https://api.openai.com/v1/embeddings/"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta"),
        ("cohere", "https://api.cohere.com/v2/"),
    ],
)
def test_the_own_address_with_the_endpoint_is_the_own_address(provider, url):
    client = EmbedClient(provider, base_url=url, api_key=KEY)
    assert client._connection.is_official


async def test_the_address_is_shown_without_secrets(server):
    server.default = refused(404, "page not found")
    url = server.url.replace("http://", "http://user:url-secret@")
    error = await refusal(APIStatusError, f"{url}/api?key=query-secret", api_key=None)
    assert type(error) is APIStatusError
    assert str(error).startswith(f"openai at {server.url}/api/embeddings answered 404: page not found")
    assert str(error).endswith("check base_url=")
    assert len(server.requests) == 1


NO_VECTORS = {
    "<!doctype html>\n<title>Sign in\n  to url-secret</title><p>...": "is a web page instead of JSON: Sign in to *** (",
    "\ufeff \n<html><body></body></html>": "is a web page instead of JSON: it has no title (",
    "welcome": "is not JSON, or is cut off",
    "": "is not JSON, or is cut off",
    "<": "is not JSON, or is cut off",
    "{}": "holds 0 vectors for 1 texts",
    '{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1]}]}': "holds an extra vector",
}


@pytest.mark.parametrize("body", NO_VECTORS)
async def test_the_address_is_shown_if_the_response_holds_no_vectors(server, body):
    """A page of a login, or of another service, says that the address is wrong."""
    server.default = said(body.encode())
    url = server.url.replace("http://", "http://user:url-secret@")
    error = await refusal(ResponseError, f"{url}/v1?key=query-secret", api_key=None, retry=1)
    assert NO_VECTORS[body] in str(error)
    assert f"(POST {server.url}/v1/embeddings)" in str(error)
    assert "secret" not in str(error)
    assert not error.provider_message


async def test_the_address_is_shown_if_a_response_breaks_off(server):
    server.default = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
    error = await refusal(TransportError, f"{server.url}/v1", retry=1)
    assert f"the response broke off (POST {server.url}/v1/embeddings)" in str(error)


async def test_where_a_redirect_leads_is_shown(server):
    headers = {"Location": "https://user:url-secret@elsewhere.example/v2?key=query-secret"}
    server.default = refused(308, "", headers=headers)
    error = await refusal(APIStatusError, f"{server.url}/v1")
    assert "it redirects to https://elsewhere.example/v2, which the client does not follow" in str(error)


TARGETS = {
    "/v2/embeddings/": "to {url}/v2/embeddings/, which",
    "?key=query-secret": "to {url}/v1/embeddings, which",
    "//elsewhere.example/v2": "to http://elsewhere.example/v2, which",
    "http://[bad": "to an invalid Location",
    "": "without a Location",
}


@pytest.mark.parametrize("location", TARGETS)
async def test_a_redirect_may_be_relative_to_the_address_of_the_request(server, location):
    server.default = refused(308, "", headers={"Location": location})
    error = await refusal(
        APIStatusError, f"{server.url.replace('http://', 'http://user:url-secret@')}/v1", api_key=None
    )
    assert f"it redirects {TARGETS[location].format(url=server.url)}" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_server_that_wants_a_key_and_got_none(server, monkeypatch, status):
    server.default = refused(status, "who are you?")
    error = await refusal(APIStatusError, f"{server.url}/v1", api_key=None)
    assert str(error).endswith("no key was sent; set OPENAI_API_KEY, or pass api_key=")


SECRET_NAMES = ["Authorization", "Proxy-Authorization", "Cookie", "X-API-Key", "api-key", "Ocp-Apim-Subscription-Key"]
SECRET_NAMES += [
    "X-Auth-Token",
    "apikey",
    "CF-Access-Client-Secret",
    "X-Amz-Security-Token",
    "Helicone-Auth",
    "X_Api_Key2",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
async def test_headers_that_hold_keys_are_redacted(server, name):
    server.default = refused(400, "bad header header-secret")
    error = await refusal(APIStatusError, f"{server.url}/v1", api_key=None, headers={name: "header-secret"})
    assert "bad header ***" in str(error)


PLAIN = {"X-Flag": "true", "X-Tenant": "tenant", "X-Tokenizer": "tenant", "X-Author": "tenant", "X-Auth": "true"}
PLAIN |= {"X-Max-Tokens": "tenant", "X-Monkeys": "tenant", "Accept-Language": "tenant"}


@pytest.mark.parametrize("name", PLAIN)
async def test_other_headers_are_no_secrets(server, name):
    server.default = refused(400, "it is true that the tenant has no model")
    error = await refusal(APIStatusError, f"{server.url}/v1", headers={name: PLAIN[name]})
    assert "it is true that the tenant has no model" in str(error)


async def test_a_key_in_a_header_of_any_name_is_redacted(server):
    server.default = refused(400, "no: header-secret")
    error = await refusal(APIStatusError, f"{server.url}/v1", headers={"X-Upstream": "Bearer header-secret"})
    assert "no: ***" in str(error)
