"""`search`: finds the rows of a store or a file that are nearest to a text.

The text is embedded as a query, otherwise with the options that the stored vectors were embedded with.
"""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack, cast

import anyio.lowlevel
import numpy as np

from asyncembed._config import check_count
from asyncembed._exceptions import ConfigurationError
from asyncembed._public import publish
from asyncembed._target import provenance_of
from asyncembed.sinks import PACKED, open_vectors
from asyncembed.sinks._provenance import differences
from asyncembed.stores._fingerprint import fingerprint_of
from asyncembed.stores._nearest import similarities
from asyncembed.stores._store import Found

if TYPE_CHECKING:
    from asyncembed._client import EmbedClient
    from asyncembed._models import Vector
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed.sinks import Label, VectorFile
    from asyncembed.stores._store import SearchableStore, StoreFingerprint


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found, with its cosine similarity to the query."""

    score: float
    label: Label


async def search(
    where: SearchableStore | str | os.PathLike[str],
    client: EmbedClient,
    query: str,
    k: int = 10,
    *,
    deadline: float | None = None,
    **options: Unpack[EmbedOptionsArgs],
) -> list[Found]:
    """Return the `k` rows of a store or a file that are nearest to a text, the nearest first.

    Args:
        where: A store, or the path of a file that `embed_to_file` wrote; a file is scanned completely.
        client: Embeds the text, with the options that the stored vectors were embedded with.
        query: The text.
        k: Maximum number of rows, 1 or more.
        deadline: Seconds for embedding the text, waits and retries included.
        **options: What the store or the file cannot give, such as `extra` and `prompts`; see `EmbedOptionsArgs`.

    Raises:
        ConfigurationError: if the store or the file does not record which model its vectors are from, or was made with
            another provider or other options. Nothing was sent.
        EmbedTimeoutError: if the deadline passes.
        AsyncEmbedError: if the text cannot be embedded.
    """
    check_count("k", k)
    if isinstance(where, str | os.PathLike):
        file = open_vectors(Path(where))
        made = file.provenance
        vector = await _embed(
            str(where), fingerprint_of(made) if made else None, client, query, deadline=deadline, more=options
        )
        if len(vector) != file.width:
            raise ConfigurationError(
                f"the query has {len(vector)} numbers, and the vectors of {where} have {file.width}"
            )
        hits = await rank(file, vector, k, packed=made is not None and made.dtype in PACKED)
        return [Found(hit.label.id, hit.score, hit.label.text or None, {}) for hit in hits]
    vector = await _embed(repr(where), await where.fingerprint(), client, query, deadline=deadline, more=options)
    return await where.search(vector, k)


async def rank(file: VectorFile, vector: Vector, count: int, *, packed: bool) -> list[Hit]:
    """Return the `count` rows with the highest cosine similarity to `vector`; equal ones in the order of the file.

    Args:
        file: The rows.
        vector: 1-D array with the dtype of the file.
        count: Maximum number of rows.
        packed: Whether each number packs 8 dimensions of -1 and 1. Their cosine similarity is
            1 - 2 * (number of different bits) / (number of bits).
    """
    best: list[Hit] = []
    for block in file.blocks():
        await anyio.lowlevel.checkpoint()  # let other tasks run, and allow cancellation
        scores = similarities(block.vectors, vector, packed=packed)
        nearest = np.argsort(-scores, kind="stable")[:count]
        hits = [Hit(float(scores[row]), block.label(int(row))) for row in nearest]
        best = heapq.nlargest(count, [*best, *hits], key=lambda hit: hit.score)
    return best


_OPTIONS: Final = ("model", "dtype", "dimensions", "shorten", "truncate", "long_text", "max_text_tokens")


async def _embed(
    name: str,
    kind: StoreFingerprint | None,
    client: EmbedClient,
    query: str,
    *,
    deadline: float | None,
    more: EmbedOptionsArgs,
) -> Vector:
    """Embed a query with the options of the stored vectors, whose fingerprint is `kind`, and with `more`."""
    if kind is None:
        raise ConfigurationError(f"{name} does not record which model its vectors are from")
    recorded = {name: kind[name] for name in _OPTIONS if kind.get(name) is not None}
    given = cast("EmbedOptionsArgs", {**recorded, "normalize": bool(kind.get("normalize")), **more})
    # As the texts were: with their prompt, which may differ from that of queries.
    texts = cast("EmbedOptionsArgs", {**given, "input_type": kind.get("input_type") or "document"})
    mine = fingerprint_of(provenance_of(client._call(texts, "raise"), keep_text=False))  # noqa: SLF001
    if differing := differences(kind, {**mine, "input_type": kind.get("input_type")}):
        if kind.get("extra") and not more.get("extra"):
            raise ConfigurationError(f"{name} was made with extra=, of which it keeps a digest only; pass it to search")
        raise ConfigurationError(f"{name} was made with other settings than this client's: {'; '.join(differing)}")
    return await client.embed_query(query, deadline=deadline, **given)


publish("asyncembed", [search])
