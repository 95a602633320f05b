"""Settings and values: wrong ones are refused when they are built, by name and with what would be right."""

from __future__ import annotations

import dataclasses
import inspect
import math

import numpy as np
import pytest

import asyncembed
from asyncembed import (
    ConfigurationError,
    EmbedClient,
    EmbedInput,
    EmbedOptions,
    EmbedResponse,
    EmbedResult,
    Limits,
    RetryPolicy,
    RunSummary,
    Timeouts,
    Usage,
)
from asyncembed._settings import Dtype, check, check_choice, check_positive

VALUES = [value for value in vars(asyncembed).values() if inspect.isclass(value) and dataclasses.is_dataclass(value)]
SECONDS = [
    (RetryPolicy, "initial_backoff"),
    (RetryPolicy, "max_backoff"),
    (RetryPolicy, "max_elapsed"),
    (Timeouts, "connect"),
    (Timeouts, "first_byte"),
    (Timeouts, "read"),
]


def test_defaults():
    """As documented."""
    assert RetryPolicy() == RetryPolicy(max_attempts=8, initial_backoff=0.5, max_backoff=60.0, max_elapsed=600.0)
    assert Timeouts() == Timeouts(connect=10.0, first_byte=120.0, read=60.0)
    assert EmbedOptions(model="m") == EmbedOptions(
        model="m", input_type=None, dimensions=None, truncate=None, dtype="float32", extra={}
    )


@pytest.mark.parametrize("value", [0, -1, 0.0, math.nan, math.inf, -math.inf, "5", None, [5], 1j])
@pytest.mark.parametrize(("kind", "name"), SECONDS)
def test_seconds_are_finite_and_above_zero(kind, name, value):
    """The message names the setting and the value."""
    with pytest.raises(ConfigurationError) as caught:
        kind(**{name: value})
    assert str(caught.value) == f"{name}={value!r} must be a number above 0"


@pytest.mark.parametrize(("kind", "name"), SECONDS)
def test_any_kind_of_number_will_do(kind, name):
    """Whole, broken, tiny."""
    for value in (1, 0.25, 1e-9, 10**9, np.float64(2.5)):
        assert getattr(kind(**{name: value}), name) == value


def test_an_integer_beyond_every_float_is_refused():
    """As infinity is."""
    with pytest.raises(ConfigurationError, match="connect="):
        Timeouts(connect=10**400)


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, math.inf])
def test_attempts_are_a_whole_number(value):
    """1 or more."""
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(max_attempts=value)
    assert str(caught.value) == f"max_attempts={value!r} must be a whole number, 1 or more"


@pytest.mark.parametrize("value", [0, -5, 1.0, "256", math.nan])
def test_dimensions_are_a_whole_number(value):
    """1 or more."""
    with pytest.raises(ConfigurationError) as caught:
        EmbedOptions(model="m", dimensions=value)
    assert str(caught.value) == f"dimensions={value!r} must be a whole number, 1 or more"
    assert EmbedOptions(model="m", dimensions=1).dimensions == 1


@pytest.mark.parametrize("value", ["float64", "", None, 8, ["float32"]])
def test_a_dtype_is_one_of_five(value):
    """All of which the message lists."""
    with pytest.raises(ConfigurationError) as caught:
        EmbedOptions(model="m", dtype=value)
    assert str(caught.value) == (
        f"dtype={value!r} is not known; use one of 'float32', 'int8', 'uint8', 'binary', 'ubinary'"
    )


@pytest.mark.parametrize("value", [None, [("a", 1)], "a=1", 7])
def test_extra_is_a_mapping(value):
    """Of field names to values."""
    with pytest.raises(ConfigurationError, match="extra= must be a mapping of field names to values"):
        EmbedOptions(model="m", extra=value)


def test_the_checks_pass_what_is_right():
    """And raise a ValueError for what is not."""
    check(True, "x")
    check_choice("dtype", "int8", Dtype)
    check_positive("x", 0.1)
    with pytest.raises(ValueError, match=r"^x$"):
        check(False, "x")


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_frozen_and_slotted(kind):
    """They are shared between tasks."""
    assert dataclasses.fields(kind)
    assert kind.__dataclass_params__.frozen or kind in {EmbedInput, EmbedResult}  # one for each text is made
    assert "__slots__" in vars(kind)


@pytest.mark.parametrize("kind", [RetryPolicy, Timeouts, EmbedOptions, Limits])
def test_settings_are_given_by_name(kind):
    """Nobody has to remember their order."""
    parameters = inspect.signature(kind).parameters.values()
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}


