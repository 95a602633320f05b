"""Who is to blame for a request that failed, and what is done about it. Without I/O.

    the API refuses ─┬─ key, quota, model, option, address ──── the run ends
                     ├─ a text ─┬─ it is named ──────────────── the rest is asked for without it
                     │          └─ it is not ────────────────── halves are asked for until it stands alone
                     ├─ size, time ──────────────────────────── smaller requests, from now on
                     ├─ base64 ──────────────────────────────── floats, from now on
                     ├─ nothing that lasts ──────────────────── the same request again, after a wait
                     └─ it does not tell ────────────────────── a harmless text is asked for with the same options:
                                                                if that is refused too, it is the request; else a text

Three kinds of answers are not believed at once. A 401 or 404 amid good answers may come from one replica, so that the
request is sent once more, unless the answer says that the key was revoked. A 403 amid good answers may come from a
firewall, and a 500 that comes twice, while other requests go well, may be caused by a text. The harmless text decides
there, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from asyncembed._decide.signs import meaning_of
from asyncembed._decide.too_large import read_too_large
from asyncembed._exceptions import (
    APIStatusError,
    EmbedTimeoutError,
    ErrorAnswer,
    ResponseError,
    TransportError,
    answer_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._decide.signs import Meaning, Sign
    from asyncembed._exceptions import AsyncEmbedError


OF_REQUEST: Final[frozenset[Meaning | None]] = frozenset({"key", "quota", "model", "option", "address"})
"""Meanings that concern every request with the same options."""

FAILURES_OF_TEXT: Final = 2
"""Failures in a row with a 5xx after which a text may have caused them."""

_OF_ONE_REPLICA: Final = frozenset({401, 403, 404})
_IS_FOR_GOOD: Final = re.compile(r"\b(revoked|deactivated|suspended|terminated)\b", re.IGNORECASE)  # no replica errs so
_FORBIDDEN: Final = 403
_OVERLOAD: Final = frozenset({429, 529})
_SERVER_ERROR: Final = 500
_BAD_REQUEST: Final = 400


class Step(Enum):
    """What is done after a request that failed."""

    AGAIN = "the same request again, after a wait"
    AT_ONCE = "the same request again, at once, and not counted"
    FLOATS = "floats instead of base64"
    PROBE = "a harmless text with the same options"
    SMALLER = "smaller requests"
    APART = "the texts that are not named"
    HALVES = "halves"
    GIVE_UP = "nothing: the texts fail"
    END = "nothing: the run ends"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done, and why.

    Attributes:
        step: What is done.
        meaning: What is to blame; None if nothing tells.
        named: Positions in the request of the texts that the answer names.
    """

    step: Step
    meaning: Meaning | None = None
    named: tuple[int, ...] = ()


@dataclass(slots=True)
class Case:
    """What is known about texts that were asked for in vain. Parts of a batch begin with what is known of the whole.

    Attributes:
        failures: Attempts in a row that brought nothing.
        accepted: Requests of the run that had gone well when these failures began.
        is_proven: Whether the request was taken with a harmless text, so that a text is to blame.
        is_repeated: Whether the same texts were asked for once more after that.
        is_part: Whether they are a part of a batch that was refused.
        is_unsure: Whether the server failed over these very texts, and may take them when they are asked for again.
        named: Positions that the last refusal named.
    """

    failures: int = 0
    accepted: int = 0
    is_proven: bool = False
    is_repeated: bool = False
    is_part: bool = False
    is_unsure: bool = False
    named: tuple[int, ...] = ()

    def of_part(self) -> Case:
        """Return what is known about a part of the texts."""
        return Case(self.failures, self.accepted, is_proven=self.is_proven, is_part=True)

    def progressed(self) -> None:
        """Note that an attempt brought something."""
        self.failures = 0


