"""The commands and their options. Each command calls a function of another module of this package."""

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
from asyncembed.cli._console import FAILED, WRONG_USE, can_show_all, fail, log_to_stderr, stop
from asyncembed.cli._embed import Job
from asyncembed.cli._embed import dry_run as run_dry
from asyncembed.cli._embed import embed as run_embed
from asyncembed.cli._inputs import SUFFIXES, parse_sources
from asyncembed.cli._providers import parse_extra, provider_with, show_providers
from asyncembed.cli._rows import Fields, InputError, RowTemplate, parse_delimiter
from asyncembed.cli._search import Query, show, to_json
from asyncembed.cli._search import search as run_search
from asyncembed.cli._wording import Wording, hints
from asyncembed.sinks import FORMATS
from asyncembed.stores import open_store
from asyncembed.stores._address import FORMS, is_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed import EmbedOptionsArgs
    from asyncembed.stores import AnyStore

ValueT = TypeVar("ValueT")

app: Final = typer.Typer(
    name="asyncembed",
    help="Compute text embeddings with the HTTP API of a provider, and search them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # tracebacks would show local variables, which may hold keys
)

INPUT: Final = "Input"
PROVIDER: Final = "Provider and model"
VECTORS: Final = "Vectors"
LIMITS: Final = "Limits"
FAILURES: Final = "Failures and interruptions"
"""Headings of the help of `embed`."""


class InputFormat(StrEnum):
    """Formats of inputs. Standard input can have any of them except Parquet."""

    TXT = "txt"
    JSONL = "jsonl"
    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


class DtypeName(StrEnum):
    """Number types of vectors."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"
    BINARY = "binary"
    UBINARY = "ubinary"


class Shortening(StrEnum):
    """Which side shortens the vectors."""

    SERVER = "server"
    CLIENT = "client"


class LongTextChoice(StrEnum):
    """What happens to texts that are too long."""

    FAIL = "fail"
    TRUNCATE = "truncate"


class OnErrorChoice(StrEnum):
    """What to do about a text that cannot be embedded."""

    RAISE = "raise"
    SKIP = "skip"


Provider = Annotated[
    str,
    typer.Option(
        help=f"Provider of the API, one of the {len(PROVIDERS)} that `asyncembed providers` lists. API keys are read "
        "from environment variables.",
        metavar="NAME",
        rich_help_panel=PROVIDER,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        help="Setting that is part of the provider's address, such as region=eu-west-1. Repeatable.",
        metavar="NAME=VALUE",
        rich_help_panel=PROVIDER,
    ),
]
Prompts = Annotated[
    str | None,
    typer.Option(
        help="Put the prompts of this model family before the texts: e5, bge, nomic, qwen3 or arctic.",
        metavar="FAMILY",
        rich_help_panel=PROVIDER,
    ),
]
Catalogue = Annotated[
    str | None,
    typer.Option(
        help="Catalogue name of the model, if --model is the name of a deployment or an alias.",
        metavar="NAME",
        rich_help_panel=PROVIDER,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Model, by the provider's name for it. Without it: the provider's default model.",
        metavar="NAME",
        rich_help_panel=PROVIDER,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Base URL of a server with a compatible API.",
        metavar="URL",
        rich_help_panel=PROVIDER,
    ),
]
Attempts = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Maximum number of attempts. Without it: 3, with short waits.",
        metavar="N",
        rich_help_panel=PROVIDER,
    ),
]


@contextmanager
def exits(context: typer.Context) -> Iterator[Wording]:
    """Turn errors and Ctrl-C into one message and an exit code. Yield the words of the command."""
    wording = Wording.for_command(context)
    try:
        yield wording
    except (AsyncEmbedError, InputError, OSError) as error:
        notes = [
            *map(wording.of_message, getattr(error, "__notes__", ())),
            *hints(error, context.params.get("base_url")),
        ]
        fail(wording.of(error), WRONG_USE if isinstance(error, ConfigurationError) else FAILED, notes)
    except KeyboardInterrupt:  # typer would print "Aborted" or nothing
        stop()


def given(**values: ValueT | None) -> dict[str, ValueT]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _place(where: str) -> Path | AnyStore:
    return open_store(where) if is_store(where) else Path(where)


def show_version(is_set: bool) -> None:
    """Print the version and exit, if the option is set."""
    if is_set:
        typer.echo(f"asyncembed {__version__}")
        raise typer.Exit


@app.callback()
def common(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Declare the options of the command itself."""


