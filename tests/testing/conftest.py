"""A fake server in the loop of the test, and the fixture that people use."""

from __future__ import annotations

import pytest

from asyncembed.testing import FakeServer
from asyncembed.testing.pytest_plugin import embedding_server  # noqa: F401  # a fixture


@pytest.fixture
async def server():
    async with FakeServer() as running:
        yield running
