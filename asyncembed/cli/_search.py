"""`asyncembed search`: find the texts of a file or a store that are most similar to a query."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import orjson
from rich.table import Column, Table
from rich.text import Text

import asyncembed
from asyncembed import ConfigurationError, EmbedClient, RetryPolicy
from asyncembed._search import Hit, rank
from asyncembed.cli._console import printable, say, stdout, stop
from asyncembed.cli._places import check_place
from asyncembed.cli._providers import check_base_url, provider_with
from asyncembed.cli._signals import on_stop
from asyncembed.providers import get_provider, share_space
from asyncembed.sinks import PACKED, Label, Provenance, open_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from asyncembed import EmbedOptionsArgs, Vector
    from asyncembed._models import TextId
    from asyncembed.sinks import VectorFile
    from asyncembed.stores import AnyStore

SHOWN_CHARACTERS = 300
"""Number of characters of each text that the table shows."""


@dataclass(frozen=True, slots=True)
class Query:
    """The query of one search.

    The options after `count` replace what the file or the store says about its vectors.

    Attributes:
        text: Text to search for.
        count: Number of results.
        provider: Provider that embeds the query.
        model: Model that embeds the query.
        base_url: Base URL of the API.
        settings: Settings of the provider, as name=value.
        prompts: Model family whose prompts are used.
        max_attempts: Maximum number of attempts.
    """

    text: str
    count: int
    provider: str | None = None
    model: str | None = None
    base_url: str | None = field(default=None, repr=False)
    settings: Sequence[str] = ()
    prompts: str | None = None
    max_attempts: int | None = None

    @property
    def retry(self) -> RetryPolicy | int:
        """When to retry: the caller waits."""
        return self.max_attempts or RetryPolicy.interactive()


async def search(path: Path | AnyStore, query: Query) -> list[Hit]:
    """Return the rows of a file or a store that are most similar to the query, best first.

    A file is searched exactly: every vector is compared, block by block.

    Raises:
        typer.Exit: if a signal stopped the search.
        ConfigurationError: if the file cannot be searched, or neither the file nor the query names the provider.
        AsyncEmbedError: if the query cannot be embedded.
    """
    with anyio.CancelScope() as scope, on_stop(scope.cancel):
        hits = await (_search(path, query) if isinstance(path, Path) else _search_store(path, query))
    if scope.cancelled_caught:
        stop()
    return hits


def show(hits: Sequence[Hit]) -> None:
    """Print hits as a table, with a column for each name in their metadata."""
    console = stdout()
    with_ids = any(hit.label.id is not None for hit in hits)
    names = _names(hits)
    headings = ["#", "score", "id" if with_ids else "index", "text", *(printable(name, console) for name in names)]
    table = Table(*(Column(Text(heading)) for heading in headings), box=None, header_style="bold", pad_edge=False)
    table.columns[0].justify = table.columns[1].justify = "right"
    for number, hit in enumerate(hits, 1):
        name = hit.label.id if with_ids else hit.label.index
        text = printable(hit.label.text[:SHOWN_CHARACTERS], console)
        known = hit.label.metadata or {}
        more = (Text(_cell(known.get(name), console)) for name in names)
        table.add_row(str(number), f"{hit.score:.3f}", Text(printable(str(name), console), "cyan"), Text(text), *more)
    console.print(table)


def _names(hits: Sequence[Hit]) -> list[str]:
    """Return the names in the metadata of all hits, in the order of their first use."""
    return list(dict.fromkeys(name for hit in hits for name in hit.label.metadata or ()))


def _cell(value: object, console: Console) -> str:
    return "" if value is None else printable(str(value)[:SHOWN_CHARACTERS], console)


def to_json(hits: Sequence[Hit], *, only_ascii: bool = False) -> str:
    """Return hits as a JSON list of objects. With `only_ascii`, all other characters are JSON escapes."""
    rows = [
        {
            "rank": rank,
            "score": hit.score,
            "index": hit.label.index,
            "id": hit.label.id,
            "text": hit.label.text,
            "metadata": dict(hit.label.metadata or {}),
        }
        for rank, hit in enumerate(hits, 1)
    ]
    text = orjson.dumps(rows, option=orjson.OPT_INDENT_2, default=str).decode()
    return json.dumps(orjson.loads(text), indent=2) if only_ascii else text


async def _search(path: Path, query: Query) -> list[Hit]:
    check_place(path)
    file = open_vectors(path)
    provenance = _provenance(path, file, query)
    vector = await _embed(provenance, query)
    if len(vector) != file.width:
        raise ConfigurationError(
            f"the vector of the query has {len(vector)} numbers, but those of {path} have {file.width}: they are from "
            "another model or have another length"
        )
    return await rank(file, vector, query.count, packed=provenance.dtype in PACKED)


async def _search_store(store: AnyStore, query: Query) -> list[Hit]:
    try:
        fingerprint = await store.fingerprint()
        if fingerprint is None:
            raise ConfigurationError(f"{store!r} is not a table of vectors that `asyncembed embed --to` wrote")
        provider = get_provider(query.provider or str(fingerprint["provider"]))
        base_url = query.base_url or os.environ.get(provider.base_url_variable or "")
        if fingerprint["address"] != "the provider's own" and not base_url:
            raise ConfigurationError(f"the vectors of {store!r} are from another server; add --base-url")
        async with EmbedClient(
            provider_with(provider.name, query.settings),
            model=query.model,
            base_url=base_url,
            prompts=query.prompts,
            retry=query.retry,
        ) as client:
            found = await asyncembed.search(store, client, query.text, query.count)
    finally:
        await store.aclose()
    return [
        Hit(row.score, Label(number, _plain(row.id), row.text or "", row.metadata)) for number, row in enumerate(found)
    ]


def _plain(id_: TextId | None) -> str | int | None:
    return id_ if id_ is None or isinstance(id_, int) else str(id_)


def _provenance(path: Path, file: VectorFile, query: Query) -> Provenance:
    found = file.provenance
    if found is None and query.provider is None:
        raise ConfigurationError(f"{path} does not say which model its vectors are from; add --provider and --model")
    found = found or Provenance(provider=query.provider or "", model=query.model or "")
    if not found.base_url:
        check_base_url(query.provider or found.provider, query.base_url)
    is_same_provider = query.provider in {None, found.provider}
    provider = get_provider(query.provider or found.provider)
    base_url = query.base_url or os.environ.get(provider.base_url_variable or "")
    if is_same_provider and found.base_url and not base_url:
        # The address in the file is not used: a file from another person must not decide where an API key is sent.
        raise ConfigurationError(f"the vectors of {path} are from another server; add --base-url {found.base_url}")
    model = query.model or (found.model if is_same_provider else provider.default_model)
    if is_same_provider and found.model and not share_space(found.provider, found.model, model):
        say(f"the vectors are from {found.model}, which is not known to share a vector space with {model}", "yellow")
    return replace(found, provider=provider.name, model=model, base_url=base_url)


async def _embed(provenance: Provenance, query: Query) -> Vector:
    provider = provider_with(provenance.provider, query.settings)
    async with EmbedClient(
        provider, model=provenance.model, base_url=provenance.base_url, prompts=query.prompts, retry=query.retry
    ) as client:
        options: EmbedOptionsArgs = {"dtype": provenance.dtype, "input_type": "query"}
        if provenance.dimensions is not None:
            options["dimensions"] = provenance.dimensions
        if provenance.shorten:
            options["shorten"] = provenance.shorten
        response = await client.embed([query.text], **options)
    return response[0]
