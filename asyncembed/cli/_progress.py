"""What a run looks like while it goes.

On a terminal these are two or three lines, drawn a few times a second and gone at the end. Elsewhere, as in a log file,
under cron or in a notebook, it is a line every ten seconds.

What a run looked like over time: samples in a fixed amount of memory, however long it takes.

When there are too many, every second one is dropped and the time between two of them doubles.

What the events of a run say that its summary does not: why it asks again, and what it waits for.
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from asyncembed import Event, Usage


FRAMES_PER_SECOND: Final = 5
LINE_SECONDS: Final = 10.0
"""Seconds between two lines where nothing can be drawn."""

STOPPING: Final = "stopping: waiting for what is in flight; Ctrl-C ends at once"


@dataclass(slots=True)
class Total:
    """How many texts there are, once that is known."""

    texts: int | None = None


def can_draw(console: Console) -> bool:
    """Whether lines can be drawn over; a notebook passes itself off as a terminal, and would keep every frame."""
    return console.is_terminal and not console.is_dumb_terminal and "JPY_PARENT_PID" not in os.environ


@contextmanager
def progress(
    console: Console, summary: Callable[[], RunSummary], total: Total, is_stopping: Callable[[], bool], news: News
) -> Iterator[None]:
    """Show how a run stands while this context is open, if it can be drawn on `console`.

    It is drawn from rich's own thread, so that a slow terminal holds up nothing.
    """
    if not can_draw(console):
        yield
        return
    with Live(
        get_renderable=lambda: render(summary(), total.texts, news, is_stopping=is_stopping()),
        console=console,
        refresh_per_second=FRAMES_PER_SECOND,
        transient=True,
    ):
        yield


class Lines:
    """Says how a run stands every ten seconds.

    Args:
        say: Writes a line.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._due = clock() + LINE_SECONDS

    def note(self, now: RunSummary, total: int | None, news: News, *, is_stopping: bool = False) -> None:
        """Take in how the run stands, and say it if it is time."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + LINE_SECONDS
        parts = [_state(now, total).replace("  ", ", "), *_details(now, news)]
        waiting = STOPPING if is_stopping else news.waiting
        self._say(", ".join(parts) + (f"; {waiting}" if waiting else ""))


def render(now: RunSummary, total: int | None, news: News, *, is_stopping: bool = False) -> RenderableType:
    """Draw the state of a run: bar, count and time left above, the rest below, and what it waits for, if anything."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    state = f"{_done(now):,} done" if is_stopping else _state(now, total)
    bar.add_row(ProgressBar(total=total, completed=_done(now), pulse=not total), state)
    lines: list[RenderableType] = [bar, _Line(_details(now, news))]
    if waiting := STOPPING if is_stopping else printable(news.waiting):
        lines.append(_Line([waiting]))
    return Group(*lines)


class _Line:
    """One line of parts: what does not fit is cut from its end, in characters that the console has."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        separator, dots = (", ", "...") if options.ascii_only else (" · ", "…")
        line, width = separator.join(self._parts), options.max_width
        if cell_len(line) > width:
            line = set_cell_size(line, max(width - len(dots), 0)) + dots[:width]
        yield Text(line, "dim", no_wrap=True, overflow="crop")


def duration(seconds: float) -> str:
    """Return a time as 0:05, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate(now: RunSummary) -> str:
    """Return the speed of this run so far."""
    seconds = now.elapsed - now.earlier.seconds
    return f"{now.done / seconds:,.0f} texts/s" if seconds else "0 texts/s"


def rows_before(now: RunSummary) -> int:
    """Return how many texts earlier runs have embedded."""
    return now.resumed - now.earlier.failed


def tokens(usage: Usage) -> str:
    """Return a count of tokens in words."""
    more = f" and about {usage.unreported_tokens:,} that were not told" if usage.unreported_tokens else ""
    return f"{plural(usage.tokens, 'token')}{more}"


def _settled(now: RunSummary) -> int:
    """Return how many texts this run has done with."""
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
    left = max(total - done, 0) * (now.elapsed - now.earlier.seconds) / settled
    return f"{state}  {min(done / total, 1):.0%}  {duration(left)} left"


