"""`asyncembed embed --dry-run`: what the same command would take and cost; nothing is sent, and no file is made."""

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
    """The rows of inputs, which are read once more each time that they are asked for.

    Args:
        sources: The inputs.
        fields: What is taken of each row.
        limit: Most rows, if not all.
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
    """Print what a run would take.

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
    """Give what was counted, by name."""
    yield "model", f"{client.model} of {client.provider.name}"
    yield "texts", f"{found.texts:,}"
    yield "equal", f"{found.equal:,} to another one, {'which cost nothing' if dedupe else 'which are asked for, too'}"
    if found.cached:
        yield "cached", f"{found.cached:,}, which cost nothing"
    if found.invalid:
        yield "invalid", f"{plural(found.invalid, 'text')} that no API takes"
    yield "too long", "not known" if found.over_long is None else f"{found.over_long:,}, for this model"
    yield "tokens", f"{found.tokens:,}, {'counted' if found.counted == 'tokenizer' else 'estimated'}"
    yield "requests", f"{found.requests:,} without retries"
    limit = "no rate limit is known" if found.seconds is None else f"{duration(found.seconds)} at the rate limit"
    yield "time", limit
    yield "cost", cost_of(found)


def cost_of(found: Estimate) -> str:
    """Return the cost in words, with the price and its date."""
    if found.cost is None or found.price is None:
        return "not known; give the price of a million tokens with --price"
    date = f", the price of {found.price_date}" if found.price_date else ""
    return f"{dollars(found.cost)} at ${found.price:g} for a million tokens{date}"
