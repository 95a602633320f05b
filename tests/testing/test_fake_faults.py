"""Each fault does on the wire what it says."""

from __future__ import annotations

import base64
import json
import time
import zlib
from email.utils import parsedate_to_datetime

import numpy as np
import pytest
from support.heard import connect, hear, request_bytes
from support.watching import until

from asyncembed import EmbedClient, RetryPolicy, Timeouts, TransportError
from asyncembed.testing import Chaos, FakeServer, faults, tokens_of, vector_of

TEXTS = ["a", "b", "c"]
LAYOUTS = ["cohere", "cohere-v1", "openai"]
PROVIDERS = pytest.mark.parametrize("layout", LAYOUTS)
FRAMINGS = pytest.mark.parametrize("framing", ["length", "chunked"])


def values(heard, layout):
    """The vectors of an answer, in whatever form they have."""
    if layout == "openai":
        return [item["embedding"] for item in heard.document["data"]]
    found = heard.document["embeddings"]
    return found if layout == "cohere-v1" else found["float"]


def right_values():
    return [vector_of(text).tolist() for text in TEXTS]


@pytest.fixture
def meet(server):
    """Meets a request with a fault."""

    async def meet(fault, **request):
        server.script.append(fault)
        return await hear(server, TEXTS, **request)

    return meet


# Connections


@pytest.mark.parametrize("reset", [False, True])
async def test_refused_when_it_connects(server, reset):
    """Before a request is read: the client has sent none."""
    server.script.append(faults.Refuse(reset=reset))
    reader, writer = await connect(server)
    try:
        assert await reader.read() == b""
        assert not reset
    except ConnectionError:
        assert reset
    writer.transport.abort()
    assert not server.ledger.requests
    assert not server.script


@pytest.mark.parametrize("reset", [False, True])
async def test_refused_when_it_asks(server, reset):
    """On a connection that was open already."""
    server.default = faults.Refuse(reset=reset)
    heard = await hear(server)
    assert (heard.data, heard.was_reset) == (b"", reset)
    assert server.ledger.entries[0].status is None


async def test_reset_in_head(meet):
    heard = await meet(faults.ResetInHead())
    assert heard.was_reset
    assert heard.data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in heard.data


@PROVIDERS
@FRAMINGS
@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("fault", [faults.Reset, faults.CutOff])
async def test_broken_in_the_body(meet, server, fault, layout, framing, gzip, count):
    """With all of it promised."""
    server.framing, server.gzip, server.chunk_bytes = framing, gzip, 50
    heard = await meet(fault(after=count), layout=layout, headers=["Accept-Encoding: gzip"])
    assert heard.was_reset == (fault is faults.Reset)
    if framing == "length":
        assert len(heard.body) < int(heard.headers["content-length"])
        body = zlib.decompressobj(wbits=31).decompress(heard.body) if gzip else heard.body
        assert [json.dumps(value, separators=(",", ":")).encode() in body for value in right_values()] == [
            place < count for place in range(len(TEXTS))
        ]
    else:
        assert not heard.body.endswith(b"0\r\n\r\n")
    entry = server.ledger.entries[0]
    assert (entry.sent, entry.told_tokens, entry.is_whole) == (TEXTS[:count], 0, False)


@FRAMINGS
async def test_truncated(meet, server, framing):
    """HTTP has no complaint."""
    server.framing = framing
    heard = await meet(faults.Truncated(after=2, part=0))
    if framing == "length":
        assert len(heard.body) == int(heard.headers["content-length"])
        assert heard.body.endswith(b"]}")
        with pytest.raises(json.JSONDecodeError):
            heard.document  # noqa: B018
    else:
        assert heard.body.endswith(b"0\r\n\r\n")
    assert server.ledger.entries[0].sent == TEXTS[:2]


async def test_garbage(meet, server):
    heard = await meet(faults.Garbage(after=1, part=0, garbage=b"\0]"))
    assert heard.body.endswith(b"]}\0]")
    assert len(heard.body) == int(heard.headers["content-length"])
    assert server.ledger.entries[0].sent == TEXTS[:1]


async def test_places_are_drawn():
    """And come back with the seed."""

    async def lengths(seed):
        async with FakeServer(default=faults.CutOff(), seed=seed) as server:
            return [len((await hear(server)).body) for _ in range(5)]

    first = await lengths(1)
    assert first == await lengths(1) != await lengths(2)
    assert len(set(first)) > 1


