"""Semantic search as a web service: it indexes documents in the background while it answers questions.

    POST /documents      embeds and stores documents in the background; answers 202 and the number of the job at once
    GET /jobs/1          returns how far the job is, and why it failed
    GET /search?q=...    returns the stored documents nearest to the question
    POST /embed/stream   sends one JSON line per vector as soon as the vector arrives
    GET /metrics         returns requests, retries, waits, tokens and failures for Prometheus
    GET /health          answers as long as the service runs

Run it without a key:

    pip install "asyncembed[local]" fastapi prometheus-client uvicorn
    uvicorn --app-dir examples fastapi_app:app --timeout-graceful-shutdown 10
    curl localhost:8000/documents --json '{"documents": [{"id": 1, "text": "a cat"}, {"id": 2, "text": "a bank"}]}'
    curl "localhost:8000/search?q=kitten"

`EMBED_PROVIDER`, `EMBED_MODEL` and `EMBED_BASE_URL` choose another API; its key comes from its usual variable.
`EMBED_STORE` chooses another place for the vectors, such as `postgresql://user@host/database#documents` (pgvector).

Indexing waits for an API that is busy or down for up to ten minutes. A question gives up after ten seconds, and so does
a stream without a first vector; `EMBED_MAX_WAIT` changes the latter. `EMBED_PRICE`, in US dollars for a million tokens,
lets the metrics count the cost at an address of your own.

On SIGTERM the service sends no more requests, and stores what arrives within `EMBED_STOP_WAIT` seconds. Post the same
documents again to continue: those that are stored cost nothing.
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Final, Literal, Self, TypedDict

import orjson
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_metrics import count
from pydantic import BaseModel, Field
from starlette.types import Send

from asyncembed import (
    AsyncEmbedError,
    ConfigurationError,
    EmbedClient,
    EmbedInput,
    EmbedResult,
    EmbedStream,
    InvalidInputError,
    RateLimitError,
    ResumeError,
    RunSummary,
    StreamClosedError,
    TransportError,
    search,
)
from asyncembed.stores import AnyStore, TextId, open_store

MAX_JOBS: Final = 1_000
ANSWERS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (InvalidInputError, 422, "the embedding API refuses these texts"),
    (RateLimitError, 503, "the embedding API is busy"),
    (TransportError, 504, "the embedding API cannot be reached"),
    (TimeoutError, 504, "the embedding API does not answer in time"),
    (ResumeError, 409, "the store holds vectors of other settings"),
    (ConfigurationError, 500, "the service has a wrong setting"),
    (AsyncEmbedError, 502, "the embedding API failed"),
    (Exception, 500, "the store failed"),
)

log = logging.getLogger("uvicorn.error")


class Settings(BaseModel):
    """The environment variable `EMBED_STORE` sets `store`, and so on."""

    provider: str = "local"
    model: str | None = None
    base_url: str | None = None
    store: str = "sqlite:documents.db"
    dead_letters: str = "failed.jsonl"
    price: float | None = None
    max_wait: float = 10.0
    stop_wait: float = 10.0

    @classmethod
    def from_environment(cls) -> Self:
        names = {name: f"EMBED_{name.upper()}" for name in cls.model_fields}
        return cls.model_validate({name: os.environ[key] for name, key in names.items() if key in os.environ})


class Price(TypedDict, total=False):
    """The option `price` of a call, if it is set."""

    price: float


class Document(BaseModel):
    """A document with a number or a name of your own; posting it again replaces the stored one."""

    id: int | str
    text: str = Field(min_length=1)


class Documents(BaseModel):
    """The body of `POST /documents`."""

    documents: list[Document] = Field(min_length=1, max_length=10_000)


class Texts(BaseModel):
    """The body of `POST /embed/stream`."""

    texts: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=10_000)


class Hit(BaseModel):
    """A stored document and its cosine similarity to the question."""

    id: TextId | None
    text: str | None
    score: float


class Job(BaseModel):
    """The indexing of the documents of one request. The dead-letter file names each document that failed, and why."""

    number: int
    documents: int
    state: Literal["running", "done", "stopped", "failed"] = "running"
    stored: int = 0
    failed: int = 0
    error: str | None = None


class Service:
    """The state that all requests share."""

    def __init__(self, client: EmbedClient, store: AnyStore, settings: Settings, tasks: asyncio.TaskGroup) -> None:
        self.client = client
        self.jobs: dict[int, Job] = {}
        self.max_wait = settings.max_wait
        self.price: Price = {} if settings.price is None else {"price": settings.price}
        self.stop = asyncio.Event()
        self._store = store
        self._settings = settings
        self._tasks = tasks
        self._started = 0

    def start(self, documents: Sequence[Document]) -> Job:
        self._started += 1
        job = self.jobs[self._started] = Job(number=self._started, documents=len(documents))
        self.jobs.pop(self._started - MAX_JOBS, None)
        self._tasks.create_task(self._index(job, documents))
        return job

    async def search(self, question: str, limit: int) -> list[Hit]:
        if await self._store.fingerprint() is None:
            return []  # nothing was ever stored
        found = await search(self._store, self.client, question, limit)
        return [Hit(id=row.id, text=row.text, score=row.score) for row in found]

    async def _index(self, job: Job, documents: Sequence[Document]) -> None:
        def report(now: RunSummary) -> None:
            job.stored, job.failed = now.saved, now.failed
            job.error = explain(now.failure)[1] if now.failure and not job.error else job.error

        try:
            await self.client.embed_to_store(
                [EmbedInput(document.text, id=document.id) for document in documents],
                self._store,
                on_error="skip",
                dead_letter=self._settings.dead_letters,
                on_progress=report,
                stop=self.stop,
                stop_wait=self._settings.stop_wait,
                **self.price,
            )
            job.state = "done"
        except StreamClosedError:
            job.state = "stopped"
        except Exception as error:  # noqa: BLE001  # the 202 is already sent, and a failed job must not end the others
            job.state, job.error = "failed", explain(error)[1]


class VectorLines(StreamingResponse):
    """Sends each vector as it arrives.

    When the browser leaves, Starlette cancels `stream_response` but closes nothing. Leaving `async with` stops the
    work. The response starts with the first vector, so an error before it can still set the status.
    """

    media_type = "application/x-ndjson"

    def __init__(self, stream: EmbedStream[EmbedResult], max_wait: float) -> None:
        super().__init__(self._lines())
        self._stream = stream
        self._max_wait = max_wait

    async def stream_response(self, send: Send) -> None:
        async with self._stream:
            async with asyncio.timeout(self._max_wait):
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


def explain(error: Exception) -> tuple[int, str]:
    """Return a status and a message for the client, and log the error; only the log shows the API's own message."""
    log.warning("%s: %s", type(error).__name__, error)
    return next((status, words) for kind, status, words in ANSWERS if isinstance(error, kind))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    use = Settings.from_environment()
    async with (
        aclosing(open_store(use.store)) as store,
        EmbedClient(use.provider, model=use.model, base_url=use.base_url, on_event=count) as client,
        asyncio.TaskGroup() as tasks,  # leaving it waits for the jobs
    ):
        app.state.service = service = Service(client, store, use, tasks)
        yield
        service.stop.set()


