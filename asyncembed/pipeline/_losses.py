"""Texts that a run does without, and when it has lost so many that it had better end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._errors import InvalidInputError

if TYPE_CHECKING:
    from asyncembed._errors import AsyncEmbedError

MAX_LOST_IN_A_ROW: Final = 8
"""Batches that may be lost to a failing server or network, one after the other, before that ends the run."""

MAX_REFUSED_AT_FIRST: Final = 64
"""Texts that the API may refuse, each by itself, before it has taken a single one: it must be the request, then."""


class Losses:
    """Counts what was given up.

    Attributes:
        count: Texts.
        first: Why the first of them was.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: AsyncEmbedError | None = None
        self._lost_in_a_row = self._refused = 0

    def add(self, error: AsyncEmbedError) -> None:
        """Note a text that was given up."""
        self.count += 1
        self.first = self.first or error

    def end_row(self) -> None:
        """Note that something has arrived."""
        self._lost_in_a_row = 0

    def may_go_on(self, error: AsyncEmbedError, done: int) -> bool:
        """Whether a run that has had `done` results goes on without what an error concerns."""
        if isinstance(error, InvalidInputError):
            self._refused += 1
            return done > 0 or self._refused < MAX_REFUSED_AT_FIRST
        self._lost_in_a_row += 1
        return self._lost_in_a_row < MAX_LOST_IN_A_ROW
