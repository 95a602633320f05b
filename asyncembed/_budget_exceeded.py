"""The error of a run that reaches its cap. Unlike the other errors it has a response, which knows errors itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncembed._exceptions import AsyncEmbedError

if TYPE_CHECKING:
    from asyncembed._models import EmbedResponse, Scalar


class BudgetExceededError(AsyncEmbedError):
    """Raised before a request that would exceed `max_tokens` or `max_cost`; earlier results have been delivered.

    Attributes:
        response: What has arrived, if `embed` raised the error: `response.ok` is False for the other texts, and
            `response.failures` names them. None for other verbs, which have delivered or saved what arrived.
    """

    response: EmbedResponse[Scalar] | None = None
