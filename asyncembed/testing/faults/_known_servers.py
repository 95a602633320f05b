"""Facts: how services and the gateways in front of them say that they are overloaded or that a request timed out."""

from __future__ import annotations

from typing import Final

from asyncembed.testing.faults._known import KnownError
from asyncembed.testing.faults._shapes import cohere, flat, google, google_detail, openai, page

_TRY_AGAIN: Final = "The server had an error while processing your request. Sorry about that!"

BUSY: Final = (
    KnownError(
        "openai",
        "busy",
        429,
        openai(
            "Rate limit reached for {model} on tokens per min (TPM): Used 999999. Please try again in 1ms.",
            "rate_limit_exceeded",
            kind="tokens",
        ),
    ),
    KnownError("openai", "busy", 500, openai(_TRY_AGAIN, kind="server_error")),
    KnownError(
        "openai", "busy", 503, openai("The engine is currently overloaded, please try again later", kind="server_error")
    ),
    KnownError(
        "azure",
        "busy",
        429,
        {"error": {"code": "429", "message": "Requests have exceeded call rate limit. Please retry after 1 second."}},
        headers={"Retry-After": "1"},
    ),
    KnownError(
        "cohere",
        "busy",
        429,
        {"message": "You are using a Trial key, which is limited to 100 API calls / minute."},
    ),
    KnownError("cohere", "busy", 500, cohere("internal server error")),
    KnownError("cohere", "busy", 503, cohere("service unavailable")),
    KnownError(
        "gemini",
        "busy",
        429,
        google(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota. Please retry in 0.001s.",
            google_detail(
                "QuotaFailure",
                violations=[{"quotaId": "EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier"}],
            ),
            google_detail("RetryInfo", retryDelay="0.001s"),
        ),
    ),
    KnownError("gemini", "busy", 503, google(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
    KnownError("gemini", "busy", 500, google(500, "INTERNAL", "An internal error has occurred. Please retry.")),
    KnownError("mistral", "busy", 429, flat("Rate limit exceeded", "rate_limited", "1300")),
    KnownError(
        "mistral",
        "busy",
        429,
        flat("Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"),
        form="capacity",
    ),
    KnownError("mistral", "busy", 503, flat("Service unavailable.", "internal_server_error", "1000")),
    KnownError(
        "voyage",
        "busy",
        429,
        {
            "detail": "You have not yet added your payment method in the billing page and will have reduced rate "
            "limits of 3 RPM and 10K TPM."
        },
    ),
    KnownError("voyage", "busy", 500, {"detail": "Internal Server Error"}),
    KnownError("jina", "busy", 429, {"detail": "Rate limit exceeded", "code": "RATE_TOKEN_LIMIT_EXCEEDED"}),
    KnownError("jina", "busy", 409, {"detail": "The resource is busy", "code": "CONFLICT_RESOURCE_BUSY"}),
    KnownError("jina", "busy", 503, {"detail": "Service unavailable", "code": "SERVICE_UNAVAILABLE"}),
    KnownError(
        "dashscope", "busy", 429, openai("Requests rate limit exceeded, please try again later.", "limit_requests")
    ),
    KnownError(
        "litellm",
        "busy",
        429,
        openai(
            "litellm.RateLimitError: No deployments available for selected model, Try again in 1 seconds.",
            "429",
            kind="None",
            param="None",
        ),
    ),
    KnownError("vllm", "busy", 503, openai("The engine is not ready", 503, kind="ServiceUnavailableError")),
    KnownError("llama.cpp", "busy", 503, openai("Loading model", 503, kind="unavailable_error")),
    KnownError("tei", "busy", 429, {"message": "Model is overloaded", "code": 429, "type": "Overloaded"}),
    KnownError("tei", "busy", 503, {"message": "unhealthy", "code": 503, "type": "Unhealthy"}),
    KnownError("infinity", "busy", 429, openai("the queue is full, try again later", 429, kind=None)),
    KnownError(
        "ollama",
        "busy",
        503,
        openai("server busy, please try again.  maximum pending requests exceeded", kind="api_error"),
    ),
    KnownError("huggingface", "busy", 503, {"error": "Model {model} is currently loading", "estimated_time": 0.001}),
    *(
        KnownError(
            "openrouter",
            "busy",
            status,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": code,
                    "metadata": {"raw": "{model} is temporarily rate-limited upstream.", "provider_name": "Fake"},
                }
            },
            form=form,
        )
        for status, code, form in ((429, 429, ""), (502, 502, ""), (200, 429, "code 429"), (200, 502, "code 502"))
    ),
    KnownError("nvidia", "busy", 429, {"status": 429, "title": "Too Many Requests"}),
    KnownError(
        "together", "busy", 503, openai("The server is overloaded or not ready yet.", kind="service_unavailable")
    ),
    KnownError(
        "minimax",
        "busy",
        200,
        {"vectors": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}},
    ),
    KnownError("envoy", "busy", 503, "upstream connect error or disconnect/reset before headers"),
    KnownError("nginx", "busy", 429, page("429 Too Many Requests", server="nginx")),
    KnownError("nginx", "busy", 500, page("500 Internal Server Error", server="nginx")),
    KnownError("nginx", "busy", 502, page("502 Bad Gateway", server="nginx")),
    KnownError("nginx", "busy", 503, page("503 Service Temporarily Unavailable", server="nginx")),
    KnownError("empty", "busy", 429, ""),
    KnownError("empty", "busy", 500, ""),
    KnownError("empty", "busy", 503, ""),
)

SLOW: Final = (
    KnownError("nginx", "slow", 504, page("504 Gateway Time-out", server="nginx")),
    KnownError("cloudflare", "slow", 524, page("524: A timeout occurred", server="cloudflare")),
    KnownError("haproxy", "slow", 504, "<html><body><h1>504 Gateway Time-out</h1></body></html>"),
    KnownError("envoy", "slow", 504, "upstream request timeout"),
    KnownError("traefik", "slow", 504, "Gateway Timeout"),
    KnownError("api gateway", "slow", 504, {"message": "Endpoint request timed out"}),
    KnownError("gemini", "slow", 504, google(504, "DEADLINE_EXCEEDED", "The request timed out. Please try again.")),
    KnownError("jina", "slow", 504, {"detail": "The request took too long", "code": "SERVICE_TIMEOUT"}),
    KnownError("cohere", "slow", 504, cohere("the request timed out")),
    KnownError("azure", "busy", 408, {"error": {"code": "Timeout", "message": "The operation was timeout."}}),
    KnownError("litellm", "busy", 408, openai("litellm.Timeout: Request timed out.", "408", kind=None)),
    KnownError("empty", "slow", 504, ""),
)
