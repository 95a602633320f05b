"""`asyncembed embed`: files in, one file of vectors out."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import anyio
import typer

from asyncembed import (
    ConfigurationError,
    EmbedClient,
    RateLimit,
    RetryPolicy,
    RunSummary,
    StreamClosedError,
    Timeouts,
)
from asyncembed.cli import _dry_run
from asyncembed.cli._console import fail, plural, printable, say, stderr
from asyncembed.cli._inputs import count, read
from asyncembed.cli._progress import Lines, News, Recorder, Total, can_draw, progress, rate, rows_before, tokens
from asyncembed.cli._providers import check_base_url, provider_with
from asyncembed.cli._report import check_report, write_report
from asyncembed.cli._signals import STOPPED, on_stop
from asyncembed.providers import get_provider
from asyncembed.sinks import BOOKS, find_format, folder_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncembed import EmbedOptionsArgs
    from asyncembed._ratelimit import RateLimitOff
    from asyncembed.cli._inputs import Source
    from asyncembed.cli._rows import Fields
    from asyncembed.stores import AnyStore


class _Patience(TypedDict, total=False):
    timeouts: Timeouts
    retry: RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What was asked for on the command line; the fields are the options of the same names.

    Attributes:
        limit: Most texts, if not all.
        limits: What is declared of a `RateLimit`, if anything.
        rate_limit: "off" for no limit at all, instead of `limits`.
    """

    sources: Sequence[Source]
    fields: Fields
    limit: int | None
    output: Path | None
    store: AnyStore | None
    provider: str
    settings: Sequence[str]
    model: str | None
    catalogue: str | None
    base_url: str | None = field(repr=False)
    max_memory_mb: float
    max_concurrency: int
    timeout: float | None
    max_attempts: int | None
    limits: Mapping[str, float]
    rate_limit: RateLimitOff | None
    cache: Path | None
    cache_mb: float
    options: EmbedOptionsArgs
    skip: bool
    resume: bool
    overwrite: bool
    keep_text: bool
    stop_wait: float
    report: Path | None
    quiet: bool

    @property
    def dead_letter(self) -> Path | None:
        """The file for texts that fail."""
        given = self.options.get("dead_letter")
        return None if given is None else Path(given)

    @property
    def target(self) -> str:
        """Where the vectors go, without a password."""
        return str(self.output) if self.output else repr(self.store)

    @property
    def on_error(self) -> Literal["raise", "skip"]:
        """What becomes of texts that cannot be embedded."""
        return "skip" if self.skip else "raise"


async def embed(job: Job) -> None:
    """Embed the texts of a job, and say how it went.

    Raises:
        typer.Exit: if it was stopped, or there were no results.
        ConfigurationError: if it cannot be done as it was asked for; nothing was sent.
        AsyncEmbedError, InputError, OSError: if it ended early; a note says what was kept.
    """
    check_base_url(job.provider, job.base_url)
    _check_inputs(job)
    if job.report:
        others = [job.output, job.dead_letter, *(source.path for source in job.sources)]
        check_report(job.report, filter(None, others))
    run = _Run(job)
    try:
        stopped = await run.finish()
    except ConfigurationError:
        raise
    except Exception as error:
        run.record(f"failed: {type(error).__name__}: {printable(str(error))}")
        raise
    if stopped:
        say(f"stopped: {run.kept()}", "yellow")
        run.record("stopped")
        raise typer.Exit(STOPPED)
    try:
        run.report()
    finally:
        run.record(run.outcome)


async def dry_run(job: Job) -> None:
    """Say what the job would take and cost, without a key and without sending anything.

    Raises:
        ConfigurationError: if it cannot be done as it was asked for.
        InputError, OSError: if an input cannot be read.
    """
    check_base_url(job.provider, job.base_url)
    _check_inputs(job)
    async with _client(job, None, api_key="of a dry run") as client:
        await _dry_run.dry_run(client, _dry_run.Again(job.sources, job.fields, job.limit), job.options)