def _details(now: RunSummary, news: News) -> list[str]:
    """Return what there is to say besides, what went wrong first: the end is cut where the line is short."""
    megabyte = 1_000_000
    parts = [f"{now.failed:,} failed"] * bool(now.failed)
    if now.retries or news.reasons:
        count = plural(now.retries, "retry") if now.retries else "trying again"
        parts.append(count + (f" ({news.reasons})" if news.reasons else ""))
    return [
        *parts,
        rate(now),
        f"{now.in_flight} in flight",
        f"memory {now.reserved_bytes / megabyte:.0f}/{now.budget_bytes / megabyte:.0f} MB",
        f"{_short(now.usage.tokens)} tokens",
    ]


def _short(count: int) -> str:
    for size, suffix in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (1_000 if suffix == 'k' else size):.1f}{suffix}"
    return f"{count:,}"


MAX_SAMPLES: Final = 1_000
SHORTEST: Final = 0.2
"""Seconds between two samples at first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How a run stood, and how much memory the process had then, in millions of bytes."""

    run: RunSummary
    resident_mb: float


class Recorder:
    """Keeps samples of one run."""

    def __init__(self) -> None:
        self._monitor = MemoryMonitor(1)  # for its readings; there is no limit
        self._samples: list[Sample] = []
        self._latest: Sample | None = None
        self._between = SHORTEST

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples, and the latest state as the last of them."""
        if self._latest is None or self._latest in self._samples[-1:]:
            return self._samples
        return [*self._samples, self._latest]

    @property
    def peak_mb(self) -> float:
        """The most memory that any reading found, in millions of bytes."""
        return self._monitor.peak_mb

    def add(self, now: RunSummary) -> None:
        """Note how the run stands."""
        self._latest = Sample(now, self._monitor.current_mb)
        if self._samples and now.elapsed < self._samples[-1].run.elapsed + self._between:
            return
        self._samples.append(self._latest)
        if len(self._samples) > MAX_SAMPLES:
            del self._samples[1::2]
            self._between *= 2


MAX_REASONS: Final = 2
"""Reasons of retries that are shown; the last are shown."""

DOWN: Final = "the API is down"

_KINDS: Final = {
    "EmbedTimeoutError": "time-out",
    "TransportError": "connection",
    "ResponseError": "broken response",
}


class News:
    """Takes in the events of one run.

    Args:
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reasons: Counter[str] = Counter()
        self._latest: list[str] = []  # reasons, the newest first
        self._why, self._message = "", ""
        self._until = 0.0

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case RetryScheduled():
                self._note(event)
            case EndpointPaused():
                self._wait("the API asks to wait", event.seconds, event.message)
            case RequestsThrottled(reason="rate_limit"):
                self._wait("the rate limit is used up", event.seconds)
            case RequestsThrottled():
                self._wait(DOWN, event.seconds, event.message)
            case RequestEnded(error=None) if self._why == DOWN:
                self._until = 0.0

    @property
    def reasons(self) -> str:
        """Why requests were repeated, with how often: "429 x10, time-out"; empty if none was."""
        counts = ((reason, self._reasons[reason]) for reason in self._latest[:MAX_REASONS])
        return ", ".join(f"{reason} x{count:,}" if count > 1 else reason for reason, count in counts)

    @property
    def waiting(self) -> str:
        """What the run waits for now, and for how long; empty if for nothing but answers."""
        left = self._until - self._clock()
        if left <= 0:
            return ""
        seconds = f", {math.ceil(left)} s left" if left < float("inf") else ""
        return f"{self._why}{seconds}{f': {self._message}' if self._message else ''}"

    def _note(self, event: RetryScheduled) -> None:
        reason = str(event.status or _KINDS.get(event.error or "", event.error))
        self._reasons[reason] += 1
        if reason in self._latest:
            self._latest.remove(reason)
        self._latest.insert(0, reason)
        if event.seconds >= 1:
            self._wait("trying again", event.seconds, event.message)

    def _wait(self, reason: str, seconds: float | None, message: str = "") -> None:
        until = self._clock() + (float("inf") if seconds is None else seconds)
        if until >= self._until or not self.waiting:
            self._why, self._message, self._until = reason, message, until
