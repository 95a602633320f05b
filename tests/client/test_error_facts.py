"""What an error says besides its message, whatever went wrong on the way."""

from __future__ import annotations

import errno

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from support.results import take_all
from support.scripted import Gate, said, stalled

from asyncembed import EmbedTimeoutError, ResponseError, RetryPolicy, Timeouts, TransportError
from asyncembed._http.errors import transport_error
from asyncembed._redaction import Secrets

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


@pytest.mark.parametrize(
    ("error", "phase"),
    [
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "body"),
        (aiohttp.ClientOSError(errno.ETIMEDOUT, "Connection timed out"), "body"),
        (aiohttp.SocketTimeoutError("Timeout on reading data from socket"), "body"),
        (aiohttp.ClientConnectorError(ADDRESS, TimeoutError(errno.ETIMEDOUT, "Connect call failed")), "connect"),
    ],
    ids=["of the system", "while reading", "of aiohttp", "while connecting"],
)
def test_a_time_out_of_the_system_is_one_of_ours(error, phase):
    """The kernel gives up a connection after minutes without an answer; that is a time-out, too."""
    ours = transport_error(error, Secrets([]))
    assert isinstance(ours, EmbedTimeoutError)
    assert isinstance(ours, TimeoutError)
    assert ours.phase == phase


def test_another_failure_is_no_time_out():
    """A connection that was reset did not take too long."""
    ours = transport_error(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), Secrets([]))
    assert isinstance(ours, TransportError)
    assert not isinstance(ours, TimeoutError)


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
