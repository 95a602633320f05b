"""What travels to another process, and what must not."""

from __future__ import annotations

import pickle
import subprocess
import sys

import aiohttp
import pytest

import asyncembed
from asyncembed import (
    ClientSpec,
    ConfigurationError,
    EmbedClient,
    Provider,
    RateLimit,
    RetryPolicy,
    SyncEmbedder,
    Timeouts,
)
from asyncembed.providers import OpenAI

KEY = "sk-never-shown-2718"


class Compatible(OpenAI):
    """A provider of one's own that holds nothing."""

    name = "compatible"


class Tenant(OpenAI):
    """One that holds something."""

    name = "tenant"

    def __init__(self, tenant):
        self.tenant = tenant


def test_a_spec_is_a_value(spec):
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    assert hash(again) == hash(spec)
    with pytest.raises(AttributeError):
        spec.model = "another"


def test_the_key_is_nowhere(spec):
    client = spec.open()
    for shown in (repr(spec), repr(client.spec), str(pickle.dumps(spec)), str(pickle.dumps(client.spec))):
        assert KEY not in shown
    assert client.spec is spec


async def test_it_opens_a_client_with_the_key_of_the_variable(spec, server):
    async with spec.open() as client:
        assert (await client.embed(["a"])).embeddings.shape == (1, 8)


def test_a_missing_variable_is_named(spec, monkeypatch):
    monkeypatch.delenv("EMBEDDINGS_KEY")
    with pytest.raises(ConfigurationError, match="EMBEDDINGS_KEY"):
        spec.open()


def test_a_client_tells_its_settings():
    settings = {
        "model": "m",
        "base_url": "http://127.0.0.1:9/v1",
        "max_memory_mb": 64,
        "max_concurrency": 8,
        "initial_concurrency": 2,
        "retry": RetryPolicy(max_attempts=2),
        "timeouts": Timeouts(read=3),
        "encoding": "float",
    }
    client = EmbedClient("openai", rate_limit=RateLimit(inputs_per_minute=9), headers={"X-Team": "blue"}, **settings)
    expected = ClientSpec("openai", inputs_per_minute=9, headers=(("X-Team", "blue"),), **settings)
    assert client.spec == expected
    assert expected.open().spec == expected
    assert pickle.loads(pickle.dumps(client.spec)) == expected


def test_no_limit_travels_too():
    """A limit that declares nothing does not: "no limit given" means the published ones."""
    spec = EmbedClient("cohere", base_url="http://127.0.0.1:9", rate_limit="off").spec
    assert spec == ClientSpec("cohere", base_url="http://127.0.0.1:9", rate_limit="off")
    assert spec.share(4) == spec.open().spec == spec
    with pytest.raises(ConfigurationError, match="it has a RateLimit without a limit"):
        _ = EmbedClient("cohere", base_url="http://127.0.0.1:9", rate_limit=RateLimit()).spec
    with pytest.raises(ConfigurationError, match="rate_limit='off' contradicts"):
        ClientSpec("cohere", rate_limit="off", requests_per_minute=5)
    with pytest.raises(ConfigurationError, match="rate_limit='on'"):
        ClientSpec("cohere", rate_limit="on")


@pytest.mark.parametrize("make", [Compatible, lambda: Compatible], ids=["object", "class"])
def test_a_provider_of_ones_own_travels_as_its_class(make):
    spec = ClientSpec(make(), base_url="http://127.0.0.1:9/v1")
    assert spec.provider is Compatible
    assert isinstance(spec.open().provider, Compatible)


def test_a_provider_that_holds_something_travels_as_it_is():
    provider = Tenant("blue")
    spec = ClientSpec(provider, base_url="http://127.0.0.1:9/v1")
    assert spec.provider is provider
    assert spec.open().provider is provider
    assert ClientSpec(OpenAI()).provider == "openai"
    assert isinstance(ClientSpec("openai", base_url="http://127.0.0.1:9/v1").open().provider, Provider)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"api_key": KEY}, "key"),
        ({"api_key": lambda: KEY}, "key"),
        ({"on_event": print}, "on_event"),
        ({"headers": {"Authorization": f"Bearer {KEY}"}}, "Authorization"),
        ({"headers": {"X-Api-Key": KEY}}, "X-Api-Key"),
        ({"base_url": f"http://user:{KEY}@127.0.0.1:9/v1"}, "base_url"),
        ({"base_url": f"http://127.0.0.1:9/v1?sig={KEY}"}, "base_url"),
    ],
)
def test_what_cannot_travel_is_named_and_not_shown(settings, named):
    client = EmbedClient("openai", **{"base_url": "http://127.0.0.1:9/v1", **settings})
    with pytest.raises(ConfigurationError, match=named) as caught:
        _ = client.spec
    assert KEY not in str(caught.value)


