"""The commands `check`, `info` and `serve`.

`asyncembed check` embeds one word, to test the settings before you pay for a large run. `asyncembed info` describes a
store, or a file of vectors, finished or not, and what it cost. `asyncembed serve` runs the embedded server for other
programs.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from asyncembed import ConfigurationError, EmbedClient, Provider, RetryPolicy
from asyncembed.cli._console import plural, printable, say, stdout
from asyncembed.cli._places import check_place
from asyncembed.cli._progress import dollars, tokens
from asyncembed.cli._providers import check_base_url
from asyncembed.cli._signals import on_stop
from asyncembed.local import LocalServer
from asyncembed.sinks import PACKED, TOTALS_SUFFIX, find_format, open_vectors, read_partial, read_totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from asyncembed._models import RunTotals
    from asyncembed.sinks import Partial, Provenance
    from asyncembed.stores import AnyStore


async def check(
    provider: str | Provider, model: str | None, base_url: str | None, dimensions: int | None, attempts: int | None
) -> None:
    """Embed one word and print the model, the dimension and the time it took.

    Raises:
        ConfigurationError: if an option is invalid, such as an address for the embedded server.
        AsyncEmbedError: if the request fails.
    """
    check_base_url(provider, base_url)
    async with EmbedClient(
        provider, model=model, base_url=base_url, retry=attempts or RetryPolicy.interactive()
    ) as client:
        found = await (client.check(dimensions=dimensions) if dimensions else client.check())
    where = f" at {found.address}" if found.address else ""
    usage = f", {found.tokens} tokens" if found.tokens else ""
    stdout().print(
        f"{found.provider}{where} accepts the model {found.model}: {found.dimension} dimensions as {found.encoding}, "
        f"in {found.seconds:.2f} s{usage}",
        markup=False,
        soft_wrap=True,
    )


async def show_info(where: Path | AnyStore) -> None:
    """Print what a file of vectors or a store contains.

    Raises:
        ConfigurationError: if it does not exist, or is neither a file of vectors nor a store of `embed --to`.
        ConnectionError: if the server of the store cannot be reached.
    """
    console = stdout()
    for name, value in facts(where) if isinstance(where, Path) else await _stored(where):
        console.print(Text(f"{name:<12}", "bold").append(printable(value, console), "not bold"))


def facts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and value of each fact about a file of vectors, finished or not."""
    if path.is_file() or not (found := read_partial(path)):
        check_place(path)
        yield from _finished(path)
        return
    commit = found.commit
    yield "folder", str(found.folder)
    yield "state", _state(found)
    yield "size", _size([file for file in found.folder.iterdir() if file.is_file()])
    yield "rows", f"{commit.settled - commit.failed:,}"
    yield "texts", f"{commit.settled:,} done of {f'{found.total:,}' if found.total else 'an unknown number'}"
    yield "dimension", str(commit.width * (8 if found.provenance.dtype in PACKED else 1) or "unknown")
    yield from _made_with(found.provenance)
    yield from _totals(commit.totals)


async def _stored(store: AnyStore) -> list[tuple[str, str]]:
    try:
        kind, dimension = await store.fingerprint(), await store.dimension()
        if kind is None:
            raise ConfigurationError(f"{store!r} is not a table of vectors that `asyncembed embed --to` wrote")
        rows, columns = await store.count(), await store.columns()
    finally:
        await store.aclose()
    found = [("store", repr(store)), ("rows", f"{rows:,}"), ("dimension", str(dimension or "unknown"))]
    if columns:
        found.append(("columns", ", ".join(columns)))
    # Defaults are left out: None, "document" as the input type, and the provider's own server.
    named = {name: value for name, value in kind.items() if value is not None}
    if named.get("address") != "another":
        named.pop("address", None)
    return found + [(name.replace("_", " "), str(value)) for name, value in sorted(named.items())]