def test_usage_adds_up():
    """Over requests."""
    assert Usage(3) + Usage(4) == Usage(7)
    assert sum([Usage(1), Usage(2)], Usage()) == Usage(3)


def test_a_summary_starts_at_nothing():
    """Before the run does."""
    summary = RunSummary()
    assert (summary.done, summary.failed, summary.usage, summary.dimension, summary.elapsed) == (0, 0, Usage(), None, 0)


def test_results_are_compared_by_identity():
    """An array has no single truth value."""
    one, two = (EmbedResult(0, np.zeros(2, np.float32), "a") for _ in range(2))
    assert one != two
    assert len({one, two}) == 2
    assert EmbedInput("a") == EmbedInput("a", None)


def test_a_response_is_a_sequence_of_rows():
    """Of its matrix, not copied."""
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    response = EmbedResponse(embeddings=matrix, texts=["a", "b", "c"], ids=[None, 1, "x"], usage=Usage(3), model="m")
    assert len(response) == 3
    assert [row.tolist() for row in response] == matrix.tolist()
    assert np.shares_memory(response[1], matrix)
    assert response[-1].tolist() == [4, 5]
    with pytest.raises(IndexError):
        response[3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"chunksize": 3},
            "this call has no option 'chunksize'; it has: chunk_size, dead_letter, dimensions, dtype, extra",
        ),
        ({"chunk_size": 0}, "chunk_size=0 must be a whole number, 1 or more"),
        ({"chunk_size": 1.5}, "chunk_size=1.5 must be a whole number, 1 or more"),
        ({"max_concurrency": 0}, "max_concurrency=0 must be a whole number, 1 or more"),
        ({"max_memory_mb": -1}, "max_memory_mb=-1 must be a number above 0"),
        ({"max_wait": 0}, "max_wait=0 must be a number above 0"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known; use one of 'raise', 'yield', 'skip'"),
        ({"dtype": "float16"}, "dtype='float16' is not known; use one of 'float32', 'int8'"),
        ({"dimensions": "256"}, "dimensions='256' must be a whole number, 1 or more"),
    ],
)
async def test_options_of_a_call_are_checked_when_it_is_made(options, message):
    """Before a text is pulled or a byte is sent."""

    def texts():
        pytest.fail("a text was pulled")
        yield ""

    async with EmbedClient("cohere", api_key="k") as client:
        with pytest.raises(ConfigurationError) as caught:
            client.embed_stream(texts(), **options)
        assert str(caught.value).startswith(message)
        client.embed_stream(["a"], max_memory_mb=0.1, max_concurrency=1, chunk_size=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_memory_mb": 0}, "max_memory_mb=0 must be a number above 0"),
        ({"max_concurrency": 2.5}, "max_concurrency=2.5 must be a whole number, 1 or more"),
        ({"encoding": "hex"}, "encoding='hex' is not known; use one of 'auto', 'base64', 'float'"),
    ],
)
def test_options_of_a_client_are_checked_when_it_is_made(options, message):
    """By name."""
    with pytest.raises(ConfigurationError) as caught:
        EmbedClient("openai", api_key="k", **options)
    assert str(caught.value) == message


def test_memory_beyond_every_number_is_refused():
    """A float that its bytes do not fit into."""
    with pytest.raises(ConfigurationError, match="max_memory_mb="):
        EmbedClient("openai", api_key="k", max_memory_mb=1e305)


async def test_options_that_were_checked_before_vouch_for_no_others():
    """Not for what is only equal to them, nor for what has changed since, nor for a budget of somebody else's."""
    extra = {"user": "me"}
    async with EmbedClient("openai", api_key="k") as client:
        for _ in range(2):
            client.embed_stream(["a"], chunk_size=1, dimensions=1, extra=extra)
            client.embed_stream(["a"], chunk_size=1, dimensions=1)
        with pytest.raises(ConfigurationError, match=r"chunk_size=1\.0"):
            client.embed_stream(["a"], chunk_size=1.0, dimensions=1)
        extra["input"] = "mine"
        with pytest.raises(ConfigurationError, match="extra= may not hold input"):
            client.embed_stream(["a"], chunk_size=1, dimensions=1, extra=extra)
        one, two = (client.embed_stream(["a"], max_memory_mb=1)._run.endpoint.budget for _ in range(2))
        assert one is not two
