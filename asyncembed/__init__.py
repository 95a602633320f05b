"""Stream text embeddings out of HTTP APIs from asyncio: fixed memory, nothing lost, the speed of the wire."""

from asyncembed._callback import Callback
from asyncembed._client import EmbedClient
from asyncembed._errors import (
    APIStatusError,
    AsyncEmbedError,
    AuthenticationError,
    ConfigurationError,
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
from asyncembed._models import EmbedFailure, EmbedInput, EmbedResponse, EmbedResult, Matrix, RunSummary, Usage, Vector
from asyncembed._options import EmbedOptionsArgs, RequestOptions
from asyncembed._response import StreamingEmbedResponse
from asyncembed._settings import Dtype, EmbedOptions, Encoding, OnError, RetryPolicy, Timeouts
from asyncembed._version import __version__
from asyncembed.flow._monitor import MemoryMonitor
from asyncembed.pipeline._chunker import TextLike
from asyncembed.pipeline._source import Texts
from asyncembed.pipeline._stream import EmbedStream
from asyncembed.providers import PROVIDERS, Limits, Provider
from asyncembed.readers import ArrowStreamReader, NumpyStreamReader, RechunkedReader
from asyncembed.sinks import FormatName
from asyncembed.wire._layout import Layout

__all__ = [  # noqa: RUF022  # grouped as people look for them
    # The client and its streams
    "ArrowStreamReader",
    "EmbedClient",
    "EmbedStream",
    "NumpyStreamReader",
    "RechunkedReader",
    # Tools
    "MemoryMonitor",
    "StreamingEmbedResponse",
    # What goes in and comes out
    "Callback",
    "EmbedFailure",
    "EmbedInput",
    "EmbedResponse",
    "EmbedResult",
    "FormatName",
    "Matrix",
    "RunSummary",
    "TextLike",
    "Texts",
    "Usage",
    "Vector",
    # Settings
    "Dtype",
    "EmbedOptions",
    "EmbedOptionsArgs",
    "Encoding",
    "OnError",
    "RequestOptions",
    "RetryPolicy",
    "Timeouts",
    # Providers, to add one's own
    "PROVIDERS",
    "Layout",
    "Limits",
    "Provider",
    # Errors
    "APIStatusError",
    "AsyncEmbedError",
    "AuthenticationError",
    "ConfigurationError",
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