@dataclass(slots=True)
class _Run:
    job: Job
    now: RunSummary = field(default_factory=RunSummary)
    total: Total = field(default_factory=Total)
    recorder: Recorder = field(default_factory=Recorder)
    news: News = field(default_factory=News)
    lines: Lines | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def finish(self) -> bool:
        """Make the file, and return whether that was stopped by a signal."""
        console, stop = stderr(), self.stop
        console.quiet = self.job.quiet
        if not can_draw(console) and not self.job.quiet:
            self.lines = Lines(say)
        shown = progress(console, lambda: self.now, self.total, stop.is_set, self.news)
        async with _client(self.job, self.news) as client:
            with self._counting(), shown, anyio.CancelScope() as scope, on_stop(stop.set, scope.cancel):
                try:
                    await self._embed(client)
                except StreamClosedError:
                    if not stop.is_set():
                        raise
                    return True
        return scope.cancelled_caught

    @property
    def outcome(self) -> str:
        """How a run ended that came to its end, in a word or two."""
        if not self.now.saved:
            return "nothing was written"
        return "finished, with failures" if self.now.failed else "finished"

    def kept(self) -> str:
        """Say what is left of a run that was stopped."""
        rows, texts = self.now.saved, self.total.texts
        if not rows:
            return "nothing is kept"
        amount = f"{rows:,} of {plural(texts, 'text')}" if texts else plural(rows, "text")
        if not self.job.output:
            return f"{amount} are in {self.job.target}; the same command goes on"
        return f"{amount} are kept in {folder_of(self.job.output)}; go on with --resume"

    def report(self) -> None:
        """Say how a run went that came to its end."""
        end = self.now
        if end.failure:
            which = f"{plural(end.failed, 'text')} failed, the first with index {min(end.failure.indices, default=0)}"
            kept = f"; see {self.job.dead_letter}" if self.job.dead_letter else ""
            say(f"{which}: {end.failure}{kept}", "yellow")
        if not end.saved:
            names = ", ".join(source.name for source in self.job.sources)
            fail("nothing was written" if end.failure else f"{names} holds no text; nothing was written")
        if self.job.quiet:
            return
        if end.requests == end.earlier.requests and end.resumed:
            say(f"{self.job.target} is whole already, with {plural(end.saved, 'text')}; nothing was asked for")
        else:
            say(
                f"{plural(end.saved, 'text')} embedded to {self.job.target} in {end.elapsed:.1f} s ({rate(end)}), "
                f"model {end.model}, {plural(end.dimension or 0, 'dimension')}, {tokens(end.usage)}, "
                f"{plural(end.retries, 'retry')}{self._reasons()}, {end.failed:,} failed{_unpaid(end)}{self._resumed()}"
            )

    def record(self, outcome: str) -> None:
        """Write the page that shows the run, if it is wanted."""
        if self.job.report:
            try:
                write_report(self.job.report, self.recorder, _settings(self.job), outcome, self.total.texts)
            except OSError as error:
                say(f"the report could not be written: {error}", "yellow")

    async def _embed(self, client: EmbedClient) -> None:
        job = self.job
        if job.store:
            try:
                self.now = await client.embed_to_store(
                    read(job.sources, job.fields, job.limit),
                    job.store,
                    keep_text=job.keep_text,
                    on_error=job.on_error,
                    on_progress=self._note,
                    stop=self.stop,
                    stop_wait=job.stop_wait,
                    **job.options,
                )
            finally:
                await job.store.aclose()
            return
        assert job.output
        self.now = await client.embed_to_file(
            read(job.sources, job.fields, job.limit),
            job.output,
            resume=job.resume,
            overwrite=job.overwrite,
            keep_text=job.keep_text,
            on_error=job.on_error,
            on_progress=self._note,
            stop=self.stop,
            stop_wait=job.stop_wait,
            **job.options,
        )

    def _note(self, now: RunSummary) -> None:
        self.now = now
        self.recorder.add(now)
        if self.lines:
            self.lines.note(now, self.total.texts, self.news, is_stopping=self.stop.is_set())

    def _reasons(self) -> str:
        return f" ({self.news.reasons})" if self.news.reasons else ""

    def _resumed(self) -> str:
        runs, rows = self.now.earlier.runs, rows_before(self.now)
        if self.now.resumed and self.job.store:
            return f"; {plural(rows, 'text')} were there already"
        return f"; {plural(rows, 'text')} came in {plural(runs, 'earlier run')}" if self.now.resumed else ""

    @contextmanager
    def _counting(self) -> Iterator[None]:
        async def find_total() -> None:
            self.total.texts = await count(self.job.sources, self.job.fields, self.job.limit)

        task = asyncio.create_task(find_total())
        try:
            yield
        finally:
            task.cancel()


