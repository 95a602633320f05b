"""The texts of a run that may be resumed: those that an earlier run has settled are recognised, and left out.

Into a file: what arrives is safe on the disk a moment later, and what is safe is never asked for again.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.lowlevel

from asyncembed._core.settling import SettlingRun
from asyncembed._core.source import aclose_texts, async_lines, close_texts, length, lines
from asyncembed._decide.texts import TextLike, as_input_or_refused
from asyncembed._exceptions import InvalidInputError, ResumeError
from asyncembed._models import EmbedFailure, RunSummary, RunTotals
from asyncembed._stoppable import stoppable
from asyncembed._target import provenance_of
from asyncembed._util import OneThread
from asyncembed.sinks import Fingerprint, KnownTexts, OldFingerprint, Provenance

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from asyncembed._core.call import Call, DeadLetters
    from asyncembed._core.settling import Item
    from asyncembed._core.stream import EmbedStream
    from asyncembed._decide.texts import Texts
    from asyncembed._models import EmbedInput, Usage
    from asyncembed._progress import Progress
    from asyncembed._target import Target
    from asyncembed.sinks import Journal, Output


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


MAX_HELD_BYTES: Final = 8_000_000
"""Bytes of texts that failed only because the API did, and that are kept in memory to be asked for again by a later
run if this one ends early. Of more than that the oldest are given up for good."""

FAILURE_BYTES: Final = 500
"""What such a failure takes beside its text."""

OpenStream: TypeAlias = "Callable[[Texts, int, Sequence[tuple[int, EmbedInput]], Usage], EmbedStream[Item]]"
"""Opens a settling stream of blocks over texts: the first index, texts that come before it with their indices, and what
earlier runs have spent."""

_END: Final = object()


class FileRun:
    """One `embed_to_file`.

    Args:
        call: What is asked for.
        texts: The caller's texts.
        target: The file.
        open_stream: Opens the stream that is to be settled.
        progress: Told how the run stands.
        stop: Set by the caller to end the run early; it then waits `stop_wait` seconds for what is on its way.
        stop_wait: See there.
    """

    def __init__(
        self,
        call: Call,
        texts: Texts,
        target: Target,
        open_stream: OpenStream,
        progress: Progress,
        *,
        stop: asyncio.Event | None = None,
        stop_wait: float = 0.0,
    ) -> None:
        self._call = call
        self._input = Input(texts)
        self._target = target
        self._open_stream = open_stream
        self._progress = progress
        self._stop = stop
        self._stop_wait = stop_wait
        self._thread = OneThread()
        self._run: SettlingRun | None = None

    async def complete(self) -> RunSummary:
        """Make the file, and say how that went."""
        async with self._progress:
            return await self._make()

    async def _make(self) -> RunSummary:
        provenance = provenance_of(self._call, keep_text=self._target.keep_text)
        claimed: list[Output] = []  # filled also if this task is cancelled meanwhile
        with self._thread:
            try:
                with stoppable(self._stop, self._end_soon):
                    await self._thread.run(lambda: claimed.append(self._target.claim(provenance, self._input.count)))
                    summary = await self._complete(claimed[0])
                self._input.is_exhausted = True
            except Exception as error:
                for note in filter(None, (output.kept for output in claimed)):
                    error.add_note(note)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    for output in claimed:
                        await self._thread.run(output.close)
                    await self._input.aclose()
        self._progress.tell(summary)
        return summary

    async def _end_soon(self) -> None:
        if self._run:
            await self._run.stop(self._stop_wait)

    async def _complete(self, output: Output) -> RunSummary:
        journal, finished = output.journal, output.finished
        if journal:
            summary = await self._go_on(journal)
            await self._in_steps(output.finish())
            return summary
        assert finished
        await self._check_all(output.path, finished)
        await self._in_steps(output.finish())
        rows = await self._thread.run(lambda: output.rows)
        totals = await self._thread.run(lambda: output.totals) or RunTotals()
        whole = RunSummary(resumed=finished.texts, saved=rows, model=finished.model, dimension=finished.dimension)
        return whole.after(totals)

    async def _check_all(self, path: Path, finished: Provenance) -> None:
        """Raise `ResumeError` unless the texts are those that a whole file was made of."""
        fingerprints = [Fingerprint(), OldFingerprint()]
        await self._input.add_all_to(fingerprints)
        if finished.fingerprint not in [fingerprint.hexdigest() for fingerprint in fingerprints]:
            raise ResumeError(
                f"{path} is finished, and belongs to other texts: it was made of {finished.texts} texts, and this "
                f"input of {fingerprints[0].texts} is not the same"
            )

    async def _go_on(self, journal: Journal) -> RunSummary:
        """Ask for what is not settled yet."""
        budget = self._call.endpoint.budget.total
        before = RunSummary(
            resumed=journal.settled, saved=journal.rows, model=self._call.options.model, budget_bytes=budget
        )
        self._progress.tell(before.after(journal.committed.totals))
        reach, gaps = journal.committed.reach, await self._recognise(journal)
        if self._target.resume and (letters := self._call.dead_letters):
            # It may have ended between their write and the commit that settles their texts.
            await self._thread.run(partial(letters.recognise, gaps[0][0] if gaps else reach))
        stream = self._open_stream(self._input.rest, reach, gaps, journal.committed.totals.usage)
        settler = JournalSettler(journal, stream, self._call.dead_letters, self._thread)

        def report(now: RunSummary) -> None:
            self._progress.tell(settler.summed(now))

        self._run = SettlingRun(stream, settler, report if self._progress.is_wanted else None)
        await self._run.run()
        return settler.summed(stream.summary)

    async def _recognise(self, journal: Journal) -> list[tuple[int, EmbedInput]]:
        """Pull the texts that the journal knows, and return those among them that are to be asked for."""
        if not journal.committed.reach:
            return []
        known = await self._thread.run(partial(KnownTexts, journal))
        return await self._input.recognise(known, self._thread)

    async def _in_steps(self, steps: Iterator[None]) -> None:
        """Run a generator in the thread, so that it can be left between two of its steps."""
        try:
            while await self._thread.run(lambda: next(steps, _END)) is None:
                await anyio.lowlevel.checkpoint()
        finally:
            if inspect.isgenerator(steps):
                await self._thread.run(steps.close)


class JournalSettler:
    """Settles the results of one stream in a journal, and its failures in a file for them.

    Texts that failed because the API did may be asked for again by a later run, so they are held until the end.

    Args:
        journal: The journal.
        stream: The stream.
        letters: What keeps failures, if that is wanted.
        thread: Where files are written.
    """

    def __init__(
        self, journal: Journal, stream: EmbedStream[Item], letters: DeadLetters | None, thread: OneThread
    ) -> None:
        self._journal = journal
        self._stream = stream
        self._letters = letters
        self._thread = thread
        self._resumed, self._earlier = journal.settled, journal.committed.totals
        self._held: deque[EmbedFailure] = deque()
        self._held_bytes = 0
        self._failure = self._earlier.failure  # the first that is settled

    async def settle(self, batch: Sequence[Item], *, is_end: bool) -> None:
        """Bring results to the disk, and what the run took so far."""
        if self._journal.is_broken:
            return
        items = [*self._given_up(batch), *self._let_go(None if is_end else MAX_HELD_BYTES)]
        self._failure = self._failure or next((item.error for item in items if isinstance(item, EmbedFailure)), None)
        totals, said = self._totals(items), self._journal.committed.totals
        if items or (self._journal.settled and replace(totals, seconds=said.seconds) != said):
            await self._thread.run(partial(_settle, items, totals, self._journal, self._letters))

    def summed(self, now: RunSummary) -> RunSummary:
        """Return how the run stands, with what all runs of the file took."""
        return replace(now, resumed=self._resumed, saved=self._journal.rows).after(self._earlier)

    def _totals(self, items: Sequence[Item]) -> RunTotals:
        """What all runs took; of the failures those that are settled."""
        failed = self._journal.committed.failed + sum(isinstance(item, EmbedFailure) for item in items)
        totals = self._earlier + self._stream.totals
        return totals if totals.failed == failed else replace(totals, failed=failed, failure=self._failure)

    def _given_up(self, batch: Sequence[Item]) -> Iterator[Item]:
        """Give what is settled of a batch, and hold the rest."""
        for item in batch:
            if isinstance(item, EmbedFailure) and not isinstance(item.error, InvalidInputError):
                self._held.append(item)
                self._held_bytes += len(item.text) + FAILURE_BYTES
            else:
                yield item

    def _let_go(self, max_bytes: int | None) -> Iterator[EmbedFailure]:
        """Give the oldest failures that were held, until the others take so many bytes; None for all."""
        while self._held and (max_bytes is None or self._held_bytes > max_bytes):
            item = self._held.popleft()
            self._held_bytes -= len(item.text) + FAILURE_BYTES
            yield item


def _settle(items: Sequence[Item], totals: RunTotals, journal: Journal, letters: DeadLetters | None) -> None:
    """Bring results to the disk: failures first, as what is in the journal is not asked for again."""
    failures = [item for item in items if isinstance(item, EmbedFailure)]
    try:
        if failures and letters:
            letters.write(failures)
    except BaseException:
        journal.is_broken = True
        raise
    journal.add(items, totals)