async def get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


app = FastAPI(title="Semantic search", lifespan=lifespan)
Shared = Annotated[Service, Depends(get_service)]


@app.exception_handler(AsyncEmbedError)
@app.exception_handler(TimeoutError)
async def refuse(_: Request, error: AsyncEmbedError | TimeoutError) -> JSONResponse:
    status, words = explain(error)
    wait: float | None = getattr(error, "retry_after", None)
    headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
    return JSONResponse({"error": words, "indices": getattr(error, "indices", ())}, status, headers)


@app.post("/documents", status_code=202)
async def add_documents(body: Documents, service: Shared) -> Job:
    return service.start(body.documents)


@app.get("/jobs/{number}")
async def job(number: int, service: Shared) -> Job:
    if number not in service.jobs:
        raise HTTPException(404, "there is no such job; the service forgets jobs when it restarts")
    return service.jobs[number]


@app.get("/search")
async def find(
    q: Annotated[str, Query(min_length=1)], service: Shared, limit: Annotated[int, Query(ge=1, le=100)] = 5
) -> list[Hit]:
    return await service.search(q, limit)


@app.post("/embed/stream")
async def embed_stream(body: Texts, service: Shared) -> VectorLines:
    stream = service.client.embed_stream(body.texts, ordered=False, **service.price)
    return VectorLines(stream, service.max_wait)


@app.get("/metrics")
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@app.get("/health")
async def health(service: Shared) -> dict[str, int]:
    return {"running_jobs": sum(job.state == "running" for job in service.jobs.values())}
