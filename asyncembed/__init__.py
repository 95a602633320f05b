"""Stream text embeddings out of HTTP APIs from asyncio: fixed memory, nothing lost, the speed of the wire."""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from asyncembed._budget_exceeded import BudgetExceededError
from asyncembed._client import EmbedClient
from asyncembed._config import Dtype, EmbedOptions, Encoding, OnError, RetryPolicy, Timeouts
from asyncembed._core.memory_monitor import MemoryMonitor
from asyncembed._core.stream import EmbedStream
from asyncembed._decide.texts import TextLike, Texts
from asyncembed._events import (
    BatchSplit,
    EncodingSettled,
    EndpointPaused,
    Event,
    InputsFailed,
    QueryJoined,
    RequestEnded,
    RequestProbed,
    RequestStarted,
    RequestsThrottled,
    RetryScheduled,
    RunEnded,
)
from asyncembed._exceptions import (
    APIStatusError,
    AsyncEmbedError,
    AuthenticationError,
    ConfigurationError,
    EmbedTimeoutError,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    RateLimitError,
    ResponseError,
    ResumeError,
    ServerError,
    StreamClosedError,
    TransportError,
)
from asyncembed._models import (
    EmbedFailure,
    EmbedInput,
    EmbedResponse,
    EmbedResult,
    Limits,
    Matrix,
    RunSummary,
    Scalar,
    Usage,
    Vector,
)
from asyncembed._options import EmbedOptionsArgs, RequestOptions
from asyncembed._parser.layout import Layout
from asyncembed._public import publish as _publish
from asyncembed._ratelimit import RateLimit
from asyncembed._spec import ClientSpec
from asyncembed._version import __version__
from asyncembed.providers import PROVIDERS, Model, Provider, Setting, Sign

if TYPE_CHECKING:
    from asyncembed._callback import Callback
    from asyncembed._check import CheckResult
    from asyncembed._estimate import Estimate, Tokenizer
    from asyncembed._response import StreamingEmbedResponse
    from asyncembed._search import search
    from asyncembed._sync import SyncEmbedder, SyncStream
    from asyncembed.arrow import embed_array
    from asyncembed.otel import OpenTelemetryEvents
    from asyncembed.readers import ArrowStreamReader, NumpyStreamReader, RechunkedReader
    from asyncembed.sinks import FormatName
    from asyncembed.stores import Found

__all__ = [  # noqa: RUF022  # grouped by topic
    # The client and its streams
    "ArrowStreamReader",
    "EmbedClient",
    "EmbedStream",
    "NumpyStreamReader",
    "RechunkedReader",
    "embed_array",
    # Without an event loop, and in other processes
    "ClientSpec",
    "SyncEmbedder",
    "SyncStream",
    # Tools
    "search",
    "MemoryMonitor",
    "StreamingEmbedResponse",
    # Inputs and results
    "Callback",
    "CheckResult",
    "EmbedFailure",
    "EmbedInput",
    "EmbedResponse",
    "EmbedResult",
    "Estimate",
    "FormatName",
    "Found",
    "Matrix",
    "RunSummary",
    "Scalar",
    "TextLike",
    "Texts",
    "Tokenizer",
    "Usage",
    "Vector",
    # Settings
    "Dtype",
    "EmbedOptions",
    "EmbedOptionsArgs",
    "Encoding",
    "OnError",
    "RateLimit",
    "RequestOptions",
    "RetryPolicy",
    "Timeouts",
    # Events for `on_event`
    "BatchSplit",
    "EncodingSettled",
    "EndpointPaused",
    "Event",
    "InputsFailed",
    "OpenTelemetryEvents",
    "QueryJoined",
    "RequestEnded",
    "RequestProbed",
    "RequestsThrottled",
    "RequestStarted",
    "RetryScheduled",
    "RunEnded",
    # Providers
    "PROVIDERS",
    "Layout",
    "Limits",
    "Model",
    "Provider",
    "Setting",
    "Sign",
    # Errors
    "APIStatusError",
    "AsyncEmbedError",
    "AuthenticationError",
    "BudgetExceededError",
    "ConfigurationError",
    "EmbedTimeoutError",
    "InvalidInputError",
    "ModelNotFoundError",
    "QuotaExceededError",
    "RateLimitError",
    "ResponseError",
    "ResumeError",
    "ServerError",
    "StreamClosedError",
    "TransportError",
    "__version__",
]

_LATER = {
    "ArrowStreamReader": "readers",
    "embed_array": "arrow",
    "Callback": "_callback",
    "CheckResult": "_check",
    "Estimate": "_estimate",
    "FormatName": "sinks",
    "NumpyStreamReader": "readers",
    "OpenTelemetryEvents": "otel",
    "RechunkedReader": "readers",
    "Found": "stores",
    "search": "_search",
    "StreamingEmbedResponse": "_response",
    "SyncEmbedder": "_sync",
    "SyncStream": "_sync",
    "Tokenizer": "_estimate",
}
"""Names that few programs need, and their modules. Without them, importing the package takes two thirds of the time."""

_publish(__name__, [globals()[_name] for _name in __all__ if _name not in _LATER])


def __getattr__(name: str) -> object:
    if name in _LATER.values() and not name.startswith("_"):
        return _import_module(f"asyncembed.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'asyncembed' has no attribute {name!r}")
    value = getattr(_import_module(f"asyncembed.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
