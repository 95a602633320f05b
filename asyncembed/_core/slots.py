"""Request slots, which limit concurrent requests to the number that the controller of a model sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from asyncembed._decide.controller import Controller

if TYPE_CHECKING:
    from asyncembed._decide.controller import Flight
    from asyncembed._decide.giving_way import GivingWay


class RequestSlots:
    """Request slots of one client for one model, shared by its streams.

    Args:
        controller: Sets the number of slots.
        giving_way: Lowers that number, and the size of requests, while queries come.
    """

    def __init__(self, controller: Controller, giving_way: GivingWay) -> None:
        self._controller = controller
        self._giving_way = giving_way
        self._limiter = anyio.CapacityLimiter(controller.concurrency)

    @property
    def size(self) -> int:
        """Maximum number of texts in the next request."""
        return self._giving_way.size(self._controller.size)

    @property
    def largest(self) -> int:
        """Maximum number of texts in any request, after the limits learned from refusals and time-outs."""
        return self._controller.largest

    @property
    def limit(self) -> int:
        """Current number of slots."""
        return int(self._limiter.total_tokens)

    @property
    def in_use(self) -> int:
        """Number of slots in use."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return self._limiter.statistics().tasks_waiting

    async def acquire(self, borrower: object) -> None:
        """Wait for a slot and take it for `borrower`."""
        self.adapt()
        if not self.try_acquire(borrower):
            await self._limiter.acquire_on_behalf_of(borrower)

    def try_acquire(self, borrower: object) -> bool:
        """Take a slot for `borrower` if one is free; return whether it did."""
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)
        except anyio.WouldBlock:
            return False
        return True

    def release(self, borrower: object) -> None:
        """Give back the slot of `borrower`."""
        self._limiter.release_on_behalf_of(borrower)

    def begin(self, texts: int) -> Flight:
        """Record that a request starts; call `adapt` when it has ended."""
        return self._controller.begin(texts)

    def adapt(self) -> None:
        """Adjust the number of slots to what the controller says now."""
        number = self._giving_way.concurrency(self._controller.concurrency, self._controller.max_concurrency)
        if self._limiter.total_tokens != number:
            self._limiter.total_tokens = number

    def query_came(self) -> None:
        """Note that a query is being sent, which takes no slot."""
        self._giving_way.came()

    def query_answered(self, seconds: float) -> None:
        """Note how long a query took."""
        if self._giving_way.answered(seconds, self._controller.concurrency):
            self.adapt()


class SlotsByModel:
    """The request slots of one client, or of one call with slots of its own, by model.

    Args:
        max_concurrency: Maximum number of concurrent requests to one model.
        initial_concurrency: Number of concurrent requests at the start; None for the controller's default.
    """

    def __init__(self, max_concurrency: int, initial_concurrency: int | None = None) -> None:
        self._max = max_concurrency
        self._initial = initial_concurrency
        self._slots: dict[str, RequestSlots] = {}

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return sum(slots.waiting for slots in self._slots.values())

    @property
    def in_use(self) -> int:
        """Number of slots in use, over all models."""
        return sum(slots.in_use for slots in self._slots.values())

    def get(self, model: str) -> RequestSlots | None:
        """Return the slots of a model, None before `add`."""
        return self._slots.get(model)

    def add(
        self,
        model: str,
        giving_way: GivingWay,
        max_size: int,
        *,
        is_own_address: bool,
        initial_size: int | None = None,
    ) -> RequestSlots:
        """Create the slots of a model, and return them.

        Args:
            model: The provider's name of the model.
            giving_way: Lowers the number and the size of requests while queries come.
            max_size: Maximum number of texts per request.
            is_own_address: Whether the address is the provider's own.
            initial_size: Number of texts per request at the start; None for the controller's default.
        """
        controller = Controller(
            max_size=max_size,
            max_concurrency=self._max,
            initial_concurrency=self._initial,
            is_own_address=is_own_address,
            initial_size=initial_size,
        )
        slots = self._slots[model] = RequestSlots(controller, giving_way)
        return slots
