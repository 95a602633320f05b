"""Every fault, in every wire format and encoding, ordered and not, has the outcome that the table declares.

For every fault, each vector is correct and comes once, no text is requested again after its vector has arrived, the
usage is what the server reported, and nothing is left. `python -m tests.faults` runs every cell and prints the table
with its results. A run of all tests has each fault once, and alternates wire format and order.
"""

from __future__ import annotations

import os

import pytest
from support.fault_table import ROWS
from support.matrix import WIRES, meet


def cells():
    """Return each fault with each wire format in which it can happen, in order and not."""
    for number, (name, row) in enumerate(ROWS.items()):
        ways = [(wire, ordered) for wire in WIRES if wire in row.wires for ordered in (True, False)]
        for wire, ordered in ways if "ASYNCEMBED_FAULTS" in os.environ else [ways[number % len(ways)]]:
            order = "ordered" if ordered else "unordered"
            yield pytest.param(name, wire, ordered, id=f"{name}-{wire}-{order}")


@pytest.mark.parametrize(("name", "wire", "ordered"), list(cells()))
async def test_fault(name, wire, ordered, certificate):
    meeting = await meet(ROWS[name], wire, certificate, ordered=ordered)
    meeting.check()
