"""Run the matrices of faults and of blame, and print them: `python -m tests.faults`.

`--blame` runs only the matrix of blame; `--blame gemini key` runs only its cells with these words in their names. All
other arguments go to pytest (`-k openai`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

MARKS = {"passed": "✓", "failed": "[bold red]✗[/]"}
QUIET = ["-q", "--no-header", "--no-summary", "--show-capture=no", "-p", "no:cacheprovider", "--disable-warnings"]
MOST_REASONS = 40


class Matrix:
    """Collects the outcome of each cell of a test file, and prints one line per fault.

    Attributes:
        file: The test file.
        title: Title of the table.
    """

    file: str
    title: str

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._cells: dict[str, dict[str, str]] = {}
        self._expected: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.when == "call" or report.failed:
            self.outcomes[report.outcome] += 1
            self.note(item.callspec.params, report)
        return report

    def note(self, params, report) -> None:
        """Record the outcome of a cell."""
        raise NotImplementedError

    def put(self, row: str, column: str, outcome: str, expected: object) -> None:
        """Write a mark into the table."""
        cells = self._cells.setdefault(row, {})
        cells[column] = f"{cells.get(column, '')} {MARKS[outcome]}".strip()
        self._expected[row] = str(expected)

    def print(self, console: Console) -> None:
        columns = dict.fromkeys(column for cells in self._cells.values() for column in cells)
        table = Table("fault", *columns, "expected", title=self.title, row_styles=["", "dim"])
        for name, cells in self._cells.items():
            table.add_row(name, *(cells.get(column, "") for column in columns), self._expected[name])
        console.print(table)
        console.print(f"{self.outcomes['passed']} of {self.outcomes.total()} cells are right", highlight=False)

    def run(self, arguments: list[str], console: Console) -> int:
        """Run every cell, print the table, and return pytest's exit status."""
        code = pytest.main([str(Path(__file__).with_name(self.file)), *QUIET, *arguments], plugins=[self])
        if self.outcomes:
            self.print(console)
        return int(code)


class FaultMatrix(Matrix):
    """One column per wire format; each cell shows the outcome in order, then the outcome as completed."""

    file, title = "test_matrix.py", "Faults: ordered, unordered"

    def note(self, params, report) -> None:
        from support.fault_table import ROWS

        name = params["name"]
        self.put(name, str(params["wire"]), report.outcome, ROWS[name].outcome)


class BlameMatrix(Matrix):
    """One column per moment and `on_error`. Below are sums by what is to blame, and the reasons of failed cells."""

    file, title = "test_blame.py", "Blame"

    def __init__(self) -> None:
        super().__init__()
        self._right: Counter[str] = Counter()
        self._all: Counter[str] = Counter()
        self._reasons: list[str] = []

    def note(self, params, report) -> None:
        cell = params["cell"]
        self.put(cell.row, cell.column, report.outcome, cell.situation.outcome)
        kind = str(type(cell.situation.outcome).__name__)
        self._all[kind] += 1
        self._right[kind] += report.passed
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._reasons.append(f"{cell}: {crash.message.splitlines()[0] if crash else report.longrepr}")

    def print(self, console: Console) -> None:
        super().print(console)
        for kind, count in self._all.items():
            console.print(f"  {kind}: {self._right[kind]} of {count}", highlight=False)
        for reason in self._reasons[:MOST_REASONS]:
            console.print(reason, markup=False, highlight=False)
        if left := len(self._reasons[MOST_REASONS:]):
            console.print(f"... and {left} more; name a word after --blame to see fewer", highlight=False)


def main() -> int:
    """Run the requested matrices, and return the worse exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--blame", nargs="*", metavar="WORD", help="the matrix of blame, or cells with these words")
    arguments, others = parser.parse_known_args()
    os.environ["ASYNCEMBED_FAULTS"] = "all"
    os.environ["ASYNCEMBED_BLAME"] = " ".join(arguments.blame or ())
    matrices = [BlameMatrix()] if arguments.blame is not None else [FaultMatrix(), BlameMatrix()]
    console = Console(width=None if sys.stdout.isatty() else 180)
    nothing = int(pytest.ExitCode.NO_TESTS_COLLECTED)
    codes = [matrix.run(others, console) for matrix in matrices]
    return max((code for code in codes if code != nothing), default=nothing)


if __name__ == "__main__":
    raise SystemExit(main())
