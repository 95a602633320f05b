"""Semantic search as a web service: all requests share one client, and work stops when the browser leaves.

    POST /documents      accepts texts, answers 202 at once and embeds them in the background
    GET /search?q=...    returns the stored texts nearest to the question
    POST /embed/stream   sends one JSON line per vector as soon as the vector arrives
    GET /health          returns how many texts are stored and how many requests to the embedding API are in flight

Run it without a key:

    pip install "asyncembed[local]" fastapi uvicorn
    uvicorn --app-dir examples fastapi_app:app
    curl localhost:8000/documents -H "Content-Type: application/json" -d '{"texts": ["a tabby cat", "a savings bank"]}'
    curl "localhost:8000/search?q=kitten"

`EMBED_PROVIDER`, `EMBED_MODEL` and `EMBED_BASE_URL` choose another API; its key comes from its usual variable.
"""

import logging
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import BackgroundTasks, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Send

from asyncembed import (
    AsyncEmbedError,
    EmbedClient,
    EmbedResult,
    EmbedStream,
    InvalidInputError,
    RateLimitError,
    RetryPolicy,
    TransportError,
)

RETRY: Final = RetryPolicy(max_elapsed=10.0)  # a user is waiting for the answer
ANSWERS: Final[tuple[tuple[type[AsyncEmbedError], int, str], ...]] = (
    (InvalidInputError, 422, "the embedding API refuses these texts"),
    (RateLimitError, 503, "the embedding API is busy"),
    (TransportError, 504, "the embedding API cannot be reached"),
    (AsyncEmbedError, 502, "the embedding API failed"),
)

log = logging.getLogger("uvicorn.error")


class Texts(BaseModel):
    """The body of a POST request."""

    texts: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=10_000)


class Hit(BaseModel):
    """A stored text and its cosine similarity to the question."""

    text: str
    score: float


class Store:
    """Texts and their vectors in memory. A real service would use a vector database."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._vectors: list[npt.NDArray[np.float32]] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str, vector: npt.NDArray[np.number]) -> None:
        self._texts.append(text)
        self._vectors.append(unit(vector))

    def search(self, vector: npt.NDArray[np.number], limit: int = 5) -> list[Hit]:
        if not self._texts:
            return []
        scores = np.stack(self._vectors) @ unit(vector)
        return [Hit(text=self._texts[row], score=scores[row]) for row in np.argsort(-scores)[:limit]]


def unit(vector: npt.NDArray[np.number]) -> npt.NDArray[np.float32]:
    return np.asarray(vector / (np.linalg.norm(vector) or 1), np.float32)


@dataclass
class Service:
    """The state that all requests share."""

    client: EmbedClient
    store: Store = field(default_factory=Store)
    streams: WeakSet[EmbedStream[EmbedResult]] = field(default_factory=WeakSet)

    @property
    def in_flight(self) -> int:
        return sum(stream.summary.in_flight for stream in self.streams)

    def embed_stream(self, texts: Sequence[str]) -> EmbedStream[EmbedResult]:
        stream = self.client.embed_stream(texts)
        self.streams.add(stream)
        return stream

    async def ingest(self, texts: Sequence[str]) -> None:
        try:
            async with self.embed_stream(texts) as stream:
                async for result in stream:
                    self.store.add(result.text, result.embedding)
        except AsyncEmbedError as error:  # the 202 is already sent, so the log is the only place left
            log.warning("documents were left out: %s", error)

    async def search(self, question: str) -> list[Hit]:
        return self.store.search((await self.client.embed([question], input_type="query"))[0])


class VectorLines(StreamingResponse):
    """Sends each vector as it arrives.

    When the browser leaves, Starlette cancels `stream_response` but closes nothing. Leaving `async with` stops the
    work. The response starts with the first vector, so an error before it can still set the status.
    """

    media_type = "application/x-ndjson"

    def __init__(self, stream: EmbedStream[EmbedResult]) -> None:
        super().__init__(self._lines())
        self._stream = stream

    async def stream_response(self, send: Send) -> None:
        async with self._stream:
            self._first = await anext(self._stream)
            await super().stream_response(send)

    async def _lines(self) -> AsyncIterator[bytes]:
        yield to_line({"index": self._first.index, "embedding": self._first.embedding})
        try:
            async for result in self._stream:
                yield to_line({"index": result.index, "embedding": result.embedding})
        except AsyncEmbedError as error:
            yield to_line({"error": explain(error)[1]})


def to_line(fields: dict[str, object]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def explain(error: AsyncEmbedError) -> tuple[int, str]:
    """Return a status and a message for the client, and log the error; only the log shows the API's own message."""
    log.warning("%s", error)
    return next((status, words) for kind, status, words in ANSWERS if isinstance(error, kind))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    provider, model, base_url = (os.environ.get(f"EMBED_{name}") for name in ("PROVIDER", "MODEL", "BASE_URL"))
    async with EmbedClient(provider or "local", model=model, base_url=base_url, retry=RETRY) as client:
        app.state.service = Service(client)
        yield


async def get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


app = FastAPI(title="Semantic search", lifespan=lifespan)
Shared = Annotated[Service, Depends(get_service)]


@app.exception_handler(AsyncEmbedError)
async def refuse(_: Request, error: AsyncEmbedError) -> JSONResponse:
    status, words = explain(error)
    wait: float | None = getattr(error, "retry_after", None)
    headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
    return JSONResponse({"error": words, "indices": error.indices}, status, headers)


@app.post("/documents", status_code=202)
async def add_documents(body: Texts, service: Shared, tasks: BackgroundTasks) -> dict[str, int]:
    tasks.add_task(service.ingest, body.texts)
    return {"accepted": len(body.texts)}


@app.get("/search")
async def search(q: Annotated[str, Query(min_length=1)], service: Shared) -> list[Hit]:
    return await service.search(q)


@app.post("/embed/stream")
async def embed_stream(body: Texts, service: Shared) -> VectorLines:
    return VectorLines(service.embed_stream(body.texts))


@app.get("/health")
async def health(service: Shared) -> dict[str, int]:
    return {"documents": len(service.store), "in_flight": service.in_flight}
