"""Runs the matrix of faults and prints it: `python -m tests.faults`; what else is given, pytest gets (`-k openai`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

MARKS = {"passed": "✓", "failed": "[bold red]✗[/]"}
QUIET = ["-q", "--no-header", "--no-summary", "--show-capture=no", "-p", "no:cacheprovider", "--disable-warnings"]


class FaultTable:
    """Collects the outcome of each cell."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, str]] = {}
        self._expected: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.when == "call" or report.failed:
            self._note(item.callspec.params, report.outcome)
        return report

    def print(self) -> None:
        """A line for each fault, a column for each wire format; in a cell, first in order and then as completed."""
        columns = dict.fromkeys(column for cells in self._cells.values() for column in cells)
        table = Table("fault", *columns, "expected", title="Faults: ordered, unordered", row_styles=["", "dim"])
        for name, cells in self._cells.items():
            table.add_row(name, *(cells.get(column, "") for column in columns), self._expected[name])
        Console(width=None if sys.stdout.isatty() else 180).print(table)

    def _note(self, params, outcome: str) -> None:
        from support.fault_table import ROWS

        name, wire = params["name"], str(params["wire"])
        cells = self._cells.setdefault(name, {})
        cells[wire] = f"{cells.get(wire, '')} {MARKS[outcome]}".strip()
        self._expected[name] = str(ROWS[name].outcome)


def main() -> int:
    """Run it, and return pytest's exit code."""
    os.environ["ASYNCEMBED_FAULTS"] = "all"
    table = FaultTable()
    code = pytest.main([str(Path(__file__).with_name("test_matrix.py")), *QUIET, *sys.argv[1:]], plugins=[table])
    table.print()
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
