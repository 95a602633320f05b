"""What the progress display looks like at the usual widths."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from asyncembed import EndpointPaused, RequestEnded, RequestsThrottled, RetryScheduled, RunSummary, Usage
from asyncembed.cli._progress import EventTracker, ProgressLog, Total, can_draw, duration, latency, progress, render

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


NAMES = {"provider": "openai", "model": "m", "run": "r"}
DOWN = {**NAMES, "error": "ServerError", "message": "openai answered 503: loading", "status": 503}
SLOW = {**NAMES, "error": "EmbedTimeoutError", "message": "no response within 120 s"}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def retried(**reason) -> RetryScheduled:
    return RetryScheduled(attempt=1, indices=(0,), seconds=0.1, **(reason or DOWN))


def drawn(
    summary: RunSummary,
    total: int | None,
    width: int,
    news: EventTracker | None = None,
    *,
    encoding: str = "utf-8",
    **state: bool,
) -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(render(summary, total, news or EventTracker(), **state))
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_two_lines_that_fit(width):
    bar, details = drawn(BUSY, 10_000_000, width)
    assert cell_len(bar) <= width
    assert bar.endswith("1,234,577 of 10,000,000  12%  47:20 left")
    assert cell_len(details) <= width
    assert details.startswith("10 failed · 12 retries · 3,086 texts/s · 32 in flight · memory 123/256 MB")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_what_went_wrong_is_never_cut(width):
    """How many failed, how many requests were repeated, and why."""
    news = EventTracker()
    for _ in range(12):
        news(retried())
    _, details = drawn(replace(BUSY, failed=1_234_567), 10_000_000, width, news)
    assert cell_len(details) <= width
    assert details.startswith("1,234,567 failed · 12 retries (503 x12)"[: width - 1])
    assert details.rstrip().endswith((" tokens", "…"))


def test_the_latest_reasons_of_retries_are_shown():
    """With how often each was met."""
    news = EventTracker()
    for reason in (DOWN, {**DOWN, "status": 429}, SLOW, SLOW, {**DOWN, "status": 429}):
        news(retried(**reason))
    assert news.reasons == "429 x2, time-out x2"
    assert "12 retries (429 x2, time-out x2)" in drawn(BUSY, None, 80, news)[1]
    assert drawn(RunSummary(), None, 80, news)[1].startswith("retrying (429 x2, time-out x2)")


def test_a_wait_is_shown_with_its_reason_and_its_end():
    """In a line of its own, until it is over."""
    clock = Clock()
    news = EventTracker(clock)
    assert len(drawn(BUSY, None, 80, news)) == 2
    news(EndpointPaused(seconds=30.0, again=False, **DOWN))
    clock.now += 10
    assert drawn(BUSY, None, 80, news)[2] == "the API asks to wait, 20 s left: openai answered 503: loading"
    news(RequestsThrottled(reason="rate_limit", seconds=1.0, **NAMES))  # is over earlier
    news(ended())  # of a request that was in flight
    assert news.waiting.startswith("the API asks to wait")
    clock.now += 21
    assert news.waiting == ""
    news(RequestsThrottled(reason="outage", seconds=None, **DOWN))
    assert news.waiting == "the API is down: openai answered 503: loading"
    news(ended())
    assert news.waiting == ""


def ended() -> RequestEnded:
    return RequestEnded(
        request=1,
        attempt=1,
        inputs=1,
        vectors=1,
        tokens=1,
        bytes_received=1,
        seconds=1.0,
        seconds_to_headers=1.0,
        seconds_to_first_vector=1.0,
        **NAMES,
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_words_of_an_api_at_another_address_are_not_cut(width):
    """They come after its address, which fills most of a line of 80 columns."""
    news = EventTracker(Clock())
    said = "openai at https://llm.example.com:8443/gateway/v1/embeddings answered 503: the model is being loaded"
    news(EndpointPaused(seconds=30.0, again=False, **{**DOWN, "message": said}))
    lines = drawn(BUSY, None, width, news)
    assert all(cell_len(line) <= width for line in lines)
    assert " ".join(map(str.strip, lines[2:])) == f"the API asks to wait, 30 s left: {said}"


@pytest.mark.parametrize("width", [80, 120])
def test_truncated_texts_are_counted(width):
    _, details = drawn(replace(BUSY, failed=0, retries=0, truncated=321), None, width)
    assert details.startswith("3,086 texts/s · 321 truncated · 32 in flight")


@pytest.mark.parametrize("width", [80, 120])
def test_what_cost_nothing_and_latencies_are_shown_where_there_is_room(width):
    """Latencies come last, as nothing has to be done about them."""
    news = EventTracker()
    for seconds in (0.2, 0.2, 0.2, 3.0):
        news(replace(ended(), seconds=seconds))
    unpaid = replace(BUSY, failed=0, retries=0, cached=54_321, duplicates=678)
    _, details = drawn(unpaid, None, width, news)
    whole = "3,086 texts/s · 54.3k cached · 678 equal · 32 in flight · memory 123/256 MB · 98.8M tokens"
    whole += " · p50 200 ms · p99 3 s"
    assert details.rstrip() == (whole if width == 120 else whole[:79] + "…")


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk"])
def test_a_console_without_our_characters(width, encoding):
    """Gets others."""
    clock = Clock()
    news = EventTracker(clock)
    news(EndpointPaused(seconds=30.0, again=False, **{**DOWN, "message": "the model is being loaded " * 20}))
    lines = drawn(BUSY, 10_000_000, width, news, encoding=encoding)
    assert all(line.isascii() and cell_len(line) <= width for line in lines)
    assert lines[1].startswith("10 failed, 12 retries, 3,086 texts/s")
    assert len(lines) == 5
    assert lines[4].endswith("...")


def test_a_run_that_stops_says_so():
    """Where there is room for it."""
    lines = drawn(BUSY, 10_000_000, 80, is_stopping=True)
    assert lines[0].endswith(" 1,234,577 done")
    assert lines[2] == "stopping: waiting for requests in flight; press Ctrl-C again to stop at once"


def test_off_a_terminal_there_is_a_line_every_ten_seconds():
    """And none between them."""
    clock, said = Clock(), []
    lines = ProgressLog(said.append, clock)
    news = EventTracker(clock)
    for _ in range(300):
        clock.now += 0.1
        lines.update(BUSY, 10_000_000, news)
    start = "1,234,577 of 10,000,000, 12%, 47:20 left, 10 failed, 12 retries, 3,086 texts/s, 32 in flight, "
    assert said == [f"{start}memory 123/256 MB, 98.8M tokens"] * len(said)
    assert 2 <= len(said) <= 3
    news(retried())
    news(EndpointPaused(seconds=30.0, again=False, **DOWN))
    clock.now += 10
    lines.update(BUSY, None, news)
    assert said[-1].startswith("1,234,577 texts, 10 failed, 12 retries (503), 3,086 texts/s")
    assert said[-1].endswith("; the API asks to wait, 20 s left: openai answered 503: loading")
    clock.now += 10
    lines.update(BUSY, None, news, is_stopping=True)
    assert said[-1].endswith("; stopping: waiting for requests in flight; press Ctrl-C again to stop at once")


@pytest.mark.parametrize(
    ("terminal", "variables", "draws"),
    [
        (True, {"TERM": "xterm-256color"}, True),
        (False, {"TERM": "xterm-256color"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm-color", "JPY_PARENT_PID": "7"}, False),
    ],
    ids=["terminal", "file", "dumb terminal", "notebook"],
)
def test_lines_are_drawn_over_only_where_that_works(monkeypatch, terminal, variables, draws):
    """A notebook runs commands on a terminal of its own, whose output it keeps frame by frame."""
    for name in ("TERM", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, color_system=None)
    assert can_draw(console) is draws
    with progress(console, lambda: BUSY, Total(10), lambda: False, EventTracker()):
        pass
    assert bool(file.getvalue()) is draws


def test_without_a_total_there_is_no_time_left():
    bar, _ = drawn(BUSY, None, 80)
    assert bar.endswith(" 1,234,577 texts")
    assert "left" not in bar


def test_the_beginning_is_no_special_case():
    bar, details = drawn(RunSummary(), 10, 80)
    assert bar.endswith(" 0 of 10")
    assert details.startswith("0 texts/s · 0 in flight")
    assert "failed" not in details


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3_599, "59:59"), (36_061, "10:01:01")]
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0004, "0 ms"), (0.0834, "83 ms"), (0.199, "200 ms"), (0.997, "1 s"), (1.24, "1.2 s"), (123.0, "120 s")],
)
def test_latencies(seconds, shown):
    assert latency(seconds) == shown
