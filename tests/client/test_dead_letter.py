"""`dead_letter=`: what fails is on the disk before anybody is told, without keys, and only once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter

import numpy as np
import orjson
import pytest
from support.results import numbered, take_all
from support.scripted import KEY
from support.watching import turns

from asyncembed import ConfigurationError, EmbedClient, EmbedFailure, QuotaExceededError, RetryPolicy, ServerError
from asyncembed.sinks import _dead_letters
from asyncembed.sinks._row_log import RowLog
from asyncembed.testing import FakeServer, faults, vector_of

TEXTS = numbered(12)
BAD = {3: TEXTS[3], 8: TEXTS[8]}
HOW = pytest.mark.parametrize("how", ["yield", "skip"])


@pytest.fixture
async def fake():
    """A server that refuses two of the texts."""
    async with FakeServer(rules=[faults.Poisoned(text) for text in BAD.values()]) as running:
        yield running


@pytest.fixture
def client(connect, fake):
    return connect(base_url=f"{fake.url}/v1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "failed.jsonl"


def rows(path):
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    return [orjson.loads(line) for line in content.splitlines()]


def indices(path):
    return [row["index"] for row in rows(path)]


@HOW
@pytest.mark.parametrize("ordered", [True, False])
async def test_what_fails_is_in_the_file_and_what_does_not_is_not(client, path, how, ordered):
    texts = [(f"id-{index}", text) for index, text in enumerate(TEXTS)]
    options = {"on_error": how, "ordered": ordered, "chunk_size": 1, "model": "a-model"}
    items = [item async for item in client.embed_stream(texts, dead_letter=path, **options)]
    results = [item for item in items if not isinstance(item, EmbedFailure)]
    assert {result.index for result in results} == {*range(12)} - {*BAD}
    for result in results:
        np.testing.assert_array_equal(result.embedding, vector_of(TEXTS[result.index]))
    found = sorted(rows(path), key=lambda row: row["index"])
    assert [(row["index"], row["id"], row["text"]) for row in found] == [
        (i, f"id-{i}", text) for i, text in BAD.items()
    ]
    for row in found:
        assert (row["error"], row["status"]) == ("InvalidInputError", 400)
        assert (row["provider"], row["model"]) == ("openai", "a-model")
        assert "cannot be embedded" in row["message"]
        assert row["request_id"].startswith("fake-")


@pytest.mark.parametrize("chunk_size", [1, 4, 100])
async def test_the_file_holds_exactly_the_failures_that_were_given(client, path, chunk_size):
    """However much of a request a bad text takes along."""
    stream = client.embed_stream([*TEXTS, "", "\ud800"], on_error="yield", dead_letter=str(path), chunk_size=chunk_size)
    failures = []
    async for item in stream:
        if isinstance(item, EmbedFailure):
            assert item.index in indices(path)
            failures.append(item)
    assert Counter(indices(path)) == Counter(failure.index for failure in failures)
    assert {*BAD, 12, 13} <= {failure.index for failure in failures}
    texts = {row["index"]: row["text"] for row in rows(path)}
    assert (texts[12], texts[13], texts[3]) == ("", "\\ud800", TEXTS[3])


async def test_a_skipped_text_is_in_the_file_before_it_is_counted_or_logged(client, path, caplog):
    logged = []

    class Look(logging.Handler):
        def emit(self, record):
            logged.append((record.levelno, len(rows(path)), stream.summary.failed))

    logger, look = logging.getLogger("asyncembed"), Look()
    logger.addHandler(look)
    stream = client.embed_stream(TEXTS, on_error="skip", dead_letter=path, chunk_size=1, max_concurrency=1)
    try:
        async for _ in stream:
            assert stream.summary.failed <= len(rows(path))
    finally:
        logger.removeHandler(look)
    assert logged == [(logging.WARNING, 1, 0), (logging.WARNING, 2, 1)]


@pytest.mark.parametrize("verb", ["embed_with_callback", "embed_binary_stream", "embed_large_dataset", "embed_to_file"])
async def test_every_verb_has_it(client, path, tmp_path, verb):
    options = {"on_error": "skip", "dead_letter": path, "chunk_size": 1}
    if verb == "embed_with_callback":
        await client.embed_with_callback(TEXTS, lambda embedding, index: None, **options)
    elif verb == "embed_to_file":
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", **options)
    else:
        memory = {"max_memory_mb": 4_000} if verb == "embed_large_dataset" else {}
        async for _ in getattr(client, verb)(TEXTS, **options, **memory):
            pass
    assert sorted(indices(path)) == [*BAD]


async def test_runs_add_to_it(client, path):
    for _ in range(2):
        [item async for item in client.embed_stream(TEXTS, on_error="yield", dead_letter=path, chunk_size=1)]
    assert Counter(indices(path)) == Counter([*BAD, *BAD])


async def test_streams_of_one_program_share_it(client, path):
    async def run():
        return [item async for item in client.embed_stream(TEXTS, on_error="skip", dead_letter=path, chunk_size=1)]

    await asyncio.gather(*(run() for _ in range(5)))
    assert Counter(indices(path)) == Counter([*BAD] * 5)


async def test_without_failures_it_is_there_and_empty(client, fake, path):
    fake.rules.clear()
    [item async for item in client.embed_stream(TEXTS, on_error="yield", dead_letter=path)]
    assert path.read_bytes() == b""


async def test_with_raise_it_is_refused_plainly(client, fake, path):
    for call in (client.embed_stream, lambda *a, **o: client.embed_large_dataset(*a, max_memory_mb=4_000, **o)):
        with pytest.raises(ConfigurationError, match="on_error='raise'"):
            call(TEXTS, dead_letter=path)
    with pytest.raises(ConfigurationError, match="on_error='raise'"):
        await client.embed(TEXTS, dead_letter=path)
    with pytest.raises(ConfigurationError, match="on_error='raise'"):
        await client.embed_to_file(TEXTS, path.with_name("v.npy"), dead_letter=path)
    assert list(path.parent.iterdir()) == []
    assert not fake.ledger.asked


@pytest.mark.parametrize("bad", [5, b"failed.jsonl", True, ["a"]])
async def test_what_is_no_path(client, bad):
    with pytest.raises(ConfigurationError, match="must be the path of a file"):
        client.embed_stream(TEXTS, on_error="skip", dead_letter=bad)


async def test_a_file_that_cannot_be_written_costs_nothing(client, fake, path, tmp_path):
    for bad in (tmp_path, tmp_path / "missing" / "failed.jsonl"):
        with pytest.raises(ConfigurationError, match="cannot be written"):
            client.embed_stream(TEXTS, on_error="skip", dead_letter=bad)
        with pytest.raises(ConfigurationError, match="cannot be written"):
            await client.embed_to_file(TEXTS, tmp_path / "v.npy", on_error="skip", dead_letter=bad)
    assert not fake.ledger.asked
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["v.npy", "v.npy.texts.jsonl", "v.npy.meta.json", "v.npy.partial/failed.jsonl"])
async def test_it_is_no_part_of_the_output(client, fake, tmp_path, name):
    with pytest.raises(ConfigurationError, match="choose another name"):
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", on_error="skip", dead_letter=tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    assert not fake.ledger.asked


@HOW
async def test_a_run_ends_when_a_failure_cannot_be_kept(client, fake, tmp_path, how):
    """What came before is given; the failure is not, as if it were safe."""
    folder = tmp_path / "folder"
    folder.mkdir()

    async def remove(exchange):
        (folder / "failed.jsonl").unlink()
        folder.rmdir()
        await exchange.refuse(400, "no")

    fake.rules.clear()
    fake.script += [fake.default] * 3 + [remove]
    path = folder / "failed.jsonl"
    stream = client.embed_stream(TEXTS, on_error=how, dead_letter=path, chunk_size=1, max_concurrency=1)
    results = []
    with pytest.raises(FileNotFoundError) as caught:
        await take_all(stream, results)
    assert [item.index for item in results] == [0, 1, 2]
    assert caught.value.filename == str(path)
    assert stream.summary.failed == 0


class SlowDisk:
    """A disk that has nothing safe before it is told to."""

    def __init__(self, monkeypatch):
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        append = _dead_letters._append

        def slow(path, lines):
            append(path, lines)
            self.begun.set()
            assert self.may_go_on.wait(10), "the event loop stands still"

        monkeypatch.setattr(_dead_letters, "_append", slow)

    async def wait(self):
        while not self.begun.is_set():
            await asyncio.sleep(0)


async def test_a_slow_disk_does_not_hold_up_the_event_loop(client, path, monkeypatch):
    """Nor the results of other requests, if they need not come in order."""
    disk = SlowDisk(monkeypatch)
    options = {"on_error": "yield", "ordered": False, "chunk_size": 1}
    found = []
    async for item in client.embed_stream([TEXTS[3], *TEXTS[4:8]], dead_letter=path, **options):
        found.append(item)
        if len(found) == 4:
            assert not any(isinstance(item, EmbedFailure) for item in found)
            disk.may_go_on.set()
    assert isinstance(found[-1], EmbedFailure)


async def test_leaving_while_the_disk_is_slow(client, path, monkeypatch):
    """The write is waited for, and nothing is left behind."""
    disk = SlowDisk(monkeypatch)
    stream = client.embed_stream([TEXTS[3]], on_error="yield", dead_letter=path)
    task = asyncio.create_task(anext(stream))
    await disk.wait()
    closing = asyncio.create_task(stream.aclose())
    await turns()
    assert not closing.done()
    disk.may_go_on.set()
    await closing
    await asyncio.wait([task])
    assert task.exception()
    assert indices(path) == [0]


KEYED = {
    "message": faults.Refused(400, f"Incorrect key: {KEY}."),
    "code": faults.Refused(400, "no", code=KEY),
    "after retries": faults.Refused(500, f"oops {KEY}"),
}


async def echo_in_id(exchange):
    await exchange.refuse(400, "no", headers={"x-request-id": f"for-{KEY}"})


@pytest.mark.parametrize("reply", [*KEYED.values(), echo_in_id], ids=[*KEYED, "request id"])
async def test_no_key_is_in_it(client, fake, path, reply):
    """Where the server repeats it there are stars, and of the address only what is no secret is there."""
    fake.rules.clear()
    fake.default = reply
    client = EmbedClient(
        "openai",
        api_key=KEY,
        base_url=f"{fake.url}/v1?key=query-secret",
        retry=RetryPolicy(max_attempts=1, probe=False),
    )
    async with client:
        [item async for item in client.embed_stream(TEXTS[:3], on_error="yield", dead_letter=path)]
    content = path.read_text()
    assert len(content.splitlines()) == 3
    assert "***" in content
    assert KEY not in content
    assert "query-secret" not in content


# Into a file


SMALL = {"chunk_size": 1, "max_concurrency": 1, "on_error": "skip"}


async def broken_off(client, fake, path, out, at):
    """Run until the API refuses the key."""
    fake.rules.append(faults.Poisoned(TEXTS[at], 402))
    with pytest.raises(QuotaExceededError):
        await client.embed_to_file(TEXTS, out, dead_letter=path, **SMALL)
    fake.rules.pop()


async def test_failures_of_an_earlier_run_are_not_written_again(client, fake, path, tmp_path):
    await broken_off(client, fake, path, tmp_path / "v.npy", at=6)
    assert indices(path) == [3]
    summary = await client.embed_to_file(TEXTS, tmp_path / "v.npy", dead_letter=path, resume=True, **SMALL)
    assert indices(path) == [*BAD]
    assert (summary.failed, summary.saved) == (2, 10)
    await client.embed_to_file(TEXTS, tmp_path / "v.npy", dead_letter=path, resume=True, **SMALL)
    assert indices(path) == [*BAD]
    good = [text for index, text in enumerate(TEXTS) if index not in BAD]
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), [vector_of(text) for text in good])


async def test_a_run_that_ends_between_the_two_files_writes_nothing_twice(client, path, tmp_path, monkeypatch):
    """The failure is safe, and its text is not settled: so it is asked for again, and fails again."""

    def fail(self, totals):
        if totals.failed:
            raise OSError(28, "No space left on device")
        commit(self, totals)

    commit = RowLog.commit
    monkeypatch.setattr(RowLog, "commit", fail)
    with pytest.raises(OSError, match="No space"):
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", dead_letter=path, **SMALL)
    assert indices(path)[0] == 3
    monkeypatch.undo()
    await client.embed_to_file(TEXTS, tmp_path / "v.npy", dead_letter=path, resume=True, **SMALL)
    assert indices(path) == [*BAD]


async def test_what_a_resumed_run_embeds_after_all_is_not_in_it(connect, fake, path, tmp_path):
    """An outage takes text after text; they are asked for again, and would be paid for twice if they were in it."""
    once = connect(base_url=f"{fake.url}/v1", retry=RetryPolicy(max_attempts=1))
    texts = numbered(24)
    fake.rules += [faults.Poisoned(text, 503) for text in texts[4:]]
    with pytest.raises(ServerError):
        await once.embed_to_file(texts, tmp_path / "v.npy", dead_letter=path, **SMALL)
    assert indices(path) == [3, 8]  # which are refused
    del fake.rules[2:]
    summary = await once.embed_to_file(texts, tmp_path / "v.npy", dead_letter=path, resume=True, **SMALL)
    assert indices(path) == [3, 8]
    assert (summary.failed, summary.saved) == (2, 22)


async def test_a_full_disk_for_failures_leaves_what_was_safe(client, fake, path, tmp_path, monkeypatch):
    begun, arrived = threading.Event(), threading.Event()

    async def reply(exchange):
        """Results come while the failure before them is being written."""
        if TEXTS[4] in exchange.request.texts:
            await asyncio.to_thread(begun.wait, 10)
        if TEXTS[7] in exchange.request.texts:
            arrived.set()
        await exchange.deliver()

    def full(path, lines):
        begun.set()
        assert arrived.wait(10)
        raise OSError(28, "No space left on device")

    fake.default = reply
    monkeypatch.setattr(_dead_letters, "_append", full)
    with pytest.raises(OSError, match="No space") as caught:
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", dead_letter=path, **SMALL)
    assert caught.value.filename == str(path)
    assert "so the run was stopped" in caught.value.__notes__[0]
    assert "kept" in caught.value.__notes__[1]
    monkeypatch.undo()
    summary = await client.embed_to_file(TEXTS, tmp_path / "v.npy", dead_letter=path, resume=True, **SMALL)
    assert indices(path) == [*BAD]
    assert (summary.failed, summary.saved) == (2, 10)
