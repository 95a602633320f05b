"""What the progress display looks like at the usual widths."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from asyncembed import RunSummary, Usage
from asyncembed.cli._console import plural, printable
from asyncembed.cli._progress import duration, render

BUSY = RunSummary(
    done=1_234_567,
    failed=10,
    retries=12,
    usage=Usage(98_765_432),
    elapsed=400.0,
    in_flight=32,
    reserved_bytes=123_000_000,
    budget_bytes=256_000_000,
)


def drawn(summary: RunSummary, total: int | None, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(render(summary, total))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_two_lines_that_fit(width):
    bar, details = drawn(BUSY, 10_000_000, width)
    assert cell_len(bar) <= width
    assert bar.endswith("1,234,577 of 10,000,000  12%  47:20 left")
    assert cell_len(details) <= width
    assert details.startswith("3,086 texts/s · 32 in flight · memory 123/256 MB · 98.8M tokens · 12 retries")


def test_failures_are_shown_where_there_is_room():
    assert drawn(BUSY, 10_000_000, 120)[1].rstrip().endswith(" · 10 failed")


def test_without_a_total_there_is_no_time_left():
    bar, _ = drawn(BUSY, None, 80)
    assert bar.endswith(" 1,234,577 texts")
    assert "left" not in bar


def test_the_beginning_is_no_special_case():
    bar, details = drawn(RunSummary(), 10, 80)
    assert bar.endswith(" 0 of 10")
    assert details.startswith("0 texts/s · 0 in flight")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3_599, "59:59"), (36_061, "10:01:01")]
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_counts_have_their_nouns():
    assert [plural(1, "text"), plural(2_000, "text"), plural(0, "retry")] == ["1 text", "2,000 texts", "0 retries"]


def test_what_is_printed_is_one_harmless_line():
    assert printable("a\n b\x1b[31m\u202e") == "a b\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
