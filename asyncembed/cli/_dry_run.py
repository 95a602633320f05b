"""`asyncembed embed --dry-run`: prints what the command would take and cost. It sends nothing and writes no file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rich.text import Text

from asyncembed._decide.spending_cap import SpendingCap
from asyncembed._decide.texts import RefusedInput
from asyncembed.cli._console import plural, printable, stdout
from asyncembed.cli._inputs import read
from asyncembed.cli._progress import dollars, duration
from asyncembed.sinks import KnownTexts, check_same_settings, open_vectors, read_partial
from asyncembed.stores._fingerprint import check_fingerprint, fingerprint_of, text_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from asyncembed import EmbedClient, EmbedInput, EmbedOptionsArgs, Estimate
    from asyncembed.cli._inputs import Source
    from asyncembed.cli._rows import Fields
    from asyncembed.sinks import Provenance
    from asyncembed.stores import AnyStore

ROWS_AT_ONCE: Final = 1_000
"""Number of rows to look up at once."""


class RereadableRows:
    """The rows of inputs. Each iteration reads them from the beginning.

    Args:
        sources: The inputs.
        fields: Fields to use of each row.
        limit: Maximum number of rows; None for all.
    """

    def __init__(self, sources: Sequence[Source], fields: Fields, limit: int | None) -> None:
        self._sources = sources
        self._fields = fields
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[EmbedInput]:
        rows = read(self._sources, self._fields, self._limit)
        if hasattr(rows, "__aiter__"):
            async for row in rows:
                yield row
        else:
            for row in rows:
                yield row


class MissingRows:
    """The rows that the output does not have yet.

    Args:
        rows: All rows.
        missing: Returns those of consecutive rows that are missing, from the index of the first one.
        shares: Whether a row whose text is equal to one in the output gets its vector.
    """

    def __init__(
        self,
        rows: RereadableRows,
        missing: Callable[[int, list[EmbedInput]], Awaitable[list[EmbedInput]]],
        *,
        shares: bool = False,
    ) -> None:
        self._rows = rows
        self._missing = missing
        self._shares = shares
        self._seen: set[int] = set()
        self.present = 0
        """Number of rows that the output has."""
        self.equal = 0
        """Number of missing rows whose text is equal to one in the output."""

    async def __aiter__(self) -> AsyncIterator[EmbedInput]:
        self.present = self.equal = first = 0
        some: list[EmbedInput] = []
        async for row in self._rows:
            some.append(row)
            if len(some) == ROWS_AT_ONCE:
                for missing in await self._look_up(first, some):
                    yield missing
                first, some = first + len(some), []
        for missing in await self._look_up(first, some):
            yield missing

    async def _look_up(self, first: int, some: list[EmbedInput]) -> list[EmbedInput]:
        missing = await self._missing(first, some)
        self.present += len(some) - len(missing)
        if not self._shares:
            return missing
        there = {id(row) for row in some} - {id(row) for row in missing}
        self._seen.update(hash(row.text) for row in some if id(row) in there)
        unlike = [row for row in missing if hash(row.text) not in self._seen]
        self.equal += len(missing) - len(unlike)
        return unlike


def missing_in_file(
    rows: RereadableRows, path: Path, made: Provenance, *, shares: bool
) -> MissingRows | RereadableRows:
    """Return the rows that a resumed run would embed.

    Args:
        rows: All rows.
        path: The file.
        made: Provenance of the vectors of the run.
        shares: Whether equal texts share a vector.

    Raises:
        ResumeError: if the earlier run had other settings, or, when you iterate, other texts.
    """
    if partial := read_partial(path):
        check_same_settings(partial.folder, partial.provenance, made)
        if partial.is_complete:
            return MissingRows(rows, _none)
        known = KnownTexts(partial.folder, partial.commit, partial.provenance.number)

        async def unknown(first: int, some: list[EmbedInput]) -> list[EmbedInput]:
            settled = max(0, min(known.reach - first, len(some)))
            return [*(some[place] for place in known.recognise(first, some[:settled])), *some[settled:]]

        return MissingRows(rows, unknown, shares=shares)
    if not path.is_file():
        return rows
    if found := open_vectors(path).provenance:
        check_same_settings(path, found, made)
    return MissingRows(rows, _none)


async def missing_in_store(rows: RereadableRows, store: AnyStore, made: Provenance) -> MissingRows | RereadableRows:
    """Return the rows that a run into a store would embed.

    Raises:
        ResumeError: if the store holds vectors of other settings.
    """
    found = await store.fingerprint()
    if found is None:
        return rows
    check_fingerprint(repr(store), found, fingerprint_of(made), None, None)

    async def unknown(_: int, some: list[EmbedInput]) -> list[EmbedInput]:
        fit = [row for row in some if row.id is not None and not isinstance(row, RefusedInput)]
        ids = [row.id for row in fit if row.id is not None]
        present = await store.present(ids, [text_hash(row.text) for row in fit]) if fit else []
        there = {id(row) for row, is_there in zip(fit, present, strict=True) if is_there}
        return [row for row in some if id(row) not in there]

    return MissingRows(rows, unknown)


async def _none(_: int, __: list[EmbedInput]) -> list[EmbedInput]:
    return []


async def print_estimate(
    client: EmbedClient,
    rows: MissingRows | RereadableRows,
    options: EmbedOptionsArgs,
    *,
    spent: int = 0,
    refusal: str | None = None,
) -> None:
    """Print what a run would take and cost.

    Args:
        client: The client of the run.
        rows: The rows to embed.
        options: The options of the run.
        spent: Tokens that earlier runs of the same file have spent.
        refusal: Why the run would refuse to write its output, None if it would not.

    Raises:
        ConfigurationError: if an option is wrong.
        ResumeError: if the earlier run had other texts.
        InputError, OSError: if an input cannot be read.
    """
    found = await client.estimate(rows, **options)
    present = 0
    if isinstance(rows, MissingRows):
        present, equal = rows.present, rows.equal
        found = replace(found, texts=found.texts + present + equal, equal=found.equal + equal)
    lines = dict(facts(found, client, present=present, dedupe=options.get("dedupe", True)))
    if limit := limit_of(found, options, spent):
        lines["limit"] = limit
    if refusal:
        lines["output"] = f"the run will refuse it: {refusal}"
    console = stdout()
    for name, value in lines.items():
        console.print(Text(f"{name:<12}", "bold").append(printable(value, console), "not bold"))


def facts(found: Estimate, client: EmbedClient, *, present: int, dedupe: bool) -> Iterator[tuple[str, str]]:
    """Yield the lines of the table, as names and values. `present` is the number of rows that the output has."""
    yield "model", f"{client.model} of {client.provider.name}"
    yield "texts", f"{found.texts:,}"
    if present:
        yield "present", f"{present:,} in the output already, which cost nothing"
    if found.equal:
        yield "equal", f"{found.equal:,}, which {'cost nothing' if dedupe else 'are sent, too'}"
    if found.cached:
        yield "cached", f"{found.cached:,}, which cost nothing"
    if found.invalid:
        yield "invalid", f"{plural(found.invalid, 'text')} that no API accepts"
    yield "too long", "unknown" if found.over_long is None else f"{found.over_long:,} for this model"
    yield "tokens", f"{found.tokens:,}, {'counted' if found.counted == 'tokenizer' else 'estimated'}"
    yield "requests", f"{found.requests:,} without retries"
    limit = "no rate limit is known" if found.seconds is None else f"{duration(found.seconds)} at the rate limit"
    yield "time", limit
    yield "cost", cost_of(found, is_free=client.provider.is_embedded)


def limit_of(found: Estimate, options: EmbedOptionsArgs, spent: int) -> str:
    """Return which limit the run would reach, and what earlier runs have `spent` of it; "" if none."""
    max_tokens, max_cost = options.get("max_tokens"), options.get("max_cost")
    cap = SpendingCap(max_tokens, max_cost, found.price)
    if (max_tokens is None and max_cost is None) or spent + found.tokens <= cap.tokens:
        return ""
    name = f"--max-tokens {max_tokens}" if cap.tokens == max_tokens else f"--max-cost {max_cost:g}"
    before = f", of which earlier runs have spent {plural(spent, 'token')}" if spent else ""
    return f"{name} is reached before the end{before}"


def cost_of(found: Estimate, *, is_free: bool) -> str:
    """Describe the cost, with the price and its date."""
    if found.cost is None or found.price is None:
        return "none: the model is embedded" if is_free else "unknown; give the price of a million tokens with --price"
    date = f", the price of {found.price_date}" if found.price_date else ""
    return f"{dollars(found.cost)} at ${found.price:g} for a million tokens{date}"
