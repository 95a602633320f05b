"""The client blames the right cause for every known refusal of a service, whatever its status.

A fault of the request or the account ends the run soon and blames no text. A bad text fails alone. A request that is
too large or too slow is split. Refused base64 is not requested again. Transient errors are retried. Client and server
agree about every request. `python -m tests.faults --blame` runs every cell, and `--blame gemini` only those with this
word in their name. A run of all tests has each refusal once, and alternates the moment and `on_error`;
`ASYNCEMBED_SEED=1` shifts them.
"""

from __future__ import annotations

import os

import pytest
from support.blame import meet
from support.blame_table import SITUATIONS, ways


def cells():
    """Return each refusal at every moment and with every `on_error`, or with one combination of them."""
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
