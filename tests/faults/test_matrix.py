"""Every fault, in every wire format and encoding, ordered and not: the outcome is the one that the table says.

And whatever the fault: each vector is right and comes once, nothing that had arrived is asked for again, usage is what
the server told, and nothing is left. `python -m tests.faults` prints the table with its results.
"""

from __future__ import annotations

import pytest
from support.fault_table import ROWS, waiting
from support.matrix import WIRES, meet


def cells():
    """Each fault with each wire format that it can happen in."""
    for name, row in ROWS.items():
        marks = [pytest.mark.xfail(reason=reason, strict=True) for reason in waiting(row)]
        for wire in WIRES:
            if wire in row.wires:
                yield pytest.param(name, wire, marks=marks, id=f"{name}-{wire}")


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize(("name", "wire"), list(cells()))
async def test_fault(name, wire, ordered, certificate):
    meeting = await meet(ROWS[name], wire, certificate, ordered=ordered)
    meeting.check()
