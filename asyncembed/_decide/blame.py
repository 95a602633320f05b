"""Decides what caused a failed request, and what to do about it. No I/O.

    the API blames ──┬─ key, quota, model, option, address ──── end the run
                     ├─ a text ─┬─ names it ─────────────────── send the rest without it
                     │          └─ does not name it ─────────── halve the batch until the bad text is alone in a request
                     ├─ size, time ──────────────────────────── send smaller requests from now on
                     ├─ base64 ──────────────────────────────── ask for floats from now on
                     ├─ a transient cause ───────────────────── wait and retry the same request
                     └─ nothing clear ───────────────────────── probe: send a harmless text with the same options;
                                                                if the API refuses it too, the request is wrong,
                                                                otherwise a text is

Four kinds of answers need a second look. A 401 or 404 amid successful requests may come from one bad replica, so the
client repeats the request once, unless the answer says that the key was revoked. A 403 amid successful requests may
come from a firewall, and a 400 in words of an option may be about a text. A 500 that comes twice, while other requests
succeed, may be caused by a text. For the last three, the probe decides.
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
"""Meanings that apply to every request with the same options."""

SHORT_RESPONSES: Final = 3
"""Complete responses with fewer vectors than texts after which requests get smaller."""

FAILURES_OF_TEXT: Final = 2
"""Consecutive 5xx failures after which a text is suspected."""

_OF_TEXT: Final = frozenset({400, 422})
_OF_ONE_REPLICA: Final = frozenset({401, 403, 404})
# A single bad replica does not say these.
_PERMANENT: Final = re.compile(r"\b(revoked|deactivated|suspended|terminated)\b", re.IGNORECASE)
_FORBIDDEN: Final = 403
_OVERLOADED: Final = 529  # unlike 503, which servers also send when they crash
_SERVER_ERROR: Final = 500
_FAILED_DEPENDENCY: Final = 424  # text-embeddings-inference: the model failed, maybe at a text
_BAD_REQUEST: Final = 400


class Step(Enum):
    """The next step after a failed request."""

    AGAIN = "retry the same request after a wait"
    AT_ONCE = "retry the same request at once, without counting it"
    FLOATS = "ask for floats instead of base64"
    PROBE = "send a harmless text with the same options"
    SMALLER = "send smaller requests"
    APART = "send the texts that the answer does not name"
    HALVES = "send the texts in two halves"
    GIVE_UP = "fail the texts"
    END = "end the run"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about a failed request.

    Attributes:
        step: What to do next.
        meaning: What is to blame; None if unknown.
        named: Positions, in the request, of the texts that the answer names.
    """

    step: Step
    meaning: Meaning | None = None
    named: tuple[int, ...] = ()


@dataclass(slots=True)
class Case:
    """What is known about texts whose requests failed. Parts of a batch inherit it from the whole.

    Attributes:
        failures: Consecutive attempts without any result.
        accepted: Successful requests of the run when these failures began.
        is_proven: Whether the probe succeeded, so that a text is to blame.
        is_repeated: Whether the one extra attempt with the same texts has been made.
        is_part: Whether the texts are a part of a refused batch.
        is_unsure: Whether the server failed on exactly these texts and may accept them on a retry.
        short: Complete responses with fewer vectors than texts.
        named: Positions that the last refusal named.
    """

    failures: int = 0
    accepted: int = 0
    is_proven: bool = False
    is_repeated: bool = False
    is_part: bool = False
    is_unsure: bool = False
    short: int = 0
    named: tuple[int, ...] = ()

    def of_part(self) -> Case:
        """Return the case of a part of the texts."""
        return Case(self.failures, self.accepted, is_proven=self.is_proven, is_part=True)

    def progressed(self) -> None:
        """Note that an attempt brought at least one result."""
        self.failures = 0


