"""The key of each attempt: fixed, or from a function that is asked once more when the API refuses what it returned."""

from __future__ import annotations

import asyncio
import time

import pytest

from asyncembed import APIStatusError, AuthenticationError, ConfigurationError, InvalidInputError, TransportError
from asyncembed._credentials import FRESH, Authorization, KeySource, refuses_key
from asyncembed._redaction import Secret, Secrets, hide_key


class Keys:
    """Returns a new key each time, after letting others run."""

    def __init__(self, *keys: object) -> None:
        self.keys = list(keys) or [f"key-{number}" for number in range(1, 100)]
        self.asked = 0

    async def __call__(self) -> object:
        self.asked += 1
        await asyncio.sleep(0)
        key = self.keys[min(self.asked, len(self.keys)) - 1]
        if isinstance(key, Exception):
            raise key
        return key


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def source(given: object, clock=time.monotonic) -> KeySource:
    return KeySource(hide_key(given), Secrets(), clock)


async def test_a_fixed_key_is_always_the_same():
    """And nothing renews it."""
    for given in ("key", None):
        key = source(given)
        assert await key.get() == given
        assert not await key.renew(key.number)
        assert await key.get() == given


async def test_a_function_is_asked_when_a_key_is_needed_and_no_more():
    keys = Keys()
    key = source(keys)
    assert keys.asked == 0
    assert [await key.get() for _ in range(3)] == ["key-1"] * 3
    assert (keys.asked, key.number) == (1, 1)
    assert isinstance(await key.get(), Secret)


@pytest.mark.parametrize("function", [lambda: "key", Keys("key")])
async def test_it_may_be_plain_or_async(function):
    assert await source(function).get() == "key"


async def test_those_who_need_a_key_at_the_same_time_ask_once():
    keys = Keys()
    key = source(keys)
    assert await asyncio.gather(*(key.get() for _ in range(9))) == ["key-1"] * 9
    assert keys.asked == 1


async def test_one_renewal_serves_all_who_were_refused():
    """And who begins meanwhile waits for the new key."""
    keys = Keys()
    key = source(keys)
    await key.get()
    found = await asyncio.gather(*(key.renew(1) for _ in range(9)), key.get())
    assert found == [True] * 9 + ["key-2"]
    assert keys.asked == 2
    assert await key.renew(1)  # late
    assert keys.asked == 2


async def test_a_fresh_key_that_is_refused_is_not_renewed():
    """Until it was accepted, or some time has passed."""
    clock, keys = Clock(), Keys()
    key = source(keys, clock)
    await key.get()
    assert await key.renew(1)
    assert not await key.renew(2)
    assert keys.asked == 2
    key.accepted(1)  # an answer to an old request
    assert not await key.renew(2)
    key.accepted(2)
    assert await key.renew(2)
    assert not await key.renew(3)
    clock.now += FRESH
    assert await key.renew(3)
    assert keys.asked == 4


async def test_the_same_key_again_is_no_new_one():
    keys = Keys("key")
    key = source(keys)
    await key.get()
    assert not await key.renew(1)
    assert not await key.renew(1)
    assert (keys.asked, key.number) == (2, 1)


async def test_who_is_cancelled_while_it_is_asked_leaves_it_to_the_others():
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow():
        started.set()
        await go_on.wait()
        return "key"

    key = source(slow)
    first, second = asyncio.create_task(key.get()), asyncio.create_task(key.get())
    await started.wait()
    first.cancel()
    go_on.set()
    assert await second == "key"
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"sk-secret", "returned bytes and not str"),
        (None, "returned NoneType and not str"),
        ("", "returned an empty str"),
        ("sk-secret\n", "white space or characters that a header cannot carry"),
        ("\ufeffsk-secret", "white space or characters that a header cannot carry"),
        ("sk-secrét", "white space or characters that a header cannot carry"),
        ("sk-\nsecret", "white space or characters that a header cannot carry"),
        (LookupError("sk-secret"), r"raised LookupError \(test_credentials.py:\d+\)"),
        (TimeoutError(), "raised TimeoutError"),
    ],
)
async def test_a_function_that_gives_no_key(answer, fault):
    """What it returned or raised is not shown; the next one who needs a key asks again."""
    keys = Keys(answer, "key")
    key = source(keys)
    with pytest.raises(ConfigurationError, match=rf"^api_key= is a function that .*{fault}") as caught:
        await key.get()
    assert "secr" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert await key.get() == "key"


async def test_a_renewal_that_fails_keeps_the_old_key():
    """Others may still be served with it."""
    key = source(Keys("old", LookupError("no"), "new"))
    await key.get()
    with pytest.raises(ConfigurationError, match="raised LookupError"):
        await key.renew(1)
    assert await key.get() == "old"
    assert await key.renew(1)
    assert await key.get() == "new"


async def test_each_key_is_blotted_out_from_when_it_is_known():
    secrets = Secrets(["first"])
    key = KeySource(hide_key(Keys()), secrets)
    await key.get()
    await key.renew(1)
    assert secrets.redact("first, key-1, key-2, key-3") == "***, ***, ***, key-3"


async def hook(api_key: str | None, url: str, body: bytes) -> dict[str, str]:
    return {"Authorization": f"Sign {api_key}:{url}:{len(body)}", "X-Signature": "made-of-it", "X-Date": "today"}


async def test_the_hook_is_asked_for_every_attempt():
    """With the key, the address and the body; what it returns does not show, and the caller's own headers win."""
    secrets = Secrets()
    asks = Authorization(KeySource(Secret("key"), secrets), hook, kept=frozenset({"x-date"}), secrets=secrets)
    for body in (b"a", b"ab"):
        number, headers = await asks.headers("http://host/", body)
        assert number == 0
        assert headers == {"Authorization": f"Sign key:http://host/:{len(body)}", "X-Signature": "made-of-it"}
        assert "made" not in repr(headers)
    assert secrets.redact("made-of-it key:http://host/:2 today") == "*** *** today"


EXPIRED = "The security token included in the request is expired"


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        (AuthenticationError("x", status=401), True),
        (AuthenticationError("x", status=403, provider_message=EXPIRED), True),
        (AuthenticationError("x", status=403, code="ExpiredTokenException"), True),
        (InvalidInputError("x", status=400, provider_message="API key expired. Please renew the API key."), True),
        (AuthenticationError("x", status=403, provider_message="not allowed"), False),
        (InvalidInputError("x", status=400, provider_message="The offer has expired"), False),
        (APIStatusError("x", status=500, provider_message=EXPIRED), False),
        (TransportError(EXPIRED), False),
        (ValueError(EXPIRED), False),
    ],
)
def test_which_errors_refuse_a_key(error, is_refusal):
    assert refuses_key(error) is is_refusal
