"""Cheap random draws: `Random.choice` and `randrange` would take a large part of the time of a case."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Dice:
    """Draws that depend only on the seed."""

    __slots__ = ("_random",)

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def below(self, bound: int) -> int:
        """Return a whole number from 0 to the bound, exclusive; 0 if the bound is not positive."""
        return int(self._random() * bound)

    def of(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self._random() * len(options))]

    def hits(self, chance: float) -> bool:
        """Return True with this probability."""
        return self._random() < chance
