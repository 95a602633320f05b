"""A network of our own, in which rules may lose packets and reset connections, where the system lets us have one."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
INSIDE: Final = HERE / "inside.py"
WAYS: Final = (
    ("unshare", "-rn"),
    ("unshare", "-n"),
    ("sh", "-c", 'ip netns add ae$$ && { ip netns exec ae$$ "$@"; code=$?; ip netns del ae$$; exit $code; }', "sh"),
)
"""Commands that run a program in a network of its own: as anybody, and as root."""


@functools.cache
def way_in() -> tuple[str, ...]:
    """What stands before a program that is to have a network of its own.

    Raises:
        LookupError: if the system does not let us, with what it says.
    """
    said = []
    for way in WAYS:
        if not shutil.which(way[0]):
            said.append(f"{way[0]}: not found")
            continue
        tried = _run([*way, sys.executable, str(INSIDE), "try"])
        if tried.returncode == 0:
            return way
        said.append(f"{' '.join(way[:2])}: {(tried.stderr.strip() or 'failed').splitlines()[-1]}")
    raise LookupError("; ".join(said))


def run_inside(scenario: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a scenario in a network of its own; it is ended after so long."""
    return _run([*way_in(), sys.executable, str(INSIDE), scenario], seconds)


def _run(program: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(program, check=False, capture_output=True, text=True, timeout=seconds, env=env)
