"""`asyncembed serve`: the embedded server, for other programs."""

from __future__ import annotations

import asyncio
import os
import shlex
from typing import TYPE_CHECKING

from asyncembed import ConfigurationError
from asyncembed.cli._console import say, stdout
from asyncembed.cli._signals import on_stop
from asyncembed.local import LocalServer

if TYPE_CHECKING:
    from pathlib import Path


async def serve(host: str, port: int, unix: Path | None, model: Path | None, key_variable: str | None) -> None:
    """Run the embedded server until Ctrl-C or SIGTERM.

    Raises:
        ConfigurationError: if the model cannot be loaded, or the variable for the key is not set.
        OSError: if the address is taken.
    """
    server = LocalServer(model=model, host=host, port=port, unix=unix, api_key=_key(key_variable))
    stop = asyncio.Event()
    with on_stop(stop.set):
        await server.start()
        try:
            _greet(server.url, key_variable, unix)
            await stop.wait()
        finally:
            await server.stop()
    say("stopped")


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise ConfigurationError(f"the environment variable {variable} holds no key")
    return os.environ[variable]


def _greet(url: str, key_variable: str | None, unix: Path | None) -> None:
    key = f' -H "Authorization: Bearer ${key_variable}"' if key_variable else ""
    where = f"--unix-socket {shlex.quote(str(unix))} http://localhost" if unix else url
    console = stdout()
    console.print(f"Serving on {url} (Cohere's API) and {url}/v1 (OpenAI's); Ctrl-C stops it. Try:\n", markup=False)
    console.print(
        f"  curl {where}/v1/embeddings{key} \\\n"
        "    -H 'Content-Type: application/json' \\\n"
        '    -d \'{"model": "local", "input": ["hello"]}\'\n',
        markup=False,
        soft_wrap=True,
    )
