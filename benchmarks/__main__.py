"""Measure asyncembed against other clients. `python -m benchmarks --help` lists the commands."""

from __future__ import annotations

import argparse

from benchmarks import (
    choices,
    counted,
    decode,
    engines,
    latency,
    memory,
    overhead,
    parsers,
    scaling,
    service,
    soak,
    stores,
    throughput,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True)
    for command in (
        decode,
        throughput,
        memory,
        scaling,
        latency,
        overhead,
        counted,
        choices,
        parsers,
        soak,
        stores,
        service,
        engines,
    ):
        command.add_command(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
