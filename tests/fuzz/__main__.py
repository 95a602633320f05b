"""`python -m tests.fuzz`: run cases, and print the command that repeats each failed one."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psutil

from .cases import ALIKE, Case, case, fault_of
from .endless import excess_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRESS = 20_000
ENDLESS = 2_000
"""One of this number of cases is a response that never ends."""


@dataclass(frozen=True)
class PartResult:
    """The result of one process.

    Attributes:
        done: Number of cases run.
        faults: Number of cases with a fault.
        grown: Growth of the process after its first cases, in megabytes.
    """

    done: int
    faults: int
    grown: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many cases of all seeds together")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after that long")
    parser.add_argument("--faults", type=int, default=5, help="stop after that many, in each process")
    parser.add_argument("--processes", type=int, default=1, help="among how many to share the cases")
    parser.add_argument("--nice", type=int, default=0, help="how far to stand back behind others")
    parser.add_argument("--only", type=int, nargs=2, metavar=("SEED", "NUMBER"), help="show one case")
    given = parser.parse_args()
    if given.only:
        return show(*given.only)
    if given.nice:
        os.nice(given.nice)
    started, processes = time.monotonic(), given.processes
    run_part = partial(run, given.seeds, given.cases, 60 * given.minutes, given.faults, processes)
    if processes == 1:
        parts = [run_part(0)]
    else:
        with ProcessPoolExecutor(processes) as pool:
            parts = list(pool.map(run_part, range(processes)))
    return summed_up(parts, time.monotonic() - started)


def summed_up(parts: list[PartResult], elapsed: float) -> int:
    done, faults = sum(part.done for part in parts), sum(part.faults for part in parts)
    grown = max(part.grown for part in parts)
    took = f"{elapsed:.0f} s, {done / elapsed:,.0f} a second"
    print(f"{done:,} cases, {faults} faults, {took}, {grown:+.1f} MB after the first of them")
    return int(faults > 0)


def run(seeds: list[int], cases: int, seconds: float, most_faults: int, processes: int, part: int) -> PartResult:
    """Run the cases of all seeds in turn, or one part of them."""
    settle_garbage()
    started, faults, done, before = time.monotonic(), 0, 0, 0.0
    for seed, number in plan(seeds, cases, processes, part):
        faults += found_fault(seed, number)
        done += 1
        if done % PROGRESS == 0:
            elapsed, memory = time.monotonic() - started, resident()
            before = before or memory
            which = f"  part {part}" * (processes > 1)
            print(f"{done:>10,} cases  {done / elapsed:6,.0f} a second  {memory:6.1f} MB{which}", file=sys.stderr)
            if elapsed > seconds:
                break
        if faults >= most_faults:
            break
    return PartResult(done, faults, resident() - before if before else 0.0)


def settle_garbage() -> None:
    """Freeze permanent objects and collect garbage less often, because reference counting frees most lists."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def resident() -> float:
    """Return the resident memory of this process, in megabytes."""
    return psutil.Process().memory_info().rss / 1e6


def plan(seeds: list[int], cases: int, processes: int = 1, part: int = 0) -> Iterator[tuple[int, int]]:
    """Yield seed and number of each case of a part; cases with the same original response are in the same part."""
    for block in range(part, -(-cases // ALIKE), processes):
        first = block // len(seeds) * ALIKE
        for number in range(first, first + min(ALIKE, cases - block * ALIKE)):
            yield seeds[block % len(seeds)], number


def found_fault(seed: int, number: int) -> bool:
    """Return whether a case has a fault, and print it."""
    fault = examined(case(seed, number))
    if not fault and number % ENDLESS == 0:
        fault = excess_of(seed, number)
    if fault:
        again = f"python -m tests.fuzz --only {seed} {number}"
        print(f"seed {seed} case {number}: {fault}\n  again: {again}", flush=True)
    return bool(fault)


def examined(case: Case) -> str:
    """Return what is wrong with a case; an error that is not ours is wrong, too."""
    try:
        return fault_of(case)
    except Exception:  # noqa: BLE001  # unexpected exceptions are what the fuzzer looks for
        return traceback.format_exc()


def show(seed: int, number: int) -> int:
    """Print a case, piece by piece."""
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
