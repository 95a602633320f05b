"""OpenTelemetry: a span for each request, and metrics, by the semantic conventions for generative AI.

    from asyncembed.otel import OpenTelemetryEvents

    async with EmbedClient("cohere", on_event=OpenTelemetryEvents()) as client: ...

It needs the extra `otel`, which installs only the API of OpenTelemetry; the SDK of your application exports the data.

* **Spans** have the name `embeddings {model}` and the kind CLIENT. Their parent is the span that was current when the
  first result of the run was requested. Each request has a span of its own, also a retry, because it contains only the
  missing texts; `asyncembed.run` and `asyncembed.attempt` connect them. A request that was cancelled because its run
  ended has the `error.type` "CancelledError" and no error status.
* **Queries** of `embed_query` that share a request have one span: a child of the first caller's span, linked to
  those of all others. Spans and metrics of requests with queries have `asyncembed.is_query`.
* **Metrics** of the conventions are `gen_ai.client.operation.duration` and `gen_ai.client.token.usage`. Further ones
  are the histogram `asyncembed.time_to_first_vector` and the counters `asyncembed.vectors`,
  `asyncembed.bytes_received`, `asyncembed.retries`, `asyncembed.pauses`, `asyncembed.waits` (by
  `asyncembed.wait.reason`), `asyncembed.splits`, `asyncembed.failed_inputs`, `asyncembed.cached_inputs`,
  `asyncembed.duplicate_inputs` and `asyncembed.truncated_inputs`. The last three are counted at the end of a run.
* **`error.type`** is the name of one of the exceptions of `asyncembed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._events import (
    BatchSplit,
    EndpointPaused,
    InputsFailed,
    QueryJoined,
    RequestEnded,
    RequestStarted,
    RequestsThrottled,
    RetryScheduled,
    RunEnded,
)
from asyncembed._missing import missing
from asyncembed._public import publish
from asyncembed._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Link, Span, SpanContext, TracerProvider

    from asyncembed._events import Event


_SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
_NAMES: Final[Mapping[str, str]] = {
    "cohere-v1": "cohere",
    "azure-openai": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "bedrock-titan": "aws.bedrock",
    "bedrock-cohere": "aws.bedrock",
    "bedrock-nova": "aws.bedrock",
    "mistral": "mistral_ai",
}
"""Names of providers in the conventions, where they differ from this package's."""

_SECONDS: Final = [0.01 * 2**power for power in range(14)]
_TOKENS: Final = [4**power for power in range(14)]
_CANCELLED: Final = "CancelledError"


