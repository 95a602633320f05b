"""`check()` and `dimension()`: one harmless text before anything larger is sent."""

from __future__ import annotations

import pytest
from support.scripted import refused, right

from asyncembed import (
    AuthenticationError,
    CheckResult,
    ConfigurationError,
    EmbedClient,
    ModelNotFoundError,
    RequestProbed,
    RetryPolicy,
)

HARMLESS = [["hello"]]


async def test_check_says_what_one_text_has_shown(server, client):
    found = await client.check()
    assert isinstance(found, CheckResult)
    assert (found.provider, found.model, found.dimension, found.encoding) == (
        "openai", client.model, server.dimension, "base64",
    )  # fmt: skip
    assert (found.address, found.tokens) == (server.url + "/v1", 1)
    assert found.seconds > 0
    assert server.asked == HARMLESS


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "Incorrect API key provided", AuthenticationError),
        (400, "API key not valid. Please pass a valid API key.", AuthenticationError),
        (400, "Invalid model: no-such", ModelNotFoundError),
    ],
)
async def test_check_raises_what_is_wrong(server, client, status, message, kind):
    server.default = refused(status, message)
    with pytest.raises(kind, match=message):
        await client.check()
    assert server.asked == HARMLESS


async def test_options_are_checked_too(server, client):
    assert (await client.check(dimensions=server.dimension)).dimension == server.dimension
    assert server.requests[0].body["dimensions"] == server.dimension


async def test_a_dimension_that_is_known_is_not_asked_for(server, connect):
    assert await connect(model="m").dimension(dimensions=5) == 5
    assert server.asked == []
    client = connect(model="m")
    assert await client.dimension() == server.dimension
    assert await client.dimension() == server.dimension
    assert server.asked == HARMLESS


async def test_a_probe_has_an_event_and_counts(server, connect):
    """It tells the text from the request, in the midst of a run."""
    events = []

    async def reply(exchange):
        await (refused(400, "Bad Request") if "bad" in exchange.request.texts else right)(exchange)

    server.default = reply
    client = connect(on_event=events.append)
    stream = client.embed_stream(["a", "bad", "c"], on_error="skip")
    assert [result.text async for result in stream] == ["a", "c"]
    assert [event.outcome for event in events if isinstance(event, RequestProbed)] == ["taken"]
    assert server.asked.count(["hello"]) == 1
    assert (stream.summary.requests, stream.summary.usage.tokens) == (len(server.requests), 3)


async def test_a_probe_that_is_refused_ends_the_run_and_blames_no_text(server, connect):
    events = []
    server.default = refused(400, "Bad Request")
    stream = connect(on_event=events.append).embed_stream(["a", "b", "c"], on_error="skip")
    with pytest.raises(Exception, match="Bad Request") as caught:
        [result async for result in stream]
    assert "texts[" not in str(caught.value)
    assert [event.outcome for event in events if isinstance(event, RequestProbed)] == ["refused"]
    assert (len(server.requests), stream.summary.failed) == (2, 0)


async def test_without_a_probe_texts_are_halved(server, connect):
    server.default = refused(400, "Bad Request")
    client = connect(retry=RetryPolicy(probe=False))
    stream = client.embed_stream(["a", "b"], on_error="skip")
    assert [result async for result in stream] == []
    assert stream.summary.failed == 2
    assert ["hello"] not in server.asked


async def test_the_embedded_server_has_one_model():
    """Any other name would end up in files and reports as the model of the vectors."""
    async with EmbedClient("local", model="no-such-model") as client:
        with pytest.raises(ConfigurationError, match="one model, 'local'"):
            await client.check()
