"""What a request is answered without any fault, what the books say, and how the server begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import threading
import time

import pytest
from support.heard import connect, hear, request_bytes
from support.tls import new_certificate
from support.watching import until

from asyncembed import ConfigurationError, EmbedClient
from asyncembed.testing import FakeServer, Limit, Workers, faults, tokens_of, vector_of


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"texts": []}, 400),
        ({"texts": [""]}, 400),
        ({"texts": [1]}, 400),
        ({"texts": ["a"], "encoding_format": "int4"}, 400),
        ({"texts": ["a"]}, 200),
    ],
)
async def test_requests_that_are_no_good(server, fields, status):
    heard = await hear(server, **fields)
    assert heard.status == status
    assert ("error" in heard.document) == (status != 200)
    assert server.ledger.statuses == {status: 1}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /v2/embed HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
        (b"GET /else HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        (b"POST /v2/embed HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]", 400),
        (b"POST /v2/embed HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n\xff", 400),
    ],
)
async def test_requests_that_are_none(server, data, status):
    reader, writer = await connect(server)
    writer.write(data)
    assert int((await reader.read()).split()[1]) == status
    writer.close()


@pytest.mark.parametrize("data", [b"", b"POST", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"x" * 100_000])
async def test_what_is_no_http_ends_the_connection(server, data):
    reader, writer = await connect(server)
    writer.write(data)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):  # where it had not read everything
        assert await reader.read() == b""
    writer.transport.abort()
    assert not server.ledger.requests


async def test_a_request_in_chunks(server):
    head, _, body = request_bytes(["a", "b"]).partition(b"\r\n\r\n")
    head = head.replace(b"Content-Length", b"X-Length") + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:]))
    reader, writer = await connect(server)
    writer.write(head + chunks + b"0\r\nTrailer: x\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"200"
    assert server.ledger.entries[0].texts == ("a", "b")
    writer.transport.abort()


async def test_chunks_are_as_small_as_wanted(server):
    server.framing, server.chunk_bytes = "chunked", 1
    heard = await hear(server)
    assert heard.headers["transfer-encoding"] == "chunked"
    assert heard.body.startswith(b'1\r\n{\r\n1\r\n"\r\n')
    assert heard.body.endswith(b"1\r\n}\r\n0\r\n\r\n")


async def test_the_order_of_keys_and_items(server):
    server.key_order = server.item_order = "reversed"
    heard = await hear(server)
    assert list(heard.document) == ["usage", "model", "data", "object"]
    assert [item["index"] for item in heard.document["data"]] == [2, 1, 0]
    assert list(heard.document["data"][0]) == ["embedding", "index", "object"]


async def test_pretty_and_compact_say_the_same(server):
    compact = await hear(server, layout="cohere")
    server.pretty = True
    pretty = await hear(server, layout="cohere")
    assert pretty.document == compact.document
    assert pretty.body.startswith(b'{\n  "id": "fake",\n  "texts": [\n    "a",')
    assert b" " not in compact.body


async def test_draws_follow_from_the_seed(server):
    server.item_order = "shuffled"
    texts = list(map(str, range(50)))

    async def order(seed):
        async with FakeServer(item_order="shuffled", seed=seed) as other:
            return [item["index"] for item in (await hear(other, texts)).document["data"]]

    assert await order(1) == await order(1) != await order(2)
    first, second = await hear(server, texts), await hear(server, texts)
    assert first.body != second.body  # a request that comes again draws again


async def test_the_key(server):
    server.key = "right"
    heard = await hear(server, headers=["Authorization: Bearer wrong"])
    assert (heard.status, heard.document["error"]["code"]) == (401, "invalid_api_key")
    assert (await hear(server)).status == 401
    assert (await hear(server, headers=["Authorization: Bearer right"])).status == 200
    assert (await hear(server, headers=["api-key: right"])).status == 200


async def test_latency_holds_the_answer_back(server):
    drawn = []

    def law(random):
        drawn.append(random.uniform(0.02, 0.03))
        return drawn[-1]

    server.latency = law
    began = time.monotonic()
    await hear(server)
    assert time.monotonic() - began >= drawn[0]


async def test_workers_take_one_request_each_in_the_order_in_which_they_came(server):
    server.workers = Workers(count=2, seconds=0.01, seconds_per_text=0.001)
    server.workers._free = gate = asyncio.Semaphore(0)
    heard = [asyncio.create_task(hear(server, texts=[str(number)])) for number in range(3)]
    await until(lambda: server.workers.max_waiting == 3)
    assert not any(task.done() for task in heard)
    gate.release()
    await asyncio.gather(*heard)
    assert server.ledger.statuses == {200: 3}


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seconds": -1}, {"seconds_per_text": "1"}])
def test_workers_are_checked(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Workers(**wrong)


async def test_the_books(server):
    server.script += [faults.Refused(503), faults.CutOff(after=1), faults.NoAnswer()]
    texts = ["a" * 40, "b", "c"]
    await hear(server, texts, "cohere")
    await hear(server, texts, "cohere")
    leaving = asyncio.create_task(hear(server, ["b", "c"], "cohere"))
    await until(lambda: server.active)
    leaving.cancel()
    await until(lambda: not server.active)
    await hear(server, ["b", "c"], "cohere")
    refused, cut, unanswered, right = server.ledger.entries
    assert [entry.reply for entry in server.ledger.entries] == [
        "Refused(status=503, message='refused by the test', code=None)",
        "CutOff(after=1, part=0.5)",
        "NoAnswer()",
        "right",
    ]
    assert (refused.status, refused.billed_tokens, refused.sent) == (503, 0, [])
    assert (cut.status, cut.billed_tokens, cut.told_tokens, cut.sent) == (200, 12, 0, texts[:1])
    assert (unanswered.status, unanswered.billed_tokens, unanswered.is_whole) == (None, 0, False)
    assert (right.status, right.billed_tokens, right.told_tokens, right.is_whole) == (200, 2, 2, True)
    assert right.path == "/v2/embed"
    assert all(entry.ended >= entry.began for entry in server.ledger.entries)
    assert (server.ledger.billed_tokens, server.ledger.told_tokens) == (14, 2)
    assert server.ledger.asked == {texts[0]: 2, "b": 4, "c": 4}
    assert server.ledger.sent == dict.fromkeys(texts, 1)
    assert not server.ledger.asked_again
    await hear(server, texts[:1], "cohere")
    assert server.ledger.asked_again == {texts[0]: 1}


async def test_books_without_memory(server):
    server.ledger.keep = False
    await hear(server)
    assert (server.ledger.requests, server.ledger.told_tokens, server.ledger.statuses) == (1, 3, {200: 1})
    assert not server.ledger.entries
    assert not server.ledger.asked


async def test_tokens_told_before_the_vectors_are_told(server):
    server.key_order = "reversed"
    server.default = faults.CutOff(after=0)
    await hear(server)
    assert (server.ledger.told_tokens, sum(server.ledger.sent.values())) == (3, 0)


async def test_the_port_is_kept_over_a_restart(server):
    port = server.port
    await server.stop()
    await server.stop()
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await connect(server)
    await server.start()
    assert server.port == port
    assert (await hear(server)).status == 200


async def test_stopping_drops_who_waits_and_who_does_not_read(server):
    server.script.append(faults.NoAnswer())
    server.default = faults.HugeBody()
    readers = []
    for _ in range(2):
        reader, writer = await connect(server)
        writer.write(request_bytes(["a"]))
        readers.append((reader, writer))
        await until(lambda: server.active == len(readers))
    async with asyncio.timeout(30):
        await server.stop()
    assert not server.active
    for reader, writer in readers:
        with pytest.raises((ConnectionError, AssertionError)):
            assert b'"usage"' in await reader.read()
        writer.transport.abort()


@pytest.mark.parametrize(
    "settings",
    [
        {"dimension": 0},
        {"framing": "morse"},
        {"chunk_bytes": 0},
        {"key_order": "none"},
        {"item_order": "none"},
    ],
)
def test_wrong_options_are_named(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        FakeServer(**settings)
    for wrong in (Limit, faults.TooLarge):
        with pytest.raises(ConfigurationError, match="tokens="):
            wrong()


def test_it_runs_in_a_thread():
    """And leaves none behind."""
    before = threading.active_count()
    with FakeServer().run_in_thread() as server:
        heard = asyncio.run(hear(server))
        assert heard.document["data"][1]["embedding"] == vector_of("b").tolist()
        assert server.ledger.sent == {"a": 1, "b": 1, "c": 1}
    assert threading.active_count() == before


PLUGIN_TEST = """
import http.client, json
from asyncembed.testing import faults

