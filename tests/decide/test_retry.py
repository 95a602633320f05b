"""Retries: which errors, after how long, how often; and one pause for everybody."""

from __future__ import annotations

import pytest

from asyncembed import (
    APIStatusError,
    AsyncEmbedError,
    ConfigurationError,
    InvalidInputError,
    QuotaExceededError,
    RateLimitError,
    ResponseError,
    RetryPolicy,
    ServerError,
    StreamClosedError,
    TransportError,
)
from asyncembed._decide import Backoff, is_overload, is_retryable

BUSY = ServerError("busy", status=503)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def backoff(clock: Clock | None = None, draw: float = 0.5, **policy: float) -> Backoff:
    return Backoff(RetryPolicy(**policy), clock or Clock(), lambda: draw)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 507, 520, 529, 599])
def test_statuses_that_may_go_well_later(status):
    """The SDKs' own, and every 5xx but two."""
    assert is_retryable(APIStatusError("x", status=status))


@pytest.mark.parametrize("status", [0, 302, 400, 401, 402, 403, 404, 413, 422, 498, 499, 501, 505, 600])
def test_statuses_that_never_will(status):
    """The request is wrong, or nobody knows it."""
    assert not is_retryable(APIStatusError("x", status=status))


def test_other_errors_say_themselves():
    """A quota that is used up is no matter of time."""
    assert not is_retryable(QuotaExceededError("x", status=429))
    assert not is_retryable(InvalidInputError("x", status=500))
    for retryable in (True, False):
        assert is_retryable(TransportError("x", retryable=retryable)) is retryable
        assert is_retryable(ResponseError("x", retryable=retryable)) is retryable
    for error in (AsyncEmbedError("x"), ConfigurationError("x"), StreamClosedError("x")):
        assert not is_retryable(error)


def test_which_errors_are_overload():
    """Those that fewer requests at once would cure."""
    assert [status for status in range(600) if is_overload(APIStatusError("x", status=status))] == [429, 503, 529]
    assert not is_overload(TransportError("x"))


def test_waits_double_up_to_a_limit_and_are_drawn():
    """Full jitter: from nothing up to the ceiling."""
    tries = backoff(initial_backoff=0.5, max_backoff=3.0, max_attempts=9, draw=1.0)
    assert [tries.next_delay(BUSY) for _ in range(6)] == [0.5, 1, 2, 3, 3, 3]
    assert backoff(draw=0.0).next_delay(BUSY) == 0
    assert backoff(draw=0.25, initial_backoff=2).next_delay(BUSY) == 0.5


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_counted(attempts):
    """The first included."""
    tries = backoff(max_attempts=attempts)
    waits = [tries.next_delay(BUSY) for _ in range(attempts)]
    assert [wait is None for wait in waits] == [False] * (attempts - 1) + [True]


def test_progress_starts_the_count_again():
    """And the waits, and the time."""
    clock = Clock()
    tries = backoff(clock, max_attempts=3, initial_backoff=1, max_elapsed=10, draw=1.0)
    for _ in range(5):
        assert [tries.next_delay(BUSY), tries.next_delay(BUSY)] == [1, 2]
        tries.progressed()
        clock.now += 100
    assert [tries.next_delay(BUSY) for _ in range(3)] == [1, 2, None]


def test_no_attempt_begins_after_the_last_moment():
    """Counted from the first failure, the wait included."""
    clock = Clock()
    tries = backoff(clock, max_attempts=99, initial_backoff=4, max_backoff=4, max_elapsed=10, draw=1.0)
    assert tries.next_delay(BUSY) == 4
    clock.now += 4
    assert tries.next_delay(BUSY) == 4
    clock.now += 2
    assert tries.next_delay(BUSY) == 4
    clock.now += 0.001
    assert tries.next_delay(BUSY) is None


