"""A fault that answers like a certain service: with its status, its headers and its form of body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncembed._config import check
from asyncembed.testing._answers import Body, Mark
from asyncembed.testing._vectors import tokens_of
from asyncembed.testing.faults import _known_gateways, _known_requests, _known_servers, _known_texts
from asyncembed.testing.faults._known import OF_ONE_TEXT, OF_SIZE, KnownError
from asyncembed.testing.faults._shapes import Details

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncembed.testing._exchange import Exchange
    from asyncembed.testing.faults._known import Meaning

KNOWN_ERRORS: Final[tuple[KnownError, ...]] = (
    *_known_requests.KEY,
    *_known_requests.MODEL,
    *_known_requests.QUOTA,
    *_known_requests.OPTION,
    *_known_requests.ADDRESS,
    *_known_texts.LONG_TEXT,
    *_known_texts.BAD_TEXT,
    *_known_texts.FIREWALL,
    *_known_texts.MANY_TEXTS,
    *_known_texts.MANY_TOKENS,
    *_known_texts.MANY_BYTES,
    *_known_requests.BASE64,
    *_known_servers.BUSY,
    *_known_servers.SLOW,
    *_known_gateways.BLOCKED,
    *_known_gateways.WAF,
    *_known_gateways.TOO_LARGE,
    *_known_gateways.UNAVAILABLE,
    *_known_gateways.TIMED_OUT,
)
"""Every error that a `ServiceError` can send. Use it to parametrize a test with all or some of them."""

_MAX_TOKENS: Final = 512
"""Maximum number of tokens of a text if a `ServiceError` about long texts does not set `most`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceError:
    """Refuses requests as a certain service does, and answers others correctly.

    The meaning decides which requests are refused: those that hold the text to blame, those that are too large, those
    that ask for base64, and for all other meanings every request. The other options narrow this down.

    Attributes:
        service: The service: "openai", "gemini", "tei", "nginx" ... `KNOWN_ERRORS` has all of them.
        meaning: What is to blame: "key", "model", "quota", "option", "address", "long text", "bad text", "many texts",
            "many tokens", "many bytes", "base64", "busy" or "slow".
        status: HTTP status, if the service has several for this meaning; by default the first in `KNOWN_ERRORS`.
        form: Form of the answer, if the service has several; by default the first in `KNOWN_ERRORS`.
        only: Function that returns whether a text is to blame; only requests with such a text are refused. "bad text"
            needs it. By default, "long text" blames texts of more than `most` tokens.
        most: Maximum number of texts, tokens or bytes of a request, or of tokens of one text. "many texts", "many
            tokens" and "many bytes" need it. For "slow", the number of texts that are not too slow.
        from_request: Number of the first request that may be refused, counted from 0.
        until_request: Number of the first later request that is not refused; None for no end.
        attempts: How often a request with the same body may be refused; None for always.

    Raises:
        ConfigurationError: if no such error is known, or an option is missing.
    """

    service: str
    meaning: Meaning
    status: int | None = None
    form: str | None = None
    only: Callable[[str], bool] | None = None
    most: int | None = None
    from_request: int = 0
    until_request: int | None = None
    attempts: int | None = None

    def __post_init__(self) -> None:
        known = [error for error in KNOWN_ERRORS if self._is_meant(error)]
        of_service = sorted({error.name for error in KNOWN_ERRORS if error.service == self.service})
        services = sorted({error.service for error in KNOWN_ERRORS})
        hint = f"it has {', '.join(of_service)}" if of_service else f"use one of {', '.join(services)}"
        check(bool(known), f"no such error of service {self.service!r} is known; {hint}")
        check(
            self.meaning != "bad text" or self.only is not None,
            "a bad text needs only=, a function that says which texts are bad",
        )
        check(
            self.meaning not in OF_SIZE or self.most is not None, f"{self.meaning!r} needs most=, the maximum allowed"
        )

    @property
    def known(self) -> KnownError:
        """The error that it sends."""
        return next(error for error in KNOWN_ERRORS if self._is_meant(error))

    def applies(self, exchange: Exchange) -> bool:
        """Return whether it refuses the request."""
        number, attempt = exchange.entry.number, exchange.entry.attempt
        is_due = self.from_request <= number and (self.until_request is None or number < self.until_request)
        is_new = self.attempts is None or attempt < self.attempts
        return is_due and is_new and self._blames(exchange)

    async def __call__(self, exchange: Exchange) -> None:
        """Refuse the request, or answer it."""
        if not self.applies(exchange):
            await exchange.deliver()
            return
        known = self.known
        body, kind = known.content(self._details(exchange))
        if known.is_billed:
            await exchange.deliver(Body(body, (Mark(len(body), tokens=exchange.answer.tokens),)))
        else:
            await exchange.say(body, known.status, {"Content-Type": kind, **known.headers})

    def _is_meant(self, error: KnownError) -> bool:
        return (
            (error.service, error.meaning) == (self.service, self.meaning)
            and self.status in {None, error.status}
            and self.form in {None, error.form}
        )

    def _blames(self, exchange: Exchange) -> bool:
        if self.meaning in OF_ONE_TEXT or self.only is not None:
            return self._position(exchange) is not None
        if self.meaning == "base64":
            return "base64" in exchange.request.kinds
        return self.most is None or self._size(exchange) > self.most

    def _position(self, exchange: Exchange) -> int | None:
        is_bad = self.only or self._is_long
        return next((place for place, text in enumerate(exchange.request.texts) if is_bad(text)), None)

    def _is_long(self, text: str) -> bool:
        return self.meaning == "long text" and tokens_of(text) > (self.most or _MAX_TOKENS)

    def _size(self, exchange: Exchange) -> int:
        if self.meaning == "many tokens":
            return exchange.answer.tokens
        return len(exchange.request.body if self.meaning == "many bytes" else exchange.request.texts)

    def _details(self, exchange: Exchange) -> Details:
        request = exchange.request
        position = self._position(exchange) or 0
        text = request.texts[position] if request.texts else ""  # a CONNECT has none
        return Details(
            model=request.model,
            text=text,
            position=position,
            count=len(request.texts),
            tokens=exchange.answer.tokens,
            size=tokens_of(text) if self.meaning in OF_ONE_TEXT else self._size(exchange),
            most=self.most or _MAX_TOKENS,
        )
