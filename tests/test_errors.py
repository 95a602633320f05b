"""The exceptions: one tree, all of it told in pickles, nothing but plain values."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import asyncembed
from asyncembed import (
    APIStatusError,
    AsyncEmbedError,
    ConfigurationError,
    EmbedFailure,
    EmbedTimeoutError,
    ResponseError,
    ResumeError,
    StreamClosedError,
    TransportError,
)
from asyncembed._exceptions import ErrorAnswer, answer_of

STATUS = {
    "status": 429,
    "code": "rate_limit_exceeded",
    "request_id": "req_1",
    "retry_after": 1.5,
    "provider_message": "slow down",
    "indices": (3, 4),
    "answer": ErrorAnswer(status=429, codes=("a", "b"), provider_message="slow down", positions=(1,), retry_after=1.5),
}
ATTRIBUTES = {
    AsyncEmbedError: {},
    ConfigurationError: {},
    APIStatusError: STATUS,
    asyncembed.AuthenticationError: STATUS,
    asyncembed.InvalidInputError: STATUS,
    asyncembed.ModelNotFoundError: STATUS,
    asyncembed.QuotaExceededError: STATUS,
    asyncembed.RateLimitError: STATUS,
    asyncembed.ServerError: STATUS,
    TransportError: {"retryable": False, "indices": (7,)},
    EmbedTimeoutError: {"phase": "body", "retryable": False, "indices": (7,)},
    ResponseError: {"missing": (1, 2), "retryable": False, "provider_message": "no", "is_empty": True},
    StreamClosedError: {},
    ResumeError: {},
}
EXCEPTIONS = {
    value for value in vars(asyncembed).values() if inspect.isclass(value) and issubclass(value, BaseException)
}


def test_every_exception_is_tested_here():
    """Also one that is added later."""
    assert set(ATTRIBUTES) == EXCEPTIONS


@pytest.mark.parametrize("kind", ATTRIBUTES)
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_all_attributes_survive_pickling(kind, copied):
    """With the notes; as between processes."""
    error = kind("what went wrong", **ATTRIBUTES[kind])
    error.indices = (5, 6)
    error.add_note("then: another")
    twin = copied(error)
    assert type(twin) is kind
    assert twin is not error
    assert str(twin) == "what went wrong"
    assert vars(twin) == vars(error)
    assert twin.__notes__ == ["then: another"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(protocol):
    """Old ones too, as multiprocessing libraries choose their own."""
    error = asyncembed.RateLimitError("x", **STATUS)
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert {name: getattr(twin, name) for name in STATUS if name != "answer"} | {"answer": answer_of(twin)} == STATUS


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_a_message_is_enough(kind):
    """Every attribute has a default."""
    error = kind("x")
    assert isinstance(error, AsyncEmbedError)
    assert error.indices == ()
    assert str(error) == "x"


def test_the_tree():
    """As the documentation draws it."""
    below = {kind for kind in EXCEPTIONS if APIStatusError in kind.__bases__}
    assert {kind.__name__ for kind in below} == {
        "AuthenticationError",
        "InvalidInputError",
        "ModelNotFoundError",
        "QuotaExceededError",
        "RateLimitError",
        "ServerError",
    }
    direct = {ConfigurationError, APIStatusError, TransportError, ResponseError, StreamClosedError, ResumeError}
    assert {kind for kind in EXCEPTIONS if AsyncEmbedError in kind.__bases__} == direct
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(EmbedTimeoutError, TransportError | TimeoutError)
    assert below | direct | {AsyncEmbedError, EmbedTimeoutError} == EXCEPTIONS


def test_the_tree_is_in_the_documentation():
    """Every class by its name, and each says when it is raised."""
    for kind in EXCEPTIONS:
        assert kind.__name__ in asyncembed._exceptions.__doc__
        assert kind.__doc__.startswith(("Raised ", "Base class of "))


def test_what_is_missing_are_the_indices():
    """So that every error answers the same question."""
    error = ResponseError("x", missing=(1, 2))
    assert error.indices == error.missing == (1, 2)


def test_a_failure_pickles_with_its_error():
    """As it stands in a result list."""
    failure = EmbedFailure(3, "text", "id", asyncembed.ServerError("x", status=503, indices=(3,)))
    twin = pickle.loads(pickle.dumps(failure))
    assert (twin.index, twin.text, twin.id, twin.error.status, twin.error.indices) == (3, "text", "id", 503, (3,))


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_every_error_answers_the_same_questions(kind):
    """With None or nothing where there is nothing to say."""
    error = kind("x")
    assert (error.status, error.request_id, error.provider_message, error.indices) == (None, None, "", ())
