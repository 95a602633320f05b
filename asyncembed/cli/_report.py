"""`--report run.html`: one HTML page about a run, without scripts or external files.

The charts are SVG, drawn by `_charts`, because a plotting library would be a large dependency for a few lines.
"""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from asyncembed import ConfigurationError
from asyncembed._version import __version__
from asyncembed.cli._charts import Line, chart
from asyncembed.cli._console import plural
from asyncembed.cli._progress import duration, latency, rate, rows_before, tokens
from asyncembed.sinks._safe_open import check_owner, new_file

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping, Sequence

    from asyncembed import RunSummary
    from asyncembed.cli._progress import Recorder, Sample
    from asyncembed.cli._statistics import RequestStatistics


MARK: Final = '<meta name="generator" content="asyncembed">'
"""Marks a page as a report, which may be replaced."""

PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
$mark
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --faint: #667085; --line: #e3e7ee;
  --series0: #1b62c4; --series1: #c2570c; --limit: #667085; --good: #12704a; --bad: #b3261e; --tile: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ef; --faint: #98a2b3; --line: #2b323d;
  --series0: #6ea8fe; --series1: #f4a259; --limit: #98a2b3; --good: #57c797; --bad: #ff8a80; --tile: #1c222b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 40px; max-width: 1400px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 28px 0 8px; }
.outcome { font-weight: 600; color: var(--bad); }
.outcome.good { color: var(--good); }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); margin: 16px 0; }
.tile { background: var(--tile); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.tile span, small, footer { color: var(--faint); }
.charts, .tables { display: grid; gap: 20px; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: 12px; }
figcaption { font-weight: 600; margin-bottom: 6px; }
figcaption small { font-weight: 400; margin-right: 12px; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--line); }
.tick { fill: var(--faint); font-size: 12px; }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.series0 { stroke: var(--series0); }
polyline.series1 { stroke: var(--series1); stroke-dasharray: 1 3; stroke-linecap: round; stroke-width: 3; }
polyline.limit { stroke: var(--limit); stroke-dasharray: 6 5; stroke-width: 1.5; }
.key { font-weight: 400; margin-right: 12px; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle;
  border-top: 3px solid var(--series0); }
.key.series1::before { border-top: 3px dotted var(--series1); }
.key.limit::before { border-top: 2px dashed var(--limit); }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 400; color: var(--faint); padding: 4px 16px 4px 0; vertical-align: top;
  white-space: nowrap; }
