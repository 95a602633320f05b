"""One batch: send, stream the response, keep what came, and ask again only for what did not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio

from asyncembed._errors import AsyncEmbedError, InvalidInputError, ResponseError, TransportError
from asyncembed._models import Usage
from asyncembed.flow._retry import Backoff, is_overload, is_retryable
from asyncembed.pipeline._excerpt import name_texts
from asyncembed.wire._parser import ResponseParser

if TYPE_CHECKING:
    from asyncembed.flow._memory import Reservation
    from asyncembed.pipeline._admission import Permit
    from asyncembed.pipeline._chunker import Batch
    from asyncembed.pipeline._run import Run
    from asyncembed.wire._transport import Response, Transport


class Worker:
    """Brings one batch to its end: every text of it gets its result, or a failure, or ends the run."""

    def __init__(self, run: Run, transport: Transport, batch: Batch, reservation: Reservation, permit: Permit) -> None:
        self._run = run
        self._endpoint = run.endpoint
        self._transport = transport
        self._request_bytes = batch.request_bytes
        self._size = len(batch)
        self._reservation = reservation
        self._permit = permit
        self._refused = batch.refused
        self._delivery = run.new_delivery(batch)

    async def complete(self) -> None:
        """Deliver the batch, unless the run is stopped before.

        Raises:
            AsyncEmbedError: if the whole run cannot go on; what had arrived was delivered before.
        """
        await self._run.give_up(self._refused, self._reservation)
        self._run.in_flight += 1
        try:
            await self._attempts()
        except AsyncEmbedError as error:
            error.indices = self._delivery.missing or error.indices
            lost = self._delivery.give_up()
            if self._run.on_error == "raise" or ends_every_batch(error) or not self._run.may_lose_a_batch(error):
                if not ends_every_batch(error):
                    name_texts(error, lost, self._transport.secrets)
                raise
            await self._run.give_up([(index, item, error) for index, item in lost], self._reservation)
        finally:
            self._run.deliver(self._delivery.rest(), self._reservation)
            self._run.in_flight -= 1

    async def _attempts(self) -> None:
        backoff = Backoff(self._endpoint.retry)
        while not self._delivery.is_complete:
            if self._endpoint.learned.pause.is_on:
                await self._run.stopping.wait(self._endpoint.learned.pause.wait)
            if self._run.stopping.is_on:
                return
            before = self._delivery.count_missing
            encoding = self._endpoint.wire_encoding(compact=self._run.compact)
            try:
                await self._attempt(self._delivery.ask(), encoding)
                self._endpoint.concurrency.succeeded()
            except AsyncEmbedError as error:
                arrived = before - self._delivery.count_missing
                self._run.salvaged += arrived
                if arrived:
                    backoff.progressed()
                if not self._endpoint.learns_from(error, encoding):
                    await self._back_off(backoff, error)
                self._run.retries += 1
                await self._run.stopping.wait(self._ask_again)

    async def _ask_again(self) -> None:
        """Wait until the rate limits allow another request, for what is missing."""
        missing = self._delivery.count_missing
        self._permit = await self._run.admission.ask(missing, self._request_bytes * missing // self._size)

    async def _back_off(self, backoff: Backoff, error: AsyncEmbedError) -> None:
        """Wait until the next attempt may begin or the run ends; raise `error` if there is to be no attempt."""
        wait = backoff.wait_before_retry(error)
        if is_overload(error):
            self._endpoint.concurrency.overloaded()
        if wait is None:
            raise error
        if getattr(error, "retry_after", None) is not None:
            self._endpoint.learned.pause.extend(wait)
        await self._run.stopping.wait(partial(anyio.sleep, wait))

    async def _attempt(self, texts: list[str], encoding: Literal["base64", "float"]) -> None:
        run, endpoint = self._run, self._endpoint
        max_value_bytes = run.cost.largest_value(self._request_bytes)
        parser = ResponseParser(run.layout(encoding), self._delivery.decode, max_value_bytes)
        run.requests += 1
        self._permit.begin()
        response = await self._transport.post(
            endpoint.body(texts, run.options, encoding),
            compact=encoding == "base64",
            max_bytes=run.cost.largest_response(len(texts), self._request_bytes),
            heard=self._permit.heard,
        )
        try:
            await self._stream(response, parser)
        finally:
            response.close()
            parser.discard()
            self._permit.settle(parser.tokens, complete=self._delivery.is_complete)
            run.bytes_received += response.bytes_received
            run.usage += Usage(parser.tokens or 0)

    async def _stream(self, response: Response, parser: ResponseParser[Any]) -> None:
        delivery = self._delivery
        try:
            while chunk := await response.read():
                try:
                    await self._endpoint.turns.wait()
                finally:  # even if the run ends here, as it has arrived and is paid for
                    self._run.deliver(delivery.accept(parser.feed(chunk)), self._reservation)
                delivery.check(parser.count)
            self._run.deliver(delivery.accept(parser.close()), self._reservation)
            delivery.check()
        except (TransportError, ResponseError) as error:
            if error.retryable and delivery.is_complete:
                return  # it broke after the last vector: nothing was lost
            raise
        delivery.finish(parser, self._transport.secrets.blot(parser.message))


def ends_every_batch(error: BaseException) -> bool:
    """Whether an error concerns all batches: a wrong key does, and so does a server that mixes up its vectors."""
    one_batch = isinstance(error, InvalidInputError) or (isinstance(error, AsyncEmbedError) and is_retryable(error))
    return not one_batch
