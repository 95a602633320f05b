"""One request and its response: what arrives is delivered while it arrives, and what was billed is noted.

A harmless text, asked for with the options of a run: whether the request is to blame, or a text.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from asyncembed._core.rate_gate import believed
from asyncembed._decide.base64_proof import Comparison
from asyncembed._decide.chunker import JSON_OVERHEAD, Batch
from asyncembed._decide.delivery import ResultDelivery
from asyncembed._decide.signs import meaning_of
from asyncembed._exceptions import APIStatusError, AsyncEmbedError, ResponseError, TransportError, answer_of, of_answer
from asyncembed._models import EmbedInput
from asyncembed._parser.parser import ResponseParser

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from asyncembed._core.memory import Reservation
    from asyncembed._core.observer import RequestSpan
    from asyncembed._core.rate_gate import RatePermit
    from asyncembed._core.run import Run
    from asyncembed._decide.base64_proof import Proof
    from asyncembed._decide.delivery import BlockDelivery
    from asyncembed._http.body import Response
    from asyncembed._http.transport import Transport
    from asyncembed._models import EmbedBlock, EmbedResult


MAX_DROPPED: Final = 2
"""Responses to one batch that are dropped because they cannot be matched to their texts; one more ends the run."""
_REFUSALS: Final = frozenset({400, 415, 422})


class Exchange:
    """Makes the requests of one batch.

    Args:
        run: The run it belongs to.
        transport: The way to the API.
        delivery: The books of the batch.
        reservation: The memory of its results; None if nobody takes them.
        request_bytes: Bytes of its texts in a request.
        is_repeated: Whether its texts were asked for before, in a larger batch.
        may_prove: Whether it may find out what the API's base64 holds.
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
        may_prove: bool = True,
    ) -> None:
        self._run = run
        self._transport = transport
        self._delivery: Any = delivery  # whatever it makes of a vector, it gets from the parser
        self._reservation = reservation
        self._request_bytes = request_bytes
        self._has_asked = is_repeated
        self._proof = run.proof if may_prove else None
        self._comparison: Comparison | None = None  # of the last request, if it asked for both encodings
        self.refused_both = False
        """Whether the last request asked for numbers and base64, and was refused."""
        self._count = 0  # texts of the last request
        self._dropped = 0  # responses that could not be matched to their texts
        self._has_ended = False  # the last response was read to its end
        self._sent_at = 0.0
        self.billed = 0
        """Tokens that were billed for the last request, as its answer says."""
        self.seconds_to_headers = 0.0
        """How long the server took to the headers of its last answer."""

    async def ask(self, texts: list[str], encoding: Literal["base64", "float"], permit: RatePermit) -> None:
        """Ask for texts, with a permit that has begun, and deliver what arrives.

        Raises:
            AsyncEmbedError: if not all of them arrive; what did was delivered before.
        """
        proof = self._proof if encoding == "float" else None
        self.refused_both, self.billed = False, 0
        self._comparison = Comparison() if proof and proof.begin() else None
        with self._run.observer.request(self._delivery, texts, self._transport, encoding) as watch:
            try:
                if proof is None or self._comparison is None:
                    await self._ask(texts, encoding, permit, watch)
                else:
                    await self._ask_both(texts, permit, watch, proof, self._comparison)
            except ResponseError as error:
                if not self._run.withholds or not self._delivery.mismatch or not self._reservation:
                    raise
                failure = self._drop(error, self._reservation)
            else:
                return
            raise failure

    async def _ask_both(
        self, texts: list[str], permit: RatePermit, watch: RequestSpan, proof: Proof, comparison: Comparison
    ) -> None:
        """Ask for numbers and base64, and note whether they are the same."""
        try:
            await self._ask(texts, "float", permit, watch)
            if self._has_ended:
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
        """Forget what a response gave that cannot be matched to its texts, and return the error to be raised."""
        blocks, withdrawal = self._delivery.withdraw()
        self._run.deliver(blocks, reservation)
        if withdrawal:
            self._run.withdraw(withdrawal, reservation)
        self._dropped += 1
        failure = ResponseError(
            f"the response cannot be matched to its texts: {self._delivery.mismatch}; its vectors were dropped",
            missing=self._delivery.missing or error.missing,
            retryable=self._dropped <= MAX_DROPPED,
        )
        return of_answer(failure, error.status, error.request_id)

    async def _ask(
        self, texts: list[str], encoding: Literal["base64", "float"], permit: RatePermit, watch: RequestSpan
    ) -> None:
        run, delivery = self._run, self._delivery
        parser = self._parser(encoding)
        body = run.endpoint.body(texts, run.options, encoding, is_both=self._comparison is not None)
        size = len(body)
        response = await self._transport.post(
            body,
            compact=encoding == "base64" and run.proof is None,
            max_bytes=run.cost.largest_response(len(texts), self._request_bytes),
            on_headers=permit.heard,
            on_send=partial(self._begin, len(texts)),
            on_resend=self._resent,
            route=run.route,
        )
        self.seconds_to_headers = time.monotonic() - self._sent_at
        del body  # it has been sent, and may be large
        run.steps += 1
        watch.opened(response, parser)
        try:
            await self._stream(response, parser, watch)
        except (TransportError, ResponseError) as error:
            of_answer(error, response.status, response.request_id)
            raise
        finally:
            response.close()
            parser.discard()
            tokens = believed(self._tokens(response, parser), size, len(texts))
            watch.billed(tokens)
            estimates = run.spending is not None  # what is capped has to be known
            billed = permit.settle(tokens, complete=delivery.is_complete, ended=self._has_ended, estimates=estimates)
            self.billed = billed.tokens
            run.bill(billed)
            run.bytes_received += response.bytes_received

    def _note_refusal(self, error: APIStatusError, texts: list[str], proof: Proof) -> None:
        """Stay with numbers if the API says that encodings are to blame; a text may be."""
        why = f"the API refused a request for both encodings, with status {error.status}"
        answer = answer_of(error)
        if answer and meaning_of(answer, self._run.endpoint.provider.signs, texts) == "encoding":
            proof.refuse(why)
        else:
            proof.try_failed(why)

    def _parser(self, encoding: Literal["base64", "float"]) -> ResponseParser[Any]:
        run, delivery, provider = self._run, self._delivery, self._run.endpoint.provider
        layout, most = provider.layout(run.options, encoding), run.cost.largest_value(self._request_bytes)
        if self._comparison is None or provider.both_encodings is None:
            return ResponseParser(layout, delivery.decode, most, delivery.decode_run)
        layout = replace(layout, proof=provider.both_encodings.place)
        return ResponseParser(layout, self._comparison.recording(delivery.decode), most)

    def _feed(self, parser: ResponseParser[Any], chunk: bytes) -> Sequence[tuple[int, Any]]:
        vectors = parser.feed(chunk)
        if self._comparison:
            self._comparison.add_base64(parser.take_proofs())
        return vectors

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

    def _resent(self) -> None:
        self._run.requests += 1

    async def _stream(self, response: Response, parser: ResponseParser[Any], watch: RequestSpan) -> None:
        delivery = self._delivery
        try:
            await self._read(response, parser, watch)
        except (TransportError, ResponseError) as error:
            if error.retryable and delivery.is_complete:
                return  # it broke after the last vector: nothing was lost
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
                self._flush_soon()
                watch.progressed()
                delivery.check(parser.count)
                if dimension != run.cost.dimension:  # a vector has said how large the others may be
                    dimension = run.cost.dimension
                    response.allow(run.cost.largest_response(self._count, self._request_bytes))
            self._deliver(delivery.accept(parser.close()))
            self._has_ended = True
            delivery.check()
        except asyncio.CancelledError:
            if run.flusher:
                while chunk := at_hand(response.read()):
                    self._keep(parser, chunk)
            raise
        finally:  # what was held back has arrived, too
            self._deliver(delivery.settle())

    def _deliver(self, results: Sequence[EmbedResult | EmbedBlock]) -> None:
        if self._reservation:
            self._run.deliver(results, self._reservation)

    def _flush_soon(self) -> None:
        if self._run.flusher and self._reservation:
            self._run.flusher.note(self._delivery, self._reservation)

    def _keep(self, parser: ResponseParser[Any], chunk: bytes) -> None:
        """Deliver what has arrived and is paid for, when the run is being left; a fault in it is of no interest."""
        with suppress(ResponseError):
            self._deliver(self._delivery.accept(self._feed(parser, chunk)))


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


