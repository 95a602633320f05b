"""The file of failures: whole lines, whatever happens to whoever writes them, and nobody else's file."""

from __future__ import annotations

import errno
import os
import threading
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import ConfigurationError, EmbedFailure, InvalidInputError, TransportError
from asyncembed.cli._inputs import Fields, parse_sources, read
from asyncembed.sinks import _dead_letters
from asyncembed.sinks._dead_letters import DeadLetterFile

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = InvalidInputError("no", status=400, code="bad", request_id="r-1", indices=(0,))
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such thing")


def failure(index=0, text="a text", id_=None, error=REFUSED):
    return EmbedFailure(index, text, id_, error)


def letters(path) -> DeadLetterFile:
    return DeadLetterFile(path, provider="openai", model="m")


def rows(path: Path):
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    return [orjson.loads(line) for line in content.splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "failed.jsonl"


def test_a_line_says_what_failed_why_and_where(path):
    before = datetime.now(UTC)
    letters(path).write([failure(7, "seven", "id-7"), failure(8, "eight", 8, TransportError("reset"))])
    first, second = rows(path)
    assert before.replace(microsecond=0) <= datetime.fromisoformat(first.pop("time")) <= datetime.now(UTC)
    assert first == {
        "index": 7,
        "id": "id-7",
        "text": "seven",
        "error": "InvalidInputError",
        "message": "no",
        "status": 400,
        "code": "bad",
        "request_id": "r-1",
        "provider": "openai",
        "model": "m",
    }
    assert second.pop("time")
    assert second == {
        **dict.fromkeys(("status", "code", "request_id")),
        "index": 8,
        "id": 8,
        "text": "eight",
        "error": "TransportError",
        "message": "reset",
        "provider": "openai",
        "model": "m",
    }


@given(st.text(st.characters(codec=None, categories=None)), st.one_of(st.none(), st.integers(), st.text()))
def test_every_line_can_be_read_as_an_input(tmp_path_factory, text, id_):
    """What is not Unicode is spelled out, and so are numbers that JSON has no room for."""
    path = tmp_path_factory.mktemp("letters") / "failed.jsonl"
    letters(path).write([failure(0, text, id_)])
    (given_back,) = read(parse_sources([str(path)], None), Fields())
    assert given_back.text == text.encode("utf-8", "backslashreplace").decode()
    assert str(given_back.id) == str(id_)


def test_a_write_that_was_cut_off_anywhere_spoils_nothing(path, monkeypatch):
    """At every byte: what was whole stays, the rest was never reported and goes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # 400 of them take seconds
    letters(path).write([failure(index, "naïve\n\ud800") for index in range(2)])
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        one = letters(path)
        one.check()
        one.write([failure(9)])
        indices = [row["index"] for row in rows(path)]
        ends = [end for end in range(cut + 1) if content[end : end + 1] == b"\n"]
        assert indices == [*range(len(ends)), 9], cut


@pytest.mark.parametrize("length", [65_535, 65_536, 65_537, 200_000])
def test_a_long_line_that_was_cut_off(path, length):
    letters(path).write([failure(0)])
    with path.open("ab") as file:
        file.write(b'{"index":1,"text":"'.ljust(length, b"x"))
    letters(path).write([failure(2)])
    assert [row["index"] for row in rows(path)] == [0, 2]


def test_a_full_disk_leaves_the_file_as_it_was(path, monkeypatch):
    letters(path).write([failure(0)])
    before = path.read_bytes()

    def write_half(file, data):
        file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_dead_letters, "write_all", write_half)
    with pytest.raises(OSError, match="No space left") as caught:
        letters(path).write([failure(1), failure(2)])
    assert caught.value.filename == str(path)
    assert caught.value.__notes__ == ["2 failed texts could not be written to this file, so the run was stopped"]
    assert path.read_bytes() == before


def test_it_is_on_the_disk_when_it_is_said_to_be(path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), fsync(handle)))
    letters(path).write([failure(0)])
    assert path.stat().st_size in synced


def test_writers_side_by_side_share_a_file(path):
    """Each has it open for itself, as processes would; every line is whole."""

    def write(number):
        one = letters(path)
        for index in range(20):
            one.write([failure(100 * number + index, "x" * 5_000)])

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [row["index"] for row in rows(path)]
    assert sorted(found) == [100 * number + index for number in range(4) for index in range(20)]


@POSIX
def test_a_process_that_stands_still_with_the_lock_does_not_hold_up_others_for_ever(path, monkeypatch):
    import fcntl

    monkeypatch.setattr(_dead_letters, "LOCK_TIMEOUT", 0.05)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="locked for"):
            letters(path).write([failure(0)])
    letters(path).write([failure(0)])
    assert len(rows(path)) == 1


def test_what_was_written_before_is_recognised(path):
    """From an index on, and only if everything is the same."""
    letters(path).write([failure(3), failure(4), failure(5, "\ud800", 1 << 70)])
    with path.open("ab") as file:
        file.write(b'not JSON\n[]\n{"index":"4"}\n{"index":9}\n{"index":9,"id":[],"text":1,"provider":1,"model":1}\n')
    one = letters(path)
    one.recognise(4)
    one.write([failure(3), failure(4), failure(5, "\ud800", 1 << 70)])
    one.write([failure(4, "another text"), failure(4, id_="x"), failure(6)])
    other = DeadLetterFile(path, provider="openai", model="another")
    other.recognise(0)
    other.write([failure(4)])
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()[8:]]
    assert [(line["index"], line["text"], line["model"]) for line in lines] == [
        (3, "a text", "m"),
        (4, "another text", "m"),
        (4, "a text", "m"),
        (6, "a text", "m"),
        (4, "a text", "another"),
    ]


def make_folder(path):
    path.mkdir()


def make_foreign(path):
    path.write_text('{"id": 1, "text": "my only copy"}\n')


def make_text(path):
    path.write_text("my only copy")


def make_vectors(path):
    path.write_text('{"index":0,"id":null,"text":"a","embedding":[1.0]}\n')


def make_pipe(path):
    os.mkfifo(path)


def make_link(path):
    path.symlink_to(path.parent / "elsewhere")


def make_long_vectors(path):
    path.write_text('{"index":0,"id":null,"text":"a","embedding":[' + "1.0," * 50_000 + "1.0]}\n")


def make_endless_line(path):
    with path.open("wb") as file:
        file.write(b'{"index":0,"text":"')
        file.truncate(800_000_000)


REFUSALS = {
    "folder": (make_folder, "Is a directory"),
    "inputs": (make_foreign, "is not a dead-letter file"),
    "text": (make_text, "is not a dead-letter file"),
    "vectors": (make_vectors, "is not a dead-letter file"),
    "long vectors": (make_long_vectors, "is not a dead-letter file"),
    "pipe": (make_pipe, "regular file|seek"),
    "link": (make_link, "symbolic link"),
}


@POSIX
@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_something_else_is_left_alone(path, what):
    make, why = REFUSALS[what]
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigurationError, match=why):
        letters(path).check()
    assert before is None or path.read_bytes() == before
    assert not (path.parent / "elsewhere").exists()


def test_a_line_without_an_end_is_not_read_to_its_end(path):
    """Neither to see whether it is ours, nor to find what was written before."""
    make_endless_line(path)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match="is not a dead-letter file"):
            letters(path).check()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(OSError, match="is not a failed text"):
        letters(path).write([failure(0)])
    assert path.stat().st_size == 800_000_000


def test_a_long_text_that_failed_is_ours(path):
    letters(path).write([failure(0, "x" * 300_000)])
    letters(path).check()
    content = path.read_bytes()
    for cut in (70_000, 299_000, len(content) - 1):
        path.write_bytes(content[:cut])
        letters(path).check()
        letters(path).write([failure(1)])
        assert [row["index"] for row in rows(path)][-1] == 1


@POSIX
def test_a_link_that_is_laid_later_is_not_followed_either(path):
    letters(path).check()
    path.unlink()
    make_link(path)
    with pytest.raises(ConfigurationError, match="symbolic link"):
        letters(path).write([failure(0)])
    assert not (path.parent / "elsewhere").exists()


@POSIX
def test_a_folder_that_is_a_link_is_what_was_asked_for(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    letters(tmp_path / "link" / "failed.jsonl").write([failure(0)])
    assert len(rows(tmp_path / "real" / "failed.jsonl")) == 1


@POSIX
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_that_another_user_has_laid_in_a_shared_folder(path):
    path.touch()
    os.chown(path, 12_345, 12_345)
    letters(path).check()
    path.parent.chmod(0o1777)
    with pytest.raises(ConfigurationError, match="another user"):
        letters(path).check()
    assert path.read_bytes() == b""


@POSIX
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_file_follows_the_umask(path, umask):
    before = os.umask(umask)
    try:
        letters(path).check()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("name", ["missing/failed.jsonl", "", "a\0b"])
def test_what_cannot_be_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        letters(name).check()
    assert list(tmp_path.iterdir()) == []
