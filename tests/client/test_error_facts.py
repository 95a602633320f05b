"""What an error says besides its message, whatever went wrong on the way."""

from __future__ import annotations

import errno

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from support.results import take_all
from support.scripted import Gate, said, stalled

from asyncembed import EmbedTimeoutError, ResponseError, RetryPolicy, Timeouts

ADDRESS = ConnectionKey("127.0.0.1", 80, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
ONCE = RetryPolicy(max_attempts=1)


async def test_a_silence_inside_a_response_is_a_time_out(server, connect):
    """It is told as such, and not as a connection that failed; what came before it was delivered."""
    gate, results = Gate(), []
    server.default = stalled(gate, count=2)
    client = connect(retry=ONCE, timeouts=Timeouts(read=0.05))
    with pytest.raises(EmbedTimeoutError, match=r"^the server sent nothing for 0.05 s during a response") as caught:
        async with client.embed_stream(["a", "b", "c"]) as stream:
            await take_all(stream, results)
    gate.opened.set()
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.phase == "body"
    assert caught.value.status == 200
    assert caught.value.indices == (2,)
    assert [result.index for result in results] == [0, 1]


async def test_a_connection_that_the_system_gives_up_is_a_time_out(connect):
    """The kernel stops trying after minutes without an answer."""

    async def fail(*_):
        raise aiohttp.ClientConnectorError(ADDRESS, TimeoutError(errno.ETIMEDOUT, "Connect call failed"))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(fail)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        with pytest.raises(EmbedTimeoutError, match="Connect call failed") as caught:
            await connect(retry=ONCE, session=session).embed(["a"])
    assert caught.value.phase == "connect"


@pytest.mark.parametrize("on_error", ["raise", "yield"])
async def test_a_response_that_cannot_be_read_names_its_request(server, connect, on_error):
    """With the provider's id of it, which its support asks for."""
    server.default = said(b'{"data": [', headers={"x-request-id": "req-7"})
    client = connect(retry=ONCE)
    if on_error == "raise":
        with pytest.raises(ResponseError) as caught:
            await client.embed(["a", "b"])
        error = caught.value
    else:
        async with client.embed_stream(["a", "b"], on_error="yield") as stream:
            error = (await anext(stream)).error
    assert isinstance(error, ResponseError)
    assert (error.status, error.request_id, error.indices) == (200, "req-7", (0, 1))


async def test_no_key_is_in_a_request_id(server, connect):
    """Some gateways repeat headers in others."""
    server.default = said(b'{"data": [', headers={"x-request-id": "of sk-very-secret"})
    with pytest.raises(ResponseError) as caught:
        await connect(retry=ONCE).embed(["a"])
    assert caught.value.request_id == "of ***"
