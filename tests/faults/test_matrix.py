"""Every fault, in every wire format and encoding, ordered and not: the outcome is the one that the table says.

And whatever the fault: each vector is right and comes once, nothing that had arrived is asked for again, usage is what
the server told, and nothing is left. `python -m tests.faults` runs every cell and prints the table with its results; a
run of all tests has each fault and wire format once, in order or not by turns.
"""

from __future__ import annotations

import os

import pytest
from support.fault_table import ROWS, waiting
from support.matrix import WIRES, meet


def cells():
    """Each fault with each wire format that it can happen in, in order and not."""
    pairs = [(name, row, wire) for name, row in ROWS.items() for wire in WIRES if wire in row.wires]
    for number, (name, row, wire) in enumerate(pairs):
        marks = [pytest.mark.xfail(reason=reason, strict=True) for reason in waiting(row)]
        for ordered in [True, False] if "ASYNCEMBED_FAULTS" in os.environ else [number % 2 == 0]:
            order = "ordered" if ordered else "unordered"
            yield pytest.param(name, wire, ordered, marks=marks, id=f"{name}-{wire}-{order}")


@pytest.mark.parametrize(("name", "wire", "ordered"), list(cells()))
async def test_fault(name, wire, ordered, certificate):
    meeting = await meet(ROWS[name], wire, certificate, ordered=ordered)
    meeting.check()
