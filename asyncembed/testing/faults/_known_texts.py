"""Facts: how services refuse a text that is too long or has content they reject, and requests that are too large."""

from __future__ import annotations

from typing import Final

from asyncembed.testing.faults._known import KnownError
from asyncembed.testing.faults._shapes import Number, cohere, fastapi, flat, google, openai, page

LONG_TEXT: Final = (
    KnownError(
        "openai", "long text", 400, openai("Invalid 'input[{position}]': maximum input length is {most} tokens.")
    ),
    KnownError(
        "openai",
        "long text",
        400,
        openai(
            "This model's maximum context length is {most} tokens, however you requested {size} tokens ({size} in your "
            "prompt; 0 for the completion). Please reduce your prompt; or completion length.",
        ),
        form="unnamed",
    ),
    KnownError(
        "azure",
        "long text",
        400,
        openai("This model's maximum context length is {most} tokens, however you requested {size} tokens."),
    ),
    KnownError(
        "cohere",
        "long text",
        400,
        cohere("too many tokens: total number of tokens in the prompt cannot exceed {most} - received {size}."),
    ),
    KnownError(
        "gemini",
        "long text",
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is {size} but the model supports up to {most}.",
        ),
    ),
    KnownError(
        "gemini",
        "long text",
        400,
        google(400, "INVALID_ARGUMENT", "requests[{position}]: exceeds the maximum number of tokens"),
        form="named",
    ),
    KnownError(
        "mistral",
        "long text",
        400,
        flat("Input id {position} has {size} tokens, exceeding max {most} tokens.", "invalid_request_error"),
    ),
    KnownError(
        "voyage",
        "long text",
        400,
        {
            "detail": "Request to model '{model}' failed. The example at index {position} in your batch has too many "
            "tokens and does not fit into the model's context window of {most} tokens."
        },
    ),
    KnownError(
        "jina",
        "long text",
        400,
        {
            "detail": {
                "message": "Input text exceeds the model's maximum of {most} tokens.",
                "request_id": "r-fake",
                "code": "INPUT_TOKEN_LIMIT_EXCEEDED",
            }
        },
    ),
    KnownError(
        "dashscope",
        "long text",
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, {most}]",
            "InvalidParameter",
            kind="InvalidParameter",
        ),
    ),
    KnownError(
        "litellm",
        "long text",
        400,
        openai(
            "litellm.BadRequestError: OpenAIException - Invalid 'input[{position}]': maximum input length is {most} "
            "tokens.",
            "400",
            kind=None,
        ),
    ),
    KnownError(
        "litellm",
        "long text",
        400,
        openai(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException - This model's maximum "
            "context length is {most} tokens. Received Model Group={model}",
            "400",
            kind=None,
        ),
        form="unnamed",
    ),
    KnownError(
        "vllm",
        "long text",
        400,
        openai(
            "This model's maximum context length is {most} tokens. However, you requested 0 output tokens and your "
            "prompt contains at least {size} input tokens. (parameter=input_tokens, value={size})",
            400,
            kind="BadRequestError",
            param="input_tokens",
        ),
    ),
    KnownError(
        "vllm",
        "long text",
        400,
        openai(
            "You passed {size} input characters, but the maximum context length is {most} tokens.",
            400,
            kind="BadRequestError",
            param="input_text",
        ),
        form="input_text",
    ),
    KnownError(
        "vllm",
        "long text",
        400,
        flat(
            "This model's maximum context length is {most} tokens. However, you requested {size} tokens in the input "
            "for embedding generation. Please reduce the length of the input.",
            "BadRequestError",
            400,
        ),
        form="flat",
    ),
    KnownError(
        "llama.cpp",
        "long text",
        500,
        openai(
            "input ({size} tokens) is too large to process. increase the physical batch size (current batch size: "
            "{most})",
            500,
            kind="server_error",
        ),
    ),
    KnownError(
        "llama.cpp",
        "long text",
        500,
        openai("input is too large to process. increase the physical batch size", 500, kind="server_error"),
        form="old",
    ),
    KnownError(
        "llama.cpp",
        "long text",
        400,
        openai(
            "input ({size} tokens) is larger than the max context size ({most} tokens). skipping",
            400,
            kind="exceed_context_size_error",
            n_prompt_tokens=Number("size"),
            n_ctx=Number("most"),
        ),
    ),
    *(
        KnownError(
            "tei",
            "long text",
            status,
            {
                "message": "Input validation error: `inputs` must have less than {most} tokens. Given: {size}",
                "code": status,
                "type": "Validation",
            },
        )
        for status in (413, 422)
    ),
    KnownError(
        "huggingface",
        "long text",
        413,
        {
            "error": "Input validation error: `inputs` must have less than {most} tokens. Given: {size}",
            "error_type": "Validation",
        },
    ),
    KnownError(
        "infinity",
        "long text",
        422,
        fastapi(
            "string_too_long",
            ["body", "text", "input", "list[constrained-str]", Number("position")],
            "String should have at most {most} characters",
        ),
    ),
    KnownError(
        "ollama", "long text", 400, openai("the input length exceeds the context length", kind="invalid_request_error")
    ),
    KnownError("ollama", "long text", 500, openai("the input length exceeds the context length", kind="api_error")),
    KnownError("nvidia", "long text", 400, {"error": "Input length {size} exceeds maximum allowed token size {most}"}),
    KnownError(
        "siliconflow",
        "long text",
        413,
        {"code": 20042, "message": "input must have less than {most} tokens", "data": None},
    ),
    KnownError(
        "together",
        "long text",
        400,
        openai("Input validation error: `inputs` must have less than {most} tokens. Given: {size}"),
    ),
    KnownError(
        "openrouter",
        "long text",
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": '{"error": {"message": "Invalid \'input[{position}]\': at most {most} tokens."}}',
                    "provider_name": "OpenAI",
                },
            }
        },
    ),
)