@pytest.mark.parametrize("fault", [faults.NoAnswer(), faults.Stall(after=2)])
async def test_stalls_for_as_long_as_the_client_waits(server, fault):
    """It is the client that ends it, by its time limit."""
    server.default = fault
    limits, once = Timeouts(first_byte=0.05, read=0.05), RetryPolicy(max_attempts=1)
    async with EmbedClient("cohere", base_url=server.url, api_key="k", timeouts=limits, retry=once) as client:
        with pytest.raises(TransportError):
            await client.embed(TEXTS)
    await until(lambda: not server.active)
    (entry,) = server.ledger.entries
    assert entry.sent == ([] if fault == faults.NoAnswer() else TEXTS[:2])
    assert entry.ended - entry.began > limits.read / 2
    assert not entry.is_whole


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_drip(meet, server, framing):
    server.framing = framing
    right = await hear(server, TEXTS)
    began = time.monotonic()
    heard = await meet(faults.Drip(seconds=0.005, size=100))
    assert time.monotonic() - began > 0.005 * (len(heard.body) // 100)
    if framing == "chunked":
        assert heard.body.startswith(b"64\r\n{")
    else:
        assert heard.body == right.body
    assert server.ledger.entries[1].sent == TEXTS
    assert server.ledger.entries[1].told_tokens == len(TEXTS)


# Contents

WRONG = {
    "nan": lambda right: "NaN",
    "infinite": lambda right: "Infinity",
    "null": lambda right: None,
    "null-inside": lambda right: [None, *right[1:]],
    "nested": lambda right: [right],
    "short": lambda right: right[1:],
    "long": lambda right: [*right, 0.5],
    "empty": lambda right: [],
    "string": lambda right: "no vector",
    "object": lambda right: {"values": right},
}


@PROVIDERS
@pytest.mark.parametrize("what", WRONG)
async def test_wrong_vectors(meet, server, what, layout):
    heard = await meet(faults.WrongVector(what, at=1), layout=layout)
    first, second, third = values(heard, layout)
    expected = WRONG[what](right_values()[1])
    if expected in ("NaN", "Infinity"):
        assert expected in heard.body.decode()
        assert second[1:] == right_values()[1][1:]
    else:
        assert second == expected
    assert [first, third] == [right_values()[0], right_values()[2]]
    assert server.ledger.entries[0].sent == ["a", "c"]


@pytest.mark.parametrize(("what", "size"), [("nan", 32), ("infinite", 32), ("short", 28), ("long", 36), ("empty", 0)])
async def test_wrong_vectors_in_base64(meet, what, size):
    heard = await meet(faults.WrongVector(what, at=0), encoding_format="base64")
    numbers = np.frombuffer(base64.b64decode(values(heard, "openai")[0]), "<f4")
    assert numbers.nbytes == size
    assert np.isfinite(numbers).all() == (what not in {"nan", "infinite"})


async def test_any_vector_may_be_the_wrong_one(server):
    server.default = faults.WrongVector("null")
    heard = [await hear(server, TEXTS) for _ in range(20)]
    assert {values(each, "openai").index(None) for each in heard} == {0, 1, 2}


@PROVIDERS
async def test_other_dimension(meet, server, layout):
    heard = await meet(faults.OtherDimension(3), layout=layout)
    assert values(heard, layout) == [vector_of(text, 3).tolist() for text in TEXTS]
    assert not server.ledger.sent


@PROVIDERS
@pytest.mark.parametrize("by", [-3, -1, 1, 2])
async def test_wrong_count(meet, server, by, layout):
    heard = await meet(faults.WrongCount(by), layout=layout)
    assert len(values(heard, layout)) == 3 + by
    assert server.ledger.entries[0].sent == (TEXTS[: 3 + by] if layout == "openai" else [])


@pytest.mark.parametrize(
    ("what", "indices", "sent"),
    [
        ("doubled", [0, 0, 2], ["c"]),
        ("out-of-range", [0, 3, 2], ["a", "c"]),
        ("negative", [0, -1, 2], ["a", "c"]),
        ("text", [0, "first", 2], ["a", "c"]),
        ("missing", [0, None, 2], ["a", "c"]),
    ],
)
async def test_wrong_index(meet, server, what, indices, sent):
    heard = await meet(faults.WrongIndex(what, at=1))
    assert [item.get("index") for item in heard.document["data"]] == indices
    assert server.ledger.entries[0].sent == sent


async def test_a_doubled_index_leaves_a_single_text_right(server):
    server.script.append(faults.WrongIndex("doubled"))
    heard = await hear(server, ["a"])
    assert [item["index"] for item in heard.document["data"]] == [0]
    assert server.ledger.entries[0].sent == ["a"]


@pytest.mark.parametrize(
    "fault", [faults.WrongIndex(), faults.Shuffled(), *map(faults.WrongBase64, ("floats", "letters"))]
)
async def test_what_does_not_concern_a_request_leaves_it_right(meet, server, fault):
    heard = await meet(fault, layout="cohere")
    assert values(heard, "cohere") == right_values()
    assert server.ledger.entries[0].sent == TEXTS


async def test_shuffled(server):
    server.default = faults.Shuffled()
    texts = list(map(str, range(100)))
    items = (await hear(server, texts)).document["data"]
    indices = [item["index"] for item in items]
    assert sorted(indices) == list(range(100)) != indices
    assert all(item["embedding"] == vector_of(texts[item["index"]]).tolist() for item in items)


async def test_wrong_base64(meet, server):
    floats, float64, padding, letters = [
        values(await meet(faults.WrongBase64(what), encoding_format="base64"), "openai")
        for what in ("floats", "float64", "padding", "letters")
    ]
    assert floats == right_values()
    assert np.frombuffer(base64.b64decode(float64[0]), "<f8").tolist() == right_values()[0]
    for wrong in padding[0], letters[0]:
        with pytest.raises(ValueError, match=r"padding|base64"):
            base64.b64decode(wrong, validate=True)
    assert [len(entry.sent) for entry in server.ledger.entries] == [3, 3, 0, 0]


@PROVIDERS
async def test_errors_inside(meet, layout):
    heard = await meet(faults.ErrorInside("overloaded"), layout=layout)
    assert heard.status == 200
    assert "overloaded" in (heard.document["error"]["message"] if layout == "openai" else heard.document["message"])


# Refusals


@pytest.mark.parametrize("status", [401, 402, 403, 404, 413, 422, 500, 501, 503, 529])
async def test_refused(meet, status):
    heard = await meet(faults.Refused(status, "no more", code="c"))
    assert heard.status == status
    assert heard.document["error"]["message"] == "no more"
    assert heard.document["error"]["code"] == "c"
    assert (await meet(faults.Refused(status, "no"), layout="cohere")).document == {"id": "fake", "message": "no"}


async def test_html_and_redirects(meet):
    heard = await meet(faults.Html())
    assert (heard.status, heard.headers["content-type"]) == (502, "text/html")
    assert heard.body.startswith(b"<html>")
    heard = await meet(faults.Redirect("http://127.0.0.1:9/else", 308))
    assert (heard.status, heard.headers["location"]) == (308, "http://127.0.0.1:9/else")


async def test_hints(meet):
    now = time.time()

    async def headers(hint, wait=2.5):
        heard = await meet(faults.TooManyRequests(hint, wait))
        assert heard.status == 429
        known = ("retry-after", "x-ratelimit-")
        return {name: value for name, value in heard.headers.items() if name.startswith(known)}, heard.document

    assert await headers("none") == ({}, (await headers("seconds"))[1])
    assert (await headers("seconds"))[0] == {"retry-after": "2.5"}
    date = parsedate_to_datetime((await headers("date"))[0]["retry-after"]).timestamp()
    assert now + 2.5 <= date <= time.time() + 3.5
    assert (await headers("milliseconds"))[0] == {"retry-after-ms": "2500"}
    reset = int((await headers("reset"))[0]["x-ratelimit-reset"])
    assert now + 2.5 <= reset <= time.time() + 3.5
    assert (await headers("bogus"))[0] == {"retry-after": "86400"}
    found, document = await headers("openai")
    assert found == {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2.5s"}
    assert "try again in 2500ms" in document["error"]["message"]
    found, document = await headers("mistral")
    assert (found["x-ratelimit-remaining-req-minute"], document["code"]) == ("0", "1300")
    found, document = await headers("azure")
    assert (found, document["error"]["code"]) == ({"retry-after": "3"}, "429")
    found, document = await headers("google")
    assert (found, document["error"]["details"][0]["retryDelay"]) == ({}, "2.5s")


async def test_quotas(meet):
    heard = await meet(faults.QuotaUsedUp())
    assert (heard.status, heard.document["error"]["code"]) == (429, "insufficient_quota")
    assert (await meet(faults.QuotaUsedUp(), layout="cohere")).status == 402


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("openai", 400, "array_above_max_length"),
        ("cohere", 400, "inputs in one request must be at most 2; received 3"),
        ("voyage", 400, '{"detail": "The batch size limit'),
        ("mistral", 400, '"code": "3210"'),
        ("tei", 422, '"error_type": "Validation"'),
        ("gemini", 400, "INVALID_ARGUMENT"),
        ("llama.cpp", 500, "input is too large to process"),
        ("proxy", 413, "<html>"),
    ],
)
async def test_too_many_items(server, words, status, said):
    server.rules.append(faults.TooLarge(items=2, words=words))
    heard = await hear(server, TEXTS)
    assert heard.status == status
    assert said in heard.body.decode()
    assert (await hear(server, TEXTS[:2])).status == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("openai", "max_tokens_per_request"),
        ("voyage", "The max allowed tokens per submitted batch is 5. Your batch has 6 tokens."),
        ("mistral", "Too many tokens in batch. Max is 5 got 6"),
        ("cohere", "tokens in one request must be at most 5; received 6"),
    ],
)
async def test_too_many_tokens(server, words, said):
    server.rules.append(faults.TooLarge(tokens=5, words=words))
    assert tokens_of("x" * 24) == 6
    heard = await hear(server, ["x" * 24])
    assert heard.status == 400
    assert said in heard.body.decode()
    assert (await hear(server, ["x" * 20])).status == 200


