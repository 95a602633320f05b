"""Delivers the rows of incomplete batches to consumers that store results, a moment after they arrived.

A batch that arrives in one piece is delivered as one block by its worker.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncembed._core.memory import Reservation
    from asyncembed._decide.delivery import BlockDelivery
    from asyncembed._models import EmbedBlock, Scalar

FLUSH_SECONDS: Final = 0.025
"""Maximum time that a row waits for the rest of its batch, in seconds."""


class Flusher:
    """Delivers rows of incomplete batches shortly after they arrive; a worker delivers complete batches itself.

    Args:
        deliver: Called with blocks, and with the memory of their batch.
        whole_only: Whether rows wait for the end of their response nevertheless.
    """

    def __init__(
        self, deliver: Callable[[Sequence[EmbedBlock[Scalar]], Reservation], None], *, whole_only: bool = False
    ) -> None:
        self._deliver = deliver
        self._whole_only = whole_only
        self._waiting: dict[BlockDelivery, Reservation] = {}
        self._timer: asyncio.TimerHandle | None = None

    def schedule(self, delivery: BlockDelivery, reservation: Reservation) -> None:
        """Schedule the rows of a batch that wait, if there are any."""
        if delivery.waiting and not self._whole_only:
            self._waiting[delivery] = reservation
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._expire)

    def close(self) -> None:
        """Deliver nothing more: the run has ended, and its workers have delivered all rows."""
        self._waiting.clear()
        if self._timer:
            self._timer.cancel()

    def flush(self) -> None:
        """Deliver all scheduled rows now."""
        waiting, self._waiting = self._waiting, {}
        for delivery, reservation in waiting.items():
            self._deliver(delivery.flush(), reservation)

    def _expire(self) -> None:
        self._timer = None
        self.flush()
