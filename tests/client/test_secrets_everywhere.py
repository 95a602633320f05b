"""Everything that a faulty run has produced is searched for the key: what can be seen, pickled, or lies on the disk."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import pickle
import textwrap
import traceback
from base64 import b64encode
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType

import pytest
from rich.console import Console
from rich.traceback import Traceback
from support.scripted import KEY, broken_after, raw, refused, right, said

from asyncembed import AsyncEmbedError, AuthenticationError, ConfigurationError, EmbedClient, RetryPolicy
from asyncembed._redaction import Address, Secret, without_secrets
from asyncembed.providers import OpenAI
from asyncembed.testing import FakeServer

PASSWORD = "pass-word/äöü"
QUERY = "query-secret+1"
HEADER = "header-secret"
LOGIN = b64encode(f"somebody:{PASSWORD}".encode()).decode()
NAMES = {KEY: "key", PASSWORD: "password", QUERY: "query", HEADER: "header", LOGIN: "login", KEY[:9]: "part of the key"}
ONCE = RetryPolicy(max_attempts=1)
TEXTS = [f"text {number}" for number in range(12)]


def seen(*shown: object) -> list[str]:
    """Which secrets there are in what is shown."""
    everything = "\n".join(map(str, shown))
    return [name for secret, name in NAMES.items() if secret in everything]


def error_views(error: BaseException) -> list[str]:
    """How errors are shown: by Python, with local variables too, by rich, and what pickle makes of them."""
    while (trace := error.__traceback__) and trace.tb_next and trace.tb_frame.f_code.co_filename == __file__:
        error.__traceback__ = trace.tb_next  # without the frames of the test, which knows the secrets
    console = Console(file=io.StringIO(), width=200)
    console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
    return [
        repr(error),
        repr(vars(error)),
        "".join(traceback.format_exception(error)),
        "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()),
        console.file.getvalue(),
        pickle.dumps(error).decode("latin-1"),
    ]


def inside(root: object) -> dict[int, object]:
    """All objects of this package that can be reached from one of its objects, by their attributes."""
    found: dict[int, object] = {}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, MethodType):
            item = item.__self__
        if id(item) in found or isinstance(item, type | FunctionType | ModuleType | str | bytes):
            continue
        if isinstance(item, dict | list | tuple | set | frozenset):
            waiting += item.values() if isinstance(item, dict) else item
        elif type(item).__module__.startswith("asyncembed"):
            found[id(item)] = item
            slots = [name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [getattr(item, name) for name in slots if hasattr(item, name)]
            waiting += getattr(item, "__dict__", {}).values()
    return found


def object_views(root: object) -> list[str]:
    """What is seen of an object and of all that is in it: `repr`, `vars`, slots."""
    views = []
    for item in inside(root).values():
        slots = [name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ())]
        views += [repr(item), repr(getattr(item, "__dict__", {})), repr([getattr(item, name, "") for name in slots])]
    return views


def test_the_views_find_what_is_not_hidden():
    """Otherwise all of this would prove nothing."""

    with pytest.raises(ValueError) as caught:
        textwrap.wrap(KEY + "x" * 100, -1)
    plain, attributes, trace, with_locals, rich, pickled = map(seen, error_views(caught.value))
    assert with_locals == rich == ["key", "part of the key"]
    assert plain == attributes == trace == pickled == []
    provider = OpenAI()
    provider.note = [{"deep": KEY}]
    assert seen(*object_views(EmbedClient(provider, api_key="other"))) == ["key", "part of the key"]


@pytest.fixture
def guarded(server, connect):
    """Opens clients with a secret in every place where one can be."""

    def open_client(**settings):
        url = server.url.replace("http://", "http://somebody:pass-word%2F%C3%A4%C3%B6%C3%BC@")
        given = {"base_url": f"{url}/v1?key=query-secret%2B1", "api_key": None, "headers": {"X-Key": HEADER}}
        return connect(**{**given, **settings})

    return open_client


ECHO = {"key": f"Bearer {KEY}", "login": f"{HEADER} {LOGIN} {PASSWORD} {QUERY} query-secret%2B1"}
FAULTS = {
    "refused key": lambda echo: refused(401, f"wrong: {echo}", headers={"X-Request-Id": f"for {echo.split()[-1]}"}),
    "refused text": lambda echo: refused(400, f"bad: {echo}", code=echo),
    "broken": lambda _: broken_after(2),
    "reset": lambda _: broken_after(1, part=0.5, reset=True),
    "garbage": lambda echo: broken_after(1, garbage=echo.encode()),
    "too long": lambda echo: said(f'{{"data": "{echo}", '.encode() * 20_000),
    "no HTTP": lambda echo: raw(f"{echo}\r\n\r\n".encode()),
    "error inside": lambda echo: said(json.dumps({"error": {"message": echo}}).encode()),
}


class KeyHolder:
    """Shows its key in its `repr`, as a dataclass would."""

    def __init__(self, key):
        self.key = key

    def __repr__(self):
        return f"KeyHolder({self.key!r})"

    def get(self):
        return self.key

    async def fetch(self):
        await asyncio.sleep(0)
        return self.key


ECHO["function"] = ECHO["key"]
GIVEN = {"function": {"api_key": partial(KeyHolder.fetch, KeyHolder(KEY))}}


@pytest.mark.parametrize("kind", ECHO)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_run_shows_no_secret(server, connect, guarded, tmp_path, caplog, capfd, fault, kind):
    """Errors with their locals, all objects while it runs and after it, logs in debug mode, summary, files."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    server.script += [right, right]
    server.default = FAULTS[fault](ECHO[kind])
    client = {"login": guarded}.get(kind, connect)(retry=ONCE, encoding="float", **GIVEN.get(kind, {}))
    stream = client.embed_stream(TEXTS, chunk_size=3, max_concurrency=1, on_error="yield")
    views, failures = [], []
    try:
        async for item in stream:
            views += object_views(client) + object_views(stream) + [repr(item)]
            failures += [item.error] if hasattr(item, "error") else []
    except AsyncEmbedError as error:
        failures.append(error)
    server.script += [right, right]
    with pytest.raises(AsyncEmbedError) as caught:
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", chunk_size=3, max_concurrency=1)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"run.json", "commits.jsonl"} <= {file.name for file in files}
    failures.append(caught.value)
    assert seen(*views, *object_views(client), stream.summary, repr(asyncio.all_tasks())) == []
    assert seen(*(view for error in failures for view in error_views(error))) == []
    assert seen(caplog.text, capfd.readouterr()) == []
    assert seen(*(file.read_bytes().decode("latin-1") for file in files)) == []


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".jsonl", ".parquet", ".arrow"])
async def test_finished_files_hold_no_secret(guarded, tmp_path, suffix):
    await guarded().embed_to_file(TEXTS, tmp_path / f"v{suffix}", extra={"token": KEY})
    files = list(tmp_path.iterdir())
    assert files
    assert seen(*(file.read_bytes().decode("latin-1") for file in files)) == []


