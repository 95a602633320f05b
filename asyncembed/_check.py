"""One harmless text, to see whether key, model and options are right before anything larger is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from asyncembed._collect import collect
from asyncembed._core.exchange import HARMLESS
from asyncembed._core.run import Run
from asyncembed._core.stream import EmbedStream
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asyncembed._core.call import Call
    from asyncembed._models import EmbedBlock, EmbedFailure


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CheckResult(ShortRepr):
    """What one harmless text has shown.

    Attributes:
        provider: Name of the provider.
        model: The model that was asked for.
        address: Where the API is, if that is not the provider's own address; without secrets.
        dimension: Length of the vectors.
        encoding: How vectors travel.
        tokens: Tokens that the API says it billed; 0 where it does not say.
        seconds: How long the request took.
    """

    provider: str
    model: str
    address: str | None
    dimension: int
    encoding: Literal["base64", "float"]
    tokens: int
    seconds: float


async def check(call: Call, adopt: Callable[[asyncio.Task[None]], None]) -> CheckResult:
    """Ask for the harmless text with the options of a call.

    Raises:
        AsyncEmbedError: if the API does not take it.
    """
    endpoint, began = replace(call.endpoint, cache=None), time.monotonic()
    run = Run(replace(call, endpoint=endpoint), [HARMLESS], ordered=False, as_blocks=True)
    stream: EmbedStream[EmbedBlock | EmbedFailure] = EmbedStream(run, adopt)
    response = await collect([HARMLESS], stream, run)
    return CheckResult(
        provider=endpoint.provider.name,
        model=call.options.model,
        address=endpoint.address,
        dimension=run.dimension or response.embeddings.shape[1],
        encoding=run.wire_encoding,
        tokens=response.usage.tokens,
        seconds=time.monotonic() - began,
    )
