"""Classifies an error answer by its status, its codes, the field that it blames, and its message.

A provider may declare its own signs, which come first; the tables here apply to every service. If two causes share the
same words, no sign decides: the meaning is None, and a probe with a harmless text tells them apart. A sign that is
wrong about a key or a quota would end a run because of one bad text.

An error may repeat texts of the request, and those may say anything. `OwnWords` removes them before the tables apply.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asyncembed._decide.too_large import PAYLOAD_TOO_LARGE, read_too_large
from asyncembed._exceptions import TEXT_FIELDS
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncembed._exceptions import ErrorAnswer


_CUT: Final = " \N{HORIZONTAL ELLIPSIS} "
_QUOTATION_MARKS: Final = (
    "'", '"', "`", "\N{LEFT DOUBLE QUOTATION MARK}", "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}"
)  # fmt: skip

_MIN_MATCH: Final = 16
"""Characters of a text that a message does not contain by chance. Shorter texts are only recognised in quotes."""

_HEAD_CHARS: Final = 100
"""Characters of a text in which the search for its beginning looks."""

_MAX_QUOTE: Final = 2_000
"""Maximum characters that a message can repeat of a text."""


class OwnWords:
    """The message of an error, normalised for matching: lower case, single spaces, without quotes from the texts.

    Args:
        message: The message.
        texts: The texts of the request.
    """

    def __init__(self, message: str, texts: Sequence[str] = ()) -> None:
        self._texts = texts
        self.text = _normalized(message)
        for text in texts:
            if any(head and head[:_MIN_MATCH] in self.text for head in _forms(text[:_HEAD_CHARS])):
                for form in _forms(text[:_MAX_QUOTE]):
                    self.text = _without(self.text, form)

    def may_quote(self, phrase: str) -> bool:
        """Whether one of the texts contains a phrase, so that the message may repeat it."""
        longest = max(phrase.split(), key=len, default="")
        likely = (text for text in self._texts if longest in text.lower())  # a fast filter
        return any(phrase in _normalized(text) for text in likely)


def _normalized(text: str) -> str:
    return " ".join(text.lower().split())


def _forms(text: str) -> Iterator[str]:
    """Yield the forms in which a message may repeat a text: unchanged and JSON-escaped."""
    yield _normalized(text)
    if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
        for ascii_only in (True, False):
            yield _normalized(json.dumps(text, ensure_ascii=ascii_only)[1:-1])


def _without(words: str, text: str) -> str:
    if not text:
        return words
    if len(text) < _MIN_MATCH:
        for mark in _QUOTATION_MARKS:
            words = words.replace(f"{mark}{text}", _CUT)
        return words
    start, at = text[:_MIN_MATCH], -1
    while (at := words.find(start, at + 1)) >= 0:
        size = _MIN_MATCH
        while size < len(text) and words[at + size : at + size + 1] == text[size]:
            size += 1
        words = words[:at] + _CUT + words[at + size :]
    return words


Meaning: TypeAlias = Literal[
    "text", "size", "time", "option", "model", "key", "quota", "encoding", "address", "transient"
]
"""What is wrong: a text, the size of the request, the time that it takes, an option, the model, the key, the account's
quota, the encoding of vectors, the address, or something transient."""


@dataclass(frozen=True, slots=True, repr=False)
class Sign(ShortRepr):
    """A rule that gives an error answer its meaning. All given conditions must hold.

    Attributes:
        meaning: What is wrong.
        status: HTTP status.
        code: One of the answer's codes, types or reasons; case-sensitive.
        words: Regular expression for a phrase in the message or the codes; case-insensitive.
    """

    meaning: Meaning
    status: int | None = None
    code: str | None = None
    words: str | None = None

    def fits(self, answer: ErrorAnswer, own: OwnWords) -> bool:
        """Whether an answer meets all conditions. A phrase that may come from a text does not count."""
        if self.status not in {None, answer.status} or (self.code is not None and self.code not in answer.codes):
            return False
        if self.words is None:
            return True
        found = (match[0].lower() for match in re.finditer(self.words, own.text, re.IGNORECASE))
        return any(self.meaning in _HARMLESS or not own.may_quote(phrase) for phrase in found)


_HARMLESS: Final[frozenset[Meaning]] = frozenset({"text", "size", "time", "transient"})
"""Meanings that do not end a run: the next request corrects a wrong guess."""

_MAX_RATE_WAIT: Final = 3_600.0
"""Longest wait in seconds that an ordinary rate limit asks for."""

_WRONG: Final = r"(?:incorrect|invalid|wrong|missing|malformed|expired|unknown|revoked|disabled|required|inactive)"
_KEY: Final = (
    r"(?:(?:api|access|auth|authentication|authorization|bearer|subscription|security|proxy server|secret)[ _-]?"
    r"(?:keys?|tokens?|credentials?))"
)
_NOT_THERE: Final = (
    r"(?:not found|does ?n['o]?t exist|not exist|is not (?:available|supported|deployed|loaded)"
    r"|has been (?:deprecated|retired|decommissioned|removed)|no longer (?:available|supported))"
)
_OTHER: Final = r"(?:parameter|option|field|dimension|input|text|token)"
_FIELD: Final = r"(?:fields?|parameters?|arguments?|names?|propert(?:y|ies)|keyword arguments?)"

CODES: Final = (
    # OpenAI
    Sign("quota", code="insufficient_quota"),
    Sign("quota", code="billing_hard_limit_reached"),
    Sign("quota", code="billing_not_active"),
    Sign("key", code="invalid_api_key"),
    Sign("key", code="unsupported_country_region_territory"),
    Sign("model", code="model_not_found"),
    Sign("text", code="context_length_exceeded"),
    Sign("text", code="string_above_max_length"),
    Sign("text", code="content_policy_violation"),
    Sign("option", code="unknown_parameter"),
    Sign("option", code="unsupported_parameter"),
    # Azure
    Sign("model", code="DeploymentNotFound"),
    Sign("text", code="content_filter"),
    # Jina
    Sign("quota", code="AUTHZ_INSUFFICIENT_BALANCE"),
    Sign("key", code="AUTH_MISSING_API_KEY"),
    Sign("key", code="AUTH_INVALID_API_KEY"),
    Sign("key", code="AUTH_INVALID_FORMAT"),
    Sign("model", code="INPUT_MODEL_NOT_FOUND"),
    # Mistral
    Sign("model", code="invalid_model"),
    # Google
    Sign("key", code="API_KEY_INVALID"),
    Sign("key", code="API_KEY_EXPIRED"),
    Sign("key", code="UNAUTHENTICATED"),
    Sign("key", code="PERMISSION_DENIED"),
    Sign("quota", code="BILLING_DISABLED"),
    # Amazon
    Sign("quota", code="ServiceQuotaExceededException"),
    Sign("key", code="UnrecognizedClientException"),
    Sign("key", code="InvalidSignatureException"),
    Sign("key", code="IncompleteSignatureException"),
    Sign("key", code="MissingAuthenticationTokenException"),
    Sign("key", code="ExpiredTokenException"),
    Sign("key", code="AccessDeniedException"),
    Sign("model", code="ResourceNotFoundException"),
    Sign("time", code="ModelTimeoutException"),
    Sign("transient", code="ThrottlingException"),
    # DashScope
    Sign("quota", code="Arrearage"),
    Sign("quota", code="AllocationQuota.FreeTierOnly"),
    Sign("key", code="InvalidApiKey"),
    Sign("text", code="DataInspectionFailed"),
    Sign("text", code="data_inspection_failed"),
    # GitHub, Together
    Sign("model", code="unknown_model"),
    Sign("model", code="model_not_available"),
    # LiteLLM's proxy
    Sign("quota", code="budget_exceeded"),
    Sign("option", code="no_db_connection"),
    Sign("option", code="UnsupportedParamsError"),
    Sign("key", code="token_not_found_in_db"),
    # llama.cpp
    Sign("transient", code="unavailable_error"),
    # text-embeddings-inference
    Sign("transient", code="Overloaded"),
    Sign("transient", code="Unhealthy"),
)
"""Codes that mean the same with every status."""

_TEXT: Final = r"(?:inputs?|texts?|strings?|contents?|documents?|prompts?|sentences?|sequences?|passages?)"
_MAX: Final = r"(?:the )?(?:\w+ ){0,3}?max(?:imum)?\b"

TOO_LONG: Final = (
    # OpenAI, Azure, vLLM
    Sign("text", words=r"\bmaximum (?:context|input|sequence|prompt) length\b"),
    # Ollama, LiteLLM
    Sign("text", words=r"\bexceeds? (?:the )?(?:model'?s )?(?:available )?context (?:length|size|window)\b"),
    Sign("text", words=r"\bcontext ?window ?(?:exceeded|size|of \d+)"),
    # Jina, NVIDIA
    Sign("text", words=rf"\b{_TEXT}\b.{{0,60}}?\bexceed(?:s|ed|ing)? {_MAX}"),
    Sign("text", words=rf"\b{_TEXT}\b.{{0,60}}?\b(?:longer|larger|greater) than {_MAX}"),
    # DashScope
    Sign("text", words=r"\brange of input length\b"),
    # text-embeddings-inference
    Sign("text", words=r"\bmust have (?:less|fewer) than \d+ tokens\b"),
    # Voyage, Cohere
    Sign("text", words=r"\btoo many tokens\b"),
    # many services
    Sign("text", words=rf"\b{_TEXT}['\"`]? (?:is |are |was |were |that is )?too long\b|\bis too long for\b"),
    # Mistral, Vertex AI
    Sign("text", words=r"\bexceeding max \d+ tokens\b|\btoken count is \d+ but\b"),
)
"""Refusals of a text that is too long."""

TEXTS: Final = (
    *TOO_LONG,
    # pydantic, Bedrock
    Sign("text", words=r"\bstring should have at (?:most|least) \d+ characters?\b|\bexpected (?:max|min)length\b"),
    # OpenAI, Cohere
    Sign("text", words=r"\bempty (?:string|text|input)s?\b"),
    Sign("text", words=rf"\b{_TEXT}\b[^.]{{0,40}}\b(?:is|are|be|was|were|contains?) (?:an )?(?:empty|blank)\b"),
    # libraries for JSON and tokenizers
    Sign("text", words=r"\binvalid (?:unicode|utf-?8|utf-?16|surrogate)|\blone surrogate|\bsurrogates? not allowed\b"),
    # Ollama, for a vector that contains NaN
    Sign("text", words=r"\bunsupported value: (?:nan|[+-]?inf)"),
    # OpenRouter, Azure, DashScope
    Sign("text", words=r"\brequires moderation\b|\bwas flagged\b|\bcontent (?:management|filter|moderation) policy\b"),
    Sign("text", words=r"\bresponsible ai\b|\binappropriate content\b"),
    # PyTorch
    Sign("size", words=r"\bout of memory\b"),
)
"""Refusals of a text or of a size. They come before the others, as their messages may repeat the text."""

REFUSALS: Final = (
    # Ollama, LM Studio, Hugging Face
    Sign("transient", words=r"\bis (?:currently |still )?(?:loading|overloaded|warming up)\b|\bloading model\b"),
    Sign("transient", words=r"\btemporarily unavailable\b|\bserver (?:is )?busy\b"),
    # Envoy, services behind a gateway
    Sign("transient", words=r"\bupstream connect error\b|\brate limit (?:has been |is |was )?exceeded\b"),
    Sign("transient", words=r"\btoo many requests\b|\btry again later\b"),
    # LM Studio, for an unknown address
    Sign("address", words=r"\bunexpected endpoint or method\b"),
    # LiteLLM's proxy without a database
    Sign("option", words=r"\bno connected db\b"),
    # Anthropic, DeepSeek, Together
    Sign("quota", words=r"\bcredit balance\b|\binsufficient (?:account |credit )?(?:balance|credits?|funds|quota)\b"),
    # OpenAI, Google, Hugging Face, LiteLLM's proxy
    Sign(
        "quota", words=r"\bexceeded (?:your|the|its) (?:(?:current|monthly|daily|free|included) )*(?:quota|credits?)\b"
    ),
    Sign("quota", words=r"\bquota (?:has been |is )?(?:exceeded|used up|exhausted)\b|\bbudget has been exceeded\b"),
    # Azure, x.ai, SiliconFlow
    Sign("quota", words=r"\bout of call volume quota\b|(?:n't|not) have any credits\b|\bbalance is insufficient\b"),
    # DashScope
    Sign("quota", words=r"\baccount is in good standing\b|\baccount (?:is |has been )?(?:suspended|in arrears)\b"),
    # Google, OpenAI
    Sign("quota", words=r"\bbilling (?:hard limit|details|account|is not|not active|to be enabled|is disabled)\b"),
    Sign("quota", words=r"\b(?:requires|enable|check your|set up|update your) (?:plan and )?billing\b"),
    # OpenAI, x.ai, DashScope, Azure, Cohere, OpenRouter
    Sign("key", words=rf"\b(?:{_WRONG}|no) (?:or missing |provided )?{_KEY}\b"),
    # Google, Voyage
    Sign(
        "key",
        words=rf"\b{_KEY} (?:provided )?(?:(?:is|was|has|are) )?(?:been )?(?:not (?:valid|found|provided)|{_WRONG})\b",
    ),
    Sign("key", words=rf"\b(?:provide|pass|supply|include|specify) (?:a |an |your )?(?:valid )?{_KEY}\b"),
    # Amazon, Microsoft
    Sign("key", words=rf"\b{_KEY} (?:\w+ ){{0,5}}?(?:has|is) (?:expired|invalid|been revoked)\b"),
    # LiteLLM's proxy, DeepSeek, Google, FastAPI's examples
    Sign("key", words=r"\bauthentication (?:error|failed|failure|fails|required|is required)\b"),
    Sign("key", words=r"\blogin fail(?:ed)?\b|\bunregistered callers\b|\bcould not validate credentials\b"),
    # Amazon, Google, OpenAI
    Sign("key", words=r"\bnot authori[sz]ed to (?:perform|access|invoke|use|call)\b|\bpermission denied\b"),
    Sign("key", words=r"\bnot have (?:the )?(?:required )?permissions?\b"),
    Sign("key", words=r"\b(?:user location|country, region, or territory) (?:is )?not supported\b"),
    # Mistral, LiteLLM's proxy, GitHub
    Sign(
        "model",
        words=r"\b(?:invalid|unknown|unsupported|no such|unrecognized) (?:embedding )?model\b(?! (?:in|out)put)",
    ),
    # OpenAI, vLLM, Ollama, Cohere, Google, Voyage
    Sign("model", words=rf"\b(?:model|deployment|engine)s?\b(?:(?!\b{_OTHER}s?\b).){{0,120}}?\b{_NOT_THERE}\b"),
    # OpenRouter, LM Studio, Ollama
    Sign(
        "model",
        words=r"\bmodel not supported\b|\bnot a valid model\b|\bno models? (?:is |are )?loaded\b|\btry pulling it\b",
    ),
    # Bedrock, Together, OpenRouter
    Sign("model", words=r"\bmodel identifier is invalid\b|\bunable to access model\b|\bno endpoints found for\b"),
    # Ollama, vLLM, OpenAI
    Sign("model", words=r"\bdoes not support (?:the )?embed|\bnot an embedding model\b|\bmust provide a model\b"),
    # every service
    Sign("encoding", words=r"\bbase64\b|\bencoding_?format\b|\bembedding_?types?\b"),
    # vLLM, infinity, LiteLLM
    Sign("option", words=r"matryoshka|\bunsupportedparams"),
    # OpenAI, Voyage
    Sign("option", words=r"\bdoes not support (?:\w+ ){0,3}?['\"`]?(?:output[ _])?dimensions?"),
    # Cohere, Voyage, Mistral, Google, Vertex, not pydantic's "input_type=str"
    Sign("option", words=r"\b(?:dimensions|dimensionality|output[ _]?dimension(?:ality)?)\b(?!=)"),
    Sign(
        "option", words=r"\b(?:input_type|output_dtype|task_?type|truncate_prompt_tokens|truncation_direction)\b(?!=)"
    ),
    Sign("option", words=r"['\"`](?:truncate|truncation|normalized?|task|dtype|prompt_name|user)['\"`]"),
    # Google, Go, serde, OpenAI
    Sign("option", words=rf"\b(?:unknown|unrecognized|unexpected|unsupported|additional) (?:request )?{_FIELD}\b"),
    # pydantic, JSON schema
    Sign("option", words=r"\bextra (?:inputs|fields) (?:are )?not permitted\b|\bfield required\b"),
    Sign("option", words=rf"\bmissing (?:required )?{_FIELD}\b"),
)
"""Refusals that apply to every request: answers with status 4xx, except 429."""

TOO_MANY: Final = (
    # OpenAI, for a request that exceeds the limit per minute
    Sign("size", words=r"\brequest too large\b|\btokens must be reduced\b"),
    # Google's quotaId, OpenRouter, Cohere's trial keys
    Sign("quota", words=r"perday(?:per|$|-|\b)"),
    Sign("quota", words=r"\bcalls ?/ ?month\b|\bcredit balance\b|\binsufficient (?:balance|credits?|funds|quota)\b"),
    Sign("quota", words=r"\bbudget has been exceeded\b"),
)
"""Answers with status 429 that are not about a rate."""

TOO_MANY_FOR_LONG: Final = (
    # Google says the same of a limit that ends within a minute
    Sign("transient", code="RESOURCE_EXHAUSTED"),
    Sign("quota", words=r"\bexceeded your current quota\b|\b(?:per|a)[ -]day\b|\bdaily\b|\bmonthly\b|\bper[ -]month\b"),
)
"""More answers with status 429 that are not about a rate, unless they ask for a short wait."""

FAILURES: Final = (
    # Ollama, for a model without embeddings
    Sign("model", words=r"\bdoes not support (?:the )?embed"),
    Sign("option", words=r"matryoshka"),
    # infinity
    Sign("encoding", words=r"\bbase64\b.{0,40}\bnot supported\b"),
    # proxies of a slow server, but not of an unreachable one
    Sign("time", words=r"(?<!connect )(?<!connection )\b(?:timed[ -]?out|time-?out|(?:read)?timeout(?:error)?)\b"),
    Sign("time", words=r"\bdeadline exceeded\b"),
)
"""Answers with status 5xx."""

PAGES: Final = (
    # nginx
    Sign("address", status=400, words=r"plain http request was sent to https port"),
)
"""HTML pages. Other words on them mean nothing."""

FIELDS: Final[Mapping[str, Meaning]] = {
    "model": "model",
    "model_id": "model",
    "deployment": "model",
    "authorization": "key",
    "api_key": "key",
    "x-api-key": "key",
    "api-key": "key",
    "encoding_format": "encoding",
    "encodingformat": "encoding",
    "embedding_type": "encoding",
    "embedding_types": "encoding",
    "embeddingtypes": "encoding",
}
"""Meaning by blamed request field, in lower case. Any other field is an option or holds texts."""

STATUSES: Final[Mapping[int, Meaning]] = {
    401: "key",
    402: "quota",
    405: "address",
    408: "transient",
    409: "transient",
    410: "address",
    413: "size",
    421: "transient",
    423: "transient",
    424: "transient",  # Bedrock, text-embeddings-inference: the model has failed
    425: "transient",
    449: "transient",
    460: "transient",
    498: "key",  # Cohere, for a token that it has banned
    499: "transient",  # Cohere, nginx: the request was cancelled on the way
    504: "time",
    524: "time",  # Cloudflare
    598: "time",
}
"""Meaning by status alone."""

_UNSUPPORTED: Final = frozenset({501, 505, 511})


def meaning_of(answer: ErrorAnswer, signs: Sequence[Sign] = (), texts: Sequence[str] = ()) -> Meaning | None:
    """Return the meaning of an error answer; None if it is ambiguous.

    Args:
        answer: The answer.
        signs: The provider's own signs, which come first.
        texts: The texts of the request. Their quotes in the answer decide nothing.
    """
    own = OwnWords("\n".join((answer.provider_message, *answer.codes)), texts)
    if answer.positions and texts and not answer.named(len(texts)):
        answer = replace(answer, positions=())
    return _first(signs, answer, own) or _first(CODES, answer, own) or _by_status(answer, own)


def _first(signs: Sequence[Sign], answer: ErrorAnswer, own: OwnWords) -> Meaning | None:
    return next((sign.meaning for sign in signs if sign.fits(answer, own)), None)


def _by_status(answer: ErrorAnswer, own: OwnWords) -> Meaning | None:
    status = answer.status
    if status == 429:  # noqa: PLR2004
        is_short = answer.retry_after is not None and answer.retry_after <= _MAX_RATE_WAIT
        lasting = None if is_short else _first(TOO_MANY_FOR_LONG, answer, own)
        return _first(TOO_MANY, answer, own) or lasting or "transient"
    if status >= 500:  # noqa: PLR2004
        return _of_failure(answer, own)
    if status < 400:  # noqa: PLR2004
        return "address" if status >= 300 else None  # noqa: PLR2004
    if answer.is_html:
        return _first(PAGES, answer, own) or STATUSES.get(status) or ("address" if status == 404 else None)  # noqa: PLR2004
    return _of_refusal(answer, own) or STATUSES.get(status)


def _of_refusal(answer: ErrorAnswer, own: OwnWords) -> Meaning | None:
    if answer.blames_no_text:
        return next(FIELDS.get(name.lower(), "option") for name in answer.fields if name.lower() not in TEXT_FIELDS)
    if answer.status in {401, 402}:
        return None  # the status decides
    if answer.positions:
        return "text"
    is_too_large = answer.status == PAYLOAD_TOO_LARGE
    if read_too_large(answer):
        return (_first(TEXTS, answer, own) if is_too_large else None) or "size"
    found = _first(TEXTS, answer, own) or _first(REFUSALS, answer, own)
    if found is None and answer.status == 404:  # noqa: PLR2004
        return "model" if re.search(r"\b(?:models?|deployments?|engines?)\b", own.text) else "address"
    return found


def _of_failure(answer: ErrorAnswer, own: OwnWords) -> Meaning | None:
    if (excess := read_too_large(answer)) and excess.is_of_one_text:
        return "size"
    found = STATUSES.get(answer.status) or _first(TEXTS, answer, own) or _first(FAILURES, answer, own)
    return found or (None if answer.status in _UNSUPPORTED else "transient")