@app.command()
def embed(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help=f"Files: {SUFFIXES}. A folder stands for its Parquet files, - for standard input.",
            metavar="INPUT",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=f"File to write: {', '.join(FORMATS)}.", metavar="FILE"),
    ] = None,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            help=f"Write to a table of a vector store instead: {FORMS}. Texts that are in the table already are not "
            "embedded again. Passwords are read from environment variables.",
            metavar="STORE",
        ),
    ] = None,
    text_field: Annotated[
        str | None,
        typer.Option(
            help='Field or column that holds the text. Without it: "text".', metavar="NAME", rich_help_panel=INPUT
        ),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option(
            help='Field or column that holds the id. Without it: "id", if the input has one.',
            metavar="NAME",
            rich_help_panel=INPUT,
        ),
    ] = None,
    input_format: Annotated[
        InputFormat | None,
        typer.Option(
            "--format",
            help="Format of standard input, and of files whose suffix does not tell it.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help=r"Build each text from several fields or columns, as in '{title}\n{body}'; \n is a line break.",
            metavar="TEMPLATE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    keep_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Copy this field or column to the output. Repeatable.", metavar="NAME", rich_help_panel=INPUT
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help=r"Character between the fields of CSV, such as ';' or '\t'.", metavar="CHAR", rich_help_panel=INPUT
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Embed only the first N texts.", metavar="N", rich_help_panel=INPUT),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="SQLite file of vectors. Texts whose vectors it holds cost nothing.",
            metavar="FILE",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    cache_mb: Annotated[
        float | None,
        typer.Option(
            help="Size in megabytes at which the cache drops old vectors. Without it: 1000.",
            metavar="MB",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="End the run before the API bills more tokens than this.", metavar="N", rich_help_panel=LIMITS
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            help="End the run before it costs more US dollars than this.", metavar="USD", rich_help_panel=LIMITS
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            help="Price of a million tokens in US dollars, if it is unknown or differs.",
            metavar="USD",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    dedupe: Annotated[
        bool,
        typer.Option(
            "--dedupe/--no-dedupe", help="Send equal texts once; they share the vector.", rich_help_panel=LIMITS
        ),
    ] = True,
    provider: Provider = "local",
    setting: Settings = None,
    model: Model = None,
    catalogue: Catalogue = None,
    base_url: BaseUrl = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            help="Additional field of the request body; the value is JSON or text. Repeatable.",
            metavar="NAME=VALUE",
            rich_help_panel=PROVIDER,
        ),
    ] = None,
    truncate: Annotated[
        str | None,
        typer.Option(
            help="What the API does with a text that is too long, as the provider spells it.",
            metavar="VALUE",
            rich_help_panel=PROVIDER,
        ),
    ] = None,
    long_text: Annotated[
        LongTextChoice | None,
        typer.Option(
            help="What happens to a text that is too long: the API refuses it, or only its start is embedded. "
            "Without it: fail.",
            rich_help_panel=PROVIDER,
        ),
    ] = None,
    max_text_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of tokens of a text, in place of the model's: --long-text truncate cuts there.",
            metavar="N",
            rich_help_panel=PROVIDER,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Longest silence of the server, in seconds: before a response begins, and between two parts of it.",
            metavar="SECONDS",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of attempts without progress per request, the first included.",
            metavar="N",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    chunk_size: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of texts per request.", metavar="N", rich_help_panel=LIMITS),
    ] = None,
    max_memory: Annotated[
        float,
        typer.Option(
            help="Memory for requests in flight and results not yet written, in megabytes.",
            metavar="MB",
            rich_help_panel=LIMITS,
        ),
    ] = 256,
    max_concurrency: Annotated[
        int,
        typer.Option(min=1, help="Maximum number of concurrent requests.", metavar="N", rich_help_panel=LIMITS),
    ] = 32,
    requests_per_minute: Annotated[
        float | None,
        typer.Option(
            help="Rate limit of the API in requests per minute; retries count.", metavar="N", rich_help_panel=LIMITS
        ),
    ] = None,
    inputs_per_minute: Annotated[
        float | None,
        typer.Option(help="Rate limit of the API in texts per minute.", metavar="N", rich_help_panel=LIMITS),
    ] = None,
    tokens_per_minute: Annotated[
        float | None,
        typer.Option(help="Rate limit of the API in tokens per minute.", metavar="N", rich_help_panel=LIMITS),
    ] = None,
    no_rate_limit: Annotated[
        bool,
        typer.Option(
            "--no-rate-limit",
            help="Ignore the provider's published limits and those in the response headers.",
            rich_help_panel=LIMITS,
        ),
    ] = False,
    dimensions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Length of the vectors, for models that support several lengths.",
            metavar="N",
            rich_help_panel=VECTORS,
        ),
    ] = None,
    input_type: Annotated[
        str | None,
        typer.Option(
            help='Purpose of the texts: "document", "query", or a word of the provider.',
            metavar="TYPE",
            rich_help_panel=VECTORS,
        ),
    ] = None,
    prompts: Prompts = None,
    shorten: Annotated[
        Shortening | None,
        typer.Option(
            help="Which side shortens vectors to --dimensions. Without it: the server.", rich_help_panel=VECTORS
        ),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(
            help="Scale vectors to length 1, or leave them as the API returns them. Without it: scale them if the "
            "model is known to return others.",
            rich_help_panel=VECTORS,
        ),
    ] = None,
    dtype: Annotated[
        DtypeName, typer.Option(help="Number type of the vectors, if the API has it.", rich_help_panel=VECTORS)
    ] = DtypeName.FLOAT32,
    on_error: Annotated[
        OnErrorChoice,
        typer.Option(help="Stop at a text that cannot be embedded, or skip it.", rich_help_panel=FAILURES),
    ] = OnErrorChoice.RAISE,
    dead_letter: Annotated[
        Path | None,
        typer.Option(
            help="Append failed texts to this file as JSON lines. You can pass it as an input later.",
            metavar="FILE",
            rich_help_panel=FAILURES,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the file of an earlier run; start a new one if there is none.",
            rich_help_panel=FAILURES,
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file if it exists.")] = False,
    keep_text: Annotated[bool, typer.Option(help="Store the texts with the vectors.", rich_help_panel=VECTORS)] = True,
    stop_wait: Annotated[
        float,
        typer.Option(
            min=0,
            help="How long to wait for requests in flight after Ctrl-C or SIGTERM, in seconds.",
            metavar="SECONDS",
            rich_help_panel=FAILURES,
        ),
    ] = 10,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what the run would take and cost; send nothing and write no file."),
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report of the run.", metavar="FILE")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log each request and retry.")] = False,
) -> None:
    """Embed the texts of files into one file of vectors or into a vector store."""
    options = given(
        dtype=dtype.value,
        chunk_size=chunk_size,
        dimensions=dimensions,
        input_type=input_type,
        truncate=truncate,
        long_text=long_text and long_text.value,
        max_text_tokens=max_text_tokens,
        dead_letter=dead_letter,
        prompts=prompts,
        shorten=shorten and shorten.value,
        normalize=normalize,
        dedupe=dedupe,
        max_tokens=max_tokens,
        max_cost=max_cost,
        price=price,
    )
    with exits(context) as wording:
        if (output is None) == (to is None) and not (dry_run and output is None):
            raise ConfigurationError("choose where the vectors go: either --output FILE or --to STORE")
        if to is not None and overwrite:
            raise ConfigurationError("--overwrite is for files; a store replaces the rows whose texts have changed")
        if text_field and template:
            raise ConfigurationError("--template builds the text, so --text-field is not used; leave out one of them")
        if cache_mb is not None and cache is None:
            raise ConfigurationError("--cache-mb is the size of a cache, and there is none; add --cache FILE")
        if extra:
            options["extra"] = parse_extra(extra)
        job = Job(
            sources=parse_sources(inputs, input_format and input_format.value),
            fields=Fields(
                text=text_field or "text",
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
            cache_mb=1_000 if cache_mb is None else cache_mb,
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
            wording=wording,
        )
        with log_to_stderr() if verbose else nullcontext():
            asyncio.run(run_dry(job) if dry_run else run_embed(job))


@app.command()
def search(
    context: typer.Context,
    place: Annotated[
        str, typer.Argument(help="File that `embed` wrote, or a store as in `embed --to`.", metavar="FILE|STORE")
    ],
    query: Annotated[str, typer.Argument(help="Text to search for.", metavar="QUERY")],
    *,
    count: Annotated[int, typer.Option("-k", min=1, help="Number of results.", metavar="N")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    provider: Annotated[
        str | None,
        typer.Option(
            help="Provider that embeds the query. Without it: the one that embedded the texts.",
            metavar="NAME",
            rich_help_panel=PROVIDER,
        ),
    ] = None,
    setting: Settings = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model that embeds the query. Without it: the one that embedded the texts.",
            metavar="NAME",
            rich_help_panel=PROVIDER,
        ),
    ] = None,
    prompts: Prompts = None,
    base_url: BaseUrl = None,
    max_attempts: Attempts = None,
) -> None:
    """Find the texts in a file or a store that are most similar to a query."""
    with exits(context):
        hits = asyncio.run(
            run_search(
                _place(place),
                Query(query, count, provider, model, base_url, tuple(setting or ()), prompts, max_attempts),
            )
        )
    if as_json:
        typer.echo(to_json(hits, only_ascii=not can_show_all(sys.stdout)))
    else:
        show(hits)


