"""Everything at once: any faults, a restless consumer who may leave, and after each storm the books are right.

`ASYNCEMBED_STORMS=500` lets as many pass; `ASYNCEMBED_STORM=7` repeats the one of that seed.
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
