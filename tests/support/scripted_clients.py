"""A scripted server, clients for it, and the check that neither leaves anything behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncembed import EmbedClient, RetryPolicy, Timeouts
from support.scripted import KEY, ScriptedServer
from support.watching import LOOP_MODES, leftovers, loop_in_mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.watching import LoopWatch

FAST = RetryPolicy(max_attempts=4, initial_backoff=0.001, max_backoff=0.01)
PATIENT = Timeouts(connect=20, first_byte=20, read=20)


@pytest.fixture
async def server(watch: LoopWatch) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as running:
        yield running


@pytest.fixture
async def connect(server: ScriptedServer) -> AsyncIterator[Callable[..., EmbedClient]]:
    """Opens clients of the server; at the end of the test they must hold nothing, and are closed."""
    clients = []

    def open_client(provider: str = "openai", **settings: object) -> EmbedClient:
        defaults = {"api_key": KEY, "base_url": base_url(server, provider), "retry": FAST, "timeouts": PATIENT}
        clients.append(EmbedClient(provider, **{**defaults, **settings}))
        return clients[-1]

    yield open_client
    held = [leftovers(client) for client in clients]
    for client in clients:
        await client.aclose()
    assert not any(held), held


@pytest.fixture
def client(connect: Callable[..., EmbedClient]) -> EmbedClient:
    return connect()


@pytest.fixture
def once(connect: Callable[..., EmbedClient]) -> EmbedClient:
    """A client that tries everything once."""
    return connect(retry=RetryPolicy(max_attempts=1))


@pytest.fixture(params=LOOP_MODES)
async def loop_mode(request: pytest.FixtureRequest, watch: LoopWatch) -> AsyncIterator[str]:
    """Runs the test in every mode of the event loop."""
    with loop_in_mode(request.param):
        yield request.param


def base_url(server: ScriptedServer, provider: str) -> str:
    return server.url + "/v1" * (provider == "openai")
