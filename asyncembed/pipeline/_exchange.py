"""One request and its response: what arrives is delivered while it arrives, and what was billed is noted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

from asyncembed._errors import ResponseError, TransportError
from asyncembed._models import Usage
from asyncembed.wire._parser import ResponseParser

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from asyncembed.flow._memory import Reservation
    from asyncembed.pipeline._admission import Permit
    from asyncembed.pipeline._blocks import BlockDelivery
    from asyncembed.pipeline._delivery import ResultDelivery
    from asyncembed.pipeline._run import Run
    from asyncembed.pipeline._watch import Watch
    from asyncembed.wire._body import Response
    from asyncembed.wire._transport import Transport


MAX_DROPPED: Final = 2
"""Responses to one batch that are dropped because they cannot be matched to their texts; one more ends the run."""


class Exchange:
    """Makes the requests of one batch.

    Args:
        run: The run it belongs to.
        transport: The way to the API.
        delivery: The books of the batch.
        reservation: The memory of the batch.
        request_bytes: Bytes of its texts in a request.
    """

    def __init__(
        self,
        run: Run,
        transport: Transport,
        delivery: ResultDelivery | BlockDelivery,
        reservation: Reservation,
        request_bytes: int,
    ) -> None:
        self._run = run
        self._transport = transport
        self._delivery: Any = delivery  # whatever it makes of a vector, it gets from the parser
        self._reservation = reservation
        self._request_bytes = request_bytes
        self._has_asked = False
        self._dropped = 0  # responses that could not be matched to their texts

    async def ask(self, texts: list[str], encoding: Literal["base64", "float"], permit: Permit) -> None:
        """Ask for texts, and deliver what arrives.

        Raises:
            AsyncEmbedError: if not all of them arrive; what did was delivered before.
        """
        with self._run.observer.request(self._delivery, texts, self._transport, encoding) as watch:
            try:
                await self._ask(texts, encoding, permit, watch)
            except ResponseError as error:
                if not self._run.withholds or not self._delivery.mismatch:
                    raise
                failure = self._drop(error)
            else:
                return
            raise failure

    def _drop(self, error: ResponseError) -> ResponseError:
        """Forget what a response gave that cannot be matched to its texts, and return the error to be raised."""
        blocks, withdrawal = self._delivery.withdraw()
        self._run.deliver(blocks, self._reservation)
        if withdrawal:
            self._run.withdraw(withdrawal, self._reservation)
        self._dropped += 1
        return ResponseError(
            f"the response cannot be matched to its texts: {self._delivery.mismatch}; its vectors were dropped",
            missing=self._delivery.missing or error.missing,
            retryable=self._dropped <= MAX_DROPPED,
        )

    async def _ask(self, texts: list[str], encoding: Literal["base64", "float"], permit: Permit, watch: Watch) -> None:
        run, delivery = self._run, self._delivery
        parser = ResponseParser(
            run.endpoint.provider.layout(run.options, encoding),
            delivery.decode,
            run.cost.largest_value(self._request_bytes),
            delivery.decode_run,
        )
        self._begin(permit)
        response = await self._transport.post(
            run.endpoint.body(texts, run.options, encoding),
            compact=encoding == "base64",
            max_bytes=run.cost.largest_response(len(texts), self._request_bytes),
            heard=permit.heard,
        )
        run.steps += 1
        watch.opened(response, parser)
        try:
            await self._stream(response, parser, watch)
        finally:
            response.close()
            parser.discard()
            permit.settle(parser.tokens, complete=delivery.is_complete)
            run.bytes_received += response.bytes_received
            run.usage += Usage(parser.tokens or 0)

    def _begin(self, permit: Permit) -> None:
        permit.begin()
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
        run, delivery, reservation = self._run, self._delivery, self._reservation
        try:
            while chunk := await response.read():
                run.steps += 1
                try:
                    await run.endpoint.turns.wait()
                except asyncio.CancelledError:
                    self._keep(parser, chunk)
                    raise
                run.deliver(delivery.accept(parser.feed(chunk)), reservation)
                run.steps += 1
                if run.flusher:
                    run.flusher.note(delivery, reservation)
                watch.progressed()
                delivery.check(parser.count)
            run.deliver(delivery.accept(parser.close()), reservation)
            delivery.check()
        except asyncio.CancelledError:
            if run.flusher:
                while chunk := at_hand(response.read()):
                    self._keep(parser, chunk)
            raise
        finally:  # what was held back has arrived, too
            run.deliver(delivery.settle(), reservation)

    def _keep(self, parser: ResponseParser[Any], chunk: bytes) -> None:
        """Deliver what has arrived and is paid for, when the run is being left; a fault in it is of no interest."""
        with suppress(ResponseError):
            self._run.deliver(self._delivery.accept(parser.feed(chunk)), self._reservation)


def at_hand(read: Coroutine[Any, Any, bytes]) -> bytes:
    """Return what a read gives at once; nothing if it would have to wait, or the response has broken."""
    try:
        read.send(None)
    except StopIteration as done:
        chunk: bytes = done.value
        return chunk
    except (TransportError, ResponseError):
        return b""
    read.close()
    return b""
