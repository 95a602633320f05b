"""Spans and metrics by the conventions, read back from the exporters of the SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.results import numbered
from support.scripted import KEY

from asyncembed import AsyncEmbedError, BatchSplit, RequestsThrottled, RetryPolicy, RunEnded
from asyncembed.otel import OpenTelemetryEvents
from asyncembed.testing import faults

TEXTS = numbered(6)


class Telemetry:
    """An SDK that keeps everything in memory."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.events = OpenTelemetryEvents(self.tracers, self.meters)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def points(self):
        """The points of each metric, and their units."""
        data = self.reader.get_metrics_data()
        metrics = [metric for it in data.resource_metrics for scope in it.scope_metrics for metric in scope.metrics]
        return {metric.name: metric.data.data_points for metric in metrics}, {it.name: it.unit for it in metrics}

    def sums(self):
        """What each metric adds up to."""
        return {
            name: sum(getattr(point, "value", None) or getattr(point, "sum", 0) for point in points)
            for name, points in self.points()[0].items()
        }


@pytest.fixture
def telemetry():
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
def client(connect, telemetry):
    return connect(on_event=telemetry.events)


async def test_a_span(server, client, telemetry):
    await client.embed(TEXTS, dimensions=5)
    (span,) = telemetry.spans
    assert span.name == "embeddings text-embedding-3-small"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "asyncembed"
    attributes = dict(span.attributes)
    assert len(attributes.pop("asyncembed.run")) == 12
    assert attributes == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "text-embedding-3-small",
        "gen_ai.request.encoding_formats": ("base64",),
        "gen_ai.embeddings.dimension.count": 5,
        "gen_ai.usage.input_tokens": server.ledger.billed_tokens,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "asyncembed.attempt": 1,
        "asyncembed.inputs": 6,
        "asyncembed.vectors": 6,
    }


async def test_the_conventions_have_their_own_names_for_providers(connect, telemetry):
    await connect("cohere-v1", on_event=telemetry.events).embed(TEXTS)
    assert telemetry.spans[0].attributes["gen_ai.provider.name"] == "cohere"


async def test_spans_belong_to_the_callers(client, telemetry):
    tracer = telemetry.tracers.get_tracer("app")
    with tracer.start_as_current_span("job") as job:
        await client.embed(TEXTS, chunk_size=3)
    await client.embed(TEXTS)
    *ours, _, alone = telemetry.spans
    assert [span.parent.span_id for span in ours] == [job.get_span_context().span_id] * 2
    assert alone.parent is None


async def test_queries_that_share_a_request_are_linked(client, telemetry):
    """Its span belongs to the first caller, and is linked to the others."""
    tracer = telemetry.tracers.get_tracer("app")

    async def ask(text):
        with tracer.start_as_current_span(text) as span:
            await client.embed_query(text)
            return span.get_span_context().span_id

    callers = [await asyncio.gather(*(ask(f"{turn} {text}") for text in ("a", "b", "a", "c"))) for turn in range(2)]

    requests = [span for span in telemetry.spans if span.name.startswith("embeddings")]
    assert len(requests) == 2
    for span, (first, *others) in zip(requests, callers, strict=True):
        assert span.attributes["asyncembed.is_query"]
        assert span.attributes["asyncembed.inputs"] == 3  # equal texts are asked for once
        assert span.parent.span_id == first
        assert sorted(link.context.span_id for link in span.links) == sorted(others)
    assert telemetry.events._joined == {}


async def test_queries_that_are_asked_again_are_linked_again(server, client, telemetry):
    server.script += [faults.TooManyRequests("milliseconds", wait=0.001)]
    tracer = telemetry.tracers.get_tracer("app")

    async def ask(text):
        with tracer.start_as_current_span(text) as span:
            await client.embed_query(text)
            return span.get_span_context().span_id

    callers = await asyncio.gather(*map(ask, "abc"))

    requests = [span for span in telemetry.spans if span.name.startswith("embeddings")]
    assert [span.attributes.get("error.type") for span in requests] == ["RateLimitError", None]
    sums = telemetry.sums()
    assert sums["asyncembed.retries"] == sums["asyncembed.pauses"] == 1
    for span in requests:
        assert {span.parent.span_id, *(link.context.span_id for link in span.links)} == set(callers)
    assert telemetry.events._joined == {}


async def test_bulk_is_told_apart_from_queries(client, telemetry):
    await client.embed(TEXTS)
    await client.embed_query("a question")
    bulk, query = telemetry.spans
    assert "asyncembed.is_query" not in bulk.attributes
    assert query.attributes["asyncembed.is_query"]
    durations = telemetry.points()[0]["gen_ai.client.operation.duration"]
    assert sorted(point.attributes.get("asyncembed.is_query", False) for point in durations) == [False, True]


async def test_requests_that_go_wrong(server, client, telemetry):
    server.script += [faults.CutOff(after=2), faults.Refused(503, "busy")]
    await client.embed(TEXTS)
    broken, refused, rest = telemetry.spans
    assert broken.status.status_code is refused.status.status_code is StatusCode.ERROR
    assert broken.status.description.startswith("the response broke off (POST ")
    assert [span.attributes.get("error.type") for span in telemetry.spans] == ["TransportError", "ServerError", None]
    assert [span.attributes.get("http.response.status_code") for span in telemetry.spans] == [None, 503, None]
    assert [span.attributes["asyncembed.vectors"] for span in telemetry.spans] == [2, 0, 4]
    assert [span.attributes["asyncembed.attempt"] for span in telemetry.spans] == [1, 2, 3]
    assert len({span.attributes["asyncembed.run"] for span in telemetry.spans}) == 1
    assert rest.status.status_code is StatusCode.UNSET


