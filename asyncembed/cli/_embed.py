"""`asyncembed embed`: embed the texts of files into one file of vectors or into a vector store."""

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
from asyncembed._target import provenance_of
from asyncembed.cli._console import fail, plural, printable, say, stderr
from asyncembed.cli._dry_run import MissingRows, RereadableRows, missing_in_file, missing_in_store, print_estimate
from asyncembed.cli._ids import IdCounter
from asyncembed.cli._inputs import count, read
from asyncembed.cli._progress import (
    EventTracker,
    ProgressLog,
    Recorder,
    Total,
    can_draw,
    dollars,
    progress,
    rate,
    rows_before,
    tokens,
)
from asyncembed.cli._providers import check_base_url, provider_with
from asyncembed.cli._report import check_report, write_report
from asyncembed.cli._signals import STOPPED, on_stop
from asyncembed.providers import get_provider
from asyncembed.sinks import TOTALS_SUFFIX, check_new, find_format, folder_of, read_partial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncembed import EmbedOptionsArgs
    from asyncembed._ratelimit import RateLimitOff
    from asyncembed.cli._inputs import Source
    from asyncembed.cli._rows import Fields
    from asyncembed.cli._wording import Wording
    from asyncembed.stores import AnyStore


class _RetryOptions(TypedDict, total=False):
    timeouts: Timeouts
    retry: RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The settings of one `embed` command. Most fields are the options of the same names.

    Attributes:
        limit: Maximum number of texts; None for all.
        limits: Arguments for a `RateLimit`; empty if no rate limit is set.
        rate_limit: "off" to send requests without any rate limit; needs empty `limits`.
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
    wording: Wording

    @property
    def dead_letter(self) -> Path | None:
        """The file for texts that fail."""
        path = self.options.get("dead_letter")
        return None if path is None else Path(path)

    @property
    def target(self) -> str:
        """Name of the output file or of the store, without passwords."""
        return str(self.output) if self.output else repr(self.store)

    @property
    def on_error(self) -> Literal["raise", "skip"]:
        """What to do about a text that cannot be embedded."""
        return "skip" if self.skip else "raise"


async def embed(job: Job) -> None:
    """Embed the texts of a job and print a summary.

    Raises:
        typer.Exit: if a signal stopped the run, or there are no results.
        ConfigurationError: if the settings are invalid; nothing was sent.
        AsyncEmbedError, InputError, OSError: if the run failed; a note tells which results were kept.
    """
    check_base_url(job.provider, job.base_url)
    _check_options(job)
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
        run.record(f"failed: {type(error).__name__}: {printable(job.wording.of(error))}")
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
    """Print what the job would take and cost. This needs no API key and sends nothing.

    Raises:
        ConfigurationError: if an option is wrong.
        ResumeError: if an earlier run had other settings or texts.
        InputError, OSError: if an input cannot be read.
    """
    check_base_url(job.provider, job.base_url)
    _check_options(job)
    _check_inputs(job)
    options = job.options.copy()
    options.pop("dead_letter", None)
    everything = RereadableRows(job.sources, job.fields, job.limit)
    rows: RereadableRows | MissingRows = everything
    async with _client(job, None, api_key="of a dry run") as client:
        made = provenance_of(client._call(options, "raise"), keep_text=job.keep_text)  # noqa: SLF001
        try:
            if job.store:
                rows = await missing_in_store(everything, job.store, made)
            elif job.output and job.resume:
                rows = missing_in_file(everything, job.output, made, shares=options.get("dedupe", True))
            await print_estimate(client, rows, options, spent=_spent(job), refusal=_refusal(job))
        finally:
            if job.store:
                await job.store.aclose()


def _spent(job: Job) -> int:
    """Return the tokens that earlier runs of the same file have spent."""
    partial = read_partial(job.output) if job.output and job.resume else None
    return partial.commit.totals.usage.total if partial else 0


def _refusal(job: Job) -> str | None:
    """Return why the run would not write its output, None if it would."""
    if job.output is None or job.resume or job.overwrite:
        return None
    try:
        check_new(job.output, find_format(job.output))
    except ConfigurationError as error:
        return job.wording.of(error)
    return None