async def test_too_many_bytes_in_the_words_of_whom_is_asked(server):
    server.default = faults.TooLarge(bytes=100)
    assert (await hear(server, ["x" * 100])).document["error"]["type"] == "invalid_request_error"
    assert "bytes" in (await hear(server, ["x" * 100], "cohere")).document["message"]
    assert (await hear(server, ["x"])).status == 200


async def test_a_poisoned_text(server):
    server.rules.append(faults.Poisoned("b", 422, names_it=True))
    server.script.append(faults.Refused(503))
    heard = await hear(server, TEXTS)
    assert (heard.status, "input[1]" in heard.document["error"]["message"]) == (422, True)
    assert (await hear(server, ["c"])).status == 503  # a rule does not use up the script
    assert (await hear(server, ["a", "c"])).status == 200
    server.rules.clear()
    server.default = faults.Poisoned("b")
    assert [(await hear(server, texts)).status for texts in (["b"], ["a"])] == [400, 200]


# Floods


async def test_a_huge_body(meet, server):
    """Here it is small enough to be read."""
    right = await hear(server, TEXTS)
    heard = await meet(faults.HugeBody(3_000_000))
    assert len(heard.body) == len(right.body) + 3_000_000 == int(heard.headers["content-length"])
    assert heard.document == right.document
    assert (server.ledger.entries[1].sent, server.ledger.entries[1].told_tokens) == (TEXTS, 3)


