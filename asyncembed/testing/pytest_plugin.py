"""The pytest fixture `embedding_server`.

pytest does not load it by itself, so other projects' test runs do not import this package. Name the plugin in the
topmost `conftest.py`, or import the fixture in any `conftest.py`:

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
    """Start a `FakeServer` for one test, in a thread with its own event loop; set its options in the test."""
    with FakeServer().run_in_thread() as server:
        yield server
