"""A fake server, clients of it, and a list of all that they tell."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from support.fixtures import clean_environment, small_heap, watch  # noqa: F401  # fixtures
from support.scripted import KEY
from support.watching import leftovers

from asyncembed import EmbedClient, RetryPolicy
from asyncembed.testing import FakeServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asyncembed import Event

FAST = RetryPolicy(initial_backoff=0.001, max_backoff=0.01)


class Told(list):
    """The events, in the order they came."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    @property
    def names(self) -> list[str]:
        return [event.name for event in self]

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """Writes a hundred bytes at a time, so that what comes before a break has arrived."""
    async with FakeServer(chunk_bytes=100) as running:
        yield running


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def connect(server: FakeServer, told: Told) -> AsyncIterator[Callable[..., EmbedClient]]:
    """Opens clients that tell `told`; at the end of the test they must hold nothing, and are closed."""
    clients = []

    def open_client(provider: str = "openai", **settings: object) -> EmbedClient:
        base_url = server.url + "/v1" * (provider == "openai")
        defaults = {"api_key": KEY, "base_url": base_url, "retry": FAST, "on_event": told}
        clients.append(EmbedClient(provider, **{**defaults, **settings}))
        return clients[-1]

    yield open_client
    held = [leftovers(client) for client in clients]
    for client in clients:
        await client.aclose()
    assert not any(held), held


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[str]]:
    """Our lines of the log, at one level, as `name key=value ...`."""
    caplog.set_level(logging.DEBUG, logger="asyncembed")

    def find(level: int = logging.NOTSET) -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.name == "asyncembed" and level in {logging.NOTSET, record.levelno}
        ]

    return find
