"""Where keys, addresses and headers come from: arguments, then each provider's customary environment variables."""

from __future__ import annotations

import pytest
from support.scripted import ScriptedServer, refused

from asyncembed import AuthenticationError, ConfigurationError, EmbedClient

VARIABLES = ["CO_API_KEY", "COHERE_API_KEY", "CO_API_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID"]
NEEDS_KEY = {
    "cohere": "CO_API_KEY or COHERE_API_KEY",
    "cohere-v1": "CO_API_KEY or COHERE_API_KEY",
    "openai": "OPENAI_API_KEY",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    """Whatever the machine of the developer has set."""
    for name in [*VARIABLES, "OPENAI_PROJECT_ID", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server():
    """Refuses everybody, so that each call is one request."""
    async with ScriptedServer(default=refused(401)) as server:
        yield server


@pytest.mark.parametrize("name", NEEDS_KEY)
def test_a_missing_key_is_named_with_its_variable(name):
    """As soon as the client is made; a server of one's own needs none."""
    with pytest.raises(ConfigurationError) as caught:
        EmbedClient(name)
    assert str(caught.value) == f"provider {name!r} needs a key: set {NEEDS_KEY[name]}, or pass api_key="
    EmbedClient(name, api_key="k")
    EmbedClient(name, base_url="http://localhost:1/v1")


async def asked(server: ScriptedServer, client: EmbedClient) -> tuple[str, dict[str, str]]:
    """Path and headers of the client's request."""
    async with client:
        with pytest.raises(AuthenticationError):
            await client.embed(["a"])
    (request,) = server.requests
    return request.path, request.headers


@pytest.mark.parametrize(
    ("name", "variables", "path", "headers"),
    [
        ("cohere", {"CO_API_KEY": "k"}, "/v2/embed", {"authorization": "Bearer k"}),
        ("cohere", {"COHERE_API_KEY": "k"}, "/v2/embed", {"authorization": "Bearer k"}),
        ("cohere", {"CO_API_KEY": "k", "COHERE_API_KEY": "other"}, "/v2/embed", {"authorization": "Bearer k"}),
        ("cohere", {"CO_API_KEY": "", "COHERE_API_KEY": "k"}, "/v2/embed", {"authorization": "Bearer k"}),
        ("cohere-v1", {"CO_API_KEY": "k"}, "/v1/embed", {"authorization": "Bearer k"}),
        ("openai", {"OPENAI_API_KEY": "k"}, "/embeddings", {"authorization": "Bearer k"}),
        ("openai", {"OPENAI_ORG_ID": "o"}, "/embeddings", {"openai-organization": "o"}),
        ("openai", {"OPENAI_PROJECT_ID": "p"}, "/embeddings", {"openai-project": "p"}),
        ("openai", {"CO_API_KEY": "k"}, "/embeddings", {}),
        ("local", {"CO_API_KEY": "k"}, "/v2/embed", {}),
    ],
)
async def test_keys_and_headers_come_from_the_environment(server, monkeypatch, name, variables, path, headers):
    """Of the provider, and of no other."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    got_path, got = await asked(server, EmbedClient(name, base_url=server.url))
    assert got_path == path
    ours = ("authorization", "openai-organization", "openai-project")
    assert {name: value for name, value in got.items() if name in ours} == headers
    assert got["content-type"] == got["accept"] == "application/json"
    assert got["user-agent"].startswith("asyncembed/")


@pytest.mark.parametrize(
    ("name", "variable", "path"),
    [("cohere", "CO_API_URL", "/v2/embed"), ("openai", "OPENAI_BASE_URL", "/v1/embeddings")],
)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_address_comes_from_the_environment(server, monkeypatch, name, variable, path, slash):
    """OpenAI's includes the version."""
    base = server.url + ("/v1" if name == "openai" else "") + slash
    monkeypatch.setenv(variable, base)
    assert (await asked(server, EmbedClient(name, api_key="k")))[0] == path


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t\n\n", "\ufeff"])
async def test_what_files_leave_at_the_ends_of_a_variable_is_left_out(server, monkeypatch, end):
    """As of secrets of Kubernetes, or of `echo`."""
    given = {"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "o", "OPENAI_PROJECT_ID": "p", "OPENAI_BASE_URL": server.url}
    for variable, value in given.items():
        monkeypatch.setenv(variable, f"{end}{value}{end}")
    _, headers = await asked(server, EmbedClient("openai"))
    names = ("authorization", "openai-organization", "openai-project")
    assert [headers[name] for name in names] == ["Bearer k", "o", "p"]


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
@pytest.mark.parametrize("value", ["a\nb", "a\r\nX: y", "\u00e9", "a\u2026"])
def test_a_variable_that_no_header_can_carry_is_named(monkeypatch, variable, value):
    """And what it holds is not repeated."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=rf"^{variable} holds .* that a header cannot carry$"):
        EmbedClient("openai")


@pytest.mark.parametrize("value", [" ", "\n", "\ufeff"])
def test_a_variable_of_nothing_but_white_space_holds_nothing(monkeypatch, value):
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(ConfigurationError, match="needs a key: set OPENAI_API_KEY"):
        EmbedClient("openai")


def test_an_address_that_is_none_is_refused_by_the_name_of_its_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(ConfigurationError, match=r"^OPENAI_BASE_URL='localhost:8000' is not an http:// or https://"):
        EmbedClient("openai", api_key="k")


async def test_a_header_of_the_environment_is_replaced_however_it_is_written(server, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "theirs")
    client = EmbedClient("openai", api_key="k", base_url=server.url, headers={"openai-ORGANIZATION": "mine"})
    _, headers = await asked(server, client)
    assert headers["openai-organization"] == "mine"


async def test_what_is_passed_wins_over_the_environment(server, monkeypatch):
    """Key, address and headers."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "http://localhost:1")
    client = EmbedClient("openai", api_key="mine", base_url=server.url, headers={"OpenAI-Organization": "mine"})
    _, headers = await asked(server, client)
    assert (headers["authorization"], headers["openai-organization"]) == ("Bearer mine", "mine")


@pytest.mark.parametrize("key", ["sk-1\n", " sk-1", "sk-1\u2026", "sk-1\x00", "sk-1 \r\nX: y"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key):
    """As pasted with the line's end; the message does not repeat it."""
    with pytest.raises(ConfigurationError, match="white space or characters that a header cannot carry") as caught:
        EmbedClient("openai", api_key=key)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "/v1", "http:///v1"])
def test_an_address_that_is_none_is_refused(url):
    """By name."""
    with pytest.raises(ConfigurationError, match=r"base_url=.* is not an http:// or https:// address"):
        EmbedClient("openai", api_key="k", base_url=url)


async def test_options_are_checked_when_the_call_is_made():
    """Not with the first result."""
    async with EmbedClient("openai", api_key="k") as client:
        with pytest.raises(ConfigurationError, match="truncate='END' is not an option of provider 'openai'"):
            client.embed_stream(["a"], truncate="END")