def test_sync(embedding_server):
    embedding_server.dimension = 4
    embedding_server.script.append(faults.Refused(503))
    statuses = []
    connection = http.client.HTTPConnection("127.0.0.1", embedding_server.port)
    for _ in range(2):
        connection.request("POST", "/v2/embed", json.dumps({"model": "m", "texts": ["a"]}))
        response = connection.getresponse()
        statuses.append(response.status)
        document = json.load(response)
    connection.close()
    assert statuses == [503, 200]
    assert len(document["embeddings"]["float"][0]) == 4

async def test_async(embedding_server):
    from asyncembed import EmbedClient
    async with EmbedClient("cohere", base_url=embedding_server.url, api_key="k") as client:
        await client.embed(["a"])
    assert embedding_server.ledger.asked == {"a": 1}
"""


def test_the_plugin_in_a_run_of_its_own(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["asyncembed.testing.pytest_plugin"]\n')
    (tmp_path / "test_it.py").write_text(PLUGIN_TEST)
    settings = ["[pytest]", "asyncio_mode = auto", "asyncio_default_fixture_loop_scope = function"]
    (tmp_path / "pytest.ini").write_text("\n".join([*settings, "filterwarnings = error", ""]))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize(("module", "absent"), [("asyncembed", "asyncembed.testing"), ("asyncembed.testing", "pytest")])
def test_nobody_imports_it_unasked(module, absent):
    subprocess.run([sys.executable, "-c", f"import sys, {module}; assert {absent!r} not in sys.modules"], check=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return new_certificate(tmp_path_factory.mktemp("tls"))


async def test_slow_tls(server, certificate):
    server.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.tls.load_cert_chain(*certificate)
    server.tls_delay = 0.03
    context = ssl.create_default_context(cafile=certificate[0])
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    assert time.monotonic() - began >= server.tls_delay
    writer.write(request_bytes(["a"]))
    assert (await reader.read()).endswith(b"}")
    writer.close()
    await writer.wait_closed()
    assert server.url.startswith("https://")


def test_tokens():
    assert [tokens_of(text) for text in ("a", "abcd", "a" * 9, "ä" * 4, "\ud800")] == [1, 1, 2, 2, 1]


async def test_a_reply_of_ones_own(server):
    async def teapot(exchange):
        await exchange.say(json.dumps(exchange.request.texts).encode(), 418)

    server.default = teapot
    heard = await hear(server)
    assert (heard.status, heard.document, server.ledger.entries[0].reply) == (418, ["a", "b", "c"], "teapot")


async def fail_by_oneself(reply):
    async with FakeServer(default=reply) as server:
        await hear(server)
        raise AssertionError("own")


@pytest.mark.parametrize("kind", [ValueError, KeyError])
async def test_a_mistake_in_a_reply_is_raised(kind):
    """At the end, unless the test has failed by itself."""

    async def mistaken(exchange):
        raise kind("oh")

    with pytest.raises(kind, match="oh"):
        async with FakeServer(default=mistaken) as server:
            assert not (await hear(server)).data
    with pytest.raises(AssertionError, match="own"):
        await fail_by_oneself(mistaken)


async def test_the_example_of_the_package():
    async with FakeServer(dimension=16, chunk_bytes=100) as server:
        server.script += [faults.CutOff(after=2)]
        async with EmbedClient("cohere", base_url=server.url, api_key="any") as client:
            response = await client.embed(["a", "b", "c"])
    assert (response.embeddings[2] == vector_of("c", 16)).all()
    assert server.ledger.asked == {"a": 1, "b": 1, "c": 2}
