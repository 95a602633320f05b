"""Metrics of an embedding client for Prometheus. `fastapi_app.py` uses them; `count` fits every client.

pip install prometheus-client

async with EmbedClient("cohere", on_event=prometheus_metrics.count) as client: ...
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from asyncembed import (
    EndpointPaused,
    Event,
    InputsFailed,
    RequestEnded,
    RequestStarted,
    RequestsThrottled,
    RetryScheduled,
    RunEnded,
)

REQUESTS: Final = Counter("embed_requests", "Requests to the embedding API, by the error that ended them.", ["outcome"])
IN_FLIGHT: Final = Gauge("embed_requests_in_flight", "Requests that are being answered.")
SECONDS: Final = Histogram("embed_request_seconds", "Duration of a request: of queries, or of bulk.", ["kind"])
TOKENS: Final = Counter("embed_tokens", "Tokens that the API billed.")
RETRIES: Final = Counter("embed_retries", "Repeated requests, by status or error.", ["reason"])
WAITS: Final = Counter("embed_waits", "Long waits: for the rate limit, a pause or the end of an outage.", ["reason"])
FAILURES: Final = Counter("embed_failed_texts", "Texts that were left out, by error.", ["error"])
DOLLARS: Final = Counter("embed_cost_dollars", "Cost of bulk, where the price of the model is known.")
TRUNCATED: Final = Counter("embed_truncated_texts", "Texts that were cut because they were too long.")
EQUAL: Final = Counter("embed_equal_texts", "Texts that got the vector of an equal text.")
CACHED: Final = Counter("embed_cached_texts", "Texts whose vector was in the cache.")
RUNS: Final = Counter("embed_runs", "Calls of the client, by the error that ended them.", ["outcome"])


def count(event: Event) -> None:
    """Count what happens; pass this function as `on_event`."""
    match event:
        case RequestStarted():
            IN_FLIGHT.inc()
        case RequestEnded():
            IN_FLIGHT.dec()
            REQUESTS.labels(event.error or "ok").inc()
            SECONDS.labels("query" if event.is_query else "bulk").observe(event.seconds)
            TOKENS.inc(event.tokens or 0)
        case RetryScheduled():
            RETRIES.labels(str(event.status or event.error)).inc()
        case EndpointPaused():
            WAITS.labels("pause").inc()
        case RequestsThrottled():
            WAITS.labels(event.reason).inc()
        case InputsFailed():
            FAILURES.labels(str(event.error)).inc(len(event.indices))
        case RunEnded():
            DOLLARS.inc(event.cost or 0)
            TRUNCATED.inc(event.truncated)
            EQUAL.inc(event.duplicates)
            CACHED.inc(event.cached)
            RUNS.labels(event.error or "ok").inc()
