"""`asyncembed embed`: files in, one file of vectors out."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import typer

from asyncembed import ConfigurationError, EmbedClient, EmbedFailure
from asyncembed.cli import STOPPED
from asyncembed.cli._console import fail, plural, say, stderr
from asyncembed.cli._inputs import count, read
from asyncembed.cli._progress import Total, progress, rate
from asyncembed.cli._signals import on_stop
from asyncembed.sinks import Output, Provenance, save, without_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from asyncembed import EmbedOptionsArgs, EmbedResult, EmbedStream
    from asyncembed.cli._inputs import Source
    from asyncembed.cli._rows import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What was asked for on the command line; the fields are the options of the same names."""

    sources: Sequence[Source]
    fields: Fields
    output: Path
    provider: str
    model: str | None
    base_url: str | None
    max_memory_mb: float
    max_concurrency: int
    options: EmbedOptionsArgs
    skip: bool
    overwrite: bool
    quiet: bool


async def embed(job: Job) -> None:
    """Embed the texts of a job, and say how it went.

    Raises:
        typer.Exit: if it was stopped, or there were no results.
        ConfigurationError: if it cannot be done as it was asked for; nothing was sent.
        AsyncEmbedError, InputError, OSError: if it ended early; a note says what was kept.
    """
    if any(source.path and job.output.exists() and source.path.samefile(job.output) for source in job.sources):
        raise ConfigurationError(f"{job.output} is an input; choose another name for the output")
    async with _client(job) as client:
        stream = _stream(job, client)
        with Output(job.output, _provenance(job, client), overwrite=job.overwrite) as output:
            run = _Run(job, stream, output)
            stopped = await run.finish()
    if stopped:
        say(f"stopped: {run.kept()}", "yellow")
        raise typer.Exit(STOPPED)
    run.report()


@dataclass(slots=True)
class _Run:
    job: Job
    stream: EmbedStream[EmbedResult | EmbedFailure]
    output: Output
    total: Total = field(default_factory=Total)
    failure: EmbedFailure | None = None

    async def finish(self) -> bool:
        """Write all results, and return whether that was stopped by a signal."""
        console = stderr()
        console.quiet = self.job.quiet
        try:
            async with self.stream, aclosing(self._results()) as results:
                shown = progress(console, lambda: self.stream.summary, self.total)
                with self._counting(), shown, anyio.CancelScope() as scope, on_stop(scope.cancel):
                    await save(results, self.output)
        except Exception as error:
            error.add_note(self.kept())
            raise
        return scope.cancelled_caught

    def kept(self) -> str:
        """Say what is left of a run that ended early."""
        rows, texts = self.output.rows, self.total.texts
        if not rows:
            return "nothing was written"
        amount = f"{rows:,} of {plural(texts, 'text')}" if texts else plural(rows, "text")
        return f"{amount} written to {self.output.partial}"

    def report(self) -> None:
        """Say how a run went that came to its end."""
        end = self.stream.summary
        if self.failure:
            which = f"{plural(end.failed, 'text')} failed, the first with index {self.failure.index}"
            say(f"{which}: {self.failure.error}", "yellow")
        if not self.output.rows:
            names = ", ".join(source.name for source in self.job.sources)
            fail("nothing was written" if self.failure else f"{names} holds no text; nothing was written")
        if not self.job.quiet:
            texts = plural(self.output.rows, "text")
            say(
                f"{texts} embedded to {self.output.path} in {end.elapsed:.1f} s ({rate(end)}), "
                f"model {end.model}, {plural(end.dimension or 0, 'dimension')}, {plural(end.usage.tokens, 'token')}, "
                f"{plural(end.retries, 'retry')}, {end.failed:,} failed"
            )

    async def _results(self) -> AsyncGenerator[EmbedResult]:
        async for item in self.stream:
            if isinstance(item, EmbedFailure):
                self.failure = self.failure or item
            else:
                yield item

    @contextmanager
    def _counting(self) -> Iterator[None]:
        async def find_total() -> None:
            self.total.texts = await count(self.job.sources)

        task = asyncio.create_task(find_total())
        try:
            yield
        finally:
            task.cancel()


def _client(job: Job) -> EmbedClient:
    return EmbedClient(
        job.provider,
        model=job.model,
        base_url=job.base_url,
        max_memory_mb=job.max_memory_mb,
        max_concurrency=job.max_concurrency,
    )


def _stream(job: Job, client: EmbedClient) -> EmbedStream[EmbedResult | EmbedFailure]:
    texts = read(job.sources, job.fields)
    if job.skip:
        return client.embed_stream(texts, on_error="yield", **job.options)
    return client.embed_stream(texts, **job.options)


def _provenance(job: Job, client: EmbedClient) -> Provenance:
    base_url = job.base_url or os.environ.get(client.provider.base_url_variable or "")
    return Provenance(
        provider=client.provider.name,
        model=client.model,
        dtype=job.options.get("dtype", "float32"),
        input_type=job.options.get("input_type"),
        dimensions=job.options.get("dimensions"),
        base_url=without_secrets(base_url) if base_url else None,
    )
