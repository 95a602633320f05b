"""Fixtures of many folders: nothing of the machine plays a part, and nothing is left behind."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest

from support.watching import LoopWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, addresses and proxies of whoever runs the tests play no part."""
    for name in os.environ:
        if name.upper().startswith(("OPENAI_", "CO_", "COHERE_", "OTEL_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
async def watch() -> AsyncIterator[LoopWatch]:
    """At the end there is no task but the test's own, and no exception that nobody took."""
    found = LoopWatch()
    yield found
    await found.check()


@pytest.fixture(scope="session", autouse=True)
def small_heap() -> Iterator[None]:
    """Collecting garbage looks only at what the tests make, so that every test can afford it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