td { padding: 4px 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
tr { border-bottom: 1px solid var(--line); }
footer { margin-top: 28px; font-size: 13px; }
</style>
<h1>$title</h1>
<div class="outcome $outcome_class">$outcome</div>
<div class="tiles">$tiles</div>
<div class="charts">$charts</div>
<div class="tables">
<section><h2>Totals</h2><table>$totals</table></section>
<section><h2>Requests of this run</h2><table>$requests</table>
<h2>Settings</h2><table>$settings</table></section>
</div>
<footer>$footer</footer>
</html>
"""


MEGABYTE: Final = 1_000_000


def check_report(path: Path, files: Iterable[Path]) -> None:
    """Check that the report can be written, before the run sends paid requests.

    Args:
        path: The report.
        files: Files of the run. The report must not be one of them, nor be named like a file that belongs to one.

    Raises:
        ConfigurationError: if the report would replace another file, or cannot be written.
    """
    report = path.resolve()
    for file in map(Path.resolve, files):
        folder = file.with_name(f"{file.name}.partial")
        if folder in report.parents or (report.parent == file.parent and report.name.startswith(file.name)):
            raise ConfigurationError(f"the report {path} has the name of {file} or of a file that belongs to it")
    try:
        if path.exists() and not _is_report(path):
            raise ConfigurationError(f"{path} exists and is not a report; choose another name for the report")
        if os.path.lexists(path):
            check_owner(path)
        temporary = _temporary(path)
        new_file(temporary).close()
        temporary.unlink()
    except OSError as error:
        raise ConfigurationError(f"the report {path} cannot be written there: {error.strerror}") from None


def write_report(
    path: Path,
    recorder: Recorder,
    statistics: RequestStatistics,
    *,
    settings: Mapping[str, object],
    outcome: str,
    total: int | None,
) -> None:
    """Write the report.

    Args:
        path: The file. An existing report is replaced.
        recorder: Samples of the run.
        statistics: Latencies, waits and errors of its requests.
        settings: Settings of the run, by name.
        outcome: How the run ended, in a few words.
        total: Number of texts in the input, if known.
    """
    samples = recorder.samples
    page = Template(PAGE).substitute(
        mark=MARK,
        title=escape(f"Embedding {settings['output']}"),
        outcome=escape(outcome),
        outcome_class="good" if outcome == "finished" else "bad",
        tiles="".join(_tile(name, value) for name, value in _headline(samples, statistics).items()),
        charts="".join(_charts(samples)) if samples else "<p>The run ended before anything could be measured.</p>",
        totals=_rows(_totals(samples, total, recorder.peak_mb)),
        requests=_rows(_requests(statistics)),
        settings=_rows(settings),
        footer=escape(f"asyncembed {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
    )
    temporary = _temporary(path)
    with new_file(temporary) as file:
        file.write(page.encode("utf-8", "backslashreplace"))
    temporary.replace(path)


def _temporary(path: Path) -> Path:
    return path.parent.resolve() / f"{path.name}.new"


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK.encode() in file.read(1_000)


def _headline(samples: Sequence[Sample], statistics: RequestStatistics) -> dict[str, str]:
    if not samples:
        return {}
    end = samples[-1].run
    median = statistics.latencies.percentile(0.5)
    return {
        "texts embedded": f"{end.saved:,}",
        "time": duration(end.elapsed),
        "texts per second": rate(end).removesuffix(" texts/s"),
        "tokens": f"{end.usage.tokens:,}",
        **({} if median is None else {"median request": latency(median)}),
        **({"from the cache": f"{end.cached:,}"} if end.cached else {}),
        "failed": f"{end.failed:,}",
    }


def _charts(samples: Sequence[Sample]) -> list[str]:
    runs = [sample.run for sample in samples]
    times = [run.elapsed - run.earlier.seconds for run in runs]
    return [
        chart("Throughput", "texts/s", times, [Line("texts/s", _rates(runs))]),
        chart(
            "Memory",
            "MB",
            times,
            [
                Line("resident", [sample.resident_mb for sample in samples]),
                Line("reserved", [run.reserved_bytes / MEGABYTE for run in runs]),
                Line("budget", [run.budget_bytes / MEGABYTE for run in runs], is_limit=True),
            ],
        ),
        chart("Requests in flight", "requests", times, [Line("in flight", [run.in_flight for run in runs])]),
        chart(
            "Retries and failures",
            "since the start",
            times,
            [
                Line("retries", [run.retries - run.earlier.retries for run in runs]),
                Line("failed texts", [run.failed - run.earlier.failed for run in runs]),
            ],
        ),
    ]


def _rates(runs: Sequence[RunSummary]) -> list[float]:
    """Return for each sample the speed since the sample before it."""
    rates = [0.0]
    for before, now in itertools.pairwise(runs):
        seconds = now.elapsed - before.elapsed
        rates.append((now.done - before.done) / seconds if seconds > 0 else rates[-1])
    return rates


def _totals(samples: Sequence[Sample], total: int | None, peak_mb: float) -> dict[str, object]:
    if not samples:
        return {}
    end = samples[-1].run
    remaining = {"texts left": f"{max(total - end.saved - end.failed, 0):,}"} if total else {}
    return {
        "texts in the input": f"{total:,}" if total else "unknown",
        "rows saved": f"{end.saved:,}",
        "embedded in this run": f"{end.saved - rows_before(end):,}",
        "embedded in earlier runs": f"{rows_before(end):,}",
        "failed": f"{end.failed:,}",
        **remaining,
        "first failure": end.failure or "none",
        "requests": f"{end.requests:,}",
        "retries": f"{end.retries:,}",
        "vectors salvaged from broken responses": f"{end.salvaged:,}",
        "vectors from the cache": f"{end.cached:,}",
        "texts equal to another": f"{end.duplicates:,}",
        "texts cut because they were too long": f"{end.truncated:,}",
        "received": f"{end.bytes_received / MEGABYTE:,.1f} MB",
        "tokens billed": f"{end.usage.tokens:,}",
        "tokens billed but not reported (estimate)": f"{end.usage.unreported_tokens:,}",
        "seconds": f"{end.elapsed:,.1f}",
        "earlier runs": _earlier(end),
        "model": end.model,
        "dimension": end.dimension or "unknown",
        "peak reserved memory": f"{end.peak_reserved_bytes / MEGABYTE:,.1f} of {end.budget_bytes / MEGABYTE:,.0f} MB",
        "peak resident memory": f"{peak_mb:,.0f} MB",
    }


def _requests(statistics: RequestStatistics) -> dict[str, object]:
    """Return what the requests of this run were like; the totals are those of all runs."""
    latencies = [f"{name} {latency(seconds)}" for name, seconds in statistics.percentiles().items()]
    waits = {
        f"waits for {reason}": f"{wait.count:,}" + (f", together {wait.seconds:,.1f} s" if wait.seconds else "")
        for reason, wait in statistics.waits.items()
    }
    return {
        "successful requests": f"{statistics.latencies.count:,}",
        "latency": ", ".join(latencies) or "unknown",
        "failed requests": _counts(statistics.errors),
        **waits,
        "failed texts": _counts(statistics.failures),
    }


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counter.most_common()) or "none"


def _earlier(end: RunSummary) -> str:
    before = end.earlier
    if not before.runs:
        return "none"
    parts = [
        f"{before.failed:,} failed",
        plural(before.requests, "request"),
        plural(before.retries, "retry"),
        f"{before.salvaged:,} vectors salvaged",
        f"{before.cached:,} from the cache",
        f"{before.duplicates:,} equal texts",
        f"{before.truncated:,} texts cut",
        f"{before.bytes_received / MEGABYTE:,.1f} MB",
        tokens(before.usage),
        f"{before.seconds:,.1f} s",
    ]
    return f"{plural(before.runs, 'run')}: {', '.join(parts)}"


def _tile(name: str, value: str) -> str:
    return f"<div class=tile><b>{escape(value)}</b><span>{escape(name)}</span></div>"


def _rows(pairs: Mapping[str, object]) -> str:
    return "".join(
        f"<tr><th scope=row>{escape(name.replace('_', ' '))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in pairs.items()
    )