async def test_a_session_cannot_travel():
    async with aiohttp.ClientSession() as session:
        client = EmbedClient("openai", base_url="http://127.0.0.1:9/v1", session=session)
        with pytest.raises(ConfigurationError, match="session"):
            _ = client.spec


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": f"http://u:{KEY}@h/v1"},
        {"base_url": f"https://h/v1?token={KEY}"},
        {"base_url": 5},
        {"api_key_env": KEY},
        {"api_key_env": "abcdefGHIJ0123456789klmnop"},
        {"api_key_env": ""},
        {"api_key_env": 5},
        {"headers": (("Authorization", f"Bearer {KEY}"),)},
        {"headers": [KEY]},
        {"headers": 7},
        {"headers": {"X-Team": 7}},
        {"headers": {"X-Team": "two\nlines"}},
        {"model": 7},
        {"retry": "3"},
        {"retry": 0},
        {"timeouts": -1},
        {"requests_per_minute": 0},
        {"inputs_per_minute": -1},
        {"tokens_per_minute": "many"},
        {"max_memory_mb": 0},
        {"max_concurrency": 0},
        {"initial_concurrency": 99},
        {"encoding": "gzip"},
    ],
)
def test_a_wrong_or_secret_value_is_refused_and_not_shown(settings):
    with pytest.raises(ConfigurationError) as caught:
        ClientSpec("openai", **settings)
    assert KEY not in str(caught.value)
    assert "abcdefGHIJ" not in str(caught.value)


def test_a_number_stands_for_attempts_and_for_seconds():
    """As with a client."""
    spec = ClientSpec("openai", retry=3, timeouts=30)
    assert spec == ClientSpec("openai", retry=RetryPolicy(max_attempts=3), timeouts=Timeouts(first_byte=30, read=30))
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("headers", [KEY], "headers= is a list, but must map"),
        ("headers", 7, "headers= is a int, but must map"),
        ("api_key", 7, "api_key= must be a str, not int"),
        ("retry", "3", "retry='3' must be"),
        ("timeouts", 0, "timeouts=0 must be"),
    ],
)
def test_arguments_of_a_plain_embedder_are_checked_when_it_is_made(name, value, message):
    """With the messages of a client."""
    with pytest.raises(ConfigurationError) as caught:
        SyncEmbedder("openai", **{"api_key": KEY, name: value})
    assert str(caught.value).startswith(message)


def test_an_unknown_provider_is_refused():
    with pytest.raises(ConfigurationError, match="nobody"):
        ClientSpec("nobody")


def test_a_declared_limit_is_divided():
    spec = ClientSpec("openai", requests_per_minute=60, tokens_per_minute=9_000)
    part = spec.share(3)
    assert (part.requests_per_minute, part.inputs_per_minute, part.tokens_per_minute) == (20, None, 3_000)
    assert spec.share(1) == spec
    with pytest.raises(ConfigurationError, match="workers"):
        spec.share(0)


def test_what_the_provider_has_published_is_divided_at_its_own_address_alone():
    published = [name for name, kind in asyncembed.PROVIDERS.items() if kind.rate_limit]
    assert published
    for name in published:
        limit = asyncembed.PROVIDERS[name].rate_limit
        part = ClientSpec(name).share(4)
        assert part.inputs_per_minute == (limit.inputs_per_minute and limit.inputs_per_minute / 4)
        assert part.requests_per_minute == (limit.requests_per_minute and limit.requests_per_minute / 4)
        elsewhere = ClientSpec(name, base_url="http://127.0.0.1:9")
        assert elsewhere.share(4) == elsewhere


def test_a_known_dimension_costs_nothing_and_an_unknown_one_a_text(spec, server, monkeypatch):
    assert spec.dimension(dimensions=77) == 77
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert ClientSpec("openai", model="text-embedding-3-large").dimension() == 3_072
    assert server.ledger.requests == 0
    assert ClientSpec(spec.provider, base_url=spec.base_url, api_key_env=spec.api_key_env, model="m").dimension() == 8
    assert server.ledger.requests == 1


def test_importing_a_spec_starts_no_thread():
    code = (
        "import threading, asyncembed; spec = asyncembed.ClientSpec('openai'); spec.share(2);"
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
