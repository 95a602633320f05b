"""Rows of batches that are not complete, handed over a moment after they came, for a run whose results must be safe.

A batch that arrives in one go is handed over as one block, by its worker, and nothing is left to be done here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncembed._models import EmbedBlock
    from asyncembed.flow._memory import Reservation
    from asyncembed.pipeline._blocks import BlockDelivery

FLUSH_SECONDS: Final = 0.025
"""Most seconds that a row waits for the rest of its batch."""


class Flusher:
    """Hands over what has arrived.

    Args:
        deliver: Takes blocks, and the memory of their batch.
        whole_only: Whether a row waits for the end of its response all the same.
    """

    def __init__(
        self, deliver: Callable[[Sequence[EmbedBlock], Reservation], None], *, whole_only: bool = False
    ) -> None:
        self._deliver = deliver
        self._whole_only = whole_only
        self._waiting: dict[BlockDelivery, Reservation] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, delivery: BlockDelivery, reservation: Reservation) -> None:
        """Hand over soon what a batch has got, if it has anything that waits."""
        if delivery.waiting and not self._whole_only:
            self._waiting[delivery] = reservation
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._expire)

    def close(self) -> None:
        """Hand over nothing more: the run has ended, and its workers have handed over what there was."""
        self._waiting.clear()
        if self._timer:
            self._timer.cancel()

    def flush(self) -> None:
        """Hand over now what has arrived."""
        waiting, self._waiting = self._waiting, {}
        for delivery, reservation in waiting.items():
            self._deliver(delivery.rest(), reservation)

    def _expire(self) -> None:
        self._timer = None
        self.flush()
