"""One request and its response.

An `Exchange` sends the texts of a batch, delivers vectors while the response arrives, and records what was billed. A
`Probe` sends one harmless text with the options of a run, to find out whether the request or a text causes an error.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from asyncembed._decide.base64_proof import Comparison
from asyncembed._decide.chunker import JSON_OVERHEAD, Batch
from asyncembed._decide.delivery import ResultDelivery
from asyncembed._decide.signs import meaning_of
from asyncembed._decide.token_estimate import plausible_tokens
from asyncembed._exceptions import (
    APIStatusError,
    AsyncEmbedError,
    ResponseError,
    StreamClosedError,
    TransportError,
    answer_of,
    of_answer,
)
from asyncembed._models import EmbedInput
from asyncembed._parser.parser import ResponseParser

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from asyncembed._core.memory import Reservation
    from asyncembed._core.observer import RequestSpan
    from asyncembed._core.rate_gate import Billed, RatePermit
    from asyncembed._core.run import Run
    from asyncembed._decide.base64_proof import Proof
    from asyncembed._decide.delivery import BlockDelivery
    from asyncembed._http.body import Response
    from asyncembed._http.transport import Transport
    from asyncembed._models import EmbedBlock, EmbedResult, Scalar


MAX_DROPPED: Final = 2
"""Mismatched responses that are dropped and requested again for one batch; one more ends the run."""
_REFUSALS: Final = frozenset({400, 415, 422})


class Exchange:
    """Makes the requests of one batch.

    Args:
        run: The run that the batch belongs to.
        transport: The connection to the API.
        delivery: Matches vectors to the texts of the batch.
        reservation: The memory of the batch's results; None if they are not delivered.
        request_bytes: Bytes of the batch's texts in a request.
        is_repeated: Whether the texts were already requested as part of a larger batch.
        may_compare: Whether a request may ask for both encodings to compare them.
    """

    def __init__(
        self,
        run: Run,
        transport: Transport,
        delivery: ResultDelivery | BlockDelivery,
        reservation: Reservation | None,
        request_bytes: int,
        *,
        is_repeated: bool = False,
        may_compare: bool = True,
    ) -> None:
        self._run = run
        self._transport = transport
        self._delivery: Any = delivery  # the parser returns the row type that this delivery decodes to
        self._reservation = reservation
        self._request_bytes = request_bytes
        self._is_retry = is_repeated
        self._proof = run.proof if may_compare else None
        self._comparison: Comparison | None = None  # of the last request, if it asked for both encodings
        self.refused_both = False
        """Whether the API refused the last request, which asked for numbers and base64."""
        self._count = 0  # texts in the last request
        self._dropped = 0  # mismatched responses
        self._is_read = False  # the last response was read to its end
        self._sent_at = 0.0
        self._describe_route: Callable[[], str] = str  # of the last request
        self.billed: Billed | None = None
        """What the last request cost; None if there was no response."""
        self.seconds_to_headers = 0.0
        """Seconds from sending the last request to the headers of its response."""

    async def send(self, texts: list[str], encoding: Literal["base64", "float"], permit: RatePermit) -> None:
        """Request texts and deliver vectors as they arrive; call this right after `permit.begin`.

        Raises:
            AsyncEmbedError: if vectors are missing; those that arrived have been delivered.
        """
        proof = self._proof if encoding == "float" else None
        self.refused_both, self.billed = False, None
        self._comparison = Comparison() if proof and proof.begin() else None
        with self._run.observer.request(self._delivery, texts, self._transport, encoding) as watch:
            try:
                if proof is None or self._comparison is None:
                    await self._send(texts, encoding, permit, watch)
                else:
                    await self._send_both(texts, permit, watch, proof, self._comparison)
            except ResponseError as error:
                if not self._run.withholds or not self._delivery.mismatch or not self._reservation:
                    raise
                failure = self._drop(error, self._reservation)
            else:
                return
            raise failure

    async def _send_both(
        self, texts: list[str], permit: RatePermit, watch: RequestSpan, proof: Proof, comparison: Comparison
    ) -> None:
        """Request numbers and base64, and record whether they are the same."""
        try:
            await self._send(texts, "float", permit, watch)
            if self._is_read:
                proof.settle(comparison)
        except APIStatusError as error:
            self.refused_both = error.status in _REFUSALS
            if self.refused_both:
                self._note_refusal(error, texts, proof)
            raise
        finally:
            proof.end()
            if proof.encoding:
                self._run.observer.settled_encoding(proof.encoding, proof.why)

    def _drop(self, error: ResponseError, reservation: Reservation) -> ResponseError:
        """Discard the vectors of a mismatched response, and return the error to raise."""
        blocks, withdrawal = self._delivery.withdraw()
        self._run.deliver(blocks, reservation)
        if withdrawal:
            self._run.withdraw(withdrawal, reservation)
        self._dropped += 1
        failure = ResponseError(
            f"the response cannot be matched to its texts: {self._delivery.mismatch}; its vectors were dropped"
            f"{self._describe_route()}",
            missing=self._delivery.missing or error.missing,
            retryable=self._dropped <= MAX_DROPPED,
        )
        return of_answer(failure, error.status, error.request_id)

    async def _send(
        self, texts: list[str], encoding: Literal["base64", "float"], permit: RatePermit, watch: RequestSpan
    ) -> None:
        run, delivery = self._run, self._delivery
        parser = self._parser(encoding, len(texts))
        body = run.endpoint.body(texts, run.options, encoding, is_both=self._comparison is not None)
        size = len(body)
        response = await self._transport.post(
            body,
            compact=encoding == "base64" and run.proof is None,
            max_bytes=run.cost.largest_response(len(texts), self._request_bytes),
            on_headers=permit.observe_headers,
            on_send=partial(self._begin, len(texts)),
            on_resend=self._resent,
            route=run.route,
        )
        self.seconds_to_headers = time.monotonic() - self._sent_at
        self._describe_route = response.describe_route
        del body  # it may be large
        run.steps += 1
        watch.opened(response, parser)
        try:
            await self._stream(response, parser, watch)
        except (TransportError, ResponseError) as error:
            response.explain(error)
            raise
        finally:
            response.close()
            parser.discard()
            tokens = plausible_tokens(self._tokens(response, parser), size, len(texts))
            watch.billed(tokens)
            counts_all = run.spending is not None  # a cap needs every cost, told or not
            billed = permit.settle(tokens, complete=delivery.is_complete, ended=self._is_read, counts_all=counts_all)
            self.billed = billed
            run.bill(billed)
            run.bytes_received += response.bytes_received

    def _note_refusal(self, error: APIStatusError, texts: list[str], proof: Proof) -> None:
        """Use numbers from now on if the API blames the encoding; otherwise a text may be the cause."""
        why = f"the API refused a request for both encodings, with status {error.status}"
        answer = answer_of(error)
        if answer and meaning_of(answer, self._run.endpoint.provider.signs, texts) == "encoding":
            proof.refuse(why)
        else:
            proof.try_failed(why)

    def _parser(self, encoding: Literal["base64", "float"], count: int) -> ResponseParser[Any]:
        run, delivery, provider = self._run, self._delivery, self._run.endpoint.provider
        layout, max_bytes = provider.layout(run.options, encoding), run.cost.largest_value(self._request_bytes)
        if layout.alone and count > 1:  # of several texts, one vector belongs to none
            layout = replace(layout, alone=False)
        if self._comparison is None or provider.both_encodings is None:
            return ResponseParser(layout, delivery.decode, max_bytes, delivery.decode_run)
        layout = replace(layout, proof=provider.both_encodings.place)
        return ResponseParser(layout, self._comparison.recording(delivery.decode), max_bytes)

    def _feed(self, parser: ResponseParser[Any], chunk: bytes) -> Sequence[tuple[int, Any]]:
        vectors = parser.feed(chunk)
        if self._comparison:
            self._comparison.add_base64(parser.take_proofs())
        return vectors

    def _tokens(self, response: Response, parser: ResponseParser[Any]) -> int | None:
        """Return the number of billed tokens from the body, or else from a header."""
        name = self._run.endpoint.provider.token_header
        if parser.tokens is not None or name is None:
            return parser.tokens
        value = response.headers.get(name, "")
        return int(value) if value.isascii() and value.isdigit() else None

    def _begin(self, count: int) -> None:
        self._count, self._is_read, self._sent_at = count, False, time.monotonic()
        self._run.requests += 1
        self._run.retries += self._is_retry
        self._is_retry = True

    def _resent(self) -> None:
        self._run.requests += 1

    async def _stream(self, response: Response, parser: ResponseParser[Any], watch: RequestSpan) -> None:
        delivery = self._delivery
        try:
            await self._read(response, parser, watch)
        except (TransportError, ResponseError) as error:
            if error.retryable and delivery.is_complete:
                return  # the response broke after its last vector
            raise
        delivery.finish(parser, self._transport.secrets.redact(parser.message))

    async def _read(self, response: Response, parser: ResponseParser[Any], watch: RequestSpan) -> None:
        run, delivery = self._run, self._delivery
        dimension: int | None = None
        try:
            while chunk := await response.read():
                run.steps += 1
                try:
                    await run.endpoint.loop_budget.wait()
                except asyncio.CancelledError:
                    self._keep(parser, chunk)
                    raise
                self._deliver(delivery.accept(self._feed(parser, chunk)))
                run.steps += 1
                self._schedule_flush()
                watch.progressed()
                delivery.check(parser.count)
                if dimension != run.cost.dimension:  # the first vector shows how large the others may be
                    dimension = run.cost.dimension
                    response.allow(run.cost.largest_response(self._count, self._request_bytes))
            self._deliver(delivery.accept(parser.close()))
            self._is_read = True
            delivery.check()
        except asyncio.CancelledError:
            if run.flusher:
                while chunk := read_buffered(response.read()):
                    self._keep(parser, chunk)
            raise
        finally:  # deliver rows that waited for the dimension
            self._deliver(delivery.settle())

    def _deliver(self, results: Sequence[EmbedResult[Scalar] | EmbedBlock[Scalar]]) -> None:
        if self._reservation:
            self._run.deliver(results, self._reservation)

    def _schedule_flush(self) -> None:
        if self._run.flusher and self._reservation:
            self._run.flusher.schedule(self._delivery, self._reservation)

    def _keep(self, parser: ResponseParser[Any], chunk: bytes) -> None:
        """Deliver vectors that arrived before the run was cancelled, as they are billed; ignore a fault in them."""
        with suppress(ResponseError):
            self._deliver(self._delivery.accept(self._feed(parser, chunk)))


def read_buffered(read: Coroutine[Any, Any, bytes]) -> bytes:
    """Return what `read` returns without waiting; empty if it would wait, or the response has broken."""
    try:
        read.send(None)
    except StopIteration as done:
        chunk: bytes = done.value
        return chunk
    except (TransportError, ResponseError):
        return b""
    read.close()
    return b""


HARMLESS: Final = "hello"
"""Text of a probe: a word that every model knows and no content filter rejects."""


class Probe:
    """Sends a harmless text for one run; workers that ask while a probe is in flight share its outcome.

    Args:
        run: The run.
        transport: The connection to the API.
    """

    def __init__(self, run: Run, transport: Transport) -> None:
        self._run = run
        self._transport = transport
        self._started = float("-inf")  # monotonic time of the last probe that was answered
        self._error: AsyncEmbedError | None = None
        self._done: asyncio.Event | None = None  # set when the probe in flight ends

    @property
    def is_asking(self) -> bool:
        """Whether a probe is in flight."""
        return self._done is not None

    async def wait(self) -> None:
        """Return when no probe is in flight."""
        while self._done:
            await self._done.wait()

    async def ask(self, since: float) -> AsyncEmbedError | None:
        """Return the error that the API answers the harmless text with, or None if it accepts the text.

        Args:
            since: Monotonic time of the failed request; the outcome of a probe sent after it is reused.

        Raises:
            StreamClosedError: if the run stops before the probe is sent.
        """
        await self.wait()
        if self._started < since:
            self._done = asyncio.Event()
            started = time.monotonic()
            try:
                self._error = await self._ask()
                self._started = started
            finally:
                self._done.set()
                self._done = None
        return self._error

    async def _ask(self) -> AsyncEmbedError | None:
        run = self._run
        size = len(HARMLESS) + JSON_OVERHEAD + len(run.options.prompt.encode())
        delivery = ResultDelivery(Batch({-1: EmbedInput(HARMLESS)}, request_bytes=size), run.decoder)
        exchange = Exchange(run, self._transport, delivery, None, size, may_compare=False)
        permits: list[RatePermit] = []

        async def admit() -> None:
            permit = await run.rate_gate.acquire(1, size)
            await permit.begin()
            permits.append(permit)

        await run.stopping.wait(admit)
        if not permits:
            raise StreamClosedError("the run was stopped before the probe was sent")
        try:
            await exchange.send(delivery.begin_attempt(), run.wire_encoding, permits[0])
        except AsyncEmbedError as error:
            return error
        return None
