"""Every refusal that a service is known for, and what is to come of it: the table behind the matrix of blame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncembed import (
    APIStatusError,
    AuthenticationError,
    ModelNotFoundError,
    QuotaExceededError,
    ResponseError,
    ServerError,
    Timeouts,
)
from asyncembed.testing.faults import KNOWN_ERRORS, NoAnswer, ServiceError
from support.blame import BAD, CONCURRENCY, LONG, Cell, Situation
from support.blame_outcomes import (
    AsksForFloats,
    AsksForLess,
    EndsTheRun,
    LosesOneText,
    TriesAgain,
)
from support.services import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncembed import AsyncEmbedError
    from asyncembed.testing import Exchange, KnownError
    from support.blame import WireName

_ENDS: Final[Mapping[str, type[AsyncEmbedError]]] = {
    "key": AuthenticationError,
    "model": ModelNotFoundError,
    "quota": QuotaExceededError,
    "option": APIStatusError,
    "address": APIStatusError,
}
_OF_STATUS: Final[Mapping[int, type[AsyncEmbedError]]] = {
    200: ResponseError,
    401: AuthenticationError,
    403: AuthenticationError,
}
"""What the status says where the words do not."""
_LIMITS: Final = {"many texts": 10, "many tokens": 300, "many bytes": 1_600, "slow": 10}
"""Less than a half of a usual request, and more than a quarter."""
_BUSY_REQUESTS: Final = 3
_UNTIL_BLOCKED: Final = frozenset({401, 403, 406})
"""Statuses that speak of one text only when others have been taken before."""


def _is_bad(text: str) -> bool:
    return text == BAD


@dataclass(frozen=True)
class Silent:
    """Accepts requests of more than `most` texts and never answers."""

    most: int
    from_request: int

    def applies(self, exchange: Exchange) -> bool:
        return exchange.entry.number >= self.from_request and len(exchange.request.texts) > self.most

    async def __call__(self, exchange: Exchange) -> None:
        await NoAnswer()(exchange)


@dataclass(frozen=True)
class NullVector:
    """Answers with null in the place of one text's vector."""

    from_request: int

    def applies(self, exchange: Exchange) -> bool:
        return BAD in exchange.request.texts

    async def __call__(self, exchange: Exchange) -> None:
        for item in exchange.answer.items:
            if item.text == BAD:
                item.values, item.is_right = dict.fromkeys(item.values), False
        await exchange.deliver()


def _wires(known: KnownError) -> tuple[WireName, ...]:
    if known.service == "cohere":
        return ("cohere", "cohere-v1")
    is_of_any_gateway = isinstance(known.body, str) and known.meaning != "base64"
    return ("openai", "cohere") if is_of_any_gateway else ("openai",)


def _rule(known: KnownError, start: int) -> ServiceError:
    fault = fault_of(
        known,
        from_request=start,
        only=_is_bad if known.meaning == "bad text" else None,
        most=_LIMITS.get(known.meaning),
    )
    if known.meaning in {"long text", "bad text"}:
        return replace(fault, from_request=0)
    if known.meaning == "busy":
        return replace(fault, until_request=start + _BUSY_REQUESTS, attempts=1)
    return fault


def _errors(known: KnownError) -> tuple[type[AsyncEmbedError], ...]:
    """How the run may end: as the words say, or else as the status does, or plainly."""
    usual = _ENDS[known.meaning]
    if known.is_told and usual is not APIStatusError:
        return (usual,)
    of_status = _OF_STATUS.get(known.status, ServerError if known.status >= 500 else APIStatusError)
    return tuple(dict.fromkeys((usual, APIStatusError, of_status)))


def _situation(known: KnownError) -> Situation:
    about = partial(Situation, known.name, rule=partial(_rule, known), wires=_wires(known))
    if known.meaning in _ENDS:
        is_first_only = known.service == "open webui"
        moments = ("first",) if is_first_only else ("first", "midway")
        return about(EndsTheRun(_errors(known), known.status), is_own=False, moments=moments)
    if known.meaning in {"long text", "bad text"}:
        outcome = LosesOneText.of(known.status, is_named=known.names_position)
        is_blocked = known.status in _UNTIL_BLOCKED
        return about(
            outcome,
            bad_text=LONG if known.meaning == "long text" else BAD,
            moments=("midway",) if is_blocked else ("first", "midway"),
        )
    if known.meaning in _LIMITS:
        return about(AsksForLess(), concurrency=1 if known.meaning == "slow" else CONCURRENCY)
    if known.meaning == "base64":
        return about(AsksForFloats(), concurrency=1)
    return about(TriesAgain())


def _strays() -> Iterator[Situation]:
    """One replica behind a balancer has another key, or has not loaded the model: one answer among good ones."""
    for service, meaning in (("openai", "key"), ("vllm", "model"), ("vllm", "address"), ("nginx", "key")):
        rule = ServiceError(service=service, meaning=meaning, attempts=1)
        yield Situation(
            f"stray {meaning} {rule.known.status} {service}",
            TriesAgain(),
            lambda start, rule=rule: replace(rule, from_request=start, until_request=start + 1),
            moments=("midway",),
        )


def _others() -> Iterator[Situation]:
    yield Situation(
        "slow without an answer",
        AsksForLess(),
        lambda start: Silent(_LIMITS["slow"], start),
        wires=("openai", "cohere"),
        concurrency=1,
        timeouts=Timeouts(connect=20, first_byte=0.3, read=20),
    )
    yield Situation(
        "bad text 200 null vector",
        LosesOneText.of(200, is_named=False),
        NullVector,
        bad_text=BAD,
        wires=("openai", "cohere"),
    )


NOT_TOLD_APART: Final = {
    # Pages of HTML with status 200: one that blames a text, and one that says that the address is wrong, look like any
    # other answer that breaks.
    "bad text 200 big-ip",
    "bad text 200 imperva",
    "address 200 open webui",
    # The words of the service behind it stand in a field of their own, as JSON in a string.
    "long text 400 openrouter",
}
"""What the client does not tell apart from other failures yet."""

SITUATIONS: Final = {
    situation.name: situation
    for situation in (*map(_situation, KNOWN_ERRORS), *_others(), *_strays())
    if situation.name not in NOT_TOLD_APART
}


def ways(situation: Situation) -> list[Cell]:
    """All cells of a situation."""
    return [
        Cell(situation, moment, on_error, wire)
        for wire in situation.wires
        for moment in situation.moments
        for on_error in ("raise", "yield", "skip")
    ]
