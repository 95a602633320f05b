"""One long wait is reported once, however many requests wait."""

from __future__ import annotations

import pytest

from asyncembed import EmbedClient

LONG_WAIT = 1.0


@pytest.fixture
def reported():
    """The seconds of each wait that was told."""
    return []


@pytest.fixture
async def notice(reported):
    """What the requests of a run enter when they wait for the rate limit."""
    address = "http://127.0.0.1:9/v1"
    async with (
        EmbedClient(
            "openai", base_url=address, api_key="k", on_event=lambda event: reported.append(event.seconds)
        ) as client,
        client.embed_stream(["a"]) as stream,
    ):
        yield stream._run.observer.rate_limit_notice
        reported.clear()


@pytest.mark.parametrize(
    ("seconds", "is_reported"), [(0.1, False), (LONG_WAIT, False), (LONG_WAIT + 0.01, True), (None, True)]
)
def test_only_what_is_long_or_not_known_is_reported(notice, reported, seconds, is_reported):
    with notice:
        notice.starts(seconds)
    assert reported == [seconds] * is_reported


def test_a_request_that_joins_the_wait_is_not_reported(notice, reported):
    with notice:
        notice.starts(2)
        for _ in range(3):
            with notice:
                notice.starts(5)
        notice.starts(7)  # the wait was extended
    assert reported == [2]


def test_the_next_wait_is_reported_again(notice, reported):
    for seconds in (2, 3):
        with notice, notice:
            notice.starts(seconds)
    assert reported == [2, 3]


def test_a_short_wait_that_becomes_long_is_reported(notice, reported):
    with notice:
        for seconds in (0.5, 4, 8):
            notice.starts(seconds)
    assert reported == [4]


def test_a_cancelled_wait_ends_too(notice, reported):
    def wait():
        with notice:
            notice.starts(2)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            wait()
    assert reported == [2, 2]
