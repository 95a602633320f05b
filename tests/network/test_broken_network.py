"""Packets that are lost, connections that are reset by neither side, and a line that is dead for a while.

By rules inside of a network namespace, on real sockets of the system's own TCP. Where that is not allowed, or a tool is
missing, these tests are skipped and say which.
"""

from __future__ import annotations

import json
import sys

import pytest
from network.namespace import run_inside, way_in

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are Linux's")


@pytest.fixture(autouse=True)
def allowed():
    try:
        way_in()
    except LookupError as error:
        pytest.skip(f"no network namespace with rules: {error}")


def outcome(scenario: str) -> dict[str, int]:
    done = run_inside(scenario, 90)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def test_lost_packets_cost_time_alone():
    """TCP sends them again."""
    assert outcome("loss")["hit"] > 0


def test_connections_that_are_reset_on_their_way():
    found = outcome("resets")
    assert found["hit"] > 0
    assert found["retries"] > 0


def test_a_line_that_is_dead_for_a_while():
    """Requests that nobody answers are given up, and sent again until the line is back."""
    found = outcome("silence")
    assert found["hit"] > 0
    assert found["retries"] > 0
