"""The texts of a run that may be resumed: the first of them are recognised, and only the rest is embedded."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

import anyio.lowlevel

from asyncembed.pipeline._chunker import TextLike, as_input
from asyncembed.pipeline._source import async_lines, length, lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncembed._models import EmbedInput
    from asyncembed.pipeline._source import Texts
    from asyncembed.sinks import Fingerprint

TEXTS_AT_ONCE: Final = 1_000
"""Texts that are recognised before others get their turn."""


class Input:
    """Texts that are pulled once, from the first to the last.

    Args:
        texts: What the caller gave.
    """

    def __init__(self, texts: Texts) -> None:
        self.count = length(texts)
        """How many texts there are, if that is known."""
        self.rest: Iterator[TextLike] | AsyncIterator[TextLike]
        """The texts that were not pulled yet."""
        self.rest = async_lines(texts) if isinstance(texts, AsyncIterable) else lines(texts)

    async def pull_into(self, fingerprint: Fingerprint, most: int | None = None) -> None:
        """Add texts to a fingerprint until it has `most` of them, or until there are no more.

        Raises:
            ConfigurationError: if one of them is no text.
        """
        while most is None or fingerprint.texts < most:
            left = TEXTS_AT_ONCE if most is None else min(most - fingerprint.texts, TEXTS_AT_ONCE)
            if not (found := await self._pull(left, fingerprint.texts)):
                return
            fingerprint.add(found)

    async def aclose(self) -> None:
        """Close a generator that was given, so that what it holds open is released now."""
        if inspect.isgenerator(self.rest):
            self.rest.close()
        elif inspect.isasyncgen(self.rest):
            await self.rest.aclose()

    async def _pull(self, most: int, first: int) -> list[EmbedInput]:
        items: list[TextLike] = []
        if isinstance(self.rest, Iterator):
            items.extend(islice(self.rest, most))
        else:
            async for item in self.rest:
                items.append(item)
                if len(items) == most:
                    break
        await anyio.lowlevel.checkpoint()
        return [as_input(item, first + place) for place, item in enumerate(items)]
