"""What a run looks like while it goes: two lines on a terminal, drawn a few times a second and gone at the end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asyncembed.cli._console import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, RenderableType

    from asyncembed import RunSummary, Usage

FRAMES_PER_SECOND: Final = 5


@dataclass(slots=True)
class Total:
    """How many texts there are, once that is known."""

    texts: int | None = None


@contextmanager
def progress(
    console: Console, summary: Callable[[], RunSummary], total: Total, is_stopping: Callable[[], bool]
) -> Iterator[None]:
    """Show how a run stands while this context is open, if `console` is a terminal.

    It is drawn from rich's own thread, so that a slow terminal holds up nothing.
    """
    if not console.is_terminal:
        yield
        return
    with Live(
        get_renderable=lambda: render(summary(), total.texts, is_stopping=is_stopping()),
        console=console,
        refresh_per_second=FRAMES_PER_SECOND,
        transient=True,
    ):
        yield


def render(now: RunSummary, total: int | None, *, is_stopping: bool = False) -> RenderableType:
    """Draw the state of a run: bar, count and time left above, the rest below."""
    settled = now.done + now.failed - now.earlier.failed
    done = now.resumed + settled
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    state = f"{done:,} of {total:,}" if total else plural(done, "text")
    if is_stopping:
        state = f"{done:,} done  stopping: waiting for what is in flight; Ctrl-C ends at once"
    elif total and settled:
        left = max(total - done, 0) * (now.elapsed - now.earlier.seconds) / settled
        state += f"  {min(done / total, 1):.0%}  {duration(left)} left"
    bar.add_row(ProgressBar(total=total, completed=done, pulse=not total), state)
    return Group(bar, Text(_details(now), "dim", no_wrap=True, overflow="ellipsis"))


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


def _details(now: RunSummary) -> str:
    megabyte = 1_000_000
    parts = [
        rate(now),
        f"{now.in_flight} in flight",
        f"memory {now.reserved_bytes / megabyte:.0f}/{now.budget_bytes / megabyte:.0f} MB",
        f"{_short(now.usage.tokens)} tokens",
        plural(now.retries, "retry"),
    ]
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    return " · ".join(parts)


def _short(count: int) -> str:
    for size, suffix in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            return f"{count / (1_000 if suffix == 'k' else size):.1f}{suffix}"
    return f"{count:,}"