@pytest.mark.parametrize(
    ("asked", "draw", "expected"), [(5, 0.0, 5), (5, 1.0, 5.5), (0, 0.0, 0), (0.2, 0.5, 0.45), (86_400, 0.0, 60)]
)
def test_the_wait_an_api_asks_for_is_kept(asked, draw, expected):
    """Never earlier, a little later, and not for a day."""
    error = RateLimitError("x", status=429, retry_after=asked)
    assert backoff(draw=draw).next_delay(error) == pytest.approx(expected)


AZURE = (
    "Requests to the Embeddings_Create Operation have exceeded the call rate limit of your tier. Please retry after "
    "86400 seconds. Please go here: https://aka.ms/oai/quotaincrease to increase the default rate limit."
)


def too_long(words: str = AZURE, seconds: float = 86_400, kind: type[APIStatusError] = RateLimitError):
    return kind("x", status=429 if kind is RateLimitError else 503, retry_after=seconds, provider_message=words)


@pytest.mark.parametrize("kind", [RateLimitError, ServerError])
def test_a_wait_of_a_day_is_believed_the_second_time(kind):
    """Azure says it now and then, and takes the next request."""
    tries = backoff(draw=0.0)
    assert tries.next_delay(too_long(kind=kind)) == 60
    assert not tries.is_hopeless
    assert tries.next_delay(too_long(kind=kind)) is None
    assert tries.is_hopeless
    assert "2 attempts" in tries.describe()
    assert "longer than max_elapsed" in tries.describe()


def test_other_errors_between_do_not_matter_and_progress_does():
    """What was delivered shows that a day was not meant."""
    tries = backoff(draw=0.0)
    assert tries.next_delay(too_long()) == 60
    tries.progressed()
    assert tries.next_delay(too_long()) == 60
    assert tries.next_delay(BUSY) == 0
    assert tries.next_delay(too_long(seconds=601)) is None
    assert tries.is_hopeless


@pytest.mark.parametrize(
    "words",
    ["100 requests per day", "the daily limit is reached", "Quota exceeded", "1000 API calls / month", "free-per-day",
     "monthly credits are used up", "your quota is used up"],
)  # fmt: skip
def test_a_wait_of_a_day_that_is_explained_is_believed_at_once(words):
    """The words name a day or a quota."""
    tries = backoff(draw=0.0)
    assert tries.next_delay(too_long(words)) is None
    assert tries.is_hopeless
    assert "longer than max_elapsed" in tries.describe()


def test_a_short_wait_is_kept_whatever_the_words():
    """Google speaks of quotas when it means a minute."""
    tries = backoff(draw=0.0)
    for _ in range(3):
        assert tries.next_delay(too_long("You exceeded your current quota", 5)) == 5
    assert tries.next_delay(too_long("You exceeded your current quota", 600)) == 60
    assert not tries.is_hopeless


def test_attempts_that_are_used_up_are_not_hopeless():
    """Another batch may go well."""
    tries = backoff(max_attempts=1)
    assert tries.next_delay(too_long()) is None
    assert not tries.is_hopeless
    assert tries.describe() == ""


def test_an_asked_wait_beyond_the_last_moment_ends_it():
    """Then there is no use in waiting."""
    tries = backoff(max_elapsed=30)
    assert tries.next_delay(RateLimitError("x", status=429, retry_after=59)) is None


def test_thousands_of_attempts_are_allowed():
    """For those who want to wait all night."""
    tries = backoff(max_attempts=5_000, initial_backoff=0.001, max_backoff=0.01, max_elapsed=1e9)
    assert all(wait <= 0.01 for wait in (tries.next_delay(BUSY) for _ in range(2_000)))


def test_the_default_draw_is_random():
    """Not everybody comes back at the same moment."""
    waits = {Backoff(RetryPolicy()).next_delay(BUSY) for _ in range(20)}
    assert len(waits) > 1
    assert all(0 <= wait <= 0.5 for wait in waits)
