"""Every refusal that a service is known for is blamed on what is at fault, whatever status it comes with.

A fault of the request or the account ends the run soon and blames no text; a bad text fails alone; a request that is
too large or takes too long is made smaller; base64 that is refused is not asked for again; what passes is tried again.
Client and server agree about every request. `python -m tests.faults --blame` runs every cell, and `--blame gemini`
those with this word in their name. A run of all tests has each refusal once, with the moments and the ways to treat
failures by turns, which `ASYNCEMBED_SEED=1` shifts.
"""

from __future__ import annotations

import os

import pytest
from support.blame import meet
from support.blame_table import SITUATIONS, ways


def cells():
    """Each refusal in every way, or in one."""
    words = os.environ.get("ASYNCEMBED_BLAME", "").lower().split()
    seed = int(os.environ.get("ASYNCEMBED_SEED", "0"))
    for number, situation in enumerate(SITUATIONS.values()):
        all_ways = ways(situation)
        chosen = all_ways if "ASYNCEMBED_FAULTS" in os.environ else [all_ways[(number + seed) % len(all_ways)]]
        for cell in chosen:
            if all(word in str(cell).lower() for word in words):
                yield pytest.param(cell, id=str(cell))


@pytest.mark.parametrize("cell", list(cells()))
async def test_blame(cell):
    meeting = await meet(cell)
    meeting.check()