@dataclass(slots=True)
class _Run:
    job: Job
    now: RunSummary = field(default_factory=RunSummary)
    total: Total = field(default_factory=Total)
    recorder: Recorder = field(default_factory=Recorder)
    events: EventTracker = field(default_factory=EventTracker)
    ids: IdCounter = field(default_factory=IdCounter)
    log: ProgressLog | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def finish(self) -> bool:
        """Run to the end, and return whether a signal stopped the run."""
        console, stop = stderr(), self.stop
        console.quiet = self.job.quiet
        if not can_draw(console) and not self.job.quiet:
            self.log = ProgressLog(say)
        display = progress(console, lambda: self.now, self.total, stop.is_set, self.events)
        async with _client(self.job, self.events) as client:
            with self._counting(), display, anyio.CancelScope() as scope, on_stop(stop.set, scope.cancel):
                try:
                    await self._embed(client)
                except StreamClosedError:
                    if not stop.is_set():
                        raise
                    return True
        return scope.cancelled_caught

    @property
    def outcome(self) -> str:
        """How a run ended that was neither stopped nor failed, in a few words."""
        if not self.now.saved:
            return "nothing was written"
        return "finished, with failures" if self.now.failed else "finished"

    def kept(self) -> str:
        """Return a message about what is kept of a stopped run."""
        rows, texts = self.now.saved, self.total.texts
        if not rows:
            return "nothing is kept"
        amount = f"{rows:,} of {plural(texts, 'text')}" if texts else plural(rows, "text")
        if not self.job.output:
            return f"{amount} are in {self.job.target}; run the same command again to continue"
        return f"{amount} are kept in {folder_of(self.job.output)}; continue with --resume"

    def report(self) -> None:
        """Print the summary of a run that was neither stopped nor failed."""
        end = self.now
        if end.failure:
            which = f"{plural(end.failed, 'text')} failed, the first with index {min(end.failure.indices, default=0)}"
            hint = f"; see {self.job.dead_letter}" if self.job.dead_letter else ""
            say(f"{which}: {self.job.wording.of(end.failure)}{hint}", "yellow")
        if not end.saved:
            names = ", ".join(source.name for source in self.job.sources)
            fail("nothing was written" if end.failure else f"{names} contains no text; nothing was written")
        if self.ids.repeated:
            say(
                f"{plural(self.ids.repeated, 'row')} had the id of another row; the last row with an id stays", "yellow"
            )
        if self.job.quiet:
            return
        if end.requests == end.earlier.requests and end.resumed:
            say(f"{self.job.target} is already complete, with {plural(end.saved, 'text')}; no request was sent")
        else:
            embedded = end.saved - end.resumed if self.job.store else end.saved
            say(
                f"{plural(embedded, 'text')} embedded to {self.job.target} in {end.elapsed:.1f} s ({rate(end)}), "
                f"model {end.model}, {plural(end.dimension or 0, 'dimension')}, {tokens(end.usage)}{_cost(end)}, "
                f"{plural(end.retries, 'retry')}{self._reasons()}, {end.failed:,} failed"
                f"{_unpaid(end)}{_truncated(end)}{self._resumed()}"
            )

    def record(self, outcome: str) -> None:
        """Write the HTML report, if `--report` is set."""
        if self.job.report:
            try:
                write_report(
                    self.job.report,
                    self.recorder,
                    self.events.statistics,
                    settings=_settings(self.job),
                    outcome=outcome,
                    total=self.total.texts,
                )
            except OSError as error:
                say(f"the report could not be written: {error}", "yellow")

    async def _embed(self, client: EmbedClient) -> None:
        job = self.job
        if job.store:
            try:
                self.now = await client.embed_to_store(
                    self.ids.counting(read(job.sources, job.fields, job.limit)),
                    job.store,
                    keep_text=job.keep_text,
                    on_error=job.on_error,
                    on_progress=self._update,
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
            on_progress=self._update,
            stop=self.stop,
            stop_wait=job.stop_wait,
            **job.options,
        )

    def _update(self, now: RunSummary) -> None:
        self.now = now
        self.recorder.add(now)
        if self.log:
            self.log.update(now, self.total.texts, self.events, is_stopping=self.stop.is_set())

    def _reasons(self) -> str:
        return f" ({self.events.reasons})" if self.events.reasons else ""

    def _resumed(self) -> str:
        runs, rows = self.now.earlier.runs, rows_before(self.now)
        if self.now.resumed and self.job.store:
            return f"; {plural(rows, 'text')} were in the store already"
        return f"; {rows:,} of them in {plural(runs, 'earlier run')}" if self.now.resumed else ""

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
    """Raise `ConfigurationError` if the run would overwrite an input, or read its own output."""
    suffixes = ("", *find_format(job.output).sidecars, TOTALS_SUFFIX) if job.output else ()
    outputs = [Path(f"{job.output}{suffix}") for suffix in suffixes]
    names = dict.fromkeys(outputs, "the output")
    if job.dead_letter:
        names[job.dead_letter] = "--dead-letter"
    for source in job.sources:
        for file, name in names.items():
            if source.path and file.exists() and source.path.samefile(file):
                raise ConfigurationError(f"{file} is an input; choose another name for {name}")
        if job.output and source.folder:
            is_inside = source.folder.resolve() in job.output.resolve().parents
            if is_inside and source.format == job.output.suffix.lower().removeprefix("."):
                raise ConfigurationError(
                    f"{job.output} would become an input of the folder {source.folder}; choose another folder"
                )
    for source in job.sources:
        source.check(job.fields)