@app.command()
def check(
    context: typer.Context,
    *,
    provider: Provider = "local",
    setting: Settings = None,
    model: Model = None,
    base_url: BaseUrl = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Length of the vector to request.", metavar="N", rich_help_panel=PROVIDER)
    ] = None,
    max_attempts: Attempts = None,
) -> None:
    """Check the API key, the model and the address by embedding one word."""
    with exits(context):
        asyncio.run(run_check(provider_with(provider, setting or ()), model, base_url, dimensions, max_attempts))


@app.command()
def providers(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Show this provider and its models.", metavar="[NAME]")] = None,
) -> None:
    """List the providers: default models, limits, number types and API key variables."""
    with exits(context):
        show_providers(name)


@app.command()
def info(
    context: typer.Context,
    where: Annotated[
        str, typer.Argument(help="File that `embed` wrote or is writing, or a store as in --to.", metavar="FILE|STORE")
    ],
) -> None:
    """Show what a file of vectors or a store contains and how it was made."""
    with exits(context):
        asyncio.run(show_info(_place(where)))


@app.command()
def serve(
    context: typer.Context,
    *,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on. Any but a loopback address needs --api-key-env. Without it: 127.0.0.1.",
            metavar="HOST",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Port to listen on; 0 picks a free one. Without it: 8000.",
            metavar="PORT",
        ),
    ] = None,
    unix: Annotated[
        Path | None, typer.Option(help="Unix socket to listen on, instead of --host and --port.", metavar="PATH")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of a model2vec model, instead of the built-in model.", metavar="FOLDER"),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable with the API key that clients must send.", metavar="VAR")
    ] = None,
) -> None:
    """Run the embedded server, with the APIs of Cohere, OpenAI, Ollama and TEI.

    It runs until you press Ctrl-C.
    """
    with exits(context):
        if unix is not None and (host is not None or port is not None):
            raise ConfigurationError("a server listens either at --unix or at --host and --port; leave out one of them")
        port = 8000 if port is None else port
        asyncio.run(run_serve("127.0.0.1" if host is None else host, port, unix, model, api_key_env))
