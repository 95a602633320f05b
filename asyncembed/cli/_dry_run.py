"""`asyncembed embed --dry-run`: prints what the command would take and cost. It sends nothing and writes no file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from asyncembed.cli._console import plural, printable, stdout
from asyncembed.cli._inputs import read
from asyncembed.cli._progress import dollars, duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from asyncembed import EmbedClient, EmbedInput, EmbedOptionsArgs, Estimate
    from asyncembed.cli._inputs import Source
    from asyncembed.cli._rows import Fields


class Again:
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


async def dry_run(client: EmbedClient, rows: Again, options: EmbedOptionsArgs) -> None:
    """Print what a run would take and cost.

    Raises:
        ConfigurationError: if an option is wrong.
        InputError, OSError: if an input cannot be read.
    """
    options = options.copy()
    options.pop("dead_letter", None)
    found = await client.estimate(rows, **options)
    console = stdout()
    for name, value in facts(found, client, dedupe=options.get("dedupe", True)):
        console.print(Text(f"{name:<12}", "bold").append(printable(value, console), "not bold"))


def facts(found: Estimate, client: EmbedClient, *, dedupe: bool) -> Iterator[tuple[str, str]]:
    """Yield the lines of the table, as names and values."""
    yield "model", f"{client.model} of {client.provider.name}"
    yield "texts", f"{found.texts:,}"
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
    yield "cost", cost_of(found)


def cost_of(found: Estimate) -> str:
    """Describe the cost, with the price and its date."""
    if found.cost is None or found.price is None:
        return "unknown; give the price of a million tokens with --price"
    date = f", the price of {found.price_date}" if found.price_date else ""
    return f"{dollars(found.cost)} at ${found.price:g} for a million tokens{date}"
