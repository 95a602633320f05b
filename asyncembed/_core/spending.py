"""What a run may spend: every request asks before it is sent, and none is sent that would go over the cap.

What a request costs is known when its answer has come. Until then a cautious estimate is set aside for it, and what
was too much of that is there for others afterwards. So near the cap a request waits for those in flight, and when
there are none, it gets as many of its texts as there is money for. The first that gets none ends the run.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asyncembed._core.rate_gate import TokenEstimate
from asyncembed._decide.chunker import JSON_OVERHEAD
from asyncembed._decide.spending_cap import NOTHING, Grant, RequestTokens
from asyncembed._exceptions import BudgetExceededError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._core.rate_gate import Billed
    from asyncembed._decide.spending_cap import SpendingCap
    from asyncembed._models import Usage


class Spending:
    """The money of one run.

    Far from the cap, as many tokens are set aside as a request has bytes, because no tokenizer makes more of a text.
    Where that does not fit, the tokens of its texts are estimated, and corrected by what such estimates have proved to
    be worth: bytes alone would say too little when Chinese follows English.

    Args:
        cap: What may be spent.
        tokens: How many tokens texts have by their bytes, for answers that do not say it.
        prompt: What is put before each text.
        earlier: Tokens that earlier runs of the same file have spent.
    """

    def __init__(self, cap: SpendingCap, tokens: TokenEstimate, prompt: str, earlier: Usage) -> None:
        self._cap = cap
        self._tokens = tokens
        self._prompt = prompt
        self._overhead = JSON_OVERHEAD + len(prompt.encode())
        self._told = earlier.tokens + earlier.unreported_tokens
        self._unreported_bytes = 0
        self._worth = TokenEstimate()  # billed tokens for each estimated one
        self._reserved = 0
        self._changed = asyncio.Event()
        self._line = asyncio.Lock()  # who came first gets what others give back

    async def reserve(self, texts: Sequence[str]) -> Grant:
        """Wait until it is certain for how many texts of a request there is enough, and set that aside."""
        request = RequestTokens(texts, self._prompt, self._overhead)
        async with self._line:
            while True:
                grant = self._affordable(request)
                if grant.texts == len(texts) or not self._reserved:
                    self._reserved += grant.tokens
                    return grant
                self._changed.clear()
                await self._changed.wait()

    def release(self, grant: Grant, billed: int) -> None:
        """Give back what was set aside for a request that has ended, and learn from what it has cost, if it said so."""
        self._reserved -= grant.tokens
        if billed and grant.estimated:
            self._worth.learn(grant.estimated, billed)
        self._changed.set()

    def spend(self, billed: Billed) -> None:
        """Note what a request has cost."""
        self._told += billed.tokens
        self._unreported_bytes += billed.unreported_bytes

    def error(self, texts: Sequence[str]) -> BudgetExceededError:
        """Return the error of a run that has no money left for the first of these texts."""
        request = RequestTokens(texts[:1], self._prompt, self._overhead)
        need = self._need(request, sum(request.sizes))
        return BudgetExceededError(
            f"{self._cap.describe(self._spent)}, and the next text may take {need:,}; what has arrived was delivered, "
            "go on with a higher cap"
        )

    @property
    def _spent(self) -> int:
        return self._told + self._tokens.likely(self._unreported_bytes)

    def _affordable(self, request: RequestTokens) -> Grant:
        """Return for how many texts, from the first, there is enough now."""
        left = self._cap.tokens - self._spent - self._reserved
        size, count = sum(request.sizes), len(request.sizes)
        if size <= left:
            return Grant(count, size, 0)
        while count and self._need(request, size) > left:
            count -= 1
            size -= request.sizes[count]
        return Grant(count, self._need(request, size), request.estimate(size)) if count else NOTHING

    def _need(self, request: RequestTokens, size: int) -> int:
        """Return how many tokens may be billed for so many bytes of a request."""
        return min(size, self._worth.of(request.estimate(size))) if self._worth.is_learned else size
