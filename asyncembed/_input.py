"""The texts of a run that may be resumed: those that an earlier run has settled are recognised, and left out."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import anyio.lowlevel

from asyncembed.pipeline._source import aclose_texts, async_lines, close_texts, length, lines
from asyncembed.pipeline._texts import TextLike, as_input_or_refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from asyncembed._models import EmbedInput
    from asyncembed._threads import OneThread
    from asyncembed.pipeline._texts import Texts
    from asyncembed.sinks import Fingerprint, KnownTexts

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
        self.is_exhausted = False
        """Whether all texts were pulled."""

    async def add_all_to(self, fingerprints: Sequence[Fingerprint]) -> None:
        """Pull all texts, and add them to fingerprints."""
        first = 0
        while found := await self._pull(TEXTS_AT_ONCE, first):
            for fingerprint in fingerprints:
                fingerprint.add(found)
            first += len(found)

    async def recognise(self, known: KnownTexts, thread: OneThread) -> list[tuple[int, EmbedInput]]:
        """Pull the texts up to the last one that an earlier run has settled.

        Returns:
            Those among them that are to be asked for, with their indices. There are only as many as may have been
            on their way at the end of that run.

        Raises:
            ResumeError: if they are not the same texts.
        """
        gaps: list[tuple[int, EmbedInput]] = []
        first = 0
        while first < known.reach:
            found = await self._pull(min(known.reach - first, TEXTS_AT_ONCE), first)
            if not found:
                break
            places = await thread.run(partial(known.recognise, first, found))
            gaps += [(first + place, found[place]) for place in places]
            first += len(found)
        known.check_count(first)
        return gaps

    async def aclose(self) -> None:
        """Close what was left before its end, so that what it holds open is released now."""
        if self.is_exhausted:
            return
        if isinstance(self.rest, Iterator):
            close_texts(self.rest)
        else:
            await aclose_texts(self.rest)

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
        return [as_input_or_refused(item, first + place) for place, item in enumerate(items)]
