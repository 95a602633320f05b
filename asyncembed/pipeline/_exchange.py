"""One request and its response: what arrives is delivered while it arrives, and what was billed is noted."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from asyncembed._errors import ResponseError, TransportError
from asyncembed.flow._tokens import believed
from asyncembed.wire._parser import ResponseParser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncembed._models import EmbedBlock, EmbedResult
    from asyncembed.pipeline._admission import Permit
    from asyncembed.pipeline._blocks import BlockDelivery
    from asyncembed.pipeline._delivery import ResultDelivery
    from asyncembed.pipeline._run import Run
    from asyncembed.pipeline._watch import Watch
    from asyncembed.wire._body import Response
    from asyncembed.wire._transport import Transport


class Exchange:
    """Makes the requests of one batch.

    Args:
        run: The run it belongs to.
        transport: The way to the API.
        delivery: The books of the batch.
        deliver: Hands results over.
        request_bytes: Bytes of its texts in a request.
        is_repeated: Whether its texts were asked for before, in a larger batch.
    """

    def __init__(
        self,
        run: Run,
        transport: Transport,
        delivery: ResultDelivery | BlockDelivery,
        deliver: Callable[[Sequence[EmbedResult | EmbedBlock]], None],
        request_bytes: int,
        *,
        is_repeated: bool = False,
    ) -> None:
        self._run = run
        self._transport = transport
        self._delivery: Any = delivery  # whatever it makes of a vector, it gets from the parser
        self._deliver = deliver
        self._request_bytes = request_bytes
        self._has_asked = is_repeated
        self._count = 0  # texts of the last request
        self._has_ended = False  # its response was read to its end
        self._sent_at = 0.0
        self.seconds_to_headers = 0.0
        """How long the server took to the headers of its last answer."""

    async def ask(self, texts: list[str], encoding: Literal["base64", "float"], permit: Permit) -> None:
        """Ask for texts, with a permit that has begun, and deliver what arrives.

        Raises:
            AsyncEmbedError: if not all of them arrive; what did was delivered before.
        """
        with self._run.observer.request(self._delivery, texts, self._transport, encoding) as watch:
            await self._ask(texts, encoding, permit, watch)

    async def _ask(self, texts: list[str], encoding: Literal["base64", "float"], permit: Permit, watch: Watch) -> None:
        run, delivery = self._run, self._delivery
        parser = ResponseParser(
            run.endpoint.provider.layout(run.options, encoding),
            delivery.decode,
            run.cost.largest_value(self._request_bytes),
            delivery.decode_run,
        )
        body = run.endpoint.body(texts, run.options, encoding)
        size = len(body)
        response = await self._transport.post(
            body,
            compact=encoding == "base64",
            max_bytes=run.cost.largest_response(len(texts), self._request_bytes),
            heard=permit.heard,
            begin=partial(self._begin, len(texts)),
            route=run.route,
        )
        self.seconds_to_headers = time.monotonic() - self._sent_at
        del body  # it has been sent, and may be large
        watch.opened(response, parser)
        try:
            await self._stream(response, parser, watch)
        finally:
            response.close()
            parser.discard()
            tokens = believed(self._tokens(response, parser), size, len(texts))
            watch.billed(tokens)
            run.usage += permit.settle(tokens, complete=delivery.is_complete, ended=self._has_ended)
            run.bytes_received += response.bytes_received

    def _tokens(self, response: Response, parser: ResponseParser[Any]) -> int | None:
        """Return the tokens that were billed, as the body or else a header says."""
        name = self._run.endpoint.provider.token_header
        if parser.tokens is not None or name is None:
            return parser.tokens
        told = response.headers.get(name, "")
        return int(told) if told.isascii() and told.isdigit() else None

    def _begin(self, count: int) -> None:
        self._count, self._has_ended, self._sent_at = count, False, time.monotonic()
        self._run.requests += 1
        self._run.retries += self._has_asked
        self._has_asked = True

    async def _stream(self, response: Response, parser: ResponseParser[Any], watch: Watch) -> None:
        delivery = self._delivery
        try:
            await self._read(response, parser, watch)
        except (TransportError, ResponseError) as error:
            if error.retryable and delivery.is_complete:
                return  # it broke after the last vector: nothing was lost
            raise
        delivery.finish(parser, self._transport.secrets.blot(parser.message))

    async def _read(self, response: Response, parser: ResponseParser[Any], watch: Watch) -> None:
        run, delivery, deliver = self._run, self._delivery, self._deliver
        dimension: int | None = None
        try:
            while chunk := await response.read():
                try:
                    await run.endpoint.turns.wait()
                except asyncio.CancelledError:  # what has arrived is paid for; a fault in it is of no interest any more
                    with suppress(ResponseError):
                        deliver(delivery.accept(parser.feed(chunk)))
                    raise
                deliver(delivery.accept(parser.feed(chunk)))
                watch.progressed()
                delivery.check(parser.count)
                if dimension != run.cost.dimension:  # a vector has said how large the others may be
                    dimension = run.cost.dimension
                    response.allow(run.cost.largest_response(self._count, self._request_bytes))
            deliver(delivery.accept(parser.close()))
            self._has_ended = True
            delivery.check()
        finally:  # so has what was held back
            deliver(delivery.settle())