class Blame:
    """Decides what to do about the failed requests of one run.

    Args:
        signs: The provider's own signs.
        may_probe: Whether the client may send a harmless text.
        has_worked: Whether requests with the same model and key succeeded before the run.
    """

    def __init__(self, signs: Sequence[Sign], *, may_probe: bool, has_worked: bool = False) -> None:
        self._signs = signs
        self._may_probe = may_probe
        self._has_worked = has_worked
        self.accepted = 0
        """Successful requests of the run."""
        self._recovered = 0  # successful requests that the server had failed on before

    def succeeded(self, case: Case) -> None:
        """Note that a request succeeded."""
        self.accepted += 1
        if case.is_unsure:
            self._recovered += 1
            case.is_unsure = False

    def decide(self, error: AsyncEmbedError, texts: Sequence[str], case: Case, *, wants_base64: bool) -> Verdict:
        """Return what to do about a failed request.

        Args:
            error: How it failed.
            texts: Its texts.
            case: What is known about the texts. The method adds this failure to it.
            wants_base64: Whether the request asked for base64 and may ask for floats instead.
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
        """Decide about a response with status 200 but without all vectors."""
        if not error.retryable:
            return Verdict(Step.END)
        if error.provider_message:
            answer = ErrorAnswer(status=_BAD_REQUEST, provider_message=error.provider_message, is_api_form=True)
            if meaning := meaning_of(answer, self._signs, texts):
                return self._of(meaning, answer, texts, case, wants_base64=wants_base64)
        elif error.is_empty and wants_base64:
            return Verdict(Step.FLOATS, "encoding")
        case.short += error.is_short
        if case.short >= SHORT_RESPONSES and len(error.missing) < len(texts):
            return Verdict(Step.SMALLER, "size")  # otherwise, n texts might need n requests
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
            return self._of_request(meaning, answer, case) or self._of_named(answer, texts, case)
        is_one = len(texts) == 1
        verdict: Verdict | None = None
        match meaning:
            case "encoding" if wants_base64:
                verdict = Verdict(Step.FLOATS, meaning)
            case "encoding":
                verdict = self._of_refused_request(meaning, case)
            case "time":
                verdict = Verdict(Step.AGAIN if is_one else Step.SMALLER, meaning)
            case "size":
                excess = read_too_large(answer)
                is_of_text = excess is not None and excess.is_of_one_text
                if is_one and not is_of_text and answer.status >= _SERVER_ERROR:
                    verdict = self._of_failure(answer, texts, case)  # the memory may be free again soon
                else:
                    verdict = self._of_text(texts) if is_one or is_of_text else Verdict(Step.SMALLER, meaning)
            case "transient":
                verdict = self._of_failure(answer, texts, case)
            case None if self._may_probe and not case.is_proven:
                verdict = Verdict(Step.PROBE)
        return verdict or self._of_named(answer, texts, case)

    def _of_request(self, meaning: Meaning | None, answer: ErrorAnswer, case: Case) -> Verdict | None:
        """Decide about a wrong request or account: the API refuses every request, unless some have succeeded.

        Returns:
            None if a text is to blame.
        """
        is_permanent = _PERMANENT.search(answer.provider_message or "")
        is_of_replica = answer.status != _FORBIDDEN
        has_worked = self.accepted or (self._has_worked and is_of_replica)
        if meaning == "option" and answer.status in _OF_TEXT and self.accepted:  # the same words may be about a text
            return self._of_refused_request(meaning, case)
        if not has_worked or answer.status not in _OF_ONE_REPLICA or is_permanent:
            return Verdict(Step.END, meaning)
        if not is_of_replica and not case.is_proven:  # a firewall refuses texts in the same words
            return Verdict(Step.PROBE if self._may_probe else Step.END, meaning)
        if not case.is_repeated:
            case.is_repeated = True
            return Verdict(Step.AT_ONCE, meaning)
        return Verdict(Step.END, meaning) if is_of_replica else None

    def _of_refused_request(self, meaning: Meaning | None, case: Case) -> Verdict | None:
        """Let the probe decide about a refusal that blames the request; None if it has shown that a text is wrong."""
        if case.is_proven:
            return None
        return Verdict(Step.PROBE if self._may_probe and self.accepted else Step.END, meaning)

    def _of_named(self, answer: ErrorAnswer, texts: Sequence[str], case: Case) -> Verdict:
        """Decide about a bad text: separate the named texts if the names help, and bisect otherwise."""
        named = answer.named(len(texts))
        is_useful = named and len(named) < len(texts) and named != case.named
        case.named = named
        return Verdict(Step.APART, "text", named) if is_useful else self._of_text(texts)

    def _of_failure(self, answer: ErrorAnswer, texts: Sequence[str], case: Case) -> Verdict:
        """Decide about a transient failure, which may also come from a text that the server cannot process."""
        is_of_server = answer.status >= _SERVER_ERROR or answer.status == _FAILED_DEPENDENCY
        is_suspect = is_of_server and answer.status != _OVERLOADED
        # If the server has accepted texts that it failed on before, its failures are less likely due to a text.
        suspect_after = FAILURES_OF_TEXT * (1 + self._recovered)
        case.is_unsure |= is_suspect
        if not is_suspect or case.failures < suspect_after or (len(texts) == 1 and not case.is_part):
            return Verdict(Step.AGAIN, "transient")
        if not case.is_proven and self.accepted == case.accepted:
            is_due = self._may_probe and case.failures == suspect_after
            return Verdict(Step.PROBE if is_due else Step.AGAIN, "transient")
        if len(texts) == 1 and not case.is_repeated:
            case.is_repeated = True
            return Verdict(Step.AGAIN, "transient")
        return self._of_text(texts)

    @staticmethod
    def _of_text(texts: Sequence[str]) -> Verdict:
        return Verdict(Step.HALVES if len(texts) > 1 else Step.GIVE_UP, "text")


def is_refused_likewise(error: AsyncEmbedError, other: AsyncEmbedError) -> bool:
    """Whether the API refused the probe for the same reason as the texts. A 5xx is no refusal."""
    same_words = bool(error.provider_message) and error.provider_message == other.provider_message
    if isinstance(error, APIStatusError) and isinstance(other, APIStatusError):
        return (error.status or 0) < _SERVER_ERROR and (error.status == other.status or same_words)
    return isinstance(error, ResponseError) and isinstance(other, ResponseError) and same_words
