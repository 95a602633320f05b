"""Settings and values: wrong ones are refused when they are built, by name and with what would be right."""

from __future__ import annotations

import dataclasses
import inspect
import math

import aiohttp
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
    StreamingEmbedResponse,
    SyncEmbedder,
    Timeouts,
    Usage,
)
from asyncembed.stores import LanceTable, PgVector, SqliteVectors

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
    assert Usage(1, 20) + Usage(2, 30) + Usage(4) == Usage(7, 50)


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
            "this call has no option 'chunksize'; it has: chunk_size, dead_letter, dedupe, dedupe_mb, dimensions, ",
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
        with pytest.raises(ConfigurationError, match="extra= must not contain input"):
            client.embed_stream(["a"], chunk_size=1, dimensions=1, extra=extra)
        one, two = (client.embed_stream(["a"], max_memory_mb=1)._run.endpoint.budget for _ in range(2))
        assert one is not two


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, Timeouts()),
        (30, Timeouts(connect=10, first_byte=30, read=30)),
        (2.5, Timeouts(connect=2.5, first_byte=2.5, read=2.5)),
        (Timeouts(read=3), Timeouts(read=3)),
    ],
)
def test_time_limits_may_be_a_number(given, meant):
    """Of seconds: for the answer, and for silence inside it; to connect does not take longer than usual."""
    assert Timeouts.of(given) == meant
    assert EmbedClient("openai", api_key="k", timeouts=given)._connection._timeouts == meant


@pytest.mark.parametrize(("given", "meant"), [(None, 8), (1, 1), (3, 3), (RetryPolicy(max_attempts=5), 5)])
def test_retries_may_be_a_number(given, meant):
    """Of attempts, the first included."""
    assert RetryPolicy.of(given).max_attempts == meant
    assert EmbedClient("openai", api_key="k", retry=given)._endpoint.retry.max_attempts == meant