async def test_what_goes_over_the_wire(server, guarded):
    """Hidden things arrive as they were given."""
    await guarded().embed(["a"])
    (request,) = server.requests
    assert request.path == "/v1/embeddings?key=query-secret%2B1"
    assert (request.headers["x-key"], request.headers["authorization"]) == (HEADER, f"Basic {LOGIN}")


ANSWERS = {
    "line end": KEY + "\n",
    "bytes": KEY.encode(),
    "list": [KEY],
    "tuple": (KEY, 3_600),
    "object": KeyHolder(KEY),
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("when", ["first", "later"])
@pytest.mark.parametrize("answer", [*ANSWERS, "error", "chained error", "end of iteration"])
async def test_a_function_that_gives_no_key_shows_nothing(server, connect, caplog, capfd, answer, when, is_async):
    """Neither what it returned nor what it raised, nor the key before."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    asked = []

    def give():
        asked.append(1)
        if when == "later" and len(asked) == 1:
            return KEY
        if answer == "end of iteration":
            raise StopIteration(KEY)
        if answer.endswith("error"):
            raise RuntimeError(f"no token: {KEY}") from (LookupError(KEY) if "chained" in answer else None)
        return ANSWERS[answer]

    async def fetch():
        await asyncio.sleep(0)
        return give()

    server.default = refused(401, f"expired: {KEY}")
    client = connect(api_key=fetch if is_async else give)
    with pytest.raises(ConfigurationError, match="api_key= is a function that") as caught:
        await client.embed(TEXTS)
    assert seen(*error_views(caught.value), *object_views(client), caplog.text, capfd.readouterr()) == []


async def test_all_keys_of_a_function_are_hidden(server, connect, caplog):
    """A server may repeat the one before."""
    caplog.set_level(logging.DEBUG)
    keys = [KEY, HEADER, QUERY]
    client = connect(api_key=lambda: keys.pop(0))
    server.script += [refused(401, f"expired: {KEY}")]
    server.default = refused(401, f"expired: {HEADER}, before {KEY}", code=HEADER, headers={"X-Request-Id": KEY})
    with pytest.raises(AuthenticationError, match=r"expired: \*\*\*, before \*\*\*") as caught:
        await client.embed(TEXTS)
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {KEY}", f"Bearer {HEADER}"]
    assert seen(*error_views(caught.value), *object_views(client), caplog.text) == []


class Signing(OpenAI):
    """Signs each request with a key that is not sent."""

    async def authorize(self, api_key, url, body):
        return {"Authorization": f"Sign {HEADER}", "X-Token": QUERY, "X-Key-Id": PASSWORD.encode().hex()}


async def test_what_a_provider_signs_with_is_hidden(server, connect, caplog):
    caplog.set_level(logging.DEBUG)
    server.default = refused(403, f"bad signature {HEADER}, {QUERY}, {KEY}")
    client = connect(Signing(), base_url=f"{server.url}/v1")
    with pytest.raises(AuthenticationError, match=r"bad signature \*\*\*, \*\*\*, \*\*\*") as caught:
        await client.embed(TEXTS)
    assert server.requests[0].headers["authorization"] == f"Sign {HEADER}"
    assert seen(*error_views(caught.value), *object_views(client), caplog.text) == []


async def test_a_function_that_is_cancelled_shows_nothing(connect):
    """The traceback leads through what waits for it."""
    entered = asyncio.Event()
    holder = KeyHolder(KEY)

    async def never(self):
        entered.set()
        await asyncio.Event().wait()

    client = connect(api_key=partial(never, holder))
    transport = await client._connection.open()
    posting = asyncio.create_task(transport.post(b"{}", compact=True, max_bytes=1_000, on_headers=lambda _: None))
    await entered.wait()
    posting.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await posting
    trace = caught.value.__traceback__
    while trace.tb_frame.f_code.co_name != "call_key_function":
        trace = trace.tb_next
    trace.tb_next = None  # what comes then are the caller's own frames
    assert seen(*error_views(caught.value)) == []


MISTAKES = {
    "provider": lambda: EmbedClient("nobody", api_key=KEY),
    "encoding": lambda: EmbedClient("openai", api_key=KEY, encoding="hex"),
    "address": lambda: EmbedClient("openai", api_key=KEY, base_url=f"ftp://a:{HEADER}@host/?key={HEADER}"),
    "no address": lambda: EmbedClient("openai", api_key=KEY, base_url=f"http://a:{HEADER}@["),
    "key": lambda: EmbedClient("openai", api_key=KEY + "\n"),
    "key of bytes": lambda: EmbedClient("openai", api_key=KEY.encode()),
    "key in a list": lambda: EmbedClient("openai", api_key=[KEY]),
    "key in an object": lambda: EmbedClient("openai", api_key=KeyHolder(KEY)),
    "function": lambda: EmbedClient("openai", api_key=KeyHolder(KEY).get, max_memory_mb=-1),
    "two functions": lambda: EmbedClient("openai", api_key=KeyHolder(KEY).get, base_url=f"https://a:{HEADER}@host"),
    "header": lambda: EmbedClient("openai", api_key=KEY, headers={"X-Key": HEADER + "\n"}),
    "memory": lambda: EmbedClient("openai", api_key=KEY, headers={"X-Key": HEADER}, max_memory_mb=-1),
    "two keys": lambda: EmbedClient("openai", api_key=KEY, base_url=f"https://a:{HEADER}@host"),
    "limit": lambda: EmbedClient("openai", api_key=KEY, base_url=f"https://host?key={HEADER}", rate_limit=5),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_client_that_cannot_be_built_shows_nothing(mistake):
    """The frames of the package; those of the caller are his own."""
    with pytest.raises(ConfigurationError) as caught:
        MISTAKES[mistake]()
    assert seen(*error_views(caught.value)) == []


VARIABLES = {"OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": HEADER, "OPENAI_PROJECT_ID": QUERY}


@pytest.mark.parametrize("inside", ["\n", "\r\nX: y", "\x01", "ä", "\ufeff"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_no_header_can_carry_is_named_and_not_shown(monkeypatch, variable, inside):
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    monkeypatch.setenv(variable, VARIABLES[variable] + inside + "x")
    with pytest.raises(ConfigurationError, match=f"^{variable} holds ") as caught:
        EmbedClient("openai")
    assert seen(*error_views(caught.value)) == []


def test_a_provider_of_ones_own_that_fails_shows_nothing():
    class Failing(OpenAI):
        def headers(self, api_key):
            key = api_key[:20]
            raise RuntimeError(type(key))

    with pytest.raises(RuntimeError) as caught:
        EmbedClient(Failing(), api_key=KEY)
    assert seen(*error_views(caught.value)) == []


async def test_a_cancelled_request_shows_nothing(server, guarded):
    """The traceback of a cancellation leads through aiohttp, which has headers in its local variables."""
    entered = asyncio.Event()

    async def never(_):
        entered.set()
        await asyncio.Event().wait()

    server.default = never
    client = guarded(base_url=server.url + "/v1", api_key=KEY)
    transport = await client._connection.open()
    posting = asyncio.create_task(
        transport.post(b"{}", compact=True, max_bytes=1_000, on_headers=lambda _: None), name="posting"
    )
    await entered.wait()
    posting.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await posting
    assert "_request" in "".join(traceback.format_exception(caught.value))
    assert seen(*error_views(caught.value)) == []


@pytest.mark.parametrize("used", [False, True])
async def test_a_client_can_be_neither_pickled_nor_copied(client, used):
    if used:
        await client.embed(["a"])
    for copy_it in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="an EmbedClient has a key and connections, and cannot be pickled"):
            copy_it(client)


@pytest.mark.filterwarnings("ignore:Pickle.*itertools:DeprecationWarning")
async def test_no_part_of_a_client_can_be_pickled_with_the_key(guarded):
    client = guarded()
    await client.embed(["a"])
    for part in inside(client).values():
        with suppress(TypeError, AttributeError, pickle.PicklingError):
            assert seen(pickle.dumps(part).decode("latin-1")) == []


def test_a_client_says_what_it_is_for():
    client = EmbedClient("openai", model="m", api_key=KEY, base_url="https://host/v1?key=1234")
    assert repr(client) == "EmbedClient('openai', model='m', base_url='https://host/v1')"
    assert repr(EmbedClient("openai", api_key=KEY)) == "EmbedClient('openai', model='text-embedding-3-small')"


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
async def test_a_header_of_the_callers_replaces_the_key(server, connect, name):
    """However it is written; the key must not go out beside it."""
    await connect(headers={name: "Bearer mine"}).embed(["a"])
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer mine"
    assert KEY not in str(request.headers)


def test_a_key_of_another_type_is_refused():
    with pytest.raises(ConfigurationError, match="api_key= must be a str, not bytes"):
        EmbedClient("openai", api_key=b"sk-bytes")


def test_a_secret_is_its_text_and_does_not_show_it():
    secret = Secret(KEY)
    assert (secret == KEY, str(secret), f"Bearer {secret}", hash(secret)) == (True, KEY, f"Bearer {KEY}", hash(KEY))
    assert repr([secret, secret[:5], {"a": secret}]) == "['***', '***', {'a': '***'}]"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:password@host:8443/v1?key=1#part", "https://host:8443/v1"),
        ("https://host/v1", "https://host/v1"),
        ("http://[::1]:80/", "http://[::1]/"),
    ],
)
def test_addresses_are_shown_without_what_may_be_secret(url, shown):
    assert without_secrets(url) == shown
    assert repr(Address(url)) == repr(shown)
    assert repr(Address("http://[secret")) == "'***'"


async def test_the_fake_server_does_not_show_a_key_that_it_was_given():
    """It may be a real one, and a test that fails prints what there is."""
    shown = []

    async def reply(exchange):
        shown.append(repr([exchange.request, exchange.entry, vars(exchange.request)]))
        await exchange.deliver()

    async with FakeServer(key=KEY, default=reply) as server:
        async with EmbedClient("openai", api_key=KEY, base_url=f"{server.url}/v1") as client:
            await client.embed(["a"])
        shown.append(repr(server))
    assert len(shown) == 2
    assert seen(*shown) == []
