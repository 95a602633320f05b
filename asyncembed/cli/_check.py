"""`asyncembed check`: one harmless word, before anything larger is paid for."""

from __future__ import annotations

from asyncembed import EmbedClient, Provider
from asyncembed.cli._console import stdout
from asyncembed.cli._providers import check_base_url


async def check(provider: str | Provider, model: str | None, base_url: str | None, dimensions: int | None) -> None:
    """Ask for the word, and print what came.

    Raises:
        ConfigurationError: if an address was given for the embedded server.
        AsyncEmbedError: if the API does not take it.
    """
    check_base_url(provider, base_url)
    async with EmbedClient(provider, model=model, base_url=base_url) as client:
        found = await (client.check(dimensions=dimensions) if dimensions else client.check())
    where = f" at {found.address}" if found.address else ""
    told = f", {found.tokens} tokens" if found.tokens else ""
    stdout().print(
        f"{found.provider}{where} takes the model {found.model}: {found.dimension} dimensions as {found.encoding}, "
        f"in {found.seconds:.2f} s{told}",
        markup=False,
        soft_wrap=True,
    )
