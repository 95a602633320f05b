"""The examples in the docstrings run as they stand, with a client and texts at hand."""

from __future__ import annotations

import ast
import inspect
import io
import re

import pytest

import asyncembed
from asyncembed import EmbedClient, local, testing
from asyncembed.testing import FakeServer

EXAMPLE = re.compile(r"^Example:\n+    ```python\n(.*?)^    ```$", re.MULTILINE | re.DOTALL)
MODULES = (asyncembed, local, testing)
PUBLIC = {name: getattr(module, name) for module in MODULES for name in module.__all__ if name != "PROVIDERS"}
MEMBERS = {
    f"{name}.{member}": value
    for name, kind in PUBLIC.items()
    if inspect.isclass(kind)
    for member, value in inspect.getmembers(kind, callable)
    if not member.startswith("_")
}


def examples_of(documented: object) -> list[str]:
    return EXAMPLE.findall(inspect.getdoc(documented) or "")


EXAMPLES = {name: code for name, value in {**PUBLIC, **MEMBERS}.items() for code in examples_of(value)}


def test_verbs_and_what_people_construct_have_an_example() -> None:
    verbs = {f"EmbedClient.{name}" for name in dir(EmbedClient) if name.startswith("embed")}
    assert len(verbs) >= 6
    assert set(EXAMPLES) >= verbs | {"EmbedClient.check", "EmbedClient.dimension"}
    assert set(EXAMPLES) >= {"EmbedClient", "EmbedInput", "RateLimit", "RetryPolicy", "Timeouts", "MemoryMonitor"}
    assert set(EXAMPLES) >= {"StreamingEmbedResponse", "OpenTelemetryEvents", "LocalServer", "FakeServer"}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_runs(name: str, monkeypatch, tmp_path) -> None:
    if name == "LocalServer":
        pytest.importorskip("model2vec")
    if name == "OpenTelemetryEvents":
        pytest.importorskip("opentelemetry")
    monkeypatch.chdir(tmp_path)
    code = compile(
        inspect.cleandoc("\n" + EXAMPLES[name]),
        name,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    async with FakeServer(dimension=8) as server, EmbedClient("cohere", base_url=server.url, api_key="any") as client:
        if name == "EmbedClient":
            monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
            monkeypatch.setenv("OPENAI_API_KEY", "any")
        running = eval(code, {**PUBLIC, "client": client, "texts": ["one", "two"], "io": io})
        if running is not None:
            await running
        sends_nothing = name == "EmbedClient.estimate"
        asks_this_server = not sends_nothing and "await " in EXAMPLES[name] and "base_url=" not in EXAMPLES[name]
        is_stream = "async with client." in EXAMPLES[name]
        assert bool(server.ledger.requests) is (asks_this_server or is_stream)