BAD_TEXT: Final = (
    KnownError("openai", "bad text", 400, openai("Invalid 'input[{position}]': input cannot be an empty string.")),
    KnownError(
        "openai", "bad text", 400, openai("'$.input' is invalid. Please check the API reference."), form="schema"
    ),
    KnownError(
        "azure",
        "bad text",
        400,
        openai(
            "The response was filtered due to the prompt triggering the content management policy.",
            "content_filter",
            kind=None,
            param="prompt",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    KnownError(
        "cohere",
        "bad text",
        400,
        cohere("invalid request: inputs contains an element that is the empty string at index {position}"),
    ),
    KnownError(
        "gemini",
        "bad text",
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            "* BatchEmbedContentsRequest.requests[{position}].content: contents is not specified\n",
        ),
    ),
    KnownError(
        "dashscope",
        "bad text",
        400,
        openai(
            "Input data may contain inappropriate content.",
            "data_inspection_failed",
            kind="data_inspection_failed",
        ),
    ),
    KnownError(
        "zhipu",
        "bad text",
        400,
        {
            "contentFilter": [{"level": 1, "role": "user"}],
            "error": {"code": "1301", "message": "系统检测到输入内容可能包含不安全或敏感内容"},
        },
        is_told=False,
    ),
    KnownError(
        "fastapi",
        "bad text",
        422,
        fastapi("string_type", ["body", "input", Number("position")], "Input should be a valid string"),
    ),
    KnownError("fastapi", "bad text", 400, {"detail": "There was an error parsing the body"}, is_told=False),
    KnownError("tei", "bad text", 422, {"message": "Tokenizer error: invalid input", "code": 422, "type": "Tokenizer"}),
    KnownError("tei", "bad text", 424, {"message": "inference failed", "code": 424, "type": "Backend"}, is_told=False),
    KnownError("vllm", "bad text", 400, openai("The prompt cannot be empty", 400, kind="BadRequestError")),
    KnownError(
        "vllm", "bad text", 500, openai("Internal server error", 500, kind="InternalServerError"), is_told=False
    ),
    KnownError(
        "ollama",
        "bad text",
        500,
        openai("failed to encode response: json: unsupported value: NaN", kind="api_error"),
        is_told=False,
    ),
    KnownError("infinity", "bad text", 500, openai("InternalServerError: ValueError", 500, kind=None), is_told=False),
    KnownError("litserve", "bad text", 500, "Internal Server Error", is_told=False),
    KnownError(
        "torchserve",
        "bad text",
        503,
        {"code": 503, "type": "InternalServerException", "message": "Prediction failed"},
        is_told=False,
    ),
    KnownError(
        "express",
        "bad text",
        400,
        openai("This text is not accepted: '{text}\ud83d", "invalid_value"),
        form="half a surrogate",
    ),
    KnownError("nginx", "bad text", 400, page("400 Bad Request", server="nginx"), is_told=False),
    KnownError("nginx", "bad text", 500, page("500 Internal Server Error", server="nginx"), is_told=False),
    KnownError("nginx", "bad text", 502, page("502 Bad Gateway", server="nginx"), is_told=False),
    KnownError("empty", "bad text", 400, "", is_told=False),
    KnownError("empty", "bad text", 422, "", is_told=False),
    KnownError("empty", "bad text", 500, "", is_told=False),
)

FIREWALL: Final = (
    KnownError(
        "cloudflare",
        "bad text",
        403,
        page("Attention Required! | Cloudflare", "<p>Sorry, you have been blocked. Ray ID: 0123456789abcdef</p>"),
        is_told=False,
    ),
    KnownError("aws waf", "bad text", 403, page("403 Forbidden"), is_told=False),
    KnownError(
        "application gateway",
        "bad text",
        403,
        page("403 Forbidden", server="Microsoft-Azure-Application-Gateway/v2"),
        is_told=False,
    ),
    KnownError("modsecurity", "bad text", 406, page("406 Not Acceptable", server="Apache"), is_told=False),
    KnownError(
        "big-ip",
        "bad text",
        200,
        "<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. "
        "Your support ID is: 0123456789</body></html>",
        is_told=False,
    ),
)
"""Refusals by firewalls that mistake a text for an attack; they do not use the format of the API."""

_TOO_MANY_INPUTS: Final = "Too many inputs in request, split into more batches."

MANY_TEXTS: Final = (
    KnownError(
        "openai",
        "many texts",
        400,
        openai(
            "Invalid 'input': array too long. Expected an array with maximum length {most}, but got an array with "
            "length {size} instead.",
            "array_above_max_length",
            param="input",
        ),
    ),
    KnownError(
        "azure",
        "many texts",
        400,
        openai("Too many inputs. The max number of inputs is {most}. We hope to increase the number of inputs soon."),
    ),
    KnownError(
        "cohere",
        "many texts",
        400,
        cohere("invalid request: total number of texts must be at most {most} - received {size}"),
    ),
    KnownError(
        "gemini",
        "many texts",
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            "* BatchEmbedContentsRequest.requests: at most {most} requests can be in one batch\n",
        ),
    ),
    KnownError("mistral", "many texts", 400, flat(_TOO_MANY_INPUTS, "invalid_request_prompt", "3210")),
    KnownError("voyage", "many texts", 400, {"detail": "The batch size limit is {most}. Your batch size is {size}."}),
    KnownError(
        "voyage",
        "many texts",
        400,
        {"detail": "The number of inputs exceeds the maximum of {most} per request."},
        form="new",
    ),
    KnownError("jina", "many texts", 400, {"detail": "Batch size exceeds the limit"}),
    KnownError(
        "infinity",
        "many texts",
        422,
        fastapi("too_long", ["body", "input"], "List should have at most {most} items after validation, not {size}"),
    ),
    KnownError(
        "dashscope",
        "many texts",
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger "
            "than {most}.: input.contents",
            "InvalidParameter",
            kind="InvalidParameter",
        ),
    ),
    *(
        KnownError(
            "tei",
            "many texts",
            status,
            {"message": "batch size {size} > maximum allowed batch size {most}", "code": status, "type": "Validation"},
        )
        for status in (413, 422)
    ),
    KnownError(
        "siliconflow",
        "many texts",
        413,
        {"code": 20042, "message": "input batch size {size} > maximum allowed batch size {most}", "data": None},
    ),
    KnownError(
        "litellm",
        "many texts",
        400,
        openai(
            "litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'message': \"Invalid 'input': "
            'array too long. Expected an array with maximum length {most}, but got one with length {size} instead."}}',
            "400",
            kind=None,
        ),
    ),
)

