"""The parts of a batch that are asked for, one after the other, when the API does not take it as a whole.

Without I/O. Two reasons, and two ways to cut:

- One of the texts is bad, and the API refuses all of them for it. Then halves are asked for until it stands alone. When
  the first half of what was refused is taken, the other half must hold the bad text, and is halved without being asked
  for. So one bad text among n costs at most 2·log2(n) + 1 requests more than none, and the others are paid for once.
- The request is too large. Then each of the parts may be fine, and all are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True, eq=False)
class Part:
    """Texts that are asked for together.

    Attributes:
        indices: Their input indices, ascending.
        sibling: The part that must hold a bad text if this one holds none.
        is_refused: Whether it must hold a bad text among others, so that it need not be asked for to be halved.
    """

    indices: list[int]
    sibling: Part | None = None
    is_refused: bool = False

    def __len__(self) -> int:
        return len(self.indices)


class Parts:
    """What is still to be asked for of one batch.

    Args:
        indices: Input indices of its texts, ascending.
    """

    def __init__(self, indices: Iterable[int]) -> None:
        self._parts = [Part(list(indices))]  # the next one is last

    def next(self) -> Part | None:
        """Return the part to ask for now, or to halve if it is refused; None if there is none that holds anything."""
        while self._parts:
            part = self._parts.pop()
            if part.indices:
                return part
        return None

    def taken(self, part: Part) -> None:
        """Note that all of a part has arrived."""
        if part.sibling and len(part.sibling) > 1:
            part.sibling.is_refused = True

    def halve(self, part: Part) -> list[int]:
        """Ask for the halves of a part that was refused for one of its texts, and return their sizes.

        It has more than one text.
        """
        middle = len(part) // 2
        second = Part(part.indices[middle:])
        self._parts += [second, Part(part.indices[:middle], second)]
        return [middle, len(second)]

    def cut(self, part: Part, count: int) -> list[int]:
        """Ask for a part that is too large in so many parts, and return their sizes."""
        size = -(-len(part) // max(count, 1))
        parts = [Part(part.indices[start : start + size]) for start in range(0, len(part), size)]
        self._parts += reversed(parts)
        return list(map(len, parts))
