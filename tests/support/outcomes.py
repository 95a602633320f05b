"""What is to come of a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncembed import EmbedFailure
from support.matrix import CHUNK, TEXTS
from support.results import check_plain

if TYPE_CHECKING:
    from asyncembed import AsyncEmbedError
    from support.matrix import Meeting


@dataclass(frozen=True)
class Arrives:
    """All vectors arrive, with `extra` additional requests; `at_most` if splitting decides their number."""

    extra: int = 1
    at_most: bool = False
    needed: int = len(TEXTS) // CHUNK

    def __str__(self) -> str:
        return f"all arrive; requests more: {'at most ' * self.at_most}{self.extra}"

    def check(self, meeting: Meeting) -> None:
        assert meeting.error is None
        assert sorted(meeting.arrived) == list(range(len(TEXTS)))
        extra = meeting.ledger.requests + meeting.row.unseen - self.needed
        assert extra <= self.extra if self.at_most else extra == self.extra


@dataclass(frozen=True)
class Ends:
    """The run ends with an error that names texts of one request, after `attempts` requests for them."""

    error: type[AsyncEmbedError]
    attempts: int = 1
    names_texts: bool = True

    def __str__(self) -> str:
        return f"{self.error.__name__} {f'after {self.attempts} attempts' if self.attempts > 1 else 'at once'}"

    def check(self, meeting: Meeting) -> None:
        assert type(meeting.error) is self.error
        check_plain(meeting.error, names_texts=self.names_texts)
        last = meeting.ledger.entries[-1].texts if meeting.ledger.entries else ()
        concerned = [TEXTS[index] for index in meeting.error.indices] or last
        assert 0 < len(concerned) <= CHUNK
        assert {meeting.ledger.asked[text] for text in concerned} == ({self.attempts} if last else {0})
        assert not set(meeting.error.indices) & set(meeting.arrived)


@dataclass(frozen=True)
class Fails:
    """One text fails and all others arrive, with at most `extra` additional requests."""

    index: int
    extra: int
    needed: int = 1

    def __str__(self) -> str:
        return f"text {self.index} fails; requests more: at most {self.extra}"

    def check(self, meeting: Meeting) -> None:
        self._check_error(meeting)
        assert meeting.ledger.requests - self.needed <= self.extra
        expected = set(range(len(TEXTS))) - {self.index}
        how = meeting.row.options.get("on_error", "raise")
        assert set(meeting.arrived) <= expected if how == "raise" else set(meeting.arrived) == expected
        assert meeting.summary.failed == (how != "raise")

    def _check_error(self, meeting: Meeting) -> None:
        failures = [result for result in meeting.results if isinstance(result, EmbedFailure)]
        errors = {
            "raise": [meeting.error],
            "yield": [failure.error for failure in failures],
            "skip": [meeting.summary.failure],
        }[meeting.row.options.get("on_error", "raise")]
        assert [error.indices for error in errors] == [(self.index,)]
        check_plain(errors[0])