async def test_a_huge_body_is_made_only_as_it_is_taken(server):
    """A client that leaves ends it."""
    server.default = faults.HugeBody(1 << 50)
    reader, writer = await connect(server)
    writer.write(request_bytes(TEXTS))
    await reader.readexactly(1 << 20)
    writer.transport.abort()
    await until(lambda: not server.active)


async def test_a_gzip_bomb(meet):
    heard = await meet(faults.GzipBomb(5_000_000))
    assert heard.headers["content-encoding"] == "gzip"
    assert len(heard.body) < 50_000
    packed, rest = b"", heard.body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        packed, rest = packed + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert zlib.decompress(packed, wbits=31) == b" " * 5_000_000


async def test_a_huge_header(meet):
    heard = await meet(faults.HugeHeader(100_000))
    assert len(heard.headers["x-padding"]) == 100_000
    assert heard.status == 200


# At random


async def statuses(chaos, texts):
    async with FakeServer(default=chaos) as server:
        return {text: (await hear(server, [text])).data[:12] for text in texts}


async def test_chaos_follows_from_its_seed_and_not_from_the_order():
    texts = list(map(str, range(60)))
    chaos = Chaos(3, share=0.5, faults=[faults.Refused(500), faults.Html()])
    first = await statuses(chaos, texts)
    assert first == await statuses(chaos, texts[::-1])
    assert first != await statuses(Chaos(4, share=0.5, faults=chaos.faults), texts)
    counts = [list(first.values()).count(f"HTTP/1.1 {status}".encode()) for status in (200, 500, 502)]
    assert all(count > 5 for count in counts)


@pytest.mark.parametrize(("share", "status"), [(0, 200), (1, 500)])
async def test_the_share_of_chaos(server, share, status):
    server.default = Chaos(share=share, faults=[faults.Refused(500)])
    assert [(await hear(server)).status for _ in range(20)] == [status] * 20
    assert {entry.reply for entry in server.ledger.entries} == {"right" if share == 0 else repr(faults.Refused(500))}


@pytest.mark.parametrize("settings", [{"share": 1.5}, {"faults": ()}])
def test_wrong_options_of_chaos(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Chaos(**settings)


@PROVIDERS
async def test_a_client_gets_over_transient_faults(layout):
    texts = list(map(str, range(300)))
    async with FakeServer(default=Chaos(1, share=0.4)) as server:
        base_url = server.url + "/v1" * (layout == "openai")
        retry = RetryPolicy(max_attempts=50, initial_backoff=0.0001, max_backoff=0.001)
        async with EmbedClient(layout, base_url=base_url, api_key="k", retry=retry) as client:
            response = await client.embed(texts, chunk_size=10)
        assert response.embeddings.tobytes() == np.stack([vector_of(text) for text in texts]).tobytes()
        assert response.usage.tokens == server.ledger.told_tokens < server.ledger.billed_tokens
        assert len({entry.reply for entry in server.ledger.entries}) > 5