class OpenTelemetryEvents:
    """Converts events to spans and metrics; pass it to one or more clients as `on_event`.

    Args:
        tracer_provider: Receives the spans; None for the global provider.
        meter_provider: Receives the metrics; None for the global provider.

    Raises:
        ConfigurationError: if opentelemetry-api is not installed.

    Example:
        ```python
        EmbedClient("cohere", api_key="...", on_event=OpenTelemetryEvents())
        ```
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415  # an optional extra
        except ImportError:
            raise missing("OpenTelemetryEvents", "opentelemetry-api", "otel") from None
        self._trace = trace
        self._tracer = trace.get_tracer("asyncembed", __version__, tracer_provider, _SCHEMA)
        self._kind = trace.SpanKind.CLIENT
        self._error = trace.StatusCode.ERROR
        self._metrics = _Metrics(metrics.get_meter("asyncembed", __version__, meter_provider, _SCHEMA))
        self._open: dict[tuple[str, int], tuple[Span, dict[str, str | int]]] = {}
        self._joined: dict[str, dict[int, list[SpanContext]]] = {}  # callers of queries, by run and index

    def __call__(self, event: Event) -> None:
        """Process an event."""
        match event:
            case RequestStarted():
                self._start(event)
            case RequestEnded():
                self._end(event)
            case QueryJoined():
                caller = self._trace.get_current_span().get_span_context()
                self._joined.setdefault(event.run, {}).setdefault(event.index, []).append(caller)
            case _:
                if isinstance(event, RunEnded):
                    self._joined.pop(event.run, None)
                self._metrics.count(event)

    def _start(self, event: RequestStarted) -> None:
        common = _common(event)
        if event.host and event.port:
            common |= {"server.address": event.host, "server.port": event.port}
        details = {
            "gen_ai.request.encoding_formats": [event.encoding],
            "gen_ai.system": common["gen_ai.provider.name"],  # its name before 1.37, which many backends still use
            "asyncembed.run": event.run,
            "asyncembed.attempt": event.attempt,
            "asyncembed.inputs": len(event.indices),
        }
        if event.dimensions:
            details["gen_ai.embeddings.dimension.count"] = event.dimensions
        span = self._tracer.start_span(
            f"embeddings {event.model}",
            kind=self._kind,
            attributes={**common, **details},
            links=self._links(event) if event.is_query else None,
        )
        self._open[event.run, event.request] = span, common

    def _links(self, event: RequestStarted) -> list[Link]:
        """Return links to the spans of all callers of a request except its parent."""
        joined = self._joined.get(event.run, {})
        parent = self._trace.get_current_span().get_span_context()
        callers = {caller.span_id: caller for index in event.indices for caller in joined.pop(index, ())}
        if not joined:
            self._joined.pop(event.run, None)
        return [self._trace.Link(caller) for caller in callers.values() if caller.is_valid and caller != parent]

    def _end(self, event: RequestEnded) -> None:
        span, common = self._open.pop((event.run, event.request), (None, _common(event)))
        if span:
            span.set_attribute("asyncembed.vectors", event.vectors)
            if event.tokens is not None:
                span.set_attribute("gen_ai.usage.input_tokens", event.tokens)
            if event.status is not None:
                span.set_attribute("http.response.status_code", event.status)
            if event.error is not None:
                span.set_attribute("error.type", event.error)
            if event.error not in {None, _CANCELLED}:
                span.set_status(self._error, event.message)
            span.end()
        self._metrics.record(event, common)


class _Metrics:
    """The instruments."""

    def __init__(self, meter: Meter) -> None:
        histogram, counter = meter.create_histogram, meter.create_counter
        self._duration = histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._to_first_vector = histogram(
            "asyncembed.time_to_first_vector",
            "s",
            "Time from the start of a request until its first vector was read.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._vectors = counter("asyncembed.vectors", "{vector}", "Vectors received.")
        self._bytes = counter("asyncembed.bytes_received", "By", "Bytes of response bodies, decompressed.")
        self._retries = counter("asyncembed.retries", "{request}", "Retries scheduled.")
        self._pauses = counter("asyncembed.pauses", "{pause}", "Pauses that the API asked for.")
        self._waits = counter("asyncembed.waits", "{wait}", "Waits of more than a second for a limit or an outage.")
        self._splits = counter("asyncembed.splits", "{batch}", "Batches that were split into parts.")
        self._failed = counter("asyncembed.failed_inputs", "{input}", "Texts that failed.")
        self._cost = counter("asyncembed.cost", "USD", "Cost of the billed tokens of ended runs.")
        self._cached = counter("asyncembed.cached_inputs", "{input}", "Texts whose vector was in the cache.")
        self._truncated = counter("asyncembed.truncated_inputs", "{input}", "Texts that were too long and were cut.")
        self._duplicates = counter(
            "asyncembed.duplicate_inputs", "{input}", "Texts that got the vector of an equal one."
        )

    def record(self, event: RequestEnded, common: Mapping[str, str | int]) -> None:
        """Record the end of a request."""
        self._duration.record(event.seconds, {**common, **_error_type(event)})
        self._vectors.add(event.vectors, common)
        self._bytes.add(event.bytes_received, common)
        if event.tokens is not None:
            self._tokens.record(event.tokens, {**common, "gen_ai.token.type": "input"})
        if event.seconds_to_first_vector is not None:
            self._to_first_vector.record(event.seconds_to_first_vector, common)

    def count(self, event: Event) -> None:
        """Count an event other than those of requests."""
        attributes = {**_common(event), **_error_type(event)}
        match event:
            case RetryScheduled():
                self._retries.add(1, attributes)
            case EndpointPaused():
                self._pauses.add(1, attributes)
            case RequestsThrottled():
                self._waits.add(1, {**attributes, "asyncembed.wait.reason": event.reason})
            case BatchSplit():
                self._splits.add(1, attributes)
            case InputsFailed():
                self._failed.add(len(event.indices), attributes)
            case RunEnded():
                self._cached.add(event.cached, _common(event))
                self._duplicates.add(event.duplicates, _common(event))
                self._truncated.add(event.truncated, _common(event))
                if event.cost is not None:
                    self._cost.add(event.cost, attributes)


def _common(event: Event) -> dict[str, str | int]:
    common: dict[str, str | int] = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": _NAMES.get(event.provider, event.provider),
        "gen_ai.request.model": event.model,
    }
    is_query = isinstance(event, RequestStarted | RequestEnded) and event.is_query
    return common | ({"asyncembed.is_query": True} if is_query else {})


def _error_type(event: Event) -> dict[str, str]:
    return {"error.type": event.error} if event.error else {}


publish("asyncembed", [OpenTelemetryEvents])
