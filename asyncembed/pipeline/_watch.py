"""One request as it is seen from outside: when it went out, what came of it, and when."""

from __future__ import annotations

import time
from logging import DEBUG
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Literal, Self

    from asyncembed.pipeline._blocks import BlockDelivery
    from asyncembed.pipeline._delivery import ResultDelivery
    from asyncembed.pipeline._observer import Observer
    from asyncembed.wire._body import Response
    from asyncembed.wire._parser import ResponseParser


class Watch:
    """Entered while a request runs. If nobody listens when it starts, it looks at no clock and makes no event.

    Args:
        observer: Whom to tell.
        number: The number of the request.
        delivery: The books of the batch.
        texts: The texts of the request.
        server: Name and port of where it goes.
        encoding: How the vectors are to travel.
    """

    __slots__ = (
        "_before",
        "_began",
        "_observer",
        "_parser",
        "_response",
        "delivery",
        "encoding",
        "number",
        "server",
        "texts",
        "to_first",
        "to_headers",
        "tokens",
    )

    def __init__(
        self,
        observer: Observer,
        number: int,
        delivery: ResultDelivery | BlockDelivery,
        texts: Sequence[str],
        *,
        server: tuple[str | None, int | None],
        encoding: Literal["base64", "float"],
    ) -> None:
        self._observer = observer
        self.number = number
        self.delivery = delivery
        self.texts = texts
        self.server = server
        self.encoding = encoding
        self._began: float | None = None  # as long as nobody listens; the rest is not even set then

    def __enter__(self) -> Self:
        if self._observer.listens(DEBUG):
            self._before = self.delivery.count_missing
            self._response: Response | None = None
            self._parser: ResponseParser[Any] | None = None
            self.to_headers: float | None = None
            self.to_first: float | None = None
            self.tokens: int | None = None
            self._observer.teller.request_started(self)
            self._began = time.monotonic()
        return self

    @property
    def arrived(self) -> int:
        """Vectors that the request has brought."""
        return self._before - self.delivery.count_missing

    @property
    def bytes_received(self) -> int:
        """Bytes of the body that were read."""
        return self._response.bytes_received if self._response else 0

    def opened(self, response: Response, parser: ResponseParser[Any]) -> None:
        """Note that the headers of an answer have come, and what its body will be read by."""
        if self._began is not None:
            self._response, self._parser = response, parser
            self.to_headers = time.monotonic() - self._began

    def progressed(self) -> None:
        """Note that something of the body was read."""
        if self._began is not None and self.to_first is None and self._parser and self._parser.count:
            self.to_first = time.monotonic() - self._began

    def billed(self, tokens: int | None) -> None:
        """Note what the API says it billed, as far as that is believed."""
        if self._began is not None:
            self.tokens = tokens

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._observer.note(error, self.texts)
        if self._began is not None:
            self.progressed()
            self._observer.teller.request_ended(self, error, time.monotonic() - self._began)
