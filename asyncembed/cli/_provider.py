"""What is checked of `--provider` and `--base-url` before a client is made of them."""

from __future__ import annotations

from asyncembed import ConfigurationError

EMBEDDED = "local"
"""The provider that is the embedded server."""


def check_base_url(provider: str, base_url: str | None) -> None:
    """Raise `ConfigurationError` if an address was given for the embedded server, which the command starts itself."""
    if provider == EMBEDDED and base_url:
        raise ConfigurationError(
            "--base-url does not go with --provider local, which starts the embedded server; name the API that the "
            "server at that address speaks: --provider openai (the address then ends in /v1) or --provider cohere"
        )
