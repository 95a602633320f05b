"""One long wait is told once, however many wait."""

from __future__ import annotations

import pytest

from asyncembed import EmbedClient

LONG = 1.0


@pytest.fixture
def told():
    """The seconds of each wait that was told."""
    return []


@pytest.fixture
async def hold(told):
    """What the requests of a run enter when they wait for the rate limit."""
    address = "http://127.0.0.1:9/v1"
    async with (
        EmbedClient(
            "openai", base_url=address, api_key="k", on_event=lambda event: told.append(event.seconds)
        ) as client,
        client.embed_stream(["a"]) as stream,
    ):
        yield stream._run.observer.limit_hold
        told.clear()


@pytest.mark.parametrize(("seconds", "is_told"), [(0.1, False), (LONG, False), (LONG + 0.01, True), (None, True)])
def test_only_what_is_long_or_not_known_is_told(hold, told, seconds, is_told):
    with hold:
        hold.begins(seconds)
    assert told == [seconds] * is_told


def test_who_comes_to_wait_as_well_is_not_told_of(hold, told):
    with hold:
        hold.begins(2)
        for _ in range(3):
            with hold:
                hold.begins(5)
        hold.begins(7)  # as it was put off
    assert told == [2]


def test_the_next_wait_is_told_again(hold, told):
    for seconds in (2, 3):
        with hold, hold:
            hold.begins(seconds)
    assert told == [2, 3]


def test_a_short_wait_that_becomes_long_is_told(hold, told):
    with hold:
        for seconds in (0.5, 4, 8):
            hold.begins(seconds)
    assert told == [4]


def test_it_ends_for_who_is_cancelled_too(hold, told):
    def wait():
        with hold:
            hold.begins(2)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            wait()
    assert told == [2, 2]
