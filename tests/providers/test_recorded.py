"""Responses of real services, replayed from files: each decodes exactly, however the network cuts it.

`recorded/README.md` says how to add one. The files that are here are written from the services' documentation.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPResponse, responses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asyncembed import PROVIDERS, EmbedClient, EmbedOptions, RetryPolicy
from asyncembed._parser import ResponseParser, VectorDecoder
from asyncembed.testing import FakeServer

if TYPE_CHECKING:
    from asyncembed.providers import Provider
    from asyncembed.testing import Exchange

FOLDER = Path(__file__).parent / "recorded"
FILES = sorted(FOLDER.glob("*/*.json"))
WIRE_FORMATS = {
    "azure-openai", "bedrock-cohere", "bedrock-nova", "bedrock-titan", "cohere", "cohere-v1", "gemini", "huggingface",
    "jina", "llamacpp", "mistral", "ollama", "openai", "tei", "vertex", "vllm", "voyage",
}  # fmt: skip
FRAMING = {"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive"}
SPLITS = ["whole", "bytes", "sevens", "kilobytes", "halves", "around every number", "gzip", "gzip bytes"]
MAX_BYTES_ALONE = 100_000
"""Longer bodies are not sent byte by byte: that takes a second for each 20 kB."""


@dataclass
class Case:
    """One file."""

    path: Path

    @cached_property
    def said(self) -> dict:
        return json.loads(self.path.read_bytes())

    @cached_property
    def raw(self) -> bytes | None:
        """The response as it came over the wire, where a file `.http` beside this one has it."""
        raw = self.path.with_suffix(".http")
        return raw.read_bytes() if raw.exists() else None

    @cached_property
    def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and the body without framing and compression."""
        if self.raw is None:
            response = self.said["response"]
            body = response.get("body")
            data = base64.b64decode(response["body_base64"]) if body is None else body.encode()
            headers, status = dict(response.get("headers", {})), response.get("status", 200)
        else:
            parsed = HTTPResponse(_Socket(self.raw))
            parsed.begin()
            data, headers, status = parsed.read(), dict(parsed.headers), parsed.status
        if {name.lower(): value for name, value in headers.items()}.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        return status, {name: value for name, value in headers.items() if name.lower() not in FRAMING}, data

    @cached_property
    def provider(self) -> Provider:
        return PROVIDERS[self.said.get("provider", self.path.parent.name)](**self.said.get("settings", {}))

    @property
    def model(self) -> str:
        return self.said.get("model") or self.provider.default_model

    @property
    def options(self) -> dict:
        return self.said.get("options", {})

    @property
    def expected(self) -> np.ndarray:
        """The vectors by `json.loads` and numpy alone."""
        values = _at(json.loads(self.response[2]), [step for step in self.said["vectors"].split(".") if step])
        if len(self.said["texts"]) == 1 and not isinstance(values[0], list | str):
            values = [values]
        dtype = self.options.get("dtype", "float32")
        stored = {"float32": "<f4", "int8": "i1", "binary": "i1"}.get(dtype, "u1")
        rows = [
            np.frombuffer(base64.b64decode(value), stored)
            if isinstance(value, str)
            else np.array(value, np.float64 if dtype == "float32" else stored)
            for value in values
        ]
        return np.stack(rows).astype(stored)

    def client(self, server: FakeServer) -> EmbedClient:
        base_url = server.url + ("/v1" if self.provider.path == "/embeddings" else "")
        return EmbedClient(
            self.provider,
            base_url=base_url,
            model=self.model,
            api_key="k",
            retry=RetryPolicy(max_attempts=1),
            **self.said.get("client", {}),
        )


