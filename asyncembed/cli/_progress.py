"""Progress of a run, on the screen and for the report.

On a terminal, `progress` draws a few lines that disappear at the end of the run. Elsewhere, such as in a log
file, under cron or in a notebook, `ProgressLog` writes a line every ten seconds. Both also show what an `EventTracker`
learns from the events of the run: why requests are retried and what the run waits for. A `Recorder` samples the run for
the report.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asyncembed import EndpointPaused, MemoryMonitor, RequestEnded, RequestsThrottled, RetryScheduled, RunSummary
from asyncembed.cli._console import plural, printable
from asyncembed.cli._statistics import RequestStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from asyncembed import Event, Usage


FRAMES_PER_SECOND: Final = 5
LINE_SECONDS: Final = 10.0
"""Seconds between two lines of a `ProgressLog`."""

WAITING_LINES: Final = 3
"""Maximum number of lines for what the run waits for; the words of the API come at the end of it."""

STOPPING: Final = "stopping: waiting for requests in flight; press Ctrl-C again to stop at once"


@dataclass(slots=True)
class Total:
    """The number of texts; None until it is known."""

    texts: int | None = None


def can_draw(console: Console) -> bool:
    """Return whether drawn lines can be replaced. A notebook claims to be a terminal, but keeps every frame."""
    return console.is_terminal and not console.is_dumb_terminal and "JPY_PARENT_PID" not in os.environ


@contextmanager
def progress(
    console: Console,
    summary: Callable[[], RunSummary],
    total: Total,
    is_stopping: Callable[[], bool],
    events: EventTracker,
) -> Iterator[None]:
    """Draw the progress of a run on `console` while the context is open, if the console supports it.

    A thread of rich draws it, so that a slow terminal does not slow down the run.
    """
    if not can_draw(console):
        yield
        return
    with Live(
        get_renderable=lambda: render(summary(), total.texts, events, is_stopping=is_stopping()),
        console=console,
        refresh_per_second=FRAMES_PER_SECOND,
        transient=True,
    ):
        yield


class ProgressLog:
    """Writes a line about the progress of a run every ten seconds.

    Args:
        say: Function that writes a line.
        clock: Function that returns monotonic seconds; replaced in tests.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._due = clock() + LINE_SECONDS

    def update(self, now: RunSummary, total: int | None, events: EventTracker, *, is_stopping: bool = False) -> None:
        """Write a line about the state of the run, if ten seconds have passed since the last one."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + LINE_SECONDS
        parts = [_state(now, total).replace("  ", ", "), *_details(now, events)]
        waiting = STOPPING if is_stopping else events.waiting
        self._say(", ".join(parts) + (f"; {waiting}" if waiting else ""))


def render(now: RunSummary, total: int | None, events: EventTracker, *, is_stopping: bool = False) -> RenderableType:
    """Draw the state of a run: a line with bar, count and time left, a line of details, and what the run waits for."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    state = f"{_done(now):,} done" if is_stopping else _state(now, total)
    bar.add_row(ProgressBar(total=total, completed=_done(now), pulse=not total), state)
    lines: list[RenderableType] = [bar, _Line(_details(now, events))]
    if waiting := STOPPING if is_stopping else printable(events.waiting):
        lines.append(_Line([waiting], WAITING_LINES))
    return Group(*lines)


class _Line:
    """Several parts on one line or a few. The end is cut if it does not fit, and all is ASCII if the console is."""

    def __init__(self, parts: list[str], max_lines: int = 1) -> None:
        self._parts = parts
        self._max_lines = max_lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        separator, dots = (", ", "...") if options.ascii_only else (" · ", "…")
        width = options.max_width
        lines = [line.plain.rstrip() for line in Text(separator.join(self._parts)).wrap(console, width)]
        whole, last = lines[: self._max_lines - 1], " ".join(lines[self._max_lines - 1 :])
        if cell_len(last) > width:
            last = set_cell_size(last, max(width - len(dots), 0)) + dots[:width]
        yield Text("\n".join(filter(None, [*whole, last])), "dim", no_wrap=True, overflow="crop")


