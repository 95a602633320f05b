"""An error that is about texts says which is the first of them; what is skipped is logged."""

from __future__ import annotations

import logging
import traceback

import pytest
from support.results import check_plain, numbered, take_all
from support.scripted import KEY

from asyncembed import AuthenticationError, InvalidInputError, ResponseError, RetryPolicy, ServerError, TransportError
from asyncembed.testing import FakeServer, faults

TEXTS = numbered(12)
LONG = "a long text\nof several lines, " * 50


@pytest.fixture
async def fake():
    async with FakeServer() as running:
        yield running


@pytest.fixture
def client(connect, fake):
    return connect(base_url=f"{fake.url}/v1", retry=RetryPolicy(max_attempts=2, initial_backoff=0.001))


@pytest.mark.parametrize("chunk_size", [1, 5, 100])
async def test_a_refused_text_is_named(client, fake, chunk_size):
    fake.rules.append(faults.Poisoned(TEXTS[6]))
    with pytest.raises(InvalidInputError) as caught:
        await take_all(client.embed_stream(TEXTS, chunk_size=chunk_size), [])
    check_plain(caught.value)
    first = caught.value.indices[0]
    assert 6 in caught.value.indices
    assert f"texts[{first}], 'text {first}'" in str(caught.value)
    if chunk_size == 1:
        assert caught.value.indices == (6,)


TRANSIENT = {
    "500": (faults.Refused(500), ServerError),
    "disconnected": (faults.Reset(after=0), TransportError),
    "cut off": (faults.CutOff(after=0), (ResponseError, TransportError)),
}


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_so_is_one_that_did_not_come_after_all_attempts(client, fake, fault):
    fake.default, kind = TRANSIENT[fault]
    with pytest.raises(kind) as caught:
        await client.embed(TEXTS, chunk_size=100)
    check_plain(caught.value)
    assert caught.value.indices == (*range(12),)
    assert "texts[0], 'text 0', and 11 more" in str(caught.value)


async def test_only_its_start_is_shown_on_one_line(client, fake):
    fake.rules.append(faults.Poisoned(LONG))
    with pytest.raises(InvalidInputError) as caught:
        await client.embed(["a", LONG], chunk_size=1)
    assert "\n" not in str(caught.value)
    shown = str(caught.value).partition("texts[1], ")[2]
    assert shown == "'a long text of several lines, a long te…'"


@pytest.mark.parametrize("bad", ["", "\ud800"])
async def test_a_text_that_is_not_even_sent_is_named_too(client, fake, bad):
    with pytest.raises(InvalidInputError, match=r"texts\[2\]") as caught:
        await client.embed(["a", "b", bad])
    str(caught.value).encode()
    assert caught.value.indices == (2,)


async def test_a_key_in_the_text_is_not_shown(client, fake):
    text = f"my key is {KEY}"
    fake.rules.append(faults.Poisoned(text))
    with pytest.raises(InvalidInputError, match=r"my key is \*\*\*") as caught:
        await client.embed([text])
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_what_is_wrong_with_the_run_is_not_said_of_a_text(client, fake):
    fake.default = faults.Refused(401)
    with pytest.raises(AuthenticationError) as caught:
        await client.embed(TEXTS)
    assert "texts[" not in str(caught.value)


async def test_failures_that_are_given_one_by_one_name_no_other(client, fake):
    fake.rules.append(faults.Poisoned(TEXTS[6]))
    stream = client.embed_stream(TEXTS, on_error="yield", chunk_size=4)
    for failure in [item async for item in stream if hasattr(item, "error")]:
        assert "texts[" not in str(failure.error)


@pytest.mark.parametrize("verb", ["embed_stream", "embed_to_file"])
async def test_what_is_skipped_is_logged_once_a_batch(client, fake, tmp_path, caplog, verb):
    caplog.set_level(logging.WARNING, logger="asyncembed")
    fake.rules += [faults.Poisoned(TEXTS[2]), faults.Poisoned(TEXTS[9])]
    options = {"on_error": "skip", "chunk_size": 1, "max_concurrency": 1}
    if verb == "embed_stream":
        await take_all(client.embed_stream(TEXTS, **options), [])
    else:
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", **options)
    records = [record for record in caplog.records if record.name == "asyncembed"]
    assert [(record.levelno, record.fields["indices"]) for record in records] == [
        (logging.WARNING, (i,)) for i in (2, 9)
    ]
    assert "answered 400" in records[0].getMessage()


async def test_what_is_yielded_is_not_logged(client, fake, caplog):
    fake.rules.append(faults.Poisoned(TEXTS[2]))
    [item async for item in client.embed_stream([*TEXTS, ""], on_error="yield", chunk_size=1)]
    assert not [record for record in caplog.records if record.name == "asyncembed"]


async def test_a_program_without_logging_prints_nothing(client, fake, capfd, monkeypatch):
    for name in ("asyncembed", None):
        monkeypatch.setattr(logging.getLogger(name), "propagate", False)
    fake.rules.append(faults.Poisoned(TEXTS[2]))
    await take_all(client.embed_stream(TEXTS, on_error="skip"), [])
    assert capfd.readouterr() == ("", "")
