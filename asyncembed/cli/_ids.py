"""Counts the rows that have the id of another row, of which a store keeps only the last."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, AsyncIterable, Generator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from asyncembed import EmbedInput
    from asyncembed.cli._inputs import Inputs


class IdCounter:
    """Counts repeated ids. It keeps 8 bytes of each."""

    def __init__(self) -> None:
        self._hashes = array("q")

    @property
    def repeated(self) -> int:
        """Number of rows less the number of different ids. Rows without an id do not count."""
        return len(self._hashes) - len(np.unique(np.frombuffer(self._hashes, np.int64))) if self._hashes else 0

    def counting(self, rows: Inputs) -> Inputs:
        """Return the same rows, which are counted as they are read."""
        return self._async(rows) if isinstance(rows, AsyncIterable) else self._plain(rows)

    def _plain(self, rows: Iterable[EmbedInput]) -> Iterator[EmbedInput]:
        try:
            for row in rows:
                self._add(row)
                yield row
        finally:
            if isinstance(rows, Generator):
                rows.close()

    async def _async(self, rows: AsyncIterable[EmbedInput]) -> AsyncIterator[EmbedInput]:
        try:
            async for row in rows:
                self._add(row)
                yield row
        finally:
            if isinstance(rows, AsyncGenerator):
                await rows.aclose()

    def _add(self, row: EmbedInput) -> None:
        if row.id is not None:
            self._hashes.append(hash(repr(row.id)))
