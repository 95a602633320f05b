"""Every fault, in every wire format and encoding, ordered and not: the outcome is the one that the table says.

And whatever the fault: each vector is right and comes once, nothing that had arrived is asked for again, usage is what
the server told, and nothing is left. `python -m tests.faults` runs every cell and prints the table with its results; a
run of all tests has each fault once, with the wire formats and in order or not by turns.
"""

from __future__ import annotations

import os

import pytest
from support.fault_table import ROWS
from support.matrix import WIRES, meet


def cells():
    """Each fault with each wire format that it can happen in, in order and not."""
    for number, (name, row) in enumerate(ROWS.items()):
        ways = [(wire, ordered) for wire in WIRES if wire in row.wires for ordered in (True, False)]
        for wire, ordered in ways if "ASYNCEMBED_FAULTS" in os.environ else [ways[number % len(ways)]]:
            order = "ordered" if ordered else "unordered"
            yield pytest.param(name, wire, ordered, id=f"{name}-{wire}-{order}")


@pytest.mark.parametrize(("name", "wire", "ordered"), list(cells()))
async def test_fault(name, wire, ordered, certificate):
    meeting = await meet(ROWS[name], wire, certificate, ordered=ordered)
    meeting.check()
