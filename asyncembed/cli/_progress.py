"""What a run looks like while it goes.

On a terminal these are two or three lines, drawn a few times a second and gone at the end. Elsewhere, as in a log file,
under cron or in a notebook, it is a line every ten seconds.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asyncembed.cli._console import plural, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from asyncembed import RunSummary, Usage
    from asyncembed.cli._news import News

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
