"""`embed_to_file`: writes vectors to a file that survives a crash, and resumes where an earlier run ended.

Results are on disk shortly after they arrive, and texts with a result on disk are never requested again. `Input` reads
the texts and skips those that an earlier run has settled, `FileRun` does the whole job, and `JournalSettler` writes
results into the journal of the file.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict, deque
from collections.abc import AsyncIterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.lowlevel

from asyncembed._core.settling import SettlingRun
from asyncembed._core.source import aclose_texts, async_lines, close_texts, length, lines
from asyncembed._decide.duplicates import ENTRY_BYTES
from asyncembed._decide.texts import TextLike, as_input_or_refused, text_key
from asyncembed._exceptions import InvalidInputError, ResumeError
from asyncembed._models import EmbedFailure, RunSummary, RunTotals
from asyncembed._stoppable import stoppable
from asyncembed._target import provenance_of
from asyncembed._util import OneThread
from asyncembed.sinks import PACKED, Fingerprint, KnownTexts, OldFingerprint, Provenance

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from asyncembed._core.call import Call, DeadLetters
    from asyncembed._core.settling import Item
    from asyncembed._core.stream import EmbedStream
    from asyncembed._decide.texts import Texts
    from asyncembed._models import EmbedInput, Usage, Vector
    from asyncembed._progress import Progress
    from asyncembed._target import Target
    from asyncembed.sinks import Journal, Output


TEXTS_AT_ONCE: Final = 1_000
"""Texts to read and recognize before other tasks may run."""


class Input:
    """The caller's texts, which are read once.

    Args:
        texts: The caller's texts.
    """

    def __init__(self, texts: Texts) -> None:
        self.count = length(texts)
        """Number of texts, if it is known."""
        self.rest: Iterator[TextLike] | AsyncIterator[TextLike]
        """The texts that were not read yet."""
        self.rest = async_lines(texts) if isinstance(texts, AsyncIterable) else lines(texts)
        self.is_exhausted = False
        """Whether all texts were read."""

    async def add_all_to(self, fingerprints: Sequence[Fingerprint]) -> None:
        """Read all texts and add them to fingerprints."""
        first = 0
        while found := await self._read(TEXTS_AT_ONCE, first):
            for fingerprint in fingerprints:
                fingerprint.add(found)
            first += len(found)

    async def recognise(
        self, known: KnownTexts, thread: OneThread, earlier: EarlierVectors | None
    ) -> list[tuple[int, EmbedInput]]:
        """Read the texts up to the last one that an earlier run has settled.

        Args:
            known: The texts of the earlier run.
            thread: Reads its files.
            earlier: Notes which texts have a vector; None if equal texts do not share one.

        Returns:
            The texts among them that are not settled, with their indices. These are only texts that were in flight
            when the earlier run ended.

        Raises:
            ResumeError: if they are not the same texts as in the earlier run.
        """
        gaps: list[tuple[int, EmbedInput]] = []
        first = 0
        while first < known.reach:
            found = await self._read(min(known.reach - first, TEXTS_AT_ONCE), first)
            if not found:
                break
            places = await thread.run(partial(known.recognise, first, found))
            gaps += [(first + place, found[place]) for place in places]
            if earlier:
                rows = await thread.run(partial(known.rows, first, len(found)))
                earlier.add((found[place].text, row) for place, row in rows)
            first += len(found)
        known.check_count(first)
        return gaps

    async def aclose(self) -> None:
        """Close the caller's iterator if it was not read to its end, so that it releases its resources now."""
        if self.is_exhausted:
            return
        if isinstance(self.rest, Iterator):
            close_texts(self.rest)
        else:
            await aclose_texts(self.rest)

    async def _read(self, count: int, first: int) -> list[EmbedInput]:
        items: list[TextLike] = []
        if isinstance(self.rest, Iterator):
            items.extend(islice(self.rest, count))
        else:
            async for item in self.rest:
                items.append(item)
                if len(items) == count:
                    break
        await anyio.lowlevel.checkpoint()
        return [as_input_or_refused(item, first + position) for position, item in enumerate(items)]


