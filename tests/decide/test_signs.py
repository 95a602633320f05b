"""What error answers mean: those of many services, those that may mean anything, and texts that sound like errors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncembed import Sign
from asyncembed._decide import meaning_of
from asyncembed._exceptions import ErrorAnswer
from asyncembed._http.error_answer import read_answer
from asyncembed._redaction import Secrets


def answer(status: int, body: object, **headers: str) -> ErrorAnswer:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    names = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return read_answer(status, names, data, Secrets())


def openai(message: str, code: object = None, kind: str | None = "invalid_request_error", param: str | None = None):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def google(message: str, status: str, code: int, *details: object):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def litellm(message: str, code: str = "400", kind: str = "None"):
    return {"error": {"message": message, "type": kind, "param": "None", "code": code}}


def fastapi(*loc: object, msg: str, kind: str = "value_error"):
    return {"detail": [{"type": kind, "loc": ["body", *loc], "msg": msg}]}


INVALID_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "33s"}
QUOTA_OF = "EmbedContentRequestsPer{}PerUserPerProjectPerModel-FreeTier"
CURRENT_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def violation(period: str) -> dict[str, object]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": QUOTA_OF.format(period)}],
    }


PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>nginx</body></html>"

KEYS = [
    (400, google("API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", 400, INVALID_KEY)),
    (400, [google("API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", 400)]),
    (400, google("API Key not found. Please pass a valid API key.", "INVALID_ARGUMENT", 400)),
    (400, google("API key expired. Please renew the API key.", "INVALID_ARGUMENT", 400)),
    (403, google("Method doesn't allow unregistered callers.", "PERMISSION_DENIED", 403)),
    (401, google("Request had invalid authentication credentials.", "UNAUTHENTICATED", 401)),
    (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: ab***yz."}),
    (401, {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"}),
    (400, {"code": "InvalidApiKey", "message": "No API-key provided.", "request_id": "r"}),
    (401, openai("Incorrect API key provided: sk-x.", "invalid_api_key")),
    (401, openai("You didn't provide an API key.", None)),
    (403, openai("Country, region, or territory not supported", "unsupported_country_region_territory")),
    (
        401,
        {"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}},
    ),
    (401, {"detail": "Provided API key is invalid."}),
    (401, {"message": "invalid api token"}),
    (400, {"message": "invalid api token"}),
    (498, {"message": "this token has been blocked"}),
    (401, {"detail": "Unauthorized"}),
    (401, {"error": "Unauthorized"}),
    (401, ""),
    (401, {"detail": "no", "code": "AUTH_INVALID_API_KEY"}),
    (401, {"error": {"message": "No auth credentials found", "code": 401}}),
    (401, litellm("Authentication Error, Invalid proxy server token passed.", "401", "auth_error")),
    (400, litellm("Authentication Error, Invalid proxy server token passed.", "400", "auth_error")),
    (403, {"message": "The security token included in the request is expired"}),
    (403, {"message": "User: arn:x is not authorized to perform: bedrock:InvokeModel"}),
    (400, {"error": "invalid_token", "error_description": "The access token expired"}),
    (422, {"detail": [{"loc": ["header", "authorization"], "msg": "Field required"}]}),
    (
        400,
        litellm(
            "litellm.AuthenticationError: geminiException - [{'error': {'code': 400, 'message': 'API key not valid.'}}]"
        ),
    ),
]
MODELS = [
    (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}),
    (400, litellm("{'error': '/embeddings: Invalid model name passed in model=x. Call `/v1/models` to view available "
                  "models for your key.'}")),
    (404, openai("The model `x` does not exist or you do not have access to it.", "model_not_found")),
    (403, openai("Project `p` does not have access to model `text-embedding-3-small`", "model_not_found")),
    (404, {"error": 'model "nomic-embed-text" not found, try pulling it first'}),
    (404, google("models/x is not found for API version v1beta, or is not supported.", "NOT_FOUND", 404)),
    (404, openai("The model `x` does not exist.", 404, "NotFoundError", "model")),
    (404, {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}),
    (404, {"message": "model 'x' not found, make sure the correct model ID was used"}),
    (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}),
    (400, {"detail": "Model voyage-9 is not supported. Supported models are ['voyage-3.5']."}),
    (400, {"detail": "no", "code": "INPUT_MODEL_NOT_FOUND"}),
    (400, {"error": "No models loaded. Please load a model in the developer page."}),
    (404, openai("nothing there", "model_not_found", param="model")),
    (400, {"message": "The provided model identifier is invalid."}),
    (400, {"error": {"message": "no/such is not a valid model ID", "code": 400}}),
    (404, {"error": {"message": "No endpoints found for no/such.", "code": 404}}),
    (400, {"error": "this model does not support embeddings"}),
    (500, {"error": "this model does not support embeddings"}),
    (400, {"error": {"code": "unknown_model", "message": "Unknown model: x"}}),
]  # fmt: skip
QUOTAS = [
    (429, openai(CURRENT_QUOTA, "insufficient_quota", "insufficient_quota")),
    (429, openai(CURRENT_QUOTA)),
    (
        400,
        {
            "error": {
                "code": "Arrearage",
                "message": "Access denied, please make sure your account is in good standing.",
            }
        },
    ),
    (400, {"message": "Access denied, please make sure your account is in good standing."}),
    (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}}),
    (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}),
    (402, {"detail": "no credits"}),
    (403, {"detail": "no", "code": "AUTHZ_INSUFFICIENT_BALANCE"}),
    (400, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}),
    (400, litellm("Budget has been exceeded! Current cost: 1.1, Max budget: 1.0", "400", "budget_exceeded")),
    (429, google(CURRENT_QUOTA, "RESOURCE_EXHAUSTED", 429, violation("Day"), RETRY)),
    (429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}),
    (403, google("This API method requires billing to be enabled.", "PERMISSION_DENIED_", 403)),
    (400, openai("Billing hard limit has been reached", "billing_hard_limit_reached")),
]
OPTIONS = [
    (400, openai('Model "m" does not support Matryoshka embeddings.', 400, "BadRequestError")),
    (400, {"error": {"message": "MatryoshkaDimError: 4096 is too much", "type": None, "param": None, "code": 400}}),
    (500, {"error": {"message": "InternalServerError: MatryoshkaDimError", "code": 500}}),
    (400, litellm("litellm.UnsupportedParamsError: Setting dimensions is not supported for OpenAI `ada`.")),
    (400, openai("This model does not support specifying dimensions.")),
    (400, openai("Invalid value", param="dimensions")),
    (400, {"message": "valid input_type must be provided with the provided model"}),
    (422, fastapi("output_dimension", msg="Input should be greater than 0")),
    (422, fastapi("function-wrap[__log_extra_fields__()]", "normalize", msg="Extra inputs are not permitted")),
    (400, openai("[{'type': 'extra_forbidden', 'loc': ('body', 'normalize'), 'msg': 'no'}]", 400, "BadRequestError")),
    (400, google("Request contains an invalid argument.", "INVALID_ARGUMENT", 400,
                 {"fieldViolations": [{"field": "requests[0].output_dimensionality", "description": "too large"}]})),
    (400, google('Invalid JSON payload received. Unknown name "dims": Cannot find field.', "INVALID_ARGUMENT", 400)),
    (400, litellm("Authentication Error, No connected db.", "400", "no_db_connection")),
    (400, litellm("No connected db.")),
    (400, {"detail": "Output dimension 300 is not supported for model voyage-3.5."}),
    (400, openai("Unrecognized request argument supplied: truncate")),
    (400, "Failed to deserialize the JSON body: unknown field `truncation_direction`, expected one of `inputs`"),
]  # fmt: skip
TEXTS = [
    (400, openai("This model's maximum context length is 256 tokens. However, you requested 0 output tokens and your "
                 "prompt contains at least 257 input tokens.", 400, "BadRequestError", "input_tokens")),
    (400, openai("This model's maximum context length is 256 tokens.", 400, "BadRequestError", "input_text")),
    (400, openai("Invalid 'input[3]': maximum input length is 8192 tokens.")),
    (400, openai("This model's maximum context length is 8192 tokens, however you requested 9000 tokens.")),
    (400, {"error": "the input length exceeds the context length"}),
    (500, {"error": "the input length exceeds the context length"}),
    (500, {"error": "failed to encode response: json: unsupported value: NaN"}),
    (422, {"error": "`inputs` must have less than 512 tokens. Given: 600", "error_type": "Validation"}),
    (400, {"detail": "Request to model 'voyage-3.5' failed. The example at index 7 in your batch has too many tokens "
                     "and does not fit into the model's context window of 32000 tokens."}),
    (422, fastapi("input", 371, msg="String should have at most 2048 characters", kind="string_too_long")),
    (400, {"message": "#/texts/3: expected maxLength: 2048, actual: 2500, please reformat your input and try again."}),
    (400, {"object": "error", "message": "Input length 600 exceeds maximum allowed token size 512", "detail": {}}),
    (400, openai("'input' cannot be an empty string.")),
    (400, google("* BatchEmbedContentsRequest.requests[3].content: contents is not specified", "INVALID_ARGUMENT", 3)),
    (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
    (400, {"error": {"code": "content_filter", "message": "filtered"}}),
    (403, {"error": {"message": "Your input was flagged", "code": 403, "metadata": {"flagged_input": "…"}}}),
    (400, litellm("litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'message': 'no', 'type': "
                  "'invalid_request_error', 'param': None, 'code': 'context_length_exceeded'}}")),
    (400, {"message": "text at position 3 is not acceptable"}),
]  # fmt: skip
SIZES = [
    (413, PAGE.format("413 Request Entity Too Large")),
    (413, ""),
    (500, openai("input (3002 tokens) is too large to process. increase the physical batch size (current batch "
                 "size: 512)", 500, "server_error")),
    (400, openai("input (402 tokens) is larger than the max context size (256 tokens). skipping", 400)),
    (400, openai("Requested 400000 tokens, max 300000 tokens per request", "max_tokens_per_request")),
    (400, {"message": "invalid request: total number of texts must be at most 96 - received 97"}),
    (422, {"error": "batch size 64 > maximum allowed batch size 32", "error_type": "Validation"}),
    (400, {"object": "error", "message": "Too many tokens overall, split into more batches.", "code": "3210"}),
    (400, {"detail": "The max allowed tokens per submitted batch is 120000. Your batch has 130000 tokens."}),
    (400, google("at most 100 requests can be in one batch", "INVALID_ARGUMENT", 400)),
    (400, {"code": "InvalidParameter", "message": "batch size is invalid, it should not be larger than 10."}),
    (429, openai("Request too large for m on tokens per min (TPM): Limit 40000, Requested 50000.", "x")),
    (500, {"error": {"message": "CUDA out of memory"}}),
    (424, {"error": "CUDA out of memory. Tried to allocate 2 GiB", "error_type": "Backend"}),
]  # fmt: skip
ENCODINGS = [
    (400, openai("encoding_format must be 'float'")),
    (422, fastapi("encoding_format", msg="Input should be 'float'", kind="literal_error")),
    (400, openai("Invalid value: supported values are: 'float'.", "invalid_value", param="encoding_format")),
    (400, google("Request contains an invalid argument.", "INVALID_ARGUMENT", 400,
                 {"fieldViolations": [{"field": "encoding_format", "description": "unsupported"}]})),
    (400, google("Request contains an invalid argument.", "INVALID_ARGUMENT", 400,
                 {"fieldViolations": [{"field": "encodingFormat"}]})),
    (400, {"detail": "embedding_type is not known"}),
    (400, {"message": "embedding_types: base64 is not supported"}),
    (400, 'json: unknown field "encoding_format"'),
]  # fmt: skip
TIMES = [
    (504, PAGE.format("504 Gateway Time-out")),
    (524, ""),
    (500, {"error": "request timed out"}),
    (503, {"error": {"message": "deadline exceeded", "code": 503}}),
]
TRANSIENT = [
    (429, {"message": "You are using a Trial key, which is limited to 40 API calls / minute."}),
    (429, {"error": "Model is overloaded", "error_type": "Overloaded"}),
    (429, google(CURRENT_QUOTA, "RESOURCE_EXHAUSTED", 429, violation("Minute"), RETRY)),
    (429, google(CURRENT_QUOTA, "RESOURCE_EXHAUSTED", 429)),
    (
        429,
        {"detail": "You have not yet added your payment method in the billing page and will have reduced rate limits."},
    ),
    (429, openai("Rate limit reached on requests per day (RPD): Limit 200, Used 200. Please try again in 7m12s.")),
    (500, {"error": {"message": "The server had an error", "type": "server_error"}}),
    (500, {"error": {"message": "unauthorized billing of the model not found"}}),
    (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    (503, {"error": "upstream connect error. reset reason: connection timeout"}),
    (400, {"error": "the model is currently loading"}),
    (502, PAGE.format("502 Bad Gateway")),
]
ADDRESSES = [
    (404, {"detail": "Not Found"}),
    (404, "404 page not found"),
    (404, PAGE.format("404 Not Found")),
    (404, {"error": {"code": "404", "message": "Resource not found"}}),
    (404, openai("Invalid URL (POST /v1/v1/embeddings)")),
    (405, {"detail": "Method Not Allowed"}),
    (302, ""),
    (400, PAGE.format("400 The plain HTTP request was sent to HTTPS port")),
]
TABLE = {
    "key": KEYS, "model": MODELS, "quota": QUOTAS, "option": OPTIONS, "text": TEXTS, "size": SIZES,
    "encoding": ENCODINGS, "time": TIMES, "transient": TRANSIENT, "address": ADDRESSES,
}  # fmt: skip
ANYTHING = [
    (400, {"error": {"message": "Bad Request"}}),
    (400, {"message": "invalid request"}),
    (400, google("Request contains an invalid argument.", "INVALID_ARGUMENT", 400)),
    (400, ""),
    (400, PAGE.format("400 Bad Request")),
    (403, PAGE.format("Request blocked")),
    (403, PAGE.format("Access Denied: your API key is invalid")),
    (403, {"message": "Forbidden"}),
    (422, openai("Invalid 'input': the text cannot be embedded.", param="input")),
    (422, {"error": "tokenizer error", "error_type": "Tokenizer"}),
    (400, {"error": {"message": "Something went wrong with this model's input", "type": "BadRequestError"}}),
    (501, {"error": "not implemented"}),
]


@pytest.mark.parametrize(
    ("meaning", "status", "body"), [(meaning, *case) for meaning, cases in TABLE.items() for case in cases]
)
def test_what_services_say(meaning, status, body):
    assert meaning_of(answer(status, body)) == meaning


@pytest.mark.parametrize(("status", "body"), ANYTHING)
def test_what_may_mean_anything_decides_nothing(status, body):
    assert meaning_of(answer(status, body)) is None


def test_there_are_many():
    assert sum(map(len, TABLE.values())) >= 120


@pytest.mark.parametrize(
    "text",
    [
        "my API key is invalid",
        "my API key is invalid, said the server, and " + "that went on and on " * 40,
        "The model `x` does not exist in my country",
        "Your credit balance is too low",
        "Unknown parameter: dimensions must be base64",
        "billing details",
        "Invalid\n  API \tkey provided: \"sk-1\" for 'a model that was not found'",
    ],
)
@pytest.mark.parametrize("form", ["whole", "JSON", "beginning", "middle", "lower case"])
def test_a_text_that_sounds_like_an_error_decides_nothing(text, form):
    shown = {
        "whole": text,
        "JSON": json.dumps(text)[1:-1],
        "beginning": text[:300],
        "middle": text[1:-1],
        "lower case": " ".join(text.lower().split()),
    }[form]
    said = answer(400, {"error": {"message": f"Cannot process '{shown}'", "code": None}})
    assert meaning_of(said, texts=["hello", text, "world"]) is None


def test_words_of_the_service_beside_a_quoted_text_still_count():
    said = answer(400, {"error": "Incorrect API key provided. The first input was 'the weather is fine'."})
    assert meaning_of(said, texts=["the weather is fine"]) == "key"
    assert meaning_of(said, texts=["key", "a", "API"]) == "key"


def test_a_phrase_that_a_text_has_too_is_left_open():
    """Asking for a harmless text decides then."""
    said = answer(400, {"error": "Incorrect API key provided"})
    assert meaning_of(said, texts=["what does 'incorrect API key' mean?"]) is None
    assert meaning_of(said, texts=["what does it mean?"]) == "key"


def test_signs_of_a_provider_come_first():
    signs = (
        Sign("option", status=401, words="no such region"),
        Sign("text", code="4711"),
        Sign("transient", words="please hold"),
    )
    assert meaning_of(answer(401, {"message": "No such Region"}), signs) == "option"
    assert meaning_of(answer(401, {"message": "no"}), signs) == "key"
    assert meaning_of(answer(403, {"message": "no such region"}), signs) is None
    assert meaning_of(answer(403, {"message": "m", "code": "4711"}), signs) == "text"
    assert meaning_of(answer(403, {"message": "m", "code": "47110"}), signs) is None
    assert meaning_of(answer(400, {"message": "API key not valid; please hold"}), signs) == "transient"


def test_a_sign_without_anything_fits_every_answer():
    assert meaning_of(answer(400, {"message": "m"}), (Sign("option"),)) == "option"
    assert meaning_of(answer(400, {"message": "m"}), (Sign("option", words=""),), texts=["m"]) is None


def test_a_sign_finds_words_in_the_codes_too():
    assert (
        meaning_of(answer(429, {"message": "m", "code": "PlanUsedUp"}), (Sign("quota", words="plan ?used"),)) == "quota"
    )


def test_the_code_in_amazons_header():
    said = answer(400, {"message": "no"}, x_amzn_ErrorType="ServiceQuotaExceededException:http://internal.amazon.com/")
    assert meaning_of(said) == "quota"


def test_a_position_that_is_none_of_the_request_names_no_text():
    said = answer(400, {"message": "input[12] is odd"})
    assert meaning_of(said, texts=["a"] * 13) == "text"
    assert meaning_of(said, texts=["a"] * 12) is None


def test_a_wait_tells_a_used_up_day_from_a_rate():
    body = {"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429}}
    assert meaning_of(answer(429, body)) == "quota"
    assert meaning_of(answer(429, body, Retry_After="20000")) == "quota"
    assert meaning_of(answer(429, {"message": "requests per day"}, Retry_After="5")) == "transient"


@settings(max_examples=200)
@given(
    st.integers(300, 599),
    st.text(max_size=80),
    st.lists(st.text(max_size=30), max_size=4),
    st.lists(st.sampled_from(["input", "dimensions", "model", "encoding_format", "Ä"]), max_size=2),
)
def test_nothing_is_too_strange(status, message, texts, fields):
    """The meaning is one of those there are, and whatever is quoted of the texts changes nothing."""
    said = ErrorAnswer(status=status, provider_message=message, fields=tuple(fields), is_api_form=True)
    assert meaning_of(said, texts=texts) in {*TABLE, None}
