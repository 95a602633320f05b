"""The error that ends a run or stands for a text: built once, when it is known what is to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncembed._errors import (
    APIStatusError,
    AuthenticationError,
    EmbedTimeoutError,
    InvalidInputError,
    ModelNotFoundError,
    QuotaExceededError,
    ResponseError,
    TransportError,
    answer_of,
    of_answer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed._decide.signs import Meaning
    from asyncembed._errors import AsyncEmbedError

_OF_REQUEST: Final[Mapping[Meaning | None, type[APIStatusError]]] = {
    "key": AuthenticationError,
    "model": ModelNotFoundError,
    "quota": QuotaExceededError,
}
_OK: Final = 200


def of_text(error: AsyncEmbedError, indices: tuple[int, ...], note: str = "") -> AsyncEmbedError:
    """Return the error that stands for texts which the API does not take, whatever status said so."""
    if isinstance(error, APIStatusError):
        return _status_error(InvalidInputError, error, indices, note)
    return of_attempts(error, indices, note)


def of_request(error: AsyncEmbedError, meaning: Meaning | None, indices: tuple[int, ...]) -> AsyncEmbedError:
    """Return the error of a request that the API does not take for what it means; no text is to blame."""
    if isinstance(error, APIStatusError):
        usual = APIStatusError if isinstance(error, InvalidInputError) or meaning else type(error)
        return _status_error(_OF_REQUEST.get(meaning, usual), error, indices, "")
    if isinstance(error, ResponseError) and meaning in _OF_REQUEST:
        kind = _OF_REQUEST[meaning]
        return kind(
            str(error),
            status=_OK,
            request_id=error.request_id,
            provider_message=error.provider_message,
            indices=indices,
        )
    return of_attempts(error, indices, "")


def of_attempts(error: AsyncEmbedError, indices: tuple[int, ...], note: str) -> AsyncEmbedError:
    """Return the error of texts that were asked for in vain; `note` says how often."""
    indices = indices or error.indices
    if isinstance(error, APIStatusError):
        return _status_error(type(error), error, indices, note)
    if isinstance(error, ResponseError):
        again: AsyncEmbedError = ResponseError(
            f"{error}{note}",
            missing=indices,
            retryable=error.retryable,
            provider_message=error.provider_message,
            is_empty=error.is_empty,
        )
        return of_answer(again, error.status, error.request_id)
    if isinstance(error, EmbedTimeoutError):
        again = EmbedTimeoutError(f"{error}{note}", phase=error.phase, retryable=error.retryable, indices=indices)
        return of_answer(again, error.status, error.request_id)
    if isinstance(error, TransportError):
        again = TransportError(f"{error}{note}", retryable=error.retryable, indices=indices)
        return of_answer(again, error.status, error.request_id)
    error.indices = indices
    return error


def _status_error(
    kind: type[APIStatusError], error: APIStatusError, indices: tuple[int, ...], note: str
) -> APIStatusError:
    return kind(
        f"{error}{note}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        retry_after=error.retry_after,
        provider_message=error.provider_message,
        indices=indices or error.indices,
        answer=answer_of(error),
    )
