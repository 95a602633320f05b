"""Into a file: what arrives is safe on the disk a moment later, and what is safe is never asked for again.

Results are taken from an ordered stream of blocks and written in groups: while one group is brought to the disk, in a
thread, the next one gathers in the stream. So a slow disk makes larger groups, until it is slower than the API.
"""

from __future__ import annotations

import inspect
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.lowlevel

from asyncembed._errors import InvalidInputError, ResumeError
from asyncembed._input import Input
from asyncembed._models import EmbedBlock, EmbedFailure, RunSummary
from asyncembed._target import provenance_of
from asyncembed._threads import OneThread
from asyncembed.sinks import Fingerprint, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asyncembed._target import Target
    from asyncembed.pipeline._failures import DeadLetters
    from asyncembed.pipeline._run import Call
    from asyncembed.pipeline._source import Texts
    from asyncembed.pipeline._stream import EmbedStream
    from asyncembed.sinks import Journal, Output

GROUP_BYTES: Final = 8_000_000
"""Bytes of vectors and texts from which on a group is due at once."""

GROUP_SECONDS: Final = 0.05
"""Seconds from one group to the next; a crash loses what came within them, or still lacks something before it."""

MOST_READY: Final = 8
"""Blocks that may wait for the disk before nothing more is asked for: a disk that stalls is not to fill the memory."""

REPORT_EVERY: Final = 0.2
"""Seconds between two reports of how the run stands."""

Item: TypeAlias = EmbedBlock | EmbedFailure
_NOTHING_YET: Final = object()
_END: Final = object()


class FileRun:
    """One `embed_to_file`.

    Args:
        call: What is asked for.
        texts: The caller's texts.
        target: The file.
        open_stream: Opens an ordered stream of blocks over texts, the first of which has the given index.
        on_progress: Told how the run stands.
    """

    def __init__(
        self,
        call: Call,
        texts: Texts,
        target: Target,
        open_stream: Callable[[Texts, int], EmbedStream[Item]],
        on_progress: Callable[[RunSummary], None] | None,
    ) -> None:
        self._call = call
        self._input = Input(texts)
        self._target = target
        self._open_stream = open_stream
        self._on_progress = on_progress
        self._thread = OneThread()
        self._resumed = self._failed_before = 0
        self._group: list[Item] = []
        self._group_bytes = 0
        self._due = self._report_due = 0.0

    async def complete(self) -> RunSummary:
        """Make the file, and say how that went."""
        provenance = provenance_of(self._call, keep_text=self._target.keep_text)
        claimed: list[Output] = []  # filled also if this task is cancelled meanwhile
        with self._thread:
            try:
                await self._thread.run(lambda: claimed.append(self._target.claim(provenance, self._input.count)))
                summary = await self._complete(claimed[0])
            except Exception as error:
                for note in filter(None, (output.kept for output in claimed)):
                    error.add_note(note)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    for output in claimed:
                        await self._thread.run(output.close)
                    await self._input.aclose()
        self._report(summary)
        return summary

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
        return RunSummary(resumed=finished.texts, saved=rows, model=finished.model, dimension=finished.dimension)

    async def _check_all(self, path: Path, finished: Provenance) -> None:
        """Raise `ResumeError` unless the texts are those that a whole file was made of."""
        fingerprint = Fingerprint()
        await self._input.pull_into(fingerprint)
        if fingerprint.hexdigest() != finished.fingerprint:
            raise ResumeError(
                f"{path} is finished, and belongs to other texts: it was made of {finished.texts} texts, and this "
                f"input of {fingerprint.texts} is not the same"
            )

    async def _go_on(self, journal: Journal) -> RunSummary:
        """Ask for what is not settled yet."""
        self._report(RunSummary(resumed=journal.settled, saved=journal.rows, model=self._call.options.model))
        await self._input.pull_into(journal.fingerprint, journal.settled)
        journal.check_input()
        self._resumed, self._failed_before = journal.settled, journal.failed
        if self._target.resume and (letters := self._call.dead_letters):
            # It may have ended between their write and the commit that settles their texts.
            await self._thread.run(partial(letters.recognise, journal.settled))
        stream = self._open_stream(self._input.rest, journal.settled)
        try:
            async with stream:
                try:
                    await self._record(stream, journal)
                finally:
                    self._group += stream.take_ready()  # what was paid for, also if the run is being left
        except BaseException:
            await self._commit(journal)
            with suppress(Exception):
                self._report(self._summary(stream, journal))
            raise
        await self._commit(journal, is_end=True)
        return self._summary(stream, journal)

    async def _record(self, stream: EmbedStream[Item], journal: Journal) -> None:
        while True:
            item: object = _NOTHING_YET
            with anyio.move_on_after(self._patience()):
                item = await anext(stream, None)
            if isinstance(item, EmbedBlock | EmbedFailure):
                self._group.append(item)
                self._group_bytes += _size(item)
            if item is None:
                return
            now = time.monotonic()
            if self._group and (now >= self._due or self._group_bytes >= GROUP_BYTES):
                await self._commit(journal)
            if now >= self._report_due:
                self._report_due = now + REPORT_EVERY
                self._report(self._summary(stream, journal))

    def _patience(self) -> float:
        """Seconds to wait for the next block before something else is to be done."""
        due = self._due if self._group else float("inf")
        return max(0.0, min(due, self._report_due if self._on_progress else due) - time.monotonic())

    async def _commit(self, journal: Journal, *, is_end: bool = False) -> None:
        group, later = self._group, []
        if not is_end:
            # Who failed because the API did may be asked for again by whoever resumes, if nothing follows.
            last = max((place for place, item in enumerate(group, 1) if _is_final(item)), default=0)
            group, later = group[:last], group[last:]
        self._group, self._group_bytes = later, 0
        if group and not journal.is_broken:
            await self._thread.run(partial(_settle, group, journal, self._call.dead_letters))
        self._due = time.monotonic() + GROUP_SECONDS

    async def _in_steps(self, steps: Iterator[None]) -> None:
        """Run a generator in the thread, so that it can be left between two of its steps."""
        try:
            while await self._thread.run(lambda: next(steps, _END)) is None:
                await anyio.lowlevel.checkpoint()
        finally:
            if inspect.isgenerator(steps):
                await self._thread.run(steps.close)

    def _summary(self, stream: EmbedStream[Item], journal: Journal) -> RunSummary:
        now = stream.summary
        return replace(now, resumed=self._resumed, saved=journal.rows, failed=self._failed_before + now.failed)

    def _report(self, summary: RunSummary) -> None:
        if self._on_progress:
            self._on_progress(summary)


def _settle(group: list[Item], journal: Journal, letters: DeadLetters | None) -> None:
    """Bring results to the disk: failures first, as nobody asks again for what is in the journal."""
    failures = [item for item in group if isinstance(item, EmbedFailure)]
    try:
        if failures and letters:
            letters.write(failures)
    except BaseException:
        journal.is_broken = True
        raise
    journal.add(group)


def _is_final(item: Item) -> bool:
    """Whether asking again would change nothing."""
    return isinstance(item, EmbedBlock) or isinstance(item.error, InvalidInputError)


def _size(item: Item) -> int:
    if isinstance(item, EmbedFailure):
        return len(item.text)
    return item.embeddings.nbytes + sum(len(given.text) for given in item.inputs)
