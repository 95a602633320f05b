"""The commands and their options; what they do is in the modules named after them."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, cast

import typer

from asyncembed import PROVIDERS, AsyncEmbedError, ConfigurationError, __version__
from asyncembed.cli._commands import check as run_check
from asyncembed.cli._commands import serve as run_serve
from asyncembed.cli._commands import show_info
from asyncembed.cli._console import WRONG_USE, can_show_all, fail, log_to_stderr, stop
from asyncembed.cli._embed import Job
from asyncembed.cli._embed import dry_run as run_dry
from asyncembed.cli._embed import embed as run_embed
from asyncembed.cli._inputs import SUFFIXES, parse_sources
from asyncembed.cli._providers import provider_with, show_providers
from asyncembed.cli._rows import Fields, InputError, RowTemplate
from asyncembed.cli._search import Query, show, to_json
from asyncembed.cli._search import search as run_search
from asyncembed.cli._values import parse_delimiter, parse_extra
from asyncembed.sinks import FORMATS
from asyncembed.stores import open_store
from asyncembed.stores._address import FORMS, is_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed import EmbedOptionsArgs

ValueT = TypeVar("ValueT")

app: Final = typer.Typer(
    name="asyncembed",
    help="Stream text embeddings out of HTTP APIs: fixed memory, nothing lost, the speed of the wire.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # it would print local variables, and errors have one line here
)


class InputFormat(StrEnum):
    """What inputs may hold; Parquet only files."""

    TXT = "txt"
    JSONL = "jsonl"
    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


class DtypeName(StrEnum):
    """Types of numbers."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"
    BINARY = "binary"
    UBINARY = "ubinary"


class Shortening(StrEnum):
    """Who shortens vectors."""

    SERVER = "server"
    CLIENT = "client"


class OnErrorChoice(StrEnum):
    """What to do about a text that cannot be embedded."""

    RAISE = "raise"
    SKIP = "skip"


Provider = Annotated[
    str, typer.Option(help=f"Whose API: one of {len(PROVIDERS)}, see `providers`. Keys come from the environment.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--setting", help="Part of the provider's address, such as region=eu-west-1.")
]
Prompts = Annotated[
    str | None, typer.Option(help="Family of models whose prompts go before texts: e5, bge, nomic, qwen3, arctic.")
]
Catalogue = Annotated[
    str | None, typer.Option(help="Which model it is, where the name says nothing, as that of a deployment.")
]
Model = Annotated[str | None, typer.Option(help="The provider's name of the model; it has a default.")]
BaseUrl = Annotated[str | None, typer.Option(help="Address of the API, for compatible servers.")]


