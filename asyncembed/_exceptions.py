"""The exceptions that users see: one tree, without types of aiohttp, ijson or exception groups.

    AsyncEmbedError
    ├── ConfigurationError (also ValueError)   wrong argument, unknown provider, missing key
    ├── APIStatusError                         the API answered with an error status
    │   ├── AuthenticationError                401, 403
    │   ├── ModelNotFoundError                 404
    │   ├── QuotaExceededError                 402, or a 429 that waiting does not help
    │   ├── RateLimitError                     429
    │   ├── InvalidInputError                  400, 413, 422, or a text refused before it was sent
    │   └── ServerError                        5xx
    ├── TransportError                         connect, TLS, reset
    │   └── EmbedTimeoutError                  no answer in time (also TimeoutError)
    ├── ResponseError                          a 200 without the requested vectors
    ├── BudgetExceededError                    max_tokens or max_cost is reached (see `_budget_exceeded`)
    ├── StreamClosedError                      the stream or the client was closed
    └── ResumeError                            the file belongs to another run

Every constructor argument beyond the message has a default, so the standard pickling of exceptions keeps all
attributes. `ErrorAnswer` has all facts of the error response that an `APIStatusError` was built from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from asyncembed._repr import MAX_MESSAGE, ShortRepr, shown

TEXT_FIELDS: Final = frozenset({
    "content", "contents", "document", "documents", "input", "input_ids", "input_text", "input_tokens", "inputs",
    "inputtext", "instances", "messages", "parts", "passage", "passages", "prompt", "prompts", "requests", "sentence",
    "sentences", "strings", "text", "texts",
})  # fmt: skip
"""Names that APIs give to the request field with the texts, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ErrorAnswer(ShortRepr):
    """The facts of one error response, with all keys redacted.

    Attributes:
        status: HTTP status.
        codes: Error codes, types and reasons in the response, the most specific ones first.
        provider_message: The error message, at most 2,000 characters; for an HTML page its title, on one line.
        fields: Request fields that the message blames, without their path, such as "dimensions" or "input".
        positions: Positions of texts that the message names, in ascending order; `named` checks them.
        is_api_form: Whether the body is JSON in a form that APIs use for errors; proxies and firewalls rarely use it.
        is_html: Whether the body is an HTML page.
        request_id: The provider's id of the request, for its support.
        retry_after: Seconds that the API asks to wait, 0 or more.
    """

    status: int
    codes: tuple[str, ...] = ()
    provider_message: str = ""
    fields: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()
    is_api_form: bool = False
    is_html: bool = False
    request_id: str | None = None
    retry_after: float | None = None

    @property
    def code(self) -> str | None:
        """The first code, if there is one."""
        return self.codes[0] if self.codes else None

    @property
    def blames_no_text(self) -> bool:
        """Whether the response blames request fields, and none with texts."""
        return bool(self.fields) and TEXT_FIELDS.isdisjoint(field.lower() for field in self.fields)

    def named(self, count: int) -> tuple[int, ...]:
        """Return the positions of the blamed texts in a request of `count` texts.

        If one of the numbers is out of range, the numbers mean something else, and the result is empty.
        """
        return self.positions if all(position < count for position in self.positions) else ()


ErrorT = TypeVar("ErrorT", bound="AsyncEmbedError")


class AsyncEmbedError(Exception):
    """Base class of all errors that this package raises on purpose; each has these four attributes.

    `repr` has a few hundred characters at most; `str` gives the whole message.
    """

    status: int | None = None
    """HTTP status of the response that caused the error; None if there was none."""
    request_id: str | None = None
    """The provider's id of the request, for its support; None if the response has none."""
    provider_message: str = ""
    """The provider's error message, shortened to 500 characters; empty if there is none."""
    indices: tuple[int, ...] = ()
    """Input indices of the texts that the error is about, in ascending order; empty if it is about none."""

    def __repr__(self) -> str:
        message = shown(str(self), max_text=MAX_MESSAGE)
        return f"{type(self).__name__}({message})"


class ConfigurationError(AsyncEmbedError, ValueError):
    """Raised before anything is sent, when an argument, option or key is wrong or missing, or an item is not a text."""