def _check_options(job: Job) -> None:
    """Raise `ConfigurationError` if an option contradicts another one, or has no effect on these inputs."""
    if job.rate_limit and job.limits:
        declared = ", ".join(f"--{name.replace('_', '-')}" for name in job.limits)
        raise ConfigurationError(f"--no-rate-limit contradicts {declared}; leave out one of them")
    if job.fields.delimiter and not any(source.is_csv for source in job.sources):
        raise ConfigurationError("--delimiter is for CSV, and no input is CSV; leave it out")
    lines = [source.name for source in job.sources if source.format == "txt"]
    if job.store and lines:
        raise ConfigurationError(
            f"{lines[0]} is plain text, which has no ids, and a store needs them; use CSV, JSONL or Parquet, and "
            'name the ids with --id-field, unless it is "id"'
        )


def _client(job: Job, events: EventTracker | None, *, api_key: str | None = None) -> EmbedClient:
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
        on_event=events,
        **_retry_options(job),
    )


def _retry_options(job: Job) -> _RetryOptions:
    """Return the client's time-outs and retries, as far as the command line sets them."""
    options: _RetryOptions = {}
    if job.timeout is not None:
        options["timeouts"] = Timeouts(
            first_byte=job.timeout, read=job.timeout, connect=min(job.timeout, Timeouts().connect)
        )
    if job.max_attempts is not None:
        options["retry"] = RetryPolicy(max_attempts=job.max_attempts)
    return options


def _cost(end: RunSummary) -> str:
    return "" if end.cost is None else f" for {dollars(end.cost)}"


def _unpaid(end: RunSummary) -> str:
    """Return how many texts cost nothing, where there were any."""
    equal = f", {plural(end.duplicates, 'text')} equal to another" if end.duplicates else ""
    cached = f", {end.cached:,} from the cache" if end.cached else ""
    return f"{equal}{cached}"


def _truncated(end: RunSummary) -> str:
    """Return how many texts were cut, where there were any."""
    return f", {plural(end.truncated, 'text')} truncated" if end.truncated else ""


def _settings(job: Job) -> dict[str, object]:
    """Return the settings for the report, without values that may hold a secret."""
    settings: dict[str, object] = {
        "inputs": ", ".join(source.name for source in job.sources),
        "output": job.target,
        "provider": job.provider,
        "model": job.model or "the provider's default",
        **{name: value for name, value in job.options.items() if name != "extra"},
    }
    if "extra" in job.options:
        settings["extra fields"] = ", ".join(job.options["extra"])
    if job.fields.template:
        settings["text built from"] = ", ".join(job.fields.template.names)
    if job.fields.keep:
        settings["kept columns"] = ", ".join(job.fields.keep)
    if job.limit:
        settings["limit"] = job.limit
    return {
        **settings,
        "on error": job.on_error,
        "keep text": job.keep_text,
        "resume": job.resume,
        "max memory": f"{job.max_memory_mb:g} MB",
        "max concurrency": job.max_concurrency,
        **({"cache": job.cache} if job.cache else {}),
        **job.limits,
        **({"rate limit": job.rate_limit} if job.rate_limit else {}),
    }
