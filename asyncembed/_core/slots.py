"""Slots for requests: as many as the controller of the address and the model says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from asyncembed._decide.controller import Controller

if TYPE_CHECKING:
    from asyncembed._decide.controller import Flight


class RequestSlots:
    """Slots for the requests of one client to one model, shared by its streams.

    Args:
        controller: Says how many there are.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._limiter = anyio.CapacityLimiter(controller.concurrency)

    @property
    def size(self) -> int:
        """Most texts that the next request should hold."""
        return self._controller.size

    @property
    def largest(self) -> int:
        """Most texts that any request may hold, as far as refusals and time-outs have taught."""
        return self._controller.largest

    @property
    def limit(self) -> int:
        """Slots there are now."""
        return int(self._limiter.total_tokens)

    @property
    def in_use(self) -> int:
        """Slots taken."""
        return self._limiter.borrowed_tokens

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._limiter.statistics().tasks_waiting

    async def acquire(self, borrower: object) -> None:
        """Wait for a slot and take it in the name of `borrower`."""
        self.adapt()
        if not self.take(borrower):
            await self._limiter.acquire_on_behalf_of(borrower)

    def take(self, borrower: object) -> bool:
        """Take a slot in the name of `borrower` if one is free; whether one was."""
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)
        except anyio.WouldBlock:
            return False
        return True

    def release(self, borrower: object) -> None:
        """Give back the slot of `borrower`."""
        self._limiter.release_on_behalf_of(borrower)

    def begin(self, texts: int) -> Flight:
        """Note that a request begins; `adapt` follows when it has ended."""
        return self._controller.begin(texts)

    def adapt(self) -> None:
        """Have as many slots as the controller says now."""
        if self._limiter.total_tokens != self._controller.concurrency:
            self._limiter.total_tokens = self._controller.concurrency


class SlotsByModel:
    """The slots of one client, or of one call with slots of its own, for each model that it asks for.

    Args:
        max_concurrency: Most requests at once.
        initial_concurrency: Requests at once to begin with; None for the controller's default.
    """

    def __init__(self, max_concurrency: int, initial_concurrency: int | None = None) -> None:
        self._max = max_concurrency
        self._initial = initial_concurrency
        self._slots: dict[str, RequestSlots] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(slots.waiting for slots in self._slots.values())

    @property
    def in_use(self) -> int:
        """Slots taken, for all models together."""
        return sum(slots.in_use for slots in self._slots.values())

    def of(self, model: str, max_size: int, *, is_own_address: bool, initial_size: int | None = None) -> RequestSlots:
        """Return the slots for a model, whose requests may hold `max_size` texts, and hold `initial_size` at first."""
        if model not in self._slots:
            controller = Controller(
                max_size=max_size,
                max_concurrency=self._max,
                initial_concurrency=self._initial,
                is_own_address=is_own_address,
                initial_size=initial_size,
            )
            self._slots[model] = RequestSlots(controller)
        return self._slots[model]