class _Socket:
    """What `HTTPResponse` reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def _at(document: object, steps: list[str]) -> list:
    """What stands at a place; `*` means each item of a list."""
    for number, step in enumerate(steps):
        if step == "*":
            return [_at(item, steps[number + 1 :]) for item in document]
        document = document[step]
    return document


def pieces_of(data: bytes, split: str) -> list[bytes]:
    """The same bytes in pieces."""
    sizes = {"bytes": 1, "gzip bytes": 1, "sevens": 7, "kilobytes": 1_000, "halves": (len(data) + 1) // 2}
    if split == "around every number":
        cuts = [place for place, byte in enumerate(data) if byte in b',[]{}:"']
        return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < stop]
    size = sizes.get(split, len(data))
    return [data[start : start + size] for start in range(0, len(data), size)]


def replay(case: Case, split: str):
    """A reply that is the recorded response: raw as it came, or in a chunk for each piece."""

    async def reply(exchange: Exchange) -> None:
        if case.raw is not None and not split.startswith("gzip"):
            for piece in pieces_of(case.raw, split):
                await exchange.write(piece)
                await asyncio.sleep(0)
            exchange.close()
            return
        status, headers, body = case.response
        if split.startswith("gzip"):
            body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
        lines = [f"HTTP/1.1 {status} {responses[status]}", *(f"{name}: {value}" for name, value in headers.items())]
        await exchange.write("\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode())
        for piece in pieces_of(body, split):
            await exchange.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0)  # so that the client, in the same event loop, reads it alone
        await exchange.write(b"0\r\n\r\n")

    return reply


def case_id(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


async def decode(case: Case, split: str) -> None:
    """Replay one response: the bits that `json.loads` gives, the tokens that it tells, and the documented request."""
    sent = []

    async def note(exchange: Exchange) -> None:
        sent.append(exchange.request)
        await replay(case, split)(exchange)

    async with FakeServer(default=note, info=None) as server, case.client(server) as client:
        response = await client.embed(case.said["texts"], **case.options)
    assert response.embeddings.dtype == case.expected.dtype
    assert response.embeddings.tobytes() == case.expected.tobytes()
    assert len(sent) == 1
    if "tokens" in case.said:
        assert response.usage.tokens == case.said["tokens"]
    if "request" in case.said:
        assert sent[0].path == case.said["request"]["path"]
        assert json.loads(sent[0].body) == case.said["request"]["body"]


@pytest.fixture(autouse=True)
def says_nothing_of_long_texts(monkeypatch):
    """The recorded requests left it to the API what happens to a text that is too long."""
    for kind in PROVIDERS.values():
        monkeypatch.setattr(kind, "long_text", {})


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("path", FILES, ids=case_id)
async def test_a_response_decodes_exactly(path, split):
    case = Case(path)
    if "bytes" in split and len(case.raw or case.response[2]) > MAX_BYTES_ALONE:
        pytest.skip(f"{case_id(path)} is too long for single bytes")
    await decode(case, split)


@pytest.mark.parametrize("split", ["whole", "bytes", "sevens", "gzip"])
@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_response_is_replayed_as_it_came_over_the_wire(tmp_path, split, is_packed):
    """With its own chunks and compression, from a file beside the description."""
    said = Case(FOLDER / "openai" / "floats.json").said
    body = said["response"].pop("body").encode()
    packed = gzip.compress(body) if is_packed else body
    half = len(packed) // 2
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    head += "Content-Encoding: gzip\r\n" * is_packed
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (packed[:half], packed[half:], b"")]
    (tmp_path / "case.http").write_bytes(f"{head}\r\n".encode() + b"".join(chunks))
    (tmp_path / "case.json").write_text(json.dumps({**said, "provider": "openai"}))
    case = Case(tmp_path / "case.json")
    assert case.response[2] == body
    await decode(case, split)


@pytest.mark.parametrize("path", FILES, ids=case_id)
def test_a_response_decodes_exactly_at_every_split_in_two(path):
    """Also inside a number, inside base64 and inside a character of several bytes."""
    case = Case(path)
    _, _, body = case.response
    given = {"model": case.model, "dtype": "float32", **case.options}
    options = EmbedOptions(**{
        name: given[name] for name in ("model", "input_type", "dimensions", "dtype") if name in given
    })
    encoding = case.said.get("client", {}).get("encoding") or ("base64" if case.provider.base64 == "seen" else "float")
    layout = case.provider.layout(options, encoding)
    expected = case.expected
    dimension = expected.shape[1] * (8 if options.dtype in {"binary", "ubinary"} else 1)
    for place in range(0, len(body) + 1, max(1, len(body) // 2_000)):
        decoder = VectorDecoder(options.dtype, dimension)
        parser = ResponseParser(layout, decoder.decode)
        found = {}
        for piece in (body[:place], body[place:]):
            found.update(parser.feed(piece))
        assert np.stack([found[position] for position in range(len(expected))]).tobytes() == expected.tobytes()


def test_every_wire_format_has_an_example():
    assert {path.parent.name for path in FILES} >= WIRE_FORMATS


def test_every_example_says_where_it_comes_from():
    for path in FILES:
        said = Case(path).said
        assert said["source"] in {"documentation", "recorded"}, path
        assert said["source"] != "documentation" or "not recorded" in said["note"], path
