"""`EmbedClient.check`: sends one harmless text to test key, model and options."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from asyncembed._collect import collect
from asyncembed._core.exchange import HARMLESS
from asyncembed._core.run import Run
from asyncembed._core.stream import EmbedStream
from asyncembed._exceptions import AsyncEmbedError
from asyncembed._preview import unname_texts
from asyncembed._public import publish
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asyncembed._core.call import Call
    from asyncembed._models import EmbedBlock, EmbedFailure, Scalar


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CheckResult(ShortRepr):
    """Result of a successful check.

    Attributes:
        provider: Name of the provider.
        model: The requested model.
        address: Address of the API without secrets, unless it is the provider's own.
        dimension: Length of the vectors.
        encoding: Encoding of the vectors in responses.
        tokens: Tokens that the API reports as billed; 0 if it does not report them.
        seconds: Duration of the request.
    """

    provider: str
    model: str
    address: str | None
    dimension: int
    encoding: Literal["base64", "float"]
    tokens: int
    seconds: float


async def check(call: Call, adopt: Callable[[asyncio.Task[None]], None]) -> CheckResult:
    """Embed a harmless text with the options of a call.

    Raises:
        AsyncEmbedError: if the API refuses it.
    """
    endpoint, started = replace(call.endpoint, cache=None), time.monotonic()
    run = Run(replace(call, endpoint=endpoint), [HARMLESS], ordered=False, as_blocks=True)
    stream: EmbedStream[EmbedBlock[Scalar] | EmbedFailure] = EmbedStream(run, adopt)
    try:
        response = await collect([HARMLESS], stream, run)
    except AsyncEmbedError as error:
        unname_texts(error)
        raise
    return CheckResult(
        provider=endpoint.provider.name,
        model=call.options.model,
        address=endpoint.address,
        dimension=run.dimension or response.embeddings.shape[1],
        encoding=run.wire_encoding,
        tokens=response.usage.tokens,
        seconds=time.monotonic() - started,
    )


publish("asyncembed", [CheckResult])
