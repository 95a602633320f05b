"""One request as it is seen from outside: when it went out, what came of it, and when."""

from __future__ import annotations

import time
from logging import DEBUG
from typing import TYPE_CHECKING, Any

from asyncembed._events import RequestEnded, RequestStarted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Literal, Self

    from asyncembed.pipeline._blocks import BlockDelivery
    from asyncembed.pipeline._delivery import ResultDelivery
    from asyncembed.pipeline._observer import Observer
    from asyncembed.wire._parser import ResponseParser
    from asyncembed.wire._transport import Response


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
        "_delivery",
        "_encoding",
        "_number",
        "_observer",
        "_parser",
        "_response",
        "_server",
        "_texts",
        "_to_first",
        "_to_headers",
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
        self._number = number
        self._delivery = delivery
        self._texts = texts
        self._server = server
        self._encoding = encoding
        self._began: float | None = None  # as long as nobody listens; the rest is not even set then

    def __enter__(self) -> Self:
        if self._observer.listens(DEBUG):
            self._before = self._delivery.count_missing
            self._response: Response | None = None
            self._parser: ResponseParser[Any] | None = None
            self._to_headers: float | None = None
            self._to_first: float | None = None
            self._observer.tell(self._started(), DEBUG)
            self._began = time.monotonic()
        return self

    def opened(self, response: Response, parser: ResponseParser[Any]) -> None:
        """Note that the headers of an answer have come, and what its body will be read by."""
        if self._began is not None:
            self._response, self._parser = response, parser
            self._to_headers = time.monotonic() - self._began

    def progressed(self) -> None:
        """Note that something of the body was read."""
        if self._began is not None and self._to_first is None and self._parser and self._parser.count:
            self._to_first = time.monotonic() - self._began

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._observer.note(error, self._texts)
        if self._began is not None:
            self.progressed()
            self._observer.tell(self._ended(error, time.monotonic() - self._began), DEBUG)

    def _started(self) -> RequestStarted:
        host, port = self._server
        return RequestStarted(
            **self._observer.names,
            request=self._number,
            attempt=self._delivery.attempts,
            indices=self._delivery.missing,
            encoding=self._encoding,
            dimensions=self._observer.options.dimensions,
            host=host,
            port=port,
        )

    def _ended(self, error: BaseException | None, seconds: float) -> RequestEnded:
        return RequestEnded(
            **self._observer.names,
            **self._observer.reason(error),
            request=self._number,
            attempt=self._delivery.attempts,
            inputs=len(self._texts),
            vectors=self._before - self._delivery.count_missing,
            tokens=self._parser.tokens if self._parser else None,
            bytes_received=self._response.bytes_received if self._response else 0,
            seconds=seconds,
            seconds_to_headers=self._to_headers,
            seconds_to_first_vector=self._to_first,
        )