class EarlierVectors:
    """Vectors of an earlier run that equal texts share: as many of the last ones as fit into the memory for them.

    Args:
        identity: What shapes the vectors besides the text.
        max_bytes: The memory for vectors that equal texts share.
        vector_bytes: Bytes of one vector.
    """

    def __init__(self, identity: bytes, max_bytes: int, vector_bytes: int) -> None:
        self._identity = identity
        self._max_count = max_bytes // (vector_bytes + ENTRY_BYTES)
        self._rows: OrderedDict[bytes, int] = OrderedDict()

    def add(self, texts: Iterable[tuple[str, int]]) -> None:
        """Note texts and the numbers of their rows."""
        for text, row in texts:
            key = text_key(text, self._identity)
            self._rows[key] = row
            self._rows.move_to_end(key)
            if len(self._rows) > self._max_count:
                self._rows.popitem(last=False)

    def read(self, known: KnownTexts) -> dict[bytes, Vector]:
        """Return the vectors by key."""
        vectors: dict[bytes, Vector] = {}
        noted = list(self._rows.items())
        for start in range(0, len(noted), TEXTS_AT_ONCE):
            some = noted[start : start + TEXTS_AT_ONCE]
            matrix = known.vectors([row for _, row in some])
            vectors.update((key, vector.copy()) for (key, _), vector in zip(some, matrix, strict=True))
        return vectors


MAX_UNSETTLED_BYTES: Final = 8_000_000
"""Maximum memory for failures that are not settled yet, in bytes.

These texts failed because the API did, and if the run ends early, a later run requests them again. Beyond this size,
the oldest failures are settled as final.
"""

FAILURE_BYTES: Final = 500
"""Memory of such a failure without its text, in bytes."""

OpenStream: TypeAlias = (
    "Callable[[Texts, int, Sequence[tuple[int, EmbedInput]], Usage, Mapping[bytes, Vector]], EmbedStream[Item]]"
)
"""Opens a settling stream of blocks, from texts, their first index, earlier texts with their indices, the usage of
earlier runs, and their vectors that equal texts share."""

_END: Final = object()


