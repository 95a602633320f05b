"""Into a file: what arrives is safe on the disk a moment later, and what is safe is never asked for again.

Results are taken from an ordered stream of blocks and written in groups: while one group is brought to the disk, in a
thread, the next one gathers in the stream. So a slow disk makes larger groups, until it is slower than the API.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import anyio
import anyio.lowlevel

from asyncembed._errors import ResumeError
from asyncembed._input import Input
from asyncembed._models import EmbedBlock, EmbedFailure, RunSummary
from asyncembed._threads import OneThread
from asyncembed.sinks import Fingerprint, Provenance, find_format, open_output, without_secrets
from asyncembed.sinks._provenance import digest_of_fields

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from asyncembed.pipeline._run import Call
    from asyncembed.pipeline._source import Texts
    from asyncembed.pipeline._stream import EmbedStream
    from asyncembed.sinks import Format, FormatName, Journal, Output

GROUP_BYTES: Final = 8_000_000
"""Bytes of vectors and texts from which on a group is due at once."""

GROUP_SECONDS: Final = 0.05
"""Seconds from one group to the next; what is lost by a crash came within them, or was on its way."""

MOST_READY: Final = 8
"""Blocks that may wait for the disk before nothing more is asked for: a disk that stalls is not to fill the memory."""

REPORT_EVERY: Final = 0.2
"""Seconds between two reports of how the run stands."""

Item: TypeAlias = EmbedBlock | EmbedFailure
_NOTHING_YET: Final = object()
_END: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What file is wanted, and what may be done for it; the fields are the arguments of `embed_to_file`."""

    path: Path
    kind: Format
    resume: bool
    overwrite: bool
    keep_text: bool

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str],
        name: FormatName | None,
        *,
        resume: bool,
        overwrite: bool,
        keep_text: bool,
    ) -> Self:
        """Return the target; raises `ConfigurationError` if there is no such format."""
        found = Path(path)
        kind = find_format(found, name)
        return cls(path=found, kind=kind, resume=resume, overwrite=overwrite, keep_text=keep_text)


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
        self._group: list[Item] = []
        self._group_bytes = 0
        self._due = self._report_due = 0.0
        self._is_broken = False

    async def complete(self) -> RunSummary:
        """Make the file, and say how that went."""
        claimed: list[Output] = []  # filled also if this task is cancelled meanwhile
        with self._thread:
            try:
                await self._thread.run(lambda: claimed.append(self._claim()))
                summary = await self._complete(claimed[0])
            except Exception as error:
                for output in claimed:
                    error.add_note(output.kept)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    for output in claimed:
                        await self._thread.run(output.close)
                    await self._input.aclose()
        self._report(summary)
        return summary

    def _claim(self) -> Output:
        target = self._target
        return open_output(
            target.path,
            target.kind,
            provenance_of(self._call, keep_text=target.keep_text),
            resume=target.resume,
            overwrite=target.overwrite,
            total=self._input.count,
        )

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
        await self._input.pull_into(journal.fingerprint, journal.settled)
        journal.check_input()
        first = journal.settled
        stream = self._open_stream(self._input.rest, first)
        try:
            async with stream:
                try:
                    await self._record(stream, journal, first)
                finally:
                    self._group += stream.take_ready()  # what was paid for, also if the run is being left
        finally:
            await self._commit(journal)
            self._report(_summary(stream, journal, first))
        return _summary(stream, journal, first)

    async def _record(self, stream: EmbedStream[Item], journal: Journal, first: int) -> None:
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
                self._report(_summary(stream, journal, first))

    def _patience(self) -> float:
        """Seconds to wait for the next block before something else is to be done."""
        due = self._due if self._group else float("inf")
        return max(0.0, min(due, self._report_due if self._on_progress else due) - time.monotonic())

    async def _commit(self, journal: Journal) -> None:
        group, self._group, self._group_bytes = self._group, [], 0
        if not group or self._is_broken:
            return
        try:
            await self._thread.run(partial(journal.add, group))
        except Exception:
            self._is_broken = True  # what comes after a group that is not there must not be written either
            raise
        self._due = time.monotonic() + GROUP_SECONDS

    async def _in_steps(self, steps: Iterator[None]) -> None:
        """Run a generator in the thread, so that it can be left between two of its steps."""
        try:
            while await self._thread.run(lambda: next(steps, _END)) is None:
                await anyio.lowlevel.checkpoint()
        finally:
            if inspect.isgenerator(steps):
                await self._thread.run(steps.close)

    def _report(self, summary: RunSummary) -> None:
        if self._on_progress:
            self._on_progress(summary)


def provenance_of(call: Call, *, keep_text: bool) -> Provenance:
    """Return what the vectors of a call are made with."""
    options, address = call.options, call.endpoint.address
    return Provenance(
        provider=call.endpoint.provider.name,
        model=options.model,
        dtype=options.dtype,
        input_type=options.input_type,
        dimensions=options.dimensions,
        truncate=options.truncate,
        extra=digest_of_fields(options.extra),
        keep_text=keep_text,
        base_url=without_secrets(address) if address else None,
    )


def _summary(stream: EmbedStream[Item], journal: Journal, first: int) -> RunSummary:
    return replace(stream.summary, resumed=first, saved=journal.rows)


def _size(item: Item) -> int:
    if isinstance(item, EmbedFailure):
        return len(item.text)
    return item.embeddings.nbytes + sum(len(given.text) for given in item.inputs)
