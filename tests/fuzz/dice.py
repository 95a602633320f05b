"""Chance at the least cost: `Random.choice` and `randrange` would take a good part of the time of a case."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Dice:
    """Draws that depend on nothing but the seed."""

    __slots__ = ("_random",)

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def below(self, bound: int) -> int:
        """A whole number from 0 on; 0 where nothing is below the bound."""
        return int(self._random() * bound)

    def of(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self._random() * len(options))]

    def hits(self, chance: float) -> bool:
        """Whether something happens that does with this chance."""
        return self._random() < chance
