"""What dimension the vectors of a run have, where nobody has said it: the first one that two of them have.

One vector alone may be the wrong one, and then all right ones would be refused. Without I/O.
"""

from __future__ import annotations


class Agreement:
    """Notes the dimensions of vectors until two of them are alike.

    There are only so many lengths that a vector can have, so that it does not go on for ever, nor grow.

    Args:
        usual: Dimension that earlier vectors of the same kind had; it counts as that of one vector.
    """

    __slots__ = ("_seen",)

    def __init__(self, usual: int | None = None) -> None:
        self._seen = {usual} if usual else set[int]()

    @property
    def is_disputed(self) -> bool:
        """Whether vectors were of different dimensions."""
        return len(self._seen) > 1

    @property
    def only(self) -> int | None:
        """The dimension of all that were seen, None if they were of different ones or there were none."""
        return None if self.is_disputed else next(iter(self._seen), None)

    def see(self, dimension: int) -> bool:
        """Note the dimension of a vector, and return whether another one had the same, which settles it."""
        is_settled = dimension in self._seen
        self._seen.add(dimension)
        return is_settled