MANY_TOKENS: Final = (
    *(
        KnownError(
            service,
            "many tokens",
            400,
            openai(
                "Requested {size} tokens, max {most} tokens per request",
                "max_tokens_per_request",
                kind="max_tokens_per_request",
            ),
        )
        for service in ("openai", "azure")
    ),
    KnownError(
        "mistral",
        "many tokens",
        400,
        flat("Too many tokens overall, split into more batches.", "invalid_request_prompt", "3210"),
    ),
    KnownError(
        "mistral",
        "many tokens",
        400,
        flat("Too many tokens in batch. Max is {most} got {size}", "invalid_request_error"),
        form="old",
    ),
    KnownError(
        "voyage",
        "many tokens",
        400,
        {
            "detail": "Request to model '{model}' failed. The max allowed tokens per submitted batch is {most}. Your "
            "batch has {size} tokens after truncation. Please lower the number of tokens in the batch."
        },
    ),
    KnownError(
        "github",
        "many tokens",
        413,
        {
            "error": {
                "code": "tokens_limit_reached",
                "message": "Request body too large for {model} model. Max size: {most} tokens.",
            }
        },
    ),
)

MANY_BYTES: Final = (
    KnownError("nginx", "many bytes", 413, page("413 Request Entity Too Large", server="nginx")),
    KnownError("cloudflare", "many bytes", 413, page("413 Payload Too Large", server="cloudflare")),
    KnownError("tei", "many bytes", 413, "Failed to buffer the request body: length limit exceeded"),
    KnownError("express", "many bytes", 413, "<html><body><pre>PayloadTooLargeError</pre></body></html>"),
    KnownError("api gateway", "many bytes", 413, {"message": "Request Too Long"}),
    KnownError("llama.cpp", "many bytes", 413, ""),
    KnownError(
        "gemini",
        "many bytes",
        400,
        google(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: {most} bytes."),
    ),
    KnownError(
        "openai",
        "many bytes",
        413,
        openai("Maximum content size limit ({most}) exceeded ({size} bytes read)", kind="server_error"),
    ),
)
