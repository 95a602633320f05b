"""What an API says when it refuses a request: every fact that its answer holds, in one value.

The exceptions users see: one tree, no aiohttp, ijson or exception-group types.

    AsyncEmbedError
    ├── ConfigurationError (also ValueError)   wrong argument, unknown provider, missing key
    ├── APIStatusError                         the API answered with an error status
    │   ├── AuthenticationError                401, 403
    │   ├── ModelNotFoundError                 404
    │   ├── QuotaExceededError                 402, or a 429 that waiting does not cure
    │   ├── RateLimitError                     429
    │   ├── InvalidInputError                  400, 413, 422, or a text refused before it was sent
    │   └── ServerError                        5xx
    ├── TransportError                         connect, TLS, reset
    │   └── EmbedTimeoutError                  no answer in time (also TimeoutError)
    ├── ResponseError                          a 200 that does not hold the vectors asked for
    ├── BudgetExceededError                    max_tokens or max_cost is reached
    ├── StreamClosedError                      the stream or the client was closed
    └── ResumeError                            the file belongs to another run

Every attribute beyond the message has a default, so the standard pickling of exceptions carries all of them over.
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
"""What APIs call the field of a request that holds the texts, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ErrorAnswer(ShortRepr):
    """The facts of one error answer; keys are blotted out of all of them.

    Attributes:
        status: HTTP status.
        codes: Every error code, type and reason that it names, the most specific ones first.
        provider_message: What it says, at most 2,000 characters; of a page of HTML its title, on one line.
        fields: Fields of the request that it blames, without the objects around them: "dimensions", "input".
        positions: Positions of texts that it names, in ascending order; `named` checks them.
        is_api_form: Whether the body is JSON in a form that APIs use for their errors. A proxy or a firewall seldom
            writes that.
        is_html: Whether the body is a page of HTML.
        request_id: The provider's id of the request, for its support.
        retry_after: Seconds that it asks to wait, 0 or more.
        should_retry: What it says itself about trying again, in the header `x-should-retry`.
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
    should_retry: bool | None = None

    @property
    def code(self) -> str | None:
        """The first code, if there is one."""
        return self.codes[0] if self.codes else None

    @property
    def blames_no_text(self) -> bool:
        """Whether it blames fields of the request, and none that holds texts."""
        return bool(self.fields) and TEXT_FIELDS.isdisjoint(field.lower() for field in self.fields)

    def named(self, count: int) -> tuple[int, ...]:
        """Return the positions of the texts it blames, in a request of `count` texts.

        A number that is no position in this request shows that the numbers mean something else: then there are none.
        """
        return self.positions if all(position < count for position in self.positions) else ()


ErrorT = TypeVar("ErrorT", bound="AsyncEmbedError")


class AsyncEmbedError(Exception):
    """Base of every error this package raises on purpose; each of them has these four attributes.

    Its `repr` has at most a few hundred characters; `str` gives the whole message.
    """

    status: int | None = None
    """HTTP status of the answer that it comes from, None if it comes from none."""
    request_id: str | None = None
    """The provider's id of the request, for its support, None if it told none."""
    provider_message: str = ""
    """The provider's own words, shortened to 500 characters; empty if there are none."""
    indices: tuple[int, ...] = ()
    """Input indices the error stands for, in ascending order; empty where it concerns none in particular."""

    def __repr__(self) -> str:
        message = shown(str(self), max_text=MAX_MESSAGE)
        return f"{type(self).__name__}({message})"


class ConfigurationError(AsyncEmbedError, ValueError):
    """Raised when an argument, option or key is wrong or missing, or an item is no text; it was not sent."""


class APIStatusError(AsyncEmbedError):
    """Raised when the API answers with an error status.

    Attributes:
        status: HTTP status; None where a text was refused before it was sent.
        code: The provider's own error code or type, if it named one.
        request_id: The provider's id of the request, for its support.
        retry_after: Seconds the API asked to wait, if it did.
        provider_message: The provider's own words, shortened to 500 characters.
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
    """Raised on 401 and 403: the key is missing, wrong or not allowed to do this."""


class ModelNotFoundError(APIStatusError):
    """Raised on 404: the model or deployment does not exist.

    An answer with 404 that says nothing of a model is a plain `APIStatusError`: the address is wrong.
    """


class QuotaExceededError(APIStatusError):
    """Raised on 402 and on a 429 that says the quota, not the rate, is used up; waiting does not help."""


class RateLimitError(APIStatusError):
    """Raised on 429 when the retries are used up."""


class InvalidInputError(APIStatusError):
    """Raised on 400, 413 and 422, and for a text refused before it was sent; `indices` names the inputs."""


class ServerError(APIStatusError):
    """Raised on 5xx when the retries are used up."""


class TransportError(AsyncEmbedError):
    """Raised when a connection cannot be made or breaks, TLS fails, or the server is silent for too long."""

    def __init__(self, message: str, *, retryable: bool = True, indices: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.indices = indices


class EmbedTimeoutError(TransportError, TimeoutError):
    """Raised when the server does not answer in time; a `TimeoutError`, too.

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
        indices: Input indices whose vectors did not arrive; everything else of the response was kept.
        retryable: False where asking again cannot help, because what was delivered may be misaligned.
        provider_message: The error message inside the response, if there is one.
        is_empty: Whether the response was whole and held no vector at all.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: tuple[int, ...] = (),
        retryable: bool = True,
        provider_message: str = "",
        is_empty: bool = False,
    ) -> None:
        super().__init__(message)
        self.indices = missing
        self.retryable = retryable
        self.provider_message = provider_message
        self.is_empty = is_empty

    @property
    def missing(self) -> tuple[int, ...]:
        """The same as `indices`."""
        return self.indices


class BudgetExceededError(AsyncEmbedError):
    """Raised when the next request would go over `max_tokens` or `max_cost`; what has arrived was delivered."""


class StreamClosedError(AsyncEmbedError):
    """Raised when a stream or client is used after it was closed."""


class ResumeError(AsyncEmbedError):
    """Raised when a file cannot be continued because it belongs to another input, model or option."""


def answer_of(error: BaseException) -> ErrorAnswer | None:
    """Return all facts of the error answer that an exception was made of, None if it was made of none."""
    answer: ErrorAnswer | None = getattr(error, "_answer", None)
    return answer


def of_answer(error: ErrorT, status: int | None, request_id: str | None) -> ErrorT:
    """Return an error with what it is known by at the provider."""
    error.status, error.request_id = status, request_id
    return error


def without_frames(error: BaseException) -> BaseException:
    """Return an error of ours without its way here: frames keep batches in memory, and show what a server has sent."""
    return error.with_traceback(None) if isinstance(error, AsyncEmbedError) else error


class StoredError:
    """An error that every call raises from now on: its traceback is the same each time, and does not grow.

    Args:
        error: The error; one of ours is raised without its way here.
    """

    __slots__ = ("_traceback", "error")

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._traceback = without_frames(error).__traceback__

    def ready(self) -> BaseException:
        """Return the error, to be raised."""
        return self.error.with_traceback(self._traceback)