class Blame:
    """Decides for the batches of one run.

    Args:
        signs: What the provider says that its errors mean.
        may_probe: Whether a harmless text may be asked for.
        has_worked: Whether requests to the model went well before the run, with the same key.
    """

    def __init__(self, signs: Sequence[Sign], *, may_probe: bool, has_worked: bool = False) -> None:
        self._signs = signs
        self._may_probe = may_probe
        self._has_worked = has_worked
        self.accepted = 0
        """Requests of the run that went well."""
        self._recovered = 0  # requests among them that the server had failed over before

    def taken(self, case: Case) -> None:
        """Note that a request went well."""
        self.accepted += 1
        self._recovered += case.is_unsure
        case.is_unsure = False

    def decide(self, error: AsyncEmbedError, texts: Sequence[str], case: Case, *, wants_base64: bool) -> Verdict:
        """Return what is done about a request that failed.

        Args:
            error: How it failed.
            texts: Its texts.
            case: What is known about them; the failure is noted in it.
            wants_base64: Whether base64 was asked for, and floats may be asked for instead.
        """
        if not case.failures:
            case.accepted = self.accepted
        case.failures += 1
        if isinstance(error, APIStatusError):
            answer = answer_of(error) or ErrorAnswer(status=error.status or 0, provider_message=error.provider_message)
            return self._refused(answer, texts, case, wants_base64=wants_base64)
        if isinstance(error, ResponseError):
            return self._misread(error, texts, case, wants_base64=wants_base64)
        if isinstance(error, EmbedTimeoutError) and error.phase == "answer":
            return Verdict(Step.SMALLER if len(texts) > 1 else Step.AGAIN, "time")
        is_passing = isinstance(error, TransportError) and error.retryable
        return Verdict(Step.AGAIN if is_passing else Step.END, "transient" if is_passing else None)

    def _misread(self, error: ResponseError, texts: Sequence[str], case: Case, *, wants_base64: bool) -> Verdict:
        """Decide about a response with status 200 that does not hold the vectors."""
        if not error.retryable:
            return Verdict(Step.END)
        if error.provider_message:
            answer = ErrorAnswer(status=_BAD_REQUEST, provider_message=error.provider_message, is_api_form=True)
            if meaning := meaning_of(answer, self._signs, texts):
                return self._of(meaning, answer, texts, case, wants_base64=wants_base64)
        elif error.is_empty and wants_base64:
            return Verdict(Step.FLOATS, "encoding")
        return Verdict(Step.AGAIN, "transient")

    def _refused(self, answer: ErrorAnswer, texts: Sequence[str], case: Case, *, wants_base64: bool) -> Verdict:
        meaning = meaning_of(answer, self._signs, texts)
        if meaning is None and answer.status >= _SERVER_ERROR:
            return Verdict(Step.END)
        return self._of(meaning, answer, texts, case, wants_base64=wants_base64)

    def _of(
        self, meaning: Meaning | None, answer: ErrorAnswer, texts: Sequence[str], case: Case, *, wants_base64: bool
    ) -> Verdict:
        if meaning in OF_REQUEST:
            return self._of_request(meaning, answer, texts, case)
        is_one = len(texts) == 1
        verdict: Verdict | None = None
        match meaning:
            case "encoding":
                verdict = Verdict(Step.FLOATS if wants_base64 else Step.END, meaning)
            case "time":
                verdict = Verdict(Step.AGAIN if is_one else Step.SMALLER, meaning)
            case "size":
                excess = read_too_large(answer)
                is_of_text = is_one or (excess is not None and excess.is_of_one_text)
                verdict = self._of_text(texts) if is_of_text else Verdict(Step.SMALLER, meaning)
            case "transient":
                verdict = self._of_failure(answer, texts, case)
            case None if self._may_probe and not case.is_proven:
                verdict = Verdict(Step.PROBE)
        return verdict or self._of_named(answer, texts, case)

    def _of_request(self, meaning: Meaning | None, answer: ErrorAnswer, texts: Sequence[str], case: Case) -> Verdict:
        """The request or the account: all would be refused, unless others were not."""
        is_for_good = _IS_FOR_GOOD.search(answer.provider_message or "")
        is_of_replica = answer.status != _FORBIDDEN
        has_worked = self.accepted or (self._has_worked and is_of_replica)
        if not has_worked or answer.status not in _OF_ONE_REPLICA or is_for_good:
            return Verdict(Step.END, meaning)
        if not is_of_replica and not case.is_proven:  # a firewall refuses texts in these words, too
            return Verdict(Step.PROBE if self._may_probe else Step.END, meaning)
        if not case.is_repeated:
            case.is_repeated = True
            return Verdict(Step.AT_ONCE, meaning)
        return Verdict(Step.END, meaning) if is_of_replica else self._of_text(texts)

    def _of_named(self, answer: ErrorAnswer, texts: Sequence[str], case: Case) -> Verdict:
        """A text: those that are named are set apart, unless the place that is named is no use."""
        named = answer.named(len(texts))
        is_of_use = named and len(named) < len(texts) and named != case.named
        case.named = named
        return Verdict(Step.APART, "text", named) if is_of_use else self._of_text(texts)

    def _of_failure(self, answer: ErrorAnswer, texts: Sequence[str], case: Case) -> Verdict:
        """Nothing that lasts, or a text that the server cannot bear."""
        is_suspect = answer.status >= _SERVER_ERROR and answer.status not in _OVERLOAD
        # A server that has failed and then taken the same texts fails for reasons of its own.
        doubtful_from = FAILURES_OF_TEXT * (1 + self._recovered)
        case.is_unsure |= is_suspect
        if not is_suspect or case.failures < doubtful_from or (len(texts) == 1 and not case.is_part):
            return Verdict(Step.AGAIN, "transient")
        if not case.is_proven and self.accepted == case.accepted:
            is_due = self._may_probe and case.failures == doubtful_from
            return Verdict(Step.PROBE if is_due else Step.AGAIN, "transient")
        if len(texts) == 1 and not case.is_repeated:
            case.is_repeated = True
            return Verdict(Step.AGAIN, "transient")
        return self._of_text(texts)

    @staticmethod
    def _of_text(texts: Sequence[str]) -> Verdict:
        return Verdict(Step.HALVES if len(texts) > 1 else Step.GIVE_UP, "text")


def is_refused_likewise(error: AsyncEmbedError, other: AsyncEmbedError) -> bool:
    """Whether the harmless text was refused as the texts were; a server that fails refuses nothing."""
    if not (isinstance(error, APIStatusError) and isinstance(other, APIStatusError)):
        return False
    if (error.status or 0) >= _SERVER_ERROR:
        return False
    same_words = bool(error.provider_message) and error.provider_message == other.provider_message
    return error.status == other.status or same_words