class APIStatusError(AsyncEmbedError):
    """Raised when the API answers with an error status.

    Attributes:
        status: HTTP status; None if a text was refused before it was sent.
        code: The provider's error code or type, if the response has one.
        request_id: The provider's id of the request, for its support.
        retry_after: Seconds that the API asks to wait, if it does.
        provider_message: The provider's error message, shortened to 500 characters.
        indices: Input indices of the texts that were in the request.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        provider_message: str = "",
        indices: tuple[int, ...] = (),
        answer: ErrorAnswer | None = None,
    ) -> None:
        super().__init__(message)
        self._answer = answer
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.provider_message = provider_message
        self.indices = indices


class AuthenticationError(APIStatusError):
    """Raised on 401 and 403: the key is missing, wrong or lacks a permission."""


class ModelNotFoundError(APIStatusError):
    """Raised on 404: the model or deployment does not exist.

    A 404 whose message does not mention a model is a plain `APIStatusError`: the address is wrong.
    """


class QuotaExceededError(APIStatusError):
    """Raised on 402, and on a 429 that says that the quota, not the rate, is used up; waiting does not help."""


class RateLimitError(APIStatusError):
    """Raised on 429 when the retries are used up."""


class InvalidInputError(APIStatusError):
    """Raised on 400, 413 and 422, and for a text refused before it was sent; `indices` names the inputs."""


class ServerError(APIStatusError):
    """Raised on 5xx when the retries are used up."""


class TransportError(AsyncEmbedError):
    """Raised when a connection fails or breaks, TLS fails, or the server sends nothing for too long."""

    def __init__(self, message: str, *, retryable: bool = True, indices: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.indices = indices


class EmbedTimeoutError(TransportError, TimeoutError):
    """Raised when the server does not respond in time; also a `TimeoutError`.

    Attributes:
        phase: What took too long: to "connect", the "answer" up to its headers, or the next bytes of its "body".
    """

    def __init__(
        self,
        message: str,
        *,
        phase: Literal["connect", "answer", "body"] = "answer",
        retryable: bool = True,
        indices: tuple[int, ...] = (),
    ) -> None:
        super().__init__(message, retryable=retryable, indices=indices)
        self.phase = phase


class ResponseError(AsyncEmbedError):
    """Raised when a response is not JSON, is cut off, or holds a wrong count, dimension or number.

    Attributes:
        indices: Input indices whose vectors are missing; all other vectors of the response were kept.
        retryable: False if a retry cannot help: delivered vectors may be matched to the wrong texts, or the model
            returns something other than one vector per text.
        provider_message: The error message inside the response, if there is one.
        is_empty: Whether the response was complete but contained no vector.
        is_short: Whether the response was complete but contained fewer vectors than texts were requested.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: tuple[int, ...] = (),
        retryable: bool = True,
        provider_message: str = "",
        is_empty: bool = False,
        is_short: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_short = is_short
        self.indices = missing
        self.retryable = retryable
        self.provider_message = provider_message
        self.is_empty = is_empty

    @property
    def missing(self) -> tuple[int, ...]:
        """The same as `indices`."""
        return self.indices


class StreamClosedError(AsyncEmbedError):
    """Raised when a stream or client is used after it was closed."""


class ResumeError(AsyncEmbedError):
    """Raised when a run cannot resume a file that belongs to other texts, another model or other options."""


def answer_of(error: BaseException) -> ErrorAnswer | None:
    """Return the facts of the error response that an exception was built from; None if there was none."""
    answer: ErrorAnswer | None = getattr(error, "_answer", None)
    return answer


def of_answer(error: ErrorT, status: int | None, request_id: str | None) -> ErrorT:
    """Set status and request id of the response on an error, and return it."""
    error.status, error.request_id = status, request_id
    return error


def without_frames(error: BaseException) -> BaseException:
    """Remove the traceback of an `AsyncEmbedError`, and return the error.

    The frames of a traceback keep batches in memory, and show what the server has sent.
    """
    return error.with_traceback(None) if isinstance(error, AsyncEmbedError) else error


class StoredError:
    """An error that is raised several times; its traceback does not grow.

    Args:
        error: The error. An `AsyncEmbedError` loses its present traceback.
    """

    __slots__ = ("_traceback", "error")

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._traceback = without_frames(error).__traceback__

    def ready(self) -> BaseException:
        """Return the error, ready to be raised."""
        return self.error.with_traceback(self._traceback)
