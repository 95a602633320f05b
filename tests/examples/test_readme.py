"""The README's Python runs as it stands, against the embedded server in the place of Cohere's."""

from __future__ import annotations

import asyncio
import re
import textwrap
from pathlib import Path

import pytest

import asyncembed

FOUND = re.findall(
    r"^```python\n(.*?)^```$", Path(__file__).parents[2].joinpath("README.md").read_text(), re.MULTILINE | re.DOTALL
)
PLAIN = [block for block in FOUND if "SyncEmbedder" in block]
BLOCKS = [block for block in FOUND if block not in PLAIN]


def test_there_are_examples():
    """Or the next test would prove nothing."""
    assert len(BLOCKS) == 2
    assert len(PLAIN) == 1


@pytest.mark.parametrize("block", BLOCKS, ids=["first", "second"])
async def test_an_example_runs(block, monkeypatch, tmp_path):
    """With texts and a place to put the vectors, which it leaves to the reader."""
    pytest.importorskip("model2vec")
    from asyncembed.local import LocalServer

    async def rows():
        yield "a", "one text"
        yield "b", ""

    stored, inserted = {}, []

    async def insert(embedding, index):
        inserted.append(index)

    names = {
        "rows": rows,
        "texts": ["one", "two"],
        "store": stored.__setitem__,
        "insert": insert,
        "EmbedClient": asyncembed.EmbedClient,
    }
    monkeypatch.chdir(tmp_path)
    exec(f"async def example():\n{textwrap.indent(block.replace('=256', '=64'), '    ')}\n    return locals()", names)
    async with LocalServer() as server:
        monkeypatch.setenv("CO_API_URL", server.url)
        monkeypatch.setenv("CO_API_KEY", "unused")
        end = await names["example"]()
    assert end["stream"].summary.done + end["stream"].summary.failed == 2
    assert len(stored) == (2 if "store" in block else 0)
    assert sorted(inserted) == ([0, 1] if "insert" in block else [])
    assert (tmp_path / "vectors.parquet").exists() is ("vectors.parquet" in block)


async def test_the_plain_example_runs(monkeypatch):
    """In a thread that has no event loop."""
    pytest.importorskip("model2vec")
    from asyncembed.local import LocalServer

    names: dict[str, object] = {}
    async with LocalServer() as server:
        monkeypatch.setenv("CO_API_URL", server.url)
        monkeypatch.setenv("CO_API_KEY", "unused")
        await asyncio.to_thread(exec, PLAIN[0], names)
    assert names["vector"].ndim == 1
