"""Facts: how services refuse a request because of its key, model, quota, options, address or encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed.testing.faults._known import KnownError
from asyncembed.testing.faults._shapes import (
    ForEachText,
    Number,
    cohere,
    fastapi,
    flat,
    google,
    google_detail,
    openai,
    page,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed.testing.faults._shapes import Document

_NOT_VALID: Final = "API key not valid. Please pass a valid API key."
_BASE64_FLOAT: Final = "Input should be 'float'"


def _google_key(reason: str, message: str) -> Document:
    info = google_detail("ErrorInfo", reason=reason, domain="googleapis.com", metadata={"service": "fake"})
    return google(400, "INVALID_ARGUMENT", message, info)


def _vectors(value: Document, **usage: Document) -> Document:
    return {"object": "list", "data": value, "model": "{model}", "usage": usage}


_NO_VECTORS: Final[Mapping[str, Document]] = {
    "no data": [],
    "data is null": None,
    "null vectors": ForEachText({"object": "embedding", "index": Number("position"), "embedding": None}),
    "empty strings": ForEachText({"object": "embedding", "index": Number("position"), "embedding": ""}),
    "objects": ForEachText({"object": "embedding", "index": Number("position"), "embedding": {}}),
}
"""Values of `data` in an answer without vectors."""


def _minimax(code: int, message: str) -> Document:
    return {"vectors": None, "total_tokens": 0, "base_resp": {"status_code": code, "status_msg": message}}


_OPENAI_KEY: Final = openai("Incorrect API key provided: sk-ab***yz. You can find your key here.", "invalid_api_key")

KEY: Final = (
    KnownError("openai", "key", 401, _OPENAI_KEY),
    KnownError(
        "azure", "key", 401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}
    ),
    KnownError(
        "azure",
        "key",
        403,
        {"error": {"code": "403", "message": "Access denied due to Virtual Network/Firewall rules."}},
    ),
    KnownError("cohere", "key", 401, cohere("invalid api token")),
    KnownError("cohere", "key", 403, cohere("this api token is not allowed to use this endpoint")),
    KnownError("gemini", "key", 400, _google_key("API_KEY_INVALID", _NOT_VALID)),
    KnownError("gemini", "key", 400, google(400, "INVALID_ARGUMENT", _NOT_VALID), form="no details"),
    KnownError(
        "gemini", "key", 400, _google_key("API_KEY_INVALID", "API key expired. Please renew it."), form="expired"
    ),
    KnownError(
        "gemini",
        "key",
        400,
        google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        form="location",
        is_told=False,
    ),
    KnownError("gemini", "key", 403, google(403, "PERMISSION_DENIED", "The caller does not have permission.")),
    KnownError("mistral", "key", 401, {"detail": "Unauthorized"}),
    KnownError("mistral", "key", 401, {"message": "Unauthorized", "request_id": "0f1e"}, form="kong"),
    KnownError("voyage", "key", 401, {"detail": "Provided API key is invalid."}),
    KnownError(
        "jina", "key", 401, {"detail": "Invalid API key.", "code": "AUTH_INVALID_API_KEY", "request_id": "r-fake"}
    ),
    KnownError(
        "jina",
        "key",
        401,
        {"detail": {"message": "Invalid API key.", "request_id": "r-fake", "code": "AUTH_INVALID_API_KEY"}},
        form="nested",
    ),
    KnownError("dashscope", "key", 401, openai("Incorrect API key provided.", "invalid_api_key")),
    KnownError(
        "x.ai",
        "key",
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: ab***yz."},
    ),
    KnownError(
        "litellm",
        "key",
        401,
        openai(
            "Authentication Error, Invalid proxy server token passed. Unable to find token in cache or database",
            "401",
            kind="token_not_found_in_db",
            param="key",
        ),
    ),
    KnownError(
        "litellm",
        "key",
        400,
        openai(
            "Authentication Error - Expired Key. Key Expiry time 2026-09-01", "400", kind="expired_key", param="None"
        ),
    ),
    KnownError(
        "litellm",
        "key",
        400,
        openai("No connected db.", "400", kind="no_db_connection"),
        form="no database",
        is_told=False,
    ),
    KnownError("vllm", "key", 401, {"error": "Unauthorized"}),
    KnownError(
        "llama.cpp", "key", 401, {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}}
    ),
    KnownError("tei", "key", 401, ""),
    KnownError("infinity", "key", 401, {"detail": "Unauthorized"}),
    KnownError("ollama", "key", 401, {"error": "unauthorized"}),
    KnownError("huggingface", "key", 401, {"error": "Invalid username or password."}),
    KnownError("openrouter", "key", 401, {"error": {"message": "No auth credentials found", "code": 401}}),
    KnownError("openrouter", "key", 200, {"error": {"message": "No auth credentials found", "code": 401}}),
    KnownError("together", "key", 401, openai("Invalid API key provided.", "invalid_api_key")),
    KnownError("fireworks", "key", 401, openai("The API key you provided is invalid.", "UNAUTHORIZED", object="error")),
    KnownError("deepinfra", "key", 401, {"detail": {"error": "User is not authenticated"}}),
    KnownError("nvidia", "key", 401, {"status": 401, "title": "Unauthorized", "detail": "Authentication failed"}),
    KnownError("nvidia", "key", 403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}),
    KnownError("siliconflow", "key", 401, b'"Invalid token"'),
    KnownError("github", "key", 401, {"error": {"code": "unauthorized", "message": "Bad credentials", "details": ""}}),
    KnownError(
        "cloudflare",
        "key",
        400,
        {
            "success": False,
            "errors": [
                {
                    "code": 6003,
                    "message": "Invalid request headers",
                    "error_chain": [{"code": 6111, "message": "Invalid format for Authorization header"}],
                }
            ],
            "result": None,
        },
        is_told=False,
    ),
    KnownError(
        "cloudflare", "key", 401, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}
    ),
    KnownError("minimax", "key", 200, _minimax(1004, "login fail: Please carry the API secret key in the header")),
    KnownError("kong", "key", 401, {"message": "No API key found in request"}),
    KnownError("api gateway", "key", 403, {"message": "Forbidden"}),
    KnownError("iis", "key", 401, b'\xef\xbb\xbf{"error": {"message": "The API key is invalid.", "code": "401"}}'),
    KnownError("nginx", "key", 401, page("401 Authorization Required", server="openresty")),
    KnownError("nginx", "key", 403, page("403 Forbidden", server="nginx"), is_told=False),
    KnownError("empty", "key", 401, ""),
    KnownError("empty", "key", 403, "", is_told=False),
)

MODEL: Final = (
    KnownError("openai", "model", 404, openai("The model `{model}` does not exist.", "model_not_found")),
    KnownError(
        "openai",
        "model",
        403,
        openai("Project `proj_fake` does not have access to model `{model}`", "model_not_found"),
    ),
    KnownError(
        "openai",
        "model",
        403,
        openai("You are not allowed to generate embeddings from this model"),
        form="kind",
        is_told=False,
    ),
    KnownError(
        "azure",
        "model",
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
    ),
    KnownError(
        "azure",
        "model",
        400,
        {
            "error": {
                "code": "OperationNotSupported",
                "message": "The embeddings operation does not work with the specified model, {model}.",
            }
        },
        is_told=False,
    ),
    KnownError("cohere", "model", 404, cohere("model '{model}' not found, make sure the correct model ID was used")),
    KnownError("cohere", "model", 400, cohere("invalid request: model '{model}' is not supported by the embed API")),
    KnownError(
        "gemini",
        "model",
        404,
        google(
            404,
            "NOT_FOUND",
            "models/{model} is not found for API version v1main, or is not supported for embedContent.",
        ),
    ),
    KnownError(
        "gemini",
        "model",
        400,
        google(400, "INVALID_ARGUMENT", "* BatchEmbedContentsRequest.model: unexpected model name format\n"),
        is_told=False,
    ),
    KnownError("mistral", "model", 400, flat("Invalid model: {model}", "invalid_model", "1500")),
    KnownError(
        "voyage", "model", 400, {"detail": "Model {model} is not supported. Supported models are ['voyage-3.5']."}
    ),
    KnownError("jina", "model", 400, {"detail": "Model {model} not found.", "code": "INPUT_MODEL_NOT_FOUND"}),
    KnownError("jina", "model", 422, fastapi("enum", ["body", "model"], "Input should be 'jina-embeddings-v3'")),
    KnownError("dashscope", "model", 404, openai("The model `{model}` does not exist.", "model_not_found")),
    KnownError(
        "dashscope",
        "model",
        400,
        openai("Unsupported model `{model}` for OpenAI compatibility mode.", "model_not_supported"),
    ),
    KnownError(
        "x.ai",
        "model",
        404,
        {"code": "Some requested entity was not found", "error": "The model {model} does not exist."},
    ),
    KnownError(
        "litellm",
        "model",
        400,
        openai(
            "{'error': '/embeddings: Invalid model name passed in model={model}.'}", "400", kind="None", param="None"
        ),
    ),
    KnownError(
        "litellm",
        "model",
        400,
        openai("litellm.BadRequestError: LLM Provider NOT provided. You passed model={model}", "400", kind=None),
        form="no provider",
        is_told=False,
    ),
    *(
        KnownError(
            "litellm",
            "model",
            status,
            openai(
                "key not allowed to access model. This key can only access models=['a']. Tried to access {model}",
                str(status),
                kind="key_model_access_denied",
                param="model",
            ),
            is_told=False,  # it also mentions the key
        )
        for status in (401, 403)
    ),
    KnownError(
        "vllm", "model", 404, openai("The model `{model}` does not exist.", 404, kind="NotFoundError", param="model")
    ),
    KnownError("vllm", "model", 404, flat("The model `{model}` does not exist.", "NotFoundError", 404), form="flat"),
    KnownError(
        "vllm",
        "model",
        400,
        openai("The model does not support Embeddings API", 400, kind="BadRequestError"),
        is_told=False,
    ),
    KnownError("infinity", "model", 400, openai("Invalid model: {model}", 400, kind=None)),
    KnownError(
        "ollama", "model", 404, openai('model "{model}" not found, try pulling it first', kind="not_found_error")
    ),
    KnownError(
        "ollama", "model", 501, openai("this model does not support embeddings", kind="api_error"), is_told=False
    ),
    KnownError("lm studio", "model", 400, {"error": "No models loaded. Please load a model in the developer page."}),
    KnownError("lm studio", "model", 404, openai('Model "{model}" not found.', "model_not_found", param="model")),
    KnownError("huggingface", "model", 400, {"error": "Model not supported by provider hf-inference"}),
    KnownError("huggingface", "model", 404, {"error": "Model {model} does not exist"}),
    KnownError("openrouter", "model", 400, {"error": {"message": "{model} is not a valid model ID", "code": 400}}),
    KnownError("openrouter", "model", 404, {"error": {"message": "No endpoints found for {model}.", "code": 404}}),
    KnownError("openrouter", "model", 200, {"error": {"message": "{model} is not a valid model ID", "code": 400}}),
    KnownError("together", "model", 404, openai("Unable to access model {model}.", "model_not_available")),
    KnownError(
        "fireworks",
        "model",
        404,
        openai("Model not found, inaccessible, and/or not deployed", "NOT_FOUND", param="model", object="error"),
    ),
    KnownError("deepinfra", "model", 404, {"detail": {"error": "Model is not available"}}),
    KnownError("siliconflow", "model", 400, {"code": 20012, "message": "Model does not exist.", "data": None}),
    KnownError("github", "model", 400, {"error": {"code": "unknown_model", "message": "Unknown model: {model}"}}),
)

QUOTA: Final = (
    KnownError(
        "openai",
        "quota",
        429,
        openai(
            "You exceeded your current quota, please check your plan.", "insufficient_quota", kind="insufficient_quota"
        ),
    ),
    KnownError(
        "openai",
        "quota",
        429,
        openai(
            "Your account is not active, please check your billing.", "billing_not_active", kind="billing_not_active"
        ),
        form="not active",
    ),
    KnownError("openai", "quota", 400, openai("Billing hard limit has been reached", "billing_hard_limit_reached")),
    KnownError(
        "azure",
        "quota",
        403,
        {"error": {"code": "403", "message": "Out of call volume quota. Quota will be replenished in 2.12:30:15."}},
    ),
    KnownError("cohere", "quota", 402, cohere("Please add or update your payment method to continue")),
    KnownError(
        "cohere",
        "quota",
        429,
        {"message": "You are using a Trial key, which is limited to 1000 API calls / month."},
    ),
    KnownError(
        "gemini",
        "quota",
        429,
        google(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota. Please retry in 33.38s.",
            google_detail(
                "QuotaFailure",
                violations=[{"quotaId": "EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier"}],
            ),
            google_detail("RetryInfo", retryDelay="33s"),
        ),
    ),
    KnownError("jina", "quota", 402, {"detail": "Account balance not enough to run this query, please recharge."}),
    KnownError("jina", "quota", 403, {"detail": "Account balance not enough.", "code": "AUTHZ_INSUFFICIENT_BALANCE"}),
    KnownError(
        "dashscope",
        "quota",
        400,
        openai("Access denied, please make sure your account is in good standing.", "Arrearage", kind="Arrearage"),
    ),
    KnownError(
        "dashscope",
        "quota",
        403,
        openai(
            "The free tier of the model has been exhausted.",
            "AllocationQuota.FreeTierOnly",
            kind="AllocationQuota.FreeTierOnly",
        ),
    ),
    KnownError(
        "x.ai",
        "quota",
        429,
        {
            "code": "Some resource has been exhausted",
            "error": "Your team has either used all available credits or reached its monthly spending limit.",
        },
    ),
    KnownError(
        "x.ai",
        "quota",
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Your newly created team doesn't have any credits yet. You can purchase those on the console.",
        },
    ),
    *(
        KnownError(
            "litellm",
            "quota",
            status,
            openai(
                "Budget has been exceeded! Current cost: 10.2, Max budget: 10.0",
                str(status),
                kind="budget_exceeded",
            ),
        )
        for status in (400, 429)
    ),
    KnownError(
        "huggingface",
        "quota",
        402,
        {"error": "You have exceeded your monthly included credits for Inference Providers."},
        headers={"x-error-message": "You have exceeded your monthly included credits"},
    ),
    *(
        KnownError(
            "openrouter", "quota", status, {"error": {"message": "Insufficient credits. Add more.", "code": 402}}
        )
        for status in (402, 200)
    ),
    KnownError(
        "openrouter",
        "quota",
        403,
        {"error": {"message": "Key limit exceeded (total limit).", "code": 403}},
        is_told=False,
    ),
    KnownError("together", "quota", 402, openai("Credit limit exceeded, add a credit card.", kind="credit_limit")),
    KnownError(
        "fireworks",
        "quota",
        412,
        openai("Account is suspended, possibly due to reaching the monthly spending limit.", "PRECONDITION_FAILED"),
    ),
    KnownError("nvidia", "quota", 402, {"detail": "Cloud credits expired - Please contact NVIDIA representatives"}),
    KnownError("deepinfra", "quota", 402, {"detail": {"error": "Please top up your account balance."}}),
    KnownError(
        "siliconflow",
        "quota",
        403,
        {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None},
    ),
    KnownError("zhipu", "quota", 429, {"error": {"code": "1113", "message": "Insufficient balance. Please recharge."}}),
    KnownError("minimax", "quota", 200, _minimax(1008, "insufficient balance")),
    KnownError("empty", "quota", 402, ""),
)

_NO_DIMENSIONS: Final = "This model does not support specifying dimensions."

OPTION: Final = (
    KnownError("openai", "option", 400, openai(_NO_DIMENSIONS)),
    KnownError(
        "openai", "option", 400, openai("Invalid value for 'dimensions': must be at most 1536."), form="too many"
    ),
    KnownError("openai", "option", 400, openai("Unrecognized request argument supplied: input_type"), form="field"),
    KnownError(
        "openai",
        "option",
        400,
        openai("Unknown parameter: 'input_type'.", "unknown_parameter", param="input_type"),
        form="param",
    ),
    KnownError("azure", "option", 400, openai(_NO_DIMENSIONS)),
    KnownError(
        "cohere", "option", 400, cohere("invalid request: valid input_type must be provided with the provided model")
    ),
    KnownError(
        "cohere", "option", 422, cohere("invalid request: output_dimension must be one of 256, 512, 1024, 1536")
    ),
    KnownError(
        "gemini",
        "option",
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            'Invalid JSON payload received. Unknown name "input_type": Cannot find field.',
            google_detail(
                "BadRequest",
                fieldViolations=[{"description": 'Unknown name "input_type": Cannot find field.'}],
            ),
        ),
    ),
    KnownError(
        "gemini",
        "option",
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            "Request contains an invalid argument.",
            google_detail("BadRequest", fieldViolations=[{"field": "dimensions", "description": "out of range"}]),
        ),
        form="field violation",
    ),
    KnownError(
        "gemini", "option", 400, google(400, "INVALID_ARGUMENT", "Request contains an invalid argument."), form="bare"
    ),
    KnownError(
        "mistral", "option", 422, fastapi("extra_forbidden", ["body", "dimensions"], "Extra inputs are not permitted")
    ),
    KnownError(
        "mistral",
        "option",
        422,
        flat(
            fastapi("extra_forbidden", ["body", "dimensions"], "Extra inputs are not permitted"),
            "invalid_request_error",
        ),
        form="nested",
    ),
    KnownError(
        "mistral",
        "option",
        400,
        flat("Model {model} does not support output_dimension", "invalid_request_invalid_args", "3051"),
    ),
    KnownError(
        "voyage",
        "option",
        400,
        {
            "detail": "The request body is not valid JSON, or some arguments were not specified properly. "
            "In particular, Value '300' provided for argument 'output_dimension' is not valid."
        },
    ),
    KnownError(
        "jina",
        "option",
        422,
        fastapi(
            "literal_error", ["body", "TextEmbeddingInput", "task"], "Input should be 'text-matching' or 'separation'"
        ),
    ),
    KnownError(
        "dashscope",
        "option",
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: Value error, dimension should be one of [64, 1024]",
            "InvalidParameter",
            kind="InvalidParameter",
        ),
    ),
    KnownError(
        "litellm",
        "option",
        400,
        openai(
            "litellm.UnsupportedParamsError: Setting dimensions is not supported for this model. To drop it from the "
            "call, set `litellm.drop_params = True`.",
            "400",
            kind="None",
            param="None",
        ),
    ),
    KnownError(
        "vllm",
        "option",
        400,
        openai(
            'Model "{model}" does not support matryoshka representation, changing output dimensions will lead to poor '
            "results.",
            400,
            kind="BadRequestError",
        ),
    ),
    KnownError(
        "vllm",
        "option",
        400,
        flat("Model does not support matryoshka representation", "BadRequestError", 400),
        form="flat",
    ),
    KnownError(
        "infinity",
        "option",
        400,
        openai(
            "MatryoshkaDimError: matryoshka_dim=3000 is not in valid range. Select between 1 and 384.", 400, kind=None
        ),
    ),
    KnownError(
        "tei",
        "option",
        422,
        {"message": "Input validation error: `dimensions` must be at most 384", "code": 422, "type": "Validation"},
    ),
    KnownError(
        "openrouter",
        "option",
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": '{"error": {"message": "This model does not support specifying dimensions."}}',
                    "provider_name": "OpenAI",
                },
            }
        },
    ),
    KnownError(
        "openrouter",
        "option",
        400,
        {
            "success": False,
            "error": {
                "name": "ZodError",
                "message": '[{"code": "invalid_type", "path": ["dimensions"], "message": "expected number"}]',
            },
        },
        form="zod",
    ),
    KnownError("together", "option", 400, openai("dimensions is not supported for this model", param="dimensions")),
    KnownError(
        "fireworks",
        "option",
        400,
        openai("Extra inputs are not permitted, field: 'input_type', value: 'query'", "invalid_request_error"),
    ),
    KnownError(
        "deepinfra",
        "option",
        422,
        fastapi("greater_than_equal", ["body", "dimensions"], "Input should be greater than or equal to 32"),
    ),
    KnownError("nvidia", "option", 400, {"error": "'input_type' parameter is required for asymmetric models"}),
    KnownError(
        "llama.cpp", "model", 501, openai("This server does not support embeddings.", 501, kind="not_supported_error")
    ),
    KnownError("nginx", "option", 400, page("400 Bad Request", server="nginx"), is_told=False),
    KnownError("nginx", "option", 422, page("422 Unprocessable Entity"), is_told=False),
    KnownError("empty", "option", 400, "", is_told=False),
    KnownError("empty", "option", 422, "", is_told=False),
    KnownError("gateway", "option", 400, openai("Bad Request", kind=None), is_told=False),
)

ADDRESS: Final = (
    KnownError("openai", "address", 404, openai("Invalid URL (POST /v1/v1/embeddings)")),
    KnownError("azure", "address", 404, {"error": {"code": "404", "message": "Resource not found"}}),
    KnownError("vllm", "address", 404, {"detail": "Not Found"}),
    KnownError(
        "llama.cpp", "address", 404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}
    ),
    KnownError("ollama", "address", 404, "404 page not found"),
    KnownError("tei", "address", 404, ""),
    KnownError("kong", "address", 404, {"message": "no Route matched with those values", "request_id": "0f1e"}),
    KnownError("express", "address", 404, "<html><body><pre>Cannot POST /embeddings</pre></body></html>"),
    KnownError("nginx", "address", 404, page("404 Not Found", server="nginx")),
    KnownError("nginx", "address", 405, page("405 Not Allowed", server="nginx")),
    KnownError("vllm", "address", 405, {"detail": "Method Not Allowed"}),
    KnownError("api gateway", "address", 403, {"message": "Missing Authentication Token"}, is_told=False),
    KnownError("lm studio", "address", 200, {"error": "Unexpected endpoint or method. (POST /embeddings)"}),
    KnownError(
        "open webui",
        "address",
        200,
        "<!doctype html><html><head><title>Open WebUI</title></head><body></body></html>",
        is_told=False,
    ),
)

BASE64: Final = (
    KnownError(
        "openai",
        "base64",
        400,
        openai("Invalid value: supported values are: 'float'.", "invalid_value", param="encoding_format"),
    ),
    KnownError(
        "gemini",
        "base64",
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            "Request contains an invalid argument.",
            google_detail("BadRequest", fieldViolations=[{"field": "encoding_format", "description": "unsupported"}]),
        ),
    ),
    KnownError(
        "gemini",
        "base64",
        400,
        google(
            400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "encoding_format": Cannot find field.'
        ),
        form="words",
    ),
    KnownError(
        "mistral",
        "base64",
        422,
        fastapi("extra_forbidden", ["body", "encoding_format"], "Extra inputs are not permitted"),
    ),
    KnownError(
        "mistral",
        "base64",
        422,
        flat(fastapi("literal_error", ["body", "encoding_format"], _BASE64_FLOAT), "invalid_request_error"),
        form="nested",
    ),
    KnownError("jina", "base64", 422, fastapi("literal_error", ["body", "TextInput", "embedding_type"], _BASE64_FLOAT)),
    KnownError("jina", "base64", 400, {"detail": "embedding_type 'base64' is not supported by {model}."}),
    KnownError(
        "fireworks",
        "base64",
        400,
        openai("Extra inputs are not permitted, field: 'encoding_format', value: 'base64'", "invalid_request_error"),
    ),
    KnownError(
        "tei",
        "base64",
        422,
        "Failed to deserialize the JSON body into the target type: unknown variant `base64`, expected `float`",
    ),
    KnownError(
        "litellm",
        "base64",
        400,
        openai(
            "litellm.UnsupportedParamsError: hosted_vllm does not support parameters: ['encoding_format']",
            "400",
            kind="None",
            param="None",
        ),
    ),
    KnownError("litserve", "base64", 422, fastapi("literal_error", ["body", "encoding_format"], _BASE64_FLOAT)),
    KnownError(
        "nvidia", "base64", 400, {"object": "error", "message": "encoding_format must be 'float'", "detail": {}}
    ),
    KnownError("infinity", "base64", 500, openai("base64 encoding is not supported for binary", 500, kind=None)),
    *(
        KnownError(
            "router",
            "base64",
            200,
            _vectors(value, prompt_tokens=Number("tokens"), total_tokens=Number("tokens")),
            form=form,
            is_billed=True,
        )
        for form, value in _NO_VECTORS.items()
    ),
)