async def test_leaving_early_is_no_error(server, client, telemetry):
    server.script += [faults.Stall(after=2)]
    async with client.embed_stream(TEXTS) as stream:
        await anext(stream)
    (span,) = telemetry.spans
    assert span.attributes["error.type"] == "CancelledError"
    assert span.status.status_code is StatusCode.UNSET


async def test_metrics(server, client, telemetry):
    server.script += [faults.CutOff(after=2), faults.TooManyRequests("milliseconds", wait=0.001)]
    stream = client.embed_stream([*TEXTS, ""], on_error="skip", price=3.0)
    async for _ in stream:
        pass
    points, units = telemetry.points()
    assert units["gen_ai.client.operation.duration"] == units["asyncembed.time_to_first_vector"] == "s"
    assert units["gen_ai.client.token.usage"] == "{token}"
    durations = points["gen_ai.client.operation.duration"]
    errors = {point.attributes.get("error.type"): point.count for point in durations}
    assert errors == {"TransportError": 1, "RateLimitError": 1, None: 1}
    assert {point.attributes["server.port"] for point in durations} == {server.port}
    assert durations[0].explicit_bounds[:3] == (0.01, 0.02, 0.04)
    (tokens,) = points["gen_ai.client.token.usage"]
    assert tokens.sum == server.ledger.told_tokens
    assert dict(tokens.attributes) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "text-embedding-3-small",
        "gen_ai.token.type": "input",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    sums = telemetry.sums()
    assert sums["asyncembed.vectors"] == 6
    assert sums["asyncembed.bytes_received"] == stream.summary.bytes_received
    assert sums["asyncembed.retries"] == stream.summary.retries == 2
    assert sums["asyncembed.pauses"] == sums["asyncembed.failed_inputs"] == 1
    assert sums["asyncembed.cost"] == pytest.approx(stream.summary.cost)
    assert stream.summary.cost >= 3.0 * server.ledger.told_tokens / 1_000_000
    assert sum(point.count for point in points["asyncembed.time_to_first_vector"]) == 2


async def test_what_cost_no_request_is_counted(connect, telemetry, tmp_path):
    for _ in range(2):
        async with connect(on_event=telemetry.events, cache=tmp_path / "cache.sqlite") as client:
            async for _ in client.embed_stream(["a", "b", "a"], dedupe=True):
                pass
    sums = telemetry.sums()
    assert (sums["asyncembed.cached_inputs"], sums["asyncembed.duplicate_inputs"]) == (3, 1)
    assert len(telemetry.spans) == 1


async def test_truncated_texts_are_counted(telemetry):
    numbers = dict.fromkeys(("done", "failed", "requests", "retries", "salvaged", "tokens", "bytes_received"), 0)
    telemetry.events(RunEnded(provider="p", model="m", run="r", seconds=1.0, truncated=7, **numbers))
    assert telemetry.sums()["asyncembed.truncated_inputs"] == 7


@pytest.mark.parametrize("reason", ["rate_limit", "outage"])
async def test_waits_are_counted_by_their_reason(telemetry, reason):
    telemetry.events(RequestsThrottled(provider="p", model="m", run="r", reason=reason, seconds=5.0))
    ((point,),) = telemetry.points()[0].values()
    assert (point.value, point.attributes["asyncembed.wait.reason"]) == (1, reason)


async def test_splits_are_counted(telemetry):
    telemetry.events(
        BatchSplit(provider="p", model="m", run="r", error="InvalidInputError", indices=(1, 2), parts=(1, 1))
    )
    ((point,),) = telemetry.points()[0].values()
    assert (point.value, point.attributes["error.type"]) == (1, "InvalidInputError")


async def test_nothing_is_kept_of_what_has_ended(server, client, telemetry):
    server.script += [faults.CutOff(after=2)]
    await client.embed(TEXTS)
    assert not telemetry.events._open


async def test_no_secrets_and_no_texts(server, connect, telemetry):
    private = "a private letter to nobody that is rather long"
    server.default = faults.Refused(400, f"{KEY} {private}")
    with pytest.raises(AsyncEmbedError):
        await connect(on_event=telemetry.events, retry=RetryPolicy(max_attempts=1)).embed([private])
    said = telemetry.spans[0].to_json() + telemetry.reader.get_metrics_data().to_json()
    assert "answered 400" in said
    assert KEY not in said
    assert private not in said


def test_without_the_extra_it_says_what_to_install():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from asyncembed import ConfigurationError, OpenTelemetryEvents\n"
        "try:\n    OpenTelemetryEvents()\n"
        "except ConfigurationError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert 'pip install "asyncembed[otel]"' in run.stdout


def test_it_needs_only_the_api():
    """What it imports of OpenTelemetry is no SDK."""
    code = (
        "import sys; from asyncembed.otel import OpenTelemetryEvents; OpenTelemetryEvents()\n"
        "assert 'opentelemetry' in sys.modules and not any('telemetry.sdk' in name for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
