"""A harmless text, asked for with the options of a run: whether the request is to blame, or a text."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from asyncembed._errors import AsyncEmbedError
from asyncembed._models import EmbedInput
from asyncembed.pipeline._chunker import JSON_OVERHEAD, Batch
from asyncembed.pipeline._delivery import ResultDelivery
from asyncembed.pipeline._exchange import Exchange

if TYPE_CHECKING:
    from asyncembed.pipeline._run import Run
    from asyncembed.wire._transport import Transport

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
            await exchange.ask(delivery.ask(), run.wire_encoding, permit)
        except AsyncEmbedError as error:
            return error
        return None