@contextmanager
def exits() -> Iterator[None]:
    """Turn errors and Ctrl-C into one message and an exit code."""
    try:
        yield
    except ConfigurationError as error:
        fail(error, WRONG_USE)
    except (AsyncEmbedError, InputError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:  # about which typer would say nothing, or "Aborted"
        stop()


def given(**values: ValueT | None) -> dict[str, ValueT]:
    """Return the values that were given."""
    return {name: value for name, value in values.items() if value is not None}


def show_version(asked: bool) -> None:
    """Print the version and leave."""
    if asked:
        typer.echo(f"asyncembed {__version__}")
        raise typer.Exit


@app.callback()
def common(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(help=f"Files: {SUFFIXES}; a folder of Parquet files; - is standard input.", metavar="INPUT..."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"The file to make: {', '.join(FORMATS)}.")
    ] = None,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            help=f"Put the vectors into a store instead: {FORMS}. It is asked which rows it has; passwords come from "
            "the environment.",
            metavar="STORE",
        ),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field or column with the text.")] = "text",
    id_field: Annotated[str | None, typer.Option(help='Field or column with the id; "id", if there is one.')] = None,
    input_format: Annotated[
        InputFormat | None, typer.Option("--format", help="Format of inputs whose suffix does not say it.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help=r"Make each text of several fields or columns; \n is a line break.", metavar=r"'{title}\n{body}'"
        ),
    ] = None,
    keep_column: Annotated[
        list[str] | None,
        typer.Option(help="Keep this field or column beside the vectors; may be given several times.", metavar="NAME"),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help=r"What stands between the fields of CSV, such as ';' or '\t'.", metavar="CHAR")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Embed only the first texts.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would take and cost; send nothing, make nothing.")
    ] = False,
    price: Annotated[
        float | None, typer.Option(help="US dollars for a million tokens, where it is not known or another.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="SQLite file of vectors; texts whose vectors it holds cost nothing.")
    ] = None,
    cache_mb: Annotated[float, typer.Option(help="Megabytes from which on the cache gives up old vectors.")] = 1_000,
    dedupe: Annotated[
        bool, typer.Option("--dedupe/--no-dedupe", help="Ask for equal texts once; they share the vector.")
    ] = True,
    provider: Provider = "local",
    setting: Settings = None,
    model: Model = None,
    catalogue: Catalogue = None,
    base_url: BaseUrl = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            help="Field for the request body, its value JSON or text; may be given several times.", metavar="NAME=VALUE"
        ),
    ] = None,
    truncate: Annotated[
        str | None, typer.Option(help="What the API does with a text that is too long, in its own word.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds to wait for an answer, and for more of it.")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, help="Most attempts for one request.")] = None,
    chunk_size: Annotated[int | None, typer.Option(min=1, help="Most texts in one request.")] = None,
    max_memory: Annotated[float, typer.Option(help="Megabytes for requests and results that wait.")] = 256,
    max_concurrency: Annotated[int, typer.Option(min=1, help="Most requests at once.")] = 32,
    requests_per_minute: Annotated[
        float | None, typer.Option(help="Requests that the API allows in a minute, retries included.")
    ] = None,
    inputs_per_minute: Annotated[float | None, typer.Option(help="Texts that it allows in a minute.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="Tokens that it allows in a minute.")] = None,
    no_rate_limit: Annotated[
        bool, typer.Option("--no-rate-limit", help="Ignore the published limits and those in the API's headers.")
    ] = False,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Length of the vectors, if the model allows.")] = None,
    input_type: Annotated[str | None, typer.Option(help='"document", "query", or the provider\'s own word.')] = None,
    prompts: Prompts = None,
    shorten: Annotated[
        Shortening | None, typer.Option(help="Who shortens vectors to --dimensions; the client cuts them.")
    ] = None,
    normalize: Annotated[
        bool | None, typer.Option(help="Bring vectors to length 1, or leave them as they are.")
    ] = None,
    dtype: Annotated[DtypeName, typer.Option(help="Type of the numbers, if the API has it.")] = DtypeName.FLOAT32,
    on_error: Annotated[
        OnErrorChoice, typer.Option(help="Stop at a text that cannot be embedded, or leave it out.")
    ] = OnErrorChoice.RAISE,
    dead_letter: Annotated[
        Path | None,
        typer.Option(help="Append texts that fail, as JSON lines that can be an input again.", metavar="FILE.jsonl"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an earlier run left, if there is anything.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    keep_text: Annotated[bool, typer.Option(help="Keep the texts beside ids and vectors.")] = True,
    stop_wait: Annotated[
        float, typer.Option(min=0, help="Most seconds that Ctrl-C or SIGTERM waits for requests in flight.")
    ] = 10,
    report: Annotated[Path | None, typer.Option(help="Write a page that shows the run.", metavar="FILE.html")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell of each request and retry.")] = False,
) -> None:
    """Embed texts from files into one file of vectors."""
    options = given(
        dtype=dtype.value,
        chunk_size=chunk_size,
        dimensions=dimensions,
        input_type=input_type,
        truncate=truncate,
        dead_letter=dead_letter,
        prompts=prompts,
        shorten=shorten and shorten.value,
        normalize=normalize,
        dedupe=dedupe,
        price=price,
    )
    with exits():
        if (output is None) == (to is None) and not (dry_run and output is None):
            raise ConfigurationError("say where the vectors go: either --output FILE or --to STORE")
        if to is not None and overwrite:
            raise ConfigurationError("--overwrite is for files; a store replaces the rows whose texts have changed")
        if extra:
            options["extra"] = parse_extra(extra)
        job = Job(
            sources=parse_sources(inputs, input_format and input_format.value),
            fields=Fields(
                text=text_field,
                id=id_field,
                template=None if template is None else RowTemplate.parse(template),
                keep=tuple(dict.fromkeys(keep_column or ())),
                delimiter=None if delimiter is None else parse_delimiter(delimiter),
            ),
            limit=limit,
            output=output,
            store=None if to is None else open_store(to),
            provider=provider,
            settings=tuple(setting or ()),
            model=model,
            catalogue=catalogue,
            base_url=base_url,
            max_memory_mb=max_memory,
            max_concurrency=max_concurrency,
            limits=given(
                requests_per_minute=requests_per_minute,
                inputs_per_minute=inputs_per_minute,
                tokens_per_minute=tokens_per_minute,
            ),
            rate_limit="off" if no_rate_limit else None,
            cache=cache,
            cache_mb=cache_mb,
            timeout=timeout,
            max_attempts=max_attempts,
            options=cast("EmbedOptionsArgs", options),
            skip=on_error is OnErrorChoice.SKIP,
            resume=resume,
            overwrite=overwrite,
            keep_text=keep_text,
            stop_wait=stop_wait,
            report=report,
            quiet=quiet,
        )
        with log_to_stderr() if verbose else nullcontext():
            asyncio.run(run_dry(job) if dry_run else run_embed(job))


@app.command()
def search(
    where: Annotated[str, typer.Argument(help="A file made by `embed`, or a store as in --to.", metavar="FILE|STORE")],
    query: Annotated[str, typer.Argument(help="The text to look for.")],
    *,
    count: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    provider: Annotated[
        str | None, typer.Option(help="Embed the query with this, not with what the file names.")
    ] = None,
    setting: Settings = None,
    model: Model = None,
    prompts: Prompts = None,
    base_url: BaseUrl = None,
) -> None:
    """Find the texts of a file or a store that are nearest to a query."""
    with exits():
        place = open_store(where) if is_store(where) else Path(where)
        hits = asyncio.run(
            run_search(place, Query(query, count, provider, model, base_url, tuple(setting or ()), prompts))
        )
    if as_json:
        typer.echo(to_json(hits, only_ascii=not can_show_all(sys.stdout)))
    else:
        show(hits)


@app.command()
def check(
    *,
    provider: Annotated[str, typer.Option(help="The API to ask.")] = "local",
    setting: Settings = None,
    model: Model = None,
    base_url: BaseUrl = None,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Length of the vectors to ask for.")] = None,
) -> None:
    """Embed one harmless word, to see whether key, model and address are right."""
    with exits():
        asyncio.run(run_check(provider_with(provider, setting or ()), model, base_url, dimensions))


@app.command()
def providers(
    name: Annotated[str | None, typer.Argument(help="One of them, with its models.", metavar="[NAME]")] = None,
) -> None:
    """Show the providers: default models, limits, types, and where keys come from."""
    with exits():
        show_providers(name)


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A file made by `embed`.")]) -> None:
    """Show what a file of vectors holds and what it was made with."""
    with exits():
        show_info(file)


@app.command()
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on; other than loopback it needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8000,
    unix: Annotated[
        Path | None, typer.Option(help="Unix socket to listen on instead of host and port.", metavar="PATH")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of a model2vec model, instead of the one built in.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key to ask for.", metavar="VAR")
    ] = None,
) -> None:
    """Run the embedded server, with Cohere's and OpenAI's APIs, until Ctrl-C."""
    with exits():
        asyncio.run(run_serve(host, port, unix, model, api_key_env))