def duration(seconds: float) -> str:
    """Return a time as 0:05, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def latency(seconds: float) -> str:
    """Return the duration of a request with two digits, such as "83 ms" or "1.2 s"."""
    rounded = float(f"{seconds:.2g}")
    return f"{rounded:g} s" if rounded >= 1 else f"{1_000 * rounded:.0f} ms"


def rate(now: RunSummary) -> str:
    """Return the average speed of this run so far."""
    seconds = now.elapsed - now.earlier.seconds
    return f"{now.done / seconds:,.0f} texts/s" if seconds else "0 texts/s"


def rows_before(now: RunSummary) -> int:
    """Return how many texts earlier runs have embedded."""
    return now.resumed - now.earlier.failed


def tokens(usage: Usage) -> str:
    """Return a count of tokens for a message."""
    more = f" and about {usage.unreported_tokens:,} not reported" if usage.unreported_tokens else ""
    return f"{plural(usage.tokens, 'token')}{more}"


def dollars(cost: float) -> str:
    """Format a cost."""
    if 0 < cost < 0.0001:  # noqa: PLR2004
        return "less than $0.0001"
    return f"${cost:,.2f}" if cost >= 1 or not cost else f"${cost:.4f}"


def _settled(now: RunSummary) -> int:
    """Return how many texts this run has embedded or counted as failed."""
    return now.done + now.failed - now.earlier.failed


def _done(now: RunSummary) -> int:
    return now.resumed + _settled(now)


def _state(now: RunSummary, total: int | None) -> str:
    done, settled = _done(now), _settled(now)
    if not total:
        return plural(done, "text")
    state = f"{done:,} of {total:,}"
    if not settled:
        return state
    seconds_left = max(total - done, 0) * (now.elapsed - now.earlier.seconds) / settled
    return f"{state}  {min(done / total, 1):.0%}  {duration(seconds_left)} left"


def _details(now: RunSummary, events: EventTracker) -> list[str]:
    """Return the details of the second line, problems first, because a narrow terminal cuts the end."""
    megabyte = 1_000_000
    parts = [f"{now.failed:,} failed"] if now.failed else []
    if now.retries or events.reasons:
        count = plural(now.retries, "retry") if now.retries else "retrying"
        parts.append(count + (f" ({events.reasons})" if events.reasons else ""))
    return [
        *parts,
        rate(now),
        *([] if now.cost is None else [dollars(now.cost)]),
        *([f"{_short(now.truncated)} truncated"] if now.truncated else []),
        *([f"{_short(now.cached)} cached"] if now.cached else []),
        *([f"{_short(now.duplicates)} equal"] if now.duplicates else []),
        f"{now.in_flight} in flight",
        f"memory {now.reserved_bytes / megabyte:.0f}/{now.budget_bytes / megabyte:.0f} MB",
        f"{_short(now.usage.tokens)} tokens",
        *(f"{name} {latency(seconds)}" for name, seconds in events.statistics.percentiles().items() if name != "p90"),
    ]


def _short(count: int) -> str:
    for size, suffix in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (1_000 if suffix == 'k' else size):.1f}{suffix}"
    return f"{count:,}"


MAX_SAMPLES: Final = 1_000
MIN_INTERVAL: Final = 0.2
"""Seconds between two samples at the start of a run."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of a run at one time.

    Attributes:
        run: Summary of the run at that time.
        resident_mb: Resident memory of the process, in millions of bytes.
    """

    run: RunSummary
    resident_mb: float


class Recorder:
    """Keeps samples of one run in a fixed amount of memory.

    When there are more than `MAX_SAMPLES`, every second one is dropped and the interval doubles.
    """

    def __init__(self) -> None:
        self._monitor = MemoryMonitor(1)  # used for its readings only, so the limit does not matter
        self._samples: list[Sample] = []
        self._latest: Sample | None = None
        self._interval = MIN_INTERVAL

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples; the last one is the latest state."""
        if self._latest is None or self._latest in self._samples[-1:]:
            return self._samples
        return [*self._samples, self._latest]

    @property
    def peak_mb(self) -> float:
        """Maximum resident memory of all readings, in millions of bytes."""
        return self._monitor.peak_mb

    def add(self, now: RunSummary) -> None:
        """Record the latest state of the run, as a sample if the interval has passed."""
        self._latest = Sample(now, self._monitor.current_mb)
        if self._samples and now.elapsed < self._samples[-1].run.elapsed + self._interval:
            return
        self._samples.append(self._latest)
        if len(self._samples) > MAX_SAMPLES:
            del self._samples[1::2]
            self._interval *= 2


MAX_REASONS: Final = 2
"""Number of retry reasons to show, the most recent ones."""

DOWN: Final = "the API is down"

_REASONS: Final = {
    "EmbedTimeoutError": "time-out",
    "TransportError": "connection",
    "ResponseError": "broken response",
}


class EventTracker:
    """Learns from the events of one run why requests are retried and what the run waits for.

    Args:
        clock: Function that returns monotonic seconds; replaced in tests.

    Attributes:
        statistics: Latencies, waits and errors of all requests so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.statistics = RequestStatistics(clock)
        self._reasons: Counter[str] = Counter()
        self._latest: list[str] = []  # reasons, the newest first
        self._wait_reason, self._wait_message = "", ""
        self._wait_end = 0.0

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        self.statistics(event)
        match event:
            case RetryScheduled():
                self._add_retry(event)
            case EndpointPaused():
                self._wait("the API asks to wait", event.seconds, event.message)
            case RequestsThrottled(reason="rate_limit"):
                self._wait("the rate limit is reached", event.seconds)
            case RequestsThrottled():
                self._wait(DOWN, event.seconds, event.message)
            case RequestEnded(error=None) if self._wait_reason == DOWN:
                self._wait_end = 0.0

    @property
    def reasons(self) -> str:
        """The latest reasons for retries and their counts, such as "429 x10, time-out"; "" if there were none."""
        counts = ((reason, self._reasons[reason]) for reason in self._latest[:MAX_REASONS])
        return ", ".join(f"{reason} x{count:,}" if count > 1 else reason for reason, count in counts)

    @property
    def waiting(self) -> str:
        """What the run waits for now, other than responses, and for how long; "" if for nothing."""
        left = self._wait_end - self._clock()
        if left <= 0:
            return ""
        seconds = f", {math.ceil(left)} s left" if left < float("inf") else ""
        message = f": {self._wait_message}" if self._wait_message else ""
        return f"{self._wait_reason}{seconds}{message}"

    def _add_retry(self, event: RetryScheduled) -> None:
        reason = str(event.status or _REASONS.get(event.error or "", event.error))
        self._reasons[reason] += 1
        if reason in self._latest:
            self._latest.remove(reason)
        self._latest.insert(0, reason)
        if event.seconds >= 1:
            self._wait("waiting to retry", event.seconds, event.message)

    def _wait(self, reason: str, seconds: float | None, message: str = "") -> None:
        end = self._clock() + (float("inf") if seconds is None else seconds)
        if end >= self._wait_end or not self.waiting:
            self._wait_reason, self._wait_message, self._wait_end = reason, message, end
