"""Random faults and a consumer that pauses and may leave: after each storm, client and server agree on every total.

`ASYNCEMBED_STORMS=500` runs 500 storms; `ASYNCEMBED_STORM=7` repeats the storm with seed 7.
"""

from __future__ import annotations

import os

import pytest
from support.storm import Storm, weather


def _seeds():
    if seed := os.environ.get("ASYNCEMBED_STORM"):
        return [int(seed)]
    return range(int(os.environ.get("ASYNCEMBED_STORMS", "6")))


@pytest.mark.parametrize("seed", _seeds())
async def test_storm(seed):
    storm = Storm(seed)
    try:
        await weather(storm)
    except BaseException as error:
        error.add_note(f"{storm}\nonce more: ASYNCEMBED_STORM={seed} pytest {os.path.relpath(__file__)}")
        raise
