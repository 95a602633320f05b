"""The usual kinds of rows of the table of faults."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from asyncembed.testing import faults, right
from support.matrix import ATTEMPTS, CHUNK, TEXTS, Row
from support.outcomes import Arrives, Ends, Fails

if TYPE_CHECKING:
    from asyncembed import AsyncEmbedError
    from asyncembed.testing import Exchange, Reply

ALONE = {"max_concurrency": 1}


@dataclass(frozen=True, slots=True)
class Stepwise:
    """Sends vectors one at a time, each when the one before is there, and then breaks off."""

    after: int
    reset: bool

    async def __call__(self, exchange: Exchange) -> None:
        body = exchange.packed(exchange.plain())
        await exchange.start(len(body.data))
        for start, end in pairwise([0, *(body.after(count) for count in range(self.after + 1))]):
            await exchange.send(body.between(start, end))
            await exchange.until_there()
            await asyncio.sleep(0)
        exchange.close(reset=self.reset)


def splits(size: int) -> int:
    """Return the maximum number of additional requests to find one text among `size`, or a size that fits."""
    return 2 * math.ceil(math.log2(size)) + 1


def once(fault: Reply, extra: int = 1, **more: object) -> Row:
    """One request gets the fault, and all vectors arrive."""
    return Row(Arrives(extra), script=(fault,), **more)


def twice(first: Reply, second: Reply, **more: object) -> Row:
    """So does the request that asks for the rest."""
    return Row(Arrives(extra=2), script=(first, second), **{"client": ALONE, **more})


def always(fault: Reply, error: type[AsyncEmbedError], **more: object) -> Row:
    """It does not pass, and the client gives up."""
    return Row(Ends(error, ATTEMPTS), always=fault, **more)


def midway(fault: Reply, error: type[AsyncEmbedError], **more: object) -> Row:
    """After a request that went well, the run ends without asking again."""
    return Row(Ends(error), script=(right,), always=fault, **{"client": ALONE, **more})


def again(fault: Reply, error: type[AsyncEmbedError], **more: object) -> Row:
    """After a request that went well, the run ends when the same request is refused once more."""
    return Row(Ends(error, 2), script=(right,), always=fault, **{"client": ALONE, **more})


def too_slow(fault: Reply, **more: object) -> Row:
    """It took too long for as many texts: requests hold half as many from then on, or fewer.

    Two requests more are usual, four if the size does not grow again. A busy machine is taken for a slow server,
    and at worst each text is asked for alone.
    """
    return Row(
        Arrives(extra=1 + len(TEXTS) - len(TEXTS) // CHUNK, at_most=True),
        script=(fault,),
        **{**more, "client": {**ALONE, **more.get("client", {})}},
    )


def too_large(words: str, **limit: int) -> Row:
    """Requests have to be split in two, and the size is remembered; a status of 500 takes a probe, too."""
    rule = faults.TooLarge(words=None if words == "its own words" else words, **limit)
    return Row(Arrives(splits(CHUNK) + (words == "llama.cpp"), at_most=True, needed=6), rules=(rule,), client=ALONE)


def poisoned(on_error: str, **how: object) -> Row:
    """One text that no request may hold."""
    options = {"chunk_size": len(TEXTS), "on_error": on_error}
    rule = faults.Poisoned(TEXTS[5], **how)
    return Row(Fails(5, splits(len(TEXTS))), rules=(rule,), options=options)
