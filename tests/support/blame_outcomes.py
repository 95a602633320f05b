"""What is to come of a refusal, by who is to blame for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import TYPE_CHECKING

from asyncembed import APIStatusError, InvalidInputError, ResponseError
from support.blame import BATCHES, CHUNK

if TYPE_CHECKING:
    from asyncembed import AsyncEmbedError
    from support.blame import BlameMeeting

MORE_AFTER_A_FAULT = 8
"""Requests that may follow those in flight when every request is refused."""
OK = 200
FULL_ATTEMPTS = 2
"""Attempts more at a request that fails with a status that often passes, before its texts are looked into."""
PASSING = frozenset({OK, 408, 409, 425, 429, *range(500, 600)})
"""Statuses of errors that often pass; 200 is the status of a response that cannot be read."""


def bisection(count: int) -> int:
    """Return the maximum number of additional requests to find one text among `count`."""
    return 2 * ceil(log2(count)) + 1


@dataclass(frozen=True)
class EndsTheRun:
    """The request or the account is to blame: the run ends with one of these errors, and no text fails."""

    errors: tuple[type[AsyncEmbedError], ...]
    status: int

    def __str__(self) -> str:
        return f"{' or '.join(error.__name__ for error in self.errors)}, no text blamed"

    def check(self, meeting: BlameMeeting) -> None:
        in_flight = meeting.cell.situation.concurrency
        assert len(meeting.refused) <= in_flight + MORE_AFTER_A_FAULT
        assert not meeting.failures
        assert meeting.summary.failed == 0
        assert type(meeting.error) in self.errors
        assert "texts[" not in str(meeting.error)
        if isinstance(meeting.error, APIStatusError) and self.status != OK:
            assert meeting.error.status == self.status
        meeting.check_first_arrived()


@dataclass(frozen=True)
class LosesOneText:
    """One text is to blame: only it fails, with at most `extra` additional requests."""

    extra: int
    errors: tuple[type[AsyncEmbedError], ...] = (InvalidInputError,)

    @classmethod
    def of(cls, status: int, *, is_named: bool) -> LosesOneText:
        """What such an answer is to cost; a response that cannot be read is an error of the response."""
        extra = (1 if is_named else bisection(CHUNK)) + FULL_ATTEMPTS * (status in PASSING)
        return cls(extra, (InvalidInputError, ResponseError) if status == OK else (InvalidInputError,))

    def __str__(self) -> str:
        return f"that text fails; requests more: at most {self.extra}"

    def check(self, meeting: BlameMeeting) -> None:
        self._check_errors(meeting)
        assert meeting.requests - BATCHES <= self.extra
        if meeting.cell.on_error == "raise":
            meeting.check_first_arrived()
        else:
            assert meeting.error is None
            assert meeting.arrived == set(range(CHUNK * BATCHES)) - {meeting.cell.bad_index}

    def _check_errors(self, meeting: BlameMeeting) -> None:
        errors = {
            "raise": [meeting.error],
            "yield": [failure.error for failure in meeting.failures],
            "skip": [meeting.summary.failure],
        }[meeting.cell.on_error]
        assert meeting.summary.failed == (meeting.cell.on_error != "raise")
        assert [type(error) in self.errors for error in errors] == [True]
        assert [error.indices for error in errors] == [(meeting.cell.bad_index,)]


@dataclass(frozen=True)
class AsksForLess:
    """The size is to blame, or the time that it takes: all texts arrive, and no request of that size is sent again."""

    def __str__(self) -> str:
        return "all arrive, no request of that size again"

    def check(self, meeting: BlameMeeting) -> None:
        meeting.check_all_arrived()
        assert meeting.refused
        in_flight = meeting.cell.situation.concurrency - 1
        for refused in meeting.refused:
            after = meeting.ledger.entries[refused.number + in_flight + 1 :]
            assert max(len(entry.texts) for entry in after) < len(refused.texts)
        assert {entry.reply for entry in meeting.later} == {"right"}


@dataclass(frozen=True)
class AsksForFloats:
    """The encoding is to blame: base64 is asked for once more at most, and never again."""

    def __str__(self) -> str:
        return "all arrive as floats, 1 request more"

    def check(self, meeting: BlameMeeting) -> None:
        meeting.check_all_arrived()
        assert len(meeting.refused) == 1
        assert meeting.requests == BATCHES + 1
        after = meeting.ledger.entries[meeting.refused[0].number + 1 :]
        assert {entry.kinds for entry in after} == {("float",)}


@dataclass(frozen=True)
class TriesAgain:
    """The server is to blame, for a while: the same requests come again, and all texts arrive."""

    def __str__(self) -> str:
        return "all arrive; the same requests again"

    def check(self, meeting: BlameMeeting) -> None:
        meeting.check_all_arrived()
        assert meeting.refused
        # A harmless text may be asked for as well, if the server fails before it has taken anything.
        assert 0 <= meeting.requests - BATCHES - len(meeting.refused) <= 1
        assert {CHUNK} <= {len(entry.texts) for entry in meeting.entries} <= {CHUNK, 1}
        answered = [entry.texts for entry in meeting.entries if entry.reply == "right"]
        assert all(entry.texts in answered for entry in meeting.refused)
