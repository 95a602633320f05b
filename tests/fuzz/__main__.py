"""`python -m tests.fuzz`: run cases, and say how to bring back those that fail."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from typing import TYPE_CHECKING

import psutil

from .cases import Case, case, fault_of
from .endless import excess_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRESS = 20_000
ENDLESS = 2_000
"""Every so many cases, one of them is made a response that never ends."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many cases of all seeds together")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after that long")
    parser.add_argument("--faults", type=int, default=5, help="stop after that many")
    parser.add_argument("--only", type=int, nargs=2, metavar=("SEED", "NUMBER"), help="show one case")
    given = parser.parse_args()
    if given.only:
        return show(*given.only)
    return run(given.seeds, given.cases, 60 * given.minutes, given.faults)


def run(seeds: list[int], cases: int, seconds: float, most_faults: int) -> int:
    """Run the cases of all seeds in turn."""
    started, faults, done, before = time.monotonic(), 0, 0, 0.0
    for seed, number in plan(seeds, cases):
        fault = examined(case(seed, number))
        if not fault and number % ENDLESS == 0:
            fault = excess_of(seed, number)
        if fault:
            faults += 1
            print(
                f"seed {seed} case {number}: {fault}\n  again: python -m tests.fuzz --only {seed} {number}", flush=True
            )
        done += 1
        if done % PROGRESS == 0:
            elapsed, memory = time.monotonic() - started, psutil.Process().memory_info().rss / 1e6
            before = before or memory
            print(f"{done:>10,} cases  {done / elapsed:6,.0f} a second  {memory:6.1f} MB", file=sys.stderr, flush=True)
            if elapsed > seconds:
                break
        if faults >= most_faults:
            break
    memory = psutil.Process().memory_info().rss / 1e6
    grown = memory - before if before else 0.0
    print(
        f"{done:,} cases, {faults} faults, {time.monotonic() - started:.0f} s, {grown:+.1f} MB after the first of them"
    )
    return int(faults > 0)


def plan(seeds: list[int], cases: int) -> Iterator[tuple[int, int]]:
    return ((seeds[each % len(seeds)], each // len(seeds)) for each in range(cases))


def examined(case: Case) -> str:
    """What is wrong with a case; also if it ends with an error that is not ours."""
    try:
        return fault_of(case)
    except Exception:  # noqa: BLE001  # that is what is looked for
        return traceback.format_exc()


def show(seed: int, number: int) -> int:
    """Show a case, piece by piece."""
    found = case(seed, number)
    print(
        f"{found.kind.layout}\n{found.kind.dtype}, demanded {found.demanded}, usual {found.usual}, rows {found.rows}, "
    )
    print(f"limit {found.limit}, reader {found.reader}")
    for piece in found.pieces:
        print(repr(piece))
    fault = examined(found) or excess_of(seed, number)
    print(fault or "nothing is wrong")
    return int(bool(fault))


if __name__ == "__main__":
    sys.exit(main())
