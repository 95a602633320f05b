"""What the tests of the examples share: an environment to run them in, and an embedding API that waits to be let go."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Upstream:
    """Cohere's v2 API; the vector of a text is how often it has each letter.

    Attributes:
        url: Its address.
        hold_after: Vectors that all requests together get before each waits for `gate`; None for no waiting.
        break_after: Vectors that each request gets before its connection is cut; None for no cutting.
        refusal: Status, message and headers that every request is answered with instead of vectors.
        requests: The texts of each request that came.
        in_flight: Requests that are being answered, and whose client is still there.
        sent: Vectors that were sent.
    """

    url: str

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.hold_after: int | None = None
        self.gate = asyncio.Event()
        self.break_after: int | None = None
        self.refusal: tuple[int, str, dict[str, str]] | None = None
        self.requests: list[list[str]] = []
        self.in_flight = 0
        self.sent = 0
        self._changed = asyncio.Event()

    @staticmethod
    def vector_of(text: str) -> list[float]:
        return [float(text.count(letter)) for letter in ascii_lowercase]

    async def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until requests have come or gone such that the condition holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        texts = (await request.json())["texts"]
        self.requests.append(texts)
        self._count(+1)
        try:
            if self.refusal:
                status, message, headers = self.refusal
                return web.json_response({"message": message}, status=status, headers=headers)
            return await self._send_vectors(request, texts)
        except ConnectionResetError:
            return web.Response()  # nobody is there to read it
        finally:
            self._count(-1)

    async def _send_vectors(self, request: web.Request, texts: list[str]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"embeddings":{"float":[')
        for sent, text in enumerate(texts):
            if self.hold_after is not None and self.sent >= self.hold_after:
                await self.gate.wait()
            if sent == self.break_after:
                request.transport.close()
            await response.write(b"," * (sent > 0) + json.dumps(self.vector_of(text)).encode())
            self.sent += 1
        await response.write(b"]}}")
        return response

    def _count(self, step: int) -> None:
        self.in_flight += step
        self._changed.set()


@pytest.fixture(scope="session")
def examples() -> Path:
    return Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def environment(examples: Path) -> dict[str, str]:
    """Environment for an example's process: this checkout, no settings from outside, and streams left open reported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EMBED_", "CO_"))}
    return {**inherited, "PYTHONPATH": str(examples.parent), "PYTHONWARNINGS": "always::ResourceWarning"}


@pytest.fixture
def local_model() -> None:
    """For tests that run an example with the embedded server."""
    pytest.importorskip("model2vec")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_post("/v2/embed", upstream.answer)
    async with TestServer(app) as server:  # which cancels a handler when its client leaves
        upstream.url = str(server.make_url("/"))
        yield upstream


@pytest.fixture
def upstream(running_upstream: Upstream) -> Upstream:
    """The API, as if no test had used it before."""
    running_upstream.reset()
    return running_upstream
