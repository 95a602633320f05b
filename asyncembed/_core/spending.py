"""Keeps a run within its cap: each request reserves tokens before it is sent.

The cost of a request is known when its response has arrived. Until then `Spending` reserves a cautious estimate, and
afterwards it releases what the request did not need. So near the cap, a request waits for those in flight. If none is
in flight, the request is cut to the texts that fit into the cap. If not even its first text fits, the run ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asyncembed._budget_exceeded import BudgetExceededError
from asyncembed._decide.chunker import JSON_OVERHEAD
from asyncembed._decide.spending_cap import Grant, RequestTokens
from asyncembed._decide.token_estimate import TokenEstimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._core.rate_gate import Billed
    from asyncembed._decide.spending_cap import SpendingCap
    from asyncembed._models import Usage


class Spending:
    """The tokens that one run has spent and reserved.

    Far from the cap it reserves one token per byte, because no tokenizer makes more tokens of a text. Where that does
    not fit, it estimates the tokens of the texts, and corrects the estimate by the tokens that earlier requests turned
    out to have. A number of tokens per byte would not do: it is too low where Chinese texts follow English ones.

    Args:
        cap: The maximum.
        tokens: Estimates the tokens of responses that do not report them.
        prompt: The prefix of each text.
        earlier: Usage of earlier runs of the same file.
    """

    def __init__(self, cap: SpendingCap, tokens: TokenEstimate, prompt: str, earlier: Usage) -> None:
        self._cap = cap
        self._tokens = tokens
        self._prompt = prompt
        self._overhead = JSON_OVERHEAD + len(prompt.encode())
        self._known_tokens = earlier.tokens + earlier.unreported_tokens  # reported, or counted for earlier runs
        self._unreported_bytes = 0  # of responses that broke before they reported their tokens
        self._unreported_estimate = 0  # estimated tokens of the texts of those responses
        self._billed_per_estimated = TokenEstimate()
        self._reserved = 0
        self._changed = asyncio.Event()
        self._queue_lock = asyncio.Lock()  # first come, first served

    async def reserve(self, texts: Sequence[str]) -> Grant:
        """Reserve tokens for a request, or for its first texts, once requests in flight can no longer free more."""
        request = RequestTokens(texts, self._prompt, self._overhead)
        async with self._queue_lock:
            while True:
                grant = self._affordable(request)
                if grant.texts == len(texts) or not self._reserved:
                    self._reserved += grant.tokens
                    return grant
                self._changed.clear()
                await self._changed.wait()

    def release(self, grant: Grant, billed: Billed | None) -> None:
        """Release the reservation of a request, and learn from what it cost; None if it was not sent."""
        self._reserved -= grant.tokens
        if billed and billed.unreported_bytes:
            self._unreported_estimate += grant.estimate()
        elif billed and billed.tokens and grant.is_estimated:
            self._billed_per_estimated.learn(grant.estimate(), billed.tokens)
        self._changed.set()

    def spend(self, billed: Billed) -> None:
        """Add the cost of a request."""
        self._known_tokens += billed.tokens
        self._unreported_bytes += billed.unreported_bytes

    def error(self, texts: Sequence[str]) -> BudgetExceededError:
        """Return the error of a run in which the first of these texts does not fit into the cap."""
        request = RequestTokens(texts[:1], self._prompt, self._overhead)
        need = self._need(request, sum(request.sizes))
        return BudgetExceededError(
            f"{self._cap.describe(self._spent)}, and the next text may take up to {need:,}; raise the limit to continue"
        )

    @property
    def _spent(self) -> int:
        tokens, size = self._tokens, self._unreported_bytes
        if self._billed_per_estimated.is_learned:
            unreported = self._billed_per_estimated.of(self._unreported_estimate)
        else:
            unreported = tokens.of(size) if tokens.is_learned else tokens.likely(size)
        return self._known_tokens + unreported

    def _affordable(self, request: RequestTokens) -> Grant:
        """Return a grant for as many texts, from the first, as fit into the cap now."""
        left = self._cap.tokens - self._spent - self._reserved
        size, count = sum(request.sizes), len(request.sizes)
        if size <= left:
            return Grant(count, size, request, size, is_estimated=False)
        while count and self._need(request, size) > left:
            count -= 1
            size -= request.sizes[count]
        return Grant(count, self._need(request, size), request, size, is_estimated=True)

    def _need(self, request: RequestTokens, size: int) -> int:
        """Return the tokens to reserve for `size` bytes of a request."""
        ratio = self._billed_per_estimated
        return min(size, ratio.of(request.estimate(size))) if ratio.is_learned else size