def _finished(path: Path) -> Iterator[tuple[str, str]]:
    file = open_vectors(path)
    made = file.provenance
    yield "file", str(path)
    yield "size", _size_with_sidecars(path)
    yield "rows", f"{file.rows:,}"
    yield "dimension", str(made.dimension if made else file.width)
    if made is None:
        yield "made with", "unknown: the file has no provenance"
        return
    yield from _made_with(made)
    if totals := read_totals(path.with_name(f"{path.name}{TOTALS_SUFFIX}")):
        yield from _totals(totals)


def _made_with(made: Provenance) -> Iterator[tuple[str, str]]:
    yield "dtype", made.dtype
    yield "provider", made.provider
    yield "model", made.model
    yield "input type", made.input_type or "none"
    if made.prompt:
        yield "prompt", repr(made.prompt)
    if made.shorten:
        yield "shortened", f"by the {made.shorten}"
    if made.base_url:
        yield "server", made.base_url
    yield "made with", f"asyncembed {made.version}"


def _totals(totals: RunTotals) -> Iterator[tuple[str, str]]:
    yield "runs", f"{totals.runs:,}, {totals.seconds:,.1f} s"
    yield "requests", f"{totals.requests:,}, {plural(totals.retries, 'retry')}"
    yield "tokens", tokens(totals.usage).removesuffix(" tokens").removesuffix(" token")
    if totals.cost is not None:
        yield "cost", dollars(totals.cost)
    if totals.cached or totals.duplicates:
        yield "unpaid", f"{totals.cached:,} from the cache, {totals.duplicates:,} equal to another text"
    if totals.truncated:
        yield "truncated", f"{totals.truncated:,}"
    yield "failed", f"{totals.failed:,}{_first_failure(totals)}"


def _first_failure(totals: RunTotals) -> str:
    error = totals.failure
    if error is None:
        return ""
    where = f" with index {min(error.indices)}" if error.indices else ""
    return f", the first{where}: {type(error).__name__}: {error}"


def _state(found: Partial) -> str:
    if found.holder:
        return f"being written by {found.holder}"
    state = "complete, but not yet renamed" if found.is_complete else "stopped"
    return f"{state}; continue with --resume"


def _size_with_sidecars(path: Path) -> str:
    candidates = [Path(f"{path}{ending}") for ending in find_format(path).sidecars]
    sidecars = [file for file in candidates if file.is_file()]
    beside = f", with {plural(len(sidecars), 'file')} beside it" if sidecars else ""
    return f"{_size([path, *sidecars])}{beside}"


def _size(files: Iterable[Path]) -> str:
    return f"{sum(file.stat().st_size for file in files) / 1_000_000:,.1f} MB"


async def serve(host: str, port: int, unix: Path | None, model: Path | None, key_variable: str | None) -> None:
    """Run the embedded server until Ctrl-C or SIGTERM.

    Raises:
        ConfigurationError: if the model cannot be loaded, or the environment variable for the API key is not set.
        OSError: if the server cannot listen at the address.
    """
    server = LocalServer(model=model, host=host, port=port, unix=unix, api_key=_key(key_variable))
    stop = asyncio.Event()
    with on_stop(stop.set):
        await server.start()
        try:
            _print_example(server.url, key_variable, unix)
            await stop.wait()
        finally:
            await server.stop()
    say("stopped")


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise ConfigurationError(f"the environment variable {variable} is not set; put the API key into it")
    return os.environ[variable]


def _print_example(url: str, key_variable: str | None, unix: Path | None) -> None:
    key = f' -H "Authorization: Bearer ${key_variable}"' if key_variable else ""
    where = f"--unix-socket {shlex.quote(str(unix))} http://localhost" if unix else url
    console = stdout()
    console.print(
        f"Serving on {url} (APIs of Cohere, Ollama and TEI) and {url}/v1 (OpenAI's API). Press Ctrl-C to stop. Try:\n",
        markup=False,
    )
    console.print(
        f"  curl {where}/v1/embeddings{key} \\\n"
        "    -H 'Content-Type: application/json' \\\n"
        '    -d \'{"model": "local", "input": ["hello"]}\'\n',
        markup=False,
        soft_wrap=True,
    )
