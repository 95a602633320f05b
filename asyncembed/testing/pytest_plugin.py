"""The pytest fixture `embedding_server`.

It is not loaded by itself, since nobody's test run should import this package unasked. Name it in the topmost
`conftest.py`, or import the fixture in any:

    pytest_plugins = ["asyncembed.testing.pytest_plugin"]

    def test_search(embedding_server):
        embedding_server.dimension = 4
        embedding_server.script.append(faults.Refused(503))
        run_the_program_under_test(base_url=embedding_server.url)
        assert embedding_server.ledger.statuses == {503: 1, 200: 1}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncembed.testing import FakeServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def embedding_server() -> Iterator[FakeServer]:
    """A `FakeServer` of the test's own, in a thread with an event loop of its own; set its options in the test."""
    with FakeServer().run_in_thread() as server:
        yield server