WRONG_FOR_A_CLIENT = [
    ("retry", "3", "retry='3' must be a RetryPolicy(...) or a number of attempts, 1 or more; 1 tries once"),
    ("retry", 0, "retry=0 must be a RetryPolicy"),
    ("retry", -1, "retry=-1 must be a RetryPolicy"),
    ("retry", 2.5, "retry=2.5 must be a RetryPolicy"),
    ("retry", True, "retry=True must be a RetryPolicy"),
    ("retry", RetryPolicy, "retry=<class 'asyncembed"),
    ("retry", Timeouts(), "retry=Timeouts(connect=10.0"),
    ("timeouts", "30", "timeouts='30' must be a number of seconds above 0, or Timeouts(connect=..., first_byte=..."),
    ("timeouts", 0, "timeouts=0 must be a number"),
    ("timeouts", -3, "timeouts=-3 must be a number"),
    ("timeouts", math.nan, "timeouts=nan must be a number"),
    ("timeouts", math.inf, "timeouts=inf must be a number"),
    ("timeouts", True, "timeouts=True must be a number"),
    ("timeouts", (3, 30), "timeouts=(3, 30) must be a number"),
    ("timeouts", RetryPolicy(), "timeouts=RetryPolicy("),
    ("session", object(), "session= is a builtins.object, but must be an aiohttp.ClientSession object"),
    ("session", aiohttp.ClientSession, "session= is the class ClientSession, but must be an aiohttp.ClientSession"),
    ("session", "http://proxy", "session= is a builtins.str, but must be"),
    ("headers", [("X-Team", "nlp")], "headers= is a list, but must map names to values: {'X-Name': 'value'}"),
    ("headers", "X-Team: nlp", "headers= is a str, but must map"),
    ("headers", 7, "headers= is a int, but must map"),
    ("headers", {"X-Team": 7}, "headers= has a value for 'X-Team' that is not a single line of text"),
    ("headers", {7: "nlp"}, "headers= has a value for 7 that is not a single line of text"),
    ("model", 7, "model=7 must be a str"),
    ("model", b"m", "model=b'm' must be a str"),
    ("rate_limit", 600, "rate_limit=600 must be a RateLimit, such as RateLimit(requests_per_minute=600)"),
    ("max_concurrency", True, "max_concurrency=True must be a whole number, 1 or more"),
    ("max_concurrency", "8", "max_concurrency='8' must be a whole number"),
    ("cache", 7, "cache=7 must be the path of a file"),
    ("cache_mb", 0, "cache_mb=0 must be a number above 0"),
    ("initial_concurrency", 0, "initial_concurrency=0 must be a whole number"),
    ("max_memory_mb", "256", "max_memory_mb='256' must be a number above 0"),
    ("max_memory_mb", True, "max_memory_mb=True must be a number above 0"),
    ("encoding", ["float"], "encoding=['float'] is not known"),
    ("base_url", 7, "base_url= must be a str, not int"),
    ("base_url", b"http://me:secret@host", "base_url= must be a str, not bytes"),
    ("catalogue", 7, "catalogue=7 must be a str"),
    ("catalogue", "?" * 1_000, "catalogue=<'????"),
    ("prompts", 7, "prompts= must be the name of a family, or a mapping of input types to texts"),
    ("prompts", {"query": 7}, "prompts= must be the name of a family"),
    ("prompts", "no family", "prompts='no family' is not a known family"),
    ("api_key", 7, "api_key= must be a str, not int"),
    ("on_event", 7, "on_event=7 must be a plain function"),
    ("query_concurrency", 0, "query_concurrency=0 must be a whole number, 1 or more"),
    ("max_waiting_queries", "9", "max_waiting_queries='9' must be a whole number, 1 or more"),
    ("query_cache", -1, "query_cache=-1 must be a whole number, 0 or more"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG_FOR_A_CLIENT)
def test_every_argument_of_a_client_is_checked_when_it_is_made(name, value, message):
    """The message names the argument and says what would be right."""
    with pytest.raises(ConfigurationError) as caught:
        EmbedClient("openai", **{"api_key": "k", name: value})
    assert str(caught.value).startswith(message)


def test_every_argument_of_a_client_is_in_that_table():
    """Also one that is added later."""
    names = set(inspect.signature(EmbedClient).parameters) - {"provider"}
    assert names == {name for name, _, _ in WRONG_FOR_A_CLIENT}


async def test_a_closed_session_is_refused():
    """It would fail at the first request."""
    async with aiohttp.ClientSession() as session:
        EmbedClient("openai", api_key="k", session=session)
    with pytest.raises(ConfigurationError, match="session= is closed; pass an open"):
        EmbedClient("openai", api_key="k", session=session)


def test_a_wrong_value_of_any_size_makes_a_short_message():
    """A list of a million texts in the place of a name."""
    for name in ("encoding", "retry", "timeouts", "model", "max_memory_mb"):
        with pytest.raises(ConfigurationError) as caught:
            EmbedClient("openai", api_key="k", **{name: ["x" * 1_000] * 10**6})
        assert len(str(caught.value)) < 600
    with pytest.raises(ConfigurationError) as caught:
        EmbedClient(["x" * 1_000] * 10**6)
    assert len(str(caught.value)) < 600


WRONG_FOR_A_VERB = [
    ("embed_stream", "ordered", "no", "ordered='no' must be True or False"),
    ("embed_stream", "model", 7, "model=7 must be a str"),
    ("embed_stream", "input_type", 7, "input_type=7 must be a str"),
    ("embed_stream", "truncate", True, "truncate=True must be a str"),
    ("embed_stream", "long_text", "cut", "long_text='cut' is not known; use one of 'fail', 'truncate'"),
    ("embed_stream", "max_text_tokens", 0, "max_text_tokens=0 must be a whole number, 1 or more"),
    ("embed_stream", "normalize", "no", "normalize='no' must be True or False"),
    ("embed_stream", "normalize", [], "normalize=[] must be True or False"),
    ("embed_stream", "shorten", ["client"], "shorten=['client'] is not known; use one of 'server', 'client'"),
    ("embed_stream", "shorten", "client", "shorten='client' needs dimensions="),
    ("embed_stream", "prompts", "no family", "prompts='no family' is not a known family"),
    ("embed_stream", "chunk_size", True, "chunk_size=True must be a whole number"),
    ("embed_stream", "on_error", ["skip"], "on_error=['skip'] is not known"),
    ("embed_stream", "dead_letter", 7, "dead_letter=7 must be the path of a file"),
    ("embed_binary_stream", "ordered", 0, "ordered=0 must be True or False"),
    ("embed_large_dataset", "ordered", None, "ordered=None must be True or False"),
    ("embed_large_dataset", "max_memory_mb", -1, "max_memory_mb=-1 must be a number above 0"),
    ("embed_with_callback", "ordered", "yes", "ordered='yes' must be True or False"),
    ("embed_with_callback", "callback_concurrency", True, "callback_concurrency=True must be a whole number"),
    ("embed", "on_error", "yield", "on_error='yield' is not known; use one of 'raise', 'skip'"),
    ("embed", "on_progress", 7, "on_progress=7 must be a function of one RunSummary"),
    ("embed_to_file", "output_file", 7, "output_file=7 must be a str or a path"),
    ("embed_to_file", "output_file", b"v.npy", "output_file=b'v.npy' must be a str or a path"),
    ("embed_to_file", "resume", "yes", "resume='yes' must be True or False"),
    ("embed_to_file", "overwrite", 1, "overwrite=1 must be True or False"),
    ("embed_to_file", "keep_text", None, "keep_text=None must be True or False"),
    ("embed_to_file", "stop", True, "stop=True must be an asyncio.Event"),
    ("embed_to_file", "stop_wait", -1, "stop_wait=-1 must be a number, 0 or more"),
    ("embed_to_file", "stop_wait", "5", "stop_wait='5' must be a number, 0 or more"),
    ("embed_to_file", "on_progress", 7, "on_progress=7 must be a function of one RunSummary"),
]


@pytest.mark.parametrize(("verb", "name", "value", "message"), WRONG_FOR_A_VERB)
async def test_every_argument_of_a_verb_is_checked_when_it_is_called(tmp_path, monkeypatch, verb, name, value, message):
    """Before a text is pulled, a file is made or a byte is sent."""

    def texts():
        pytest.fail("a text was pulled")
        yield ""

    monkeypatch.chdir(tmp_path)
    needed = {"embed_with_callback": {"callback": print}, "embed_to_file": {"output_file": "v.npy"}}

    async def call(client):
        returned = getattr(client, verb)(texts(), **{**needed.get(verb, {}), name: value})
        await (returned if inspect.isawaitable(returned) else returned.aclose())

    async with EmbedClient("cohere", api_key="k") as client:
        with pytest.raises(ConfigurationError) as caught:
            await call(client)
    assert str(caught.value).startswith(message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SqliteVectors(7), "path=7 must be a str or a path"),
        (lambda: SqliteVectors(""), "path='' must be a str or a path"),
        (lambda: SqliteVectors("v.db", 7), "table=7 must be a str"),
        (lambda: LanceTable(7), "uri=7 must be a str or a path"),
        (lambda: LanceTable("folder", None), "table=None must be a str"),
        (lambda: PgVector(b"password=secret"), "conninfo= must be a str"),
        (lambda: PgVector("", 7), "table=7 must be a str"),
        (lambda: PgVector("", schema=None), "schema=None must be a str"),
    ],
)
def test_every_argument_of_a_store_is_checked_when_it_is_made(make, message):
    """And a password is not shown."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize("store", [7, None, SqliteVectors])
@pytest.mark.parametrize("kind", [EmbedClient, SyncEmbedder])
async def test_what_is_no_store_is_refused(kind, store):
    """Before anything is sent; a class is no store."""
    embedder = kind("openai", api_key="k")
    with pytest.raises(ConfigurationError, match=r"^store=.* must be a SqliteVectors, PgVector or LanceTable"):
        await embedder.embed_to_store([(1, "a")], store)


@pytest.mark.parametrize("source", [b"{}", "{}", None, 7, ["{}"]])
def test_a_source_of_a_response_is_checked_when_it_is_given(source):
    """With what would be right for bytes."""
    with pytest.raises(ConfigurationError, match=r"source= is a \w+, but must be .* io.BytesIO"):
        StreamingEmbedResponse(source, "openai")