def _check_inputs(job: Job) -> None:
    """Raise `ConfigurationError` if an input is a file that is to be written, or belongs to one."""
    endings = ("", *find_format(job.output).sidecars, BOOKS) if job.output else ()
    made = [Path(f"{job.output}{ending}") for ending in endings]
    names = dict.fromkeys(made, "the output")
    if job.dead_letter:
        names[job.dead_letter] = "--dead-letter"
    for source in job.sources:
        for file, name in names.items():
            if source.path and file.exists() and source.path.samefile(file):
                raise ConfigurationError(f"{file} is an input; choose another name for {name}")
        is_part = job.output and source.folder and source.folder.resolve() in job.output.resolve().parents
        if is_part and job.output and source.kind == job.output.suffix.lower().removeprefix("."):
            raise ConfigurationError(f"{job.output} would be an input in {source.folder}; choose another place")
    if job.rate_limit and job.limits:
        declared = ", ".join(f"--{name.replace('_', '-')}" for name in job.limits)
        raise ConfigurationError(f"--no-rate-limit contradicts {declared}; leave out one of them")
    for source in job.sources:
        source.check(job.fields)


def _client(job: Job, news: News | None, *, api_key: str | None = None) -> EmbedClient:
    provider = get_provider(provider_with(job.provider, job.settings))
    return EmbedClient(
        provider,
        api_key=api_key if provider.needs_key else None,
        model=job.model,
        catalogue=job.catalogue,
        base_url=job.base_url,
        max_memory_mb=job.max_memory_mb,
        max_concurrency=job.max_concurrency,
        rate_limit=RateLimit(**job.limits) if job.limits else job.rate_limit,
        cache=job.cache,
        cache_mb=job.cache_mb,
        on_event=news,
        **_patience(job),
    )


def _patience(job: Job) -> _Patience:
    """How long and how often is tried, where that is not what the client does by itself."""
    found: _Patience = {}
    if job.timeout is not None:
        found["timeouts"] = Timeouts(
            first_byte=job.timeout, read=job.timeout, connect=min(job.timeout, Timeouts().connect)
        )
    if job.max_attempts is not None:
        found["retry"] = RetryPolicy(max_attempts=job.max_attempts)
    return found


def _unpaid(end: RunSummary) -> str:
    """Return how many texts cost nothing, where there were any."""
    equal = f", {plural(end.duplicates, 'text')} equal to another" if end.duplicates else ""
    return f"{equal}, {end.cached:,} from the cache" if end.cached else equal


def _settings(job: Job) -> dict[str, object]:
    """The settings that the report shows; what may hold a secret is not among them."""
    return {
        "inputs": ", ".join(source.name for source in job.sources),
        "output": job.target,
        "provider": job.provider,
        "model": job.model or "the provider's own",
        **{name: value for name, value in job.options.items() if name != "extra"},
        **({"extra fields": ", ".join(job.options["extra"])} if "extra" in job.options else {}),
        **({"text made of": ", ".join(job.fields.template.names)} if job.fields.template else {}),
        **({"kept columns": ", ".join(job.fields.keep)} if job.fields.keep else {}),
        **({"limit": job.limit} if job.limit else {}),
        "on error": job.on_error,
        "texts kept": job.keep_text,
        "resume": job.resume,
        "max memory": f"{job.max_memory_mb:g} MB",
        "max concurrency": job.max_concurrency,
        **({"cache": job.cache} if job.cache else {}),
        **job.limits,
        **({"rate limit": job.rate_limit} if job.rate_limit else {}),
    }
