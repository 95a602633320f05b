"""Random faults that the same seed repeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncembed._config import check
from asyncembed.testing._exchange import name_of, right
from asyncembed.testing.faults import TRANSIENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed.testing._exchange import Exchange, Reply


@dataclass(frozen=True, slots=True)
class Chaos:
    """Answers a share of the requests with a fault, and the others correctly.

    The seed, the body of the request and the number of earlier requests with the same body decide the reply. So the
    seed repeats a run that failed, in whatever order its requests come.

    Attributes:
        seed: Seed of the draws.
        share: Share of requests that get a fault, from 0 to 1.
        faults: Faults to choose from; one that is listed twice is twice as likely.
    """

    seed: int = 0
    share: float = 0.2
    faults: Sequence[Reply] = TRANSIENT

    def __post_init__(self) -> None:
        check(0 <= self.share <= 1, f"share={self.share!r} must be a number from 0 to 1")
        check(len(self.faults) > 0, "faults= is empty; name at least one, or set share=0")

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with a fault or correctly, as drawn."""
        random = exchange.draw(self.seed)
        reply = random.choice(self.faults) if random.random() < self.share else right
        exchange.entry.reply = name_of(reply)
        await reply(exchange)
