"""A fake server in a thread of its own, and embedders of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncembed import ClientSpec, RetryPolicy, SyncEmbedder
from asyncembed.testing import FakeServer

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-never-shown-2718"
FAST = RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.01)


@pytest.fixture(autouse=True)
def key_variable(monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> None:
    """Where the key is that the server takes."""
    monkeypatch.setenv("EMBEDDINGS_KEY", KEY)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(dimension=8, key=KEY).run_in_thread() as running:
        yield running


@pytest.fixture
def spec(server: FakeServer) -> ClientSpec:
    return ClientSpec("openai", base_url=f"{server.url}/v1", api_key_env="EMBEDDINGS_KEY", retry=FAST)


@pytest.fixture
def embedder(spec: ClientSpec) -> SyncEmbedder:
    return SyncEmbedder(spec)