class FileRun:
    """One call of `embed_to_file`.

    Args:
        call: The checked arguments of the call.
        texts: The caller's texts.
        target: The file.
        open_stream: Opens the stream whose results are settled.
        progress: Reports the state of the run to the caller.
        stop: The caller sets it to end the run early.
        stop_wait: How long an early end waits for requests in flight, in seconds.
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
        """Write the file, and return the final state of the run."""
        async with self._progress:
            return await self._write()

    async def _write(self) -> RunSummary:
        provenance = provenance_of(self._call, keep_text=self._target.keep_text)
        claimed: list[Output] = []  # a list, so that `finally` sees the output even if this task is cancelled
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
        self._progress.report(summary)
        return summary

    async def _end_soon(self) -> None:
        if self._run:
            await self._run.stop(self._stop_wait)

    async def _complete(self, output: Output) -> RunSummary:
        journal, finished = output.journal, output.finished
        if journal:
            summary = await self._resume(journal)
            await self._in_steps(output.finish())
            return summary
        assert finished
        await self._check_all(output.path, finished)
        await self._in_steps(output.finish())
        rows = await self._thread.run(lambda: output.rows)
        totals = await self._thread.run(lambda: output.totals) or RunTotals()
        summary = RunSummary(resumed=finished.texts, saved=rows, model=finished.model, dimension=finished.dimension)
        return summary.after(totals)

    async def _check_all(self, path: Path, finished: Provenance) -> None:
        """Raise `ResumeError` unless a finished file was made from these texts."""
        fingerprints = [Fingerprint(), OldFingerprint()]
        await self._input.add_all_to(fingerprints)
        if finished.fingerprint not in [fingerprint.hexdigest() for fingerprint in fingerprints]:
            raise ResumeError(
                f"{path} is finished, and belongs to other texts: it was made from {finished.texts} texts, and this "
                f"input of {fingerprints[0].texts} is not the same"
            )

    async def _resume(self, journal: Journal) -> RunSummary:
        """Embed and settle the texts that are not settled yet."""
        budget = self._call.endpoint.budget.total
        before = RunSummary(
            resumed=journal.settled, saved=journal.rows, model=self._call.options.model, budget_bytes=budget
        )
        self._progress.report(before.after(journal.committed.totals))
        reach, (gaps, vectors) = journal.committed.reach, await self._recognise(journal)
        if self._target.resume and (letters := self._call.dead_letters):
            # The earlier run may have ended after writing failures and before committing them to the journal.
            await self._thread.run(partial(letters.recognise, gaps[0][0] if gaps else reach))
        stream = self._open_stream(self._input.rest, reach, gaps, journal.committed.totals.usage, vectors)
        del vectors  # the run forgets them one by one
        settler = JournalSettler(journal, stream, self._call.dead_letters, self._thread)

        def report(now: RunSummary) -> None:
            self._progress.report(settler.summed(now))

        self._run = SettlingRun(stream, settler, report if self._progress.is_wanted else None)
        await self._run.run()
        return settler.summed(stream.summary)

    async def _recognise(self, journal: Journal) -> tuple[list[tuple[int, EmbedInput]], dict[bytes, Vector]]:
        """Read the texts that the journal covers.

        Returns:
            Those among them that are not settled, and the vectors of the others that equal texts share.
        """
        commit, number, call = journal.committed, journal.provenance.number, self._call
        if not commit.reach:
            return [], {}
        known = await self._thread.run(partial(KnownTexts, journal.folder, commit, number))
        # With long_text="truncate", it is not known of an earlier vector whether its text was cut.
        shares = call.dedupe_bytes and call.options.long_text != "truncate"
        earlier = EarlierVectors(call.identity, call.dedupe_bytes, commit.width * number.itemsize) if shares else None
        gaps = await self._input.recognise(known, self._thread, earlier)
        return gaps, await self._thread.run(partial(earlier.read, known)) if earlier else {}

    async def _in_steps(self, steps: Iterator[None]) -> None:
        """Run a generator in the thread, so that this task can be cancelled between two of its steps."""
        try:
            while await self._thread.run(lambda: next(steps, _END)) is None:
                await anyio.lowlevel.checkpoint()
        finally:
            if inspect.isgenerator(steps):
                await self._thread.run(steps.close)


class JournalSettler:
    """Settles the results of one stream in a journal, and its failures as dead letters.

    If the run ends early, a later run requests texts again that failed because the API did. So these failures are
    settled only at the end.

    Args:
        journal: The journal.
        stream: The stream.
        letters: Stores failures, if the caller wants that.
        thread: Writes the files.
    """

    def __init__(
        self, journal: Journal, stream: EmbedStream[Item], letters: DeadLetters | None, thread: OneThread
    ) -> None:
        self._journal = journal
        self._stream = stream
        self._letters = letters
        self._thread = thread
        self._resumed, self._earlier = journal.settled, journal.committed.totals
        self._unsettled: deque[EmbedFailure] = deque()
        self._unsettled_bytes = 0
        self._failure = self._earlier.failure  # the first settled one

    async def settle(self, batch: Sequence[Item], *, is_end: bool) -> None:
        """Write results and the totals of the run to disk."""
        if self._journal.is_broken:
            return
        items = [*self._defer_failures(batch), *self._release_failures(None if is_end else MAX_UNSETTLED_BYTES)]
        self._failure = self._failure or next((item.error for item in items if isinstance(item, EmbedFailure)), None)
        totals, committed = self._totals(items), self._journal.committed.totals
        if items or (self._journal.settled and replace(totals, seconds=committed.seconds) != committed):
            await self._thread.run(partial(_settle, items, totals, self._journal, self._letters))

    def summed(self, now: RunSummary) -> RunSummary:
        """Return the state of the run, with the totals of all runs of this file."""
        width, dtype = self._journal.width, self._journal.provenance.dtype
        dimension = now.dimension or (8 * width if dtype in PACKED else width) or None
        now = replace(now, resumed=self._resumed, saved=self._journal.rows, dimension=dimension)
        return now.after(self._earlier)

    def _totals(self, items: Sequence[Item]) -> RunTotals:
        """Return the totals of all runs of this file; they count settled failures only."""
        failed = self._journal.committed.failed + sum(isinstance(item, EmbedFailure) for item in items)
        totals = self._earlier + self._stream.totals
        return totals if totals.failed == failed else replace(totals, failed=failed, failure=self._failure)

    def _defer_failures(self, batch: Sequence[Item]) -> Iterator[Item]:
        """Yield the results of a batch, and keep failures that a later run may request again."""
        for item in batch:
            if isinstance(item, EmbedFailure) and not isinstance(item.error, InvalidInputError):
                self._unsettled.append(item)
                self._unsettled_bytes += len(item.text) + FAILURE_BYTES
            else:
                yield item

    def _release_failures(self, max_bytes: int | None) -> Iterator[EmbedFailure]:
        """Yield the oldest deferred failures until the others fit into `max_bytes`; None for all."""
        while self._unsettled and (max_bytes is None or self._unsettled_bytes > max_bytes):
            item = self._unsettled.popleft()
            self._unsettled_bytes -= len(item.text) + FAILURE_BYTES
            yield item


def _settle(items: Sequence[Item], totals: RunTotals, journal: Journal, letters: DeadLetters | None) -> None:
    """Write failures and then results to disk, because texts in the journal are never requested again."""
    failures = [item for item in items if isinstance(item, EmbedFailure)]
    try:
        if failures and letters:
            letters.write(failures)
    except BaseException:
        journal.is_broken = True
        raise
    journal.add(items, totals)