HARMLESS: Final = "hello"
"""What is asked for: a word that every model knows and no filter minds."""


class Probe:
    """Asks for the harmless text in the name of one run; whoever wants to know meanwhile gets the same answer.

    Args:
        run: The run.
        transport: The way to the API.
    """

    def __init__(self, run: Run, transport: Transport) -> None:
        self._run = run
        self._transport = transport
        self._began = float("-inf")
        self._error: AsyncEmbedError | None = None
        self._asking: asyncio.Event | None = None

    @property
    def is_asking(self) -> bool:
        """Whether the answer is being waited for."""
        return self._asking is not None

    async def wait(self) -> None:
        """Return when nothing is being asked."""
        while self._asking:
            await self._asking.wait()

    async def ask(self, since: float) -> AsyncEmbedError | None:
        """Return what the harmless text is refused with, None if it is taken.

        Args:
            since: Monotonic time of the request that is doubted: an answer to a later probe is good enough.
        """
        await self.wait()
        if self._began < since:
            self._asking = asyncio.Event()
            began = time.monotonic()
            try:
                self._error = await self._ask()
                self._began = began
            finally:
                self._asking.set()
                self._asking = None
        return self._error

    async def _ask(self) -> AsyncEmbedError | None:
        run = self._run
        size = len(HARMLESS) + JSON_OVERHEAD
        delivery = ResultDelivery(Batch({-1: EmbedInput(HARMLESS)}, request_bytes=size), run.decoder)
        exchange = Exchange(run, self._transport, delivery, None, size, may_prove=False)
        permit = await run.admission.ask(1, size)
        try:
            await permit.begin()
            await exchange.ask(delivery.begin_attempt(), run.wire_encoding, permit)
        except AsyncEmbedError as error:
            return error
        return None
