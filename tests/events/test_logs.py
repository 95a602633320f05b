"""The log: silent unless something is worth saying, a line an event, and every field of it in the record."""

from __future__ import annotations

import logging
import subprocess
import sys
from logging import DEBUG, INFO, WARNING

import pytest
from support.results import numbered

from asyncembed import RetryPolicy, ServerError
from asyncembed.testing import faults

TEXTS = numbered(6)


async def test_a_healthy_run_says_nothing(connect, lines):
    await connect(on_event=None).embed(TEXTS)
    assert [line.split()[0] for line in lines()] == ["request_started", "request_ended", "run_ended"]
    assert lines(DEBUG) == lines()


async def test_trouble_that_is_got_over(server, connect, lines):
    server.script += [faults.CutOff(after=2), faults.TooManyRequests("seconds", wait=0.01)]
    await connect(on_event=None).embed(TEXTS)
    assert [line.split()[0] for line in lines(INFO)] == ["retry_scheduled", "retry_scheduled", "endpoint_paused"]
    assert not lines(WARNING)


async def test_a_pause_of_all_is_told_once(server, connect, lines):
    """Though each of the requests that are under way is told to wait."""
    server.script += [faults.TooManyRequests("seconds", wait=0.05)] * 3
    server.latency = 0.02
    await connect(on_event=None, retry=RetryPolicy(initial_backoff=0.001)).embed(TEXTS, chunk_size=2)
    pauses = [[line for line in lines(level) if line.startswith("endpoint_paused")] for level in (INFO, DEBUG)]
    assert [len(found) for found in pauses] == [1, 2]


async def test_texts_that_are_skipped(connect, lines):
    async for _ in connect(on_event=None).embed_stream(["a", "", "b"], on_error="skip"):
        pass
    (line,) = lines(WARNING)
    assert line.startswith("inputs_failed provider=openai model=text-embedding-3-small run=")
    assert "error=InvalidInputError message='texts[1] is empty; leave it out or replace it'" in line
    assert line.endswith("indices=1 skipped=True")


async def test_texts_whose_failures_are_given_to_the_caller(connect, lines):
    async for _ in connect(on_event=None).embed_stream(["a", "", "b"], on_error="yield"):
        pass
    assert not lines(WARNING)
    (line,) = lines(INFO)
    assert line.endswith("indices=1 skipped=False")


async def test_a_run_that_ends_with_an_error(server, connect, lines):
    server.default = faults.Refused(500, "broken")
    with pytest.raises(ServerError):
        await connect(on_event=None, retry=RetryPolicy(max_attempts=1)).embed(TEXTS)
    (line,) = lines(INFO)
    assert line.startswith("run_ended ")
    assert " error=ServerError message=" in line
    assert "answered 500: broken (request fake-0)" in line
    assert " status=500 done=0" in line


async def test_leaving_early_is_no_trouble(connect, lines):
    async with connect(on_event=None).embed_stream(TEXTS, chunk_size=1, max_concurrency=1) as stream:
        await anext(stream)
    assert lines(DEBUG) == lines()
    assert "error=StreamClosedError" in lines()[-1]


async def test_the_fields_are_in_the_record(server, connect, caplog, told):
    caplog.set_level(DEBUG, logger="asyncembed")
    server.script += [faults.CutOff(after=2)]
    await connect().embed(TEXTS)
    records = [record for record in caplog.records if record.name == "asyncembed"]
    assert [record.event for record in records] == told.names
    for record, event in zip(records, told, strict=True):
        known = {name: getattr(event, name) for name in record.fields}
        assert record.fields == known
        assert {"provider", "model", "run"} <= known.keys()
        assert None not in record.fields.values()


async def test_what_a_server_says_cannot_begin_a_line(server, connect, lines):
    server.script.append(faults.Refused(400, "no\nroot: all is well\x1b[2J x='\"="))  # and then it takes a probe
    async for _ in connect(on_event=None).embed_stream(TEXTS[:1], on_error="skip"):
        pass
    await connect(on_event=None, model="a\nb", encoding="float").embed([])
    assert r"model='a\nb'" in lines()[-1]
    assert all(line.isprintable() for line in lines())
    assert any(r"no\nroot: all is well" in line for line in lines(WARNING))


async def test_it_can_be_turned_on_for_warnings_alone(server, connect, caplog):
    caplog.set_level(WARNING, logger="asyncembed")
    server.script += [faults.CutOff(after=2)]
    async for _ in connect(on_event=None).embed_stream([*TEXTS, ""], on_error="skip"):
        pass
    assert [record.event for record in caplog.records] == ["inputs_failed"]


def test_nothing_is_shown_where_no_log_was_set_up():
    """Not even warnings, which Python would print."""
    code = "import asyncembed, logging; logging.getLogger('asyncembed').warning('seen')"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("", "")
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("asyncembed").handlers)


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (["a"], "0"),
        (["a", "b", "c"], "0-2"),
        (["a", "", "c", "d", "", "", "", "", "", "j"], "0,2-3,9"),
        (["", "", "", "", "", "f", "", "h"], "5,7"),
    ],
)
async def test_indices_are_written_as_ranges(connect, lines, texts, shown):
    async for _ in connect(on_event=None).embed_stream(texts, on_error="skip"):
        pass
    (started,) = [line for line in lines(DEBUG) if line.startswith("request_started")]
    assert f" indices={shown} " in started
