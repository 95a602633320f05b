"""The journal: what was committed is there after any end, and nothing else is."""

from __future__ import annotations

import itertools
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blocks import claim, numbered_block, read, with_failures

from asyncembed import (
    AsyncEmbedError,
    ConfigurationError,
    EmbedFailure,
    EmbedInput,
    InvalidInputError,
    ResumeError,
    Usage,
)
from asyncembed._models import EmbedBlock, RunTotals, Withdrawal
from asyncembed.sinks import (
    Fingerprint,
    Journal,
    KnownTexts,
    Label,
    PartialFolder,
    Provenance,
    open_vectors,
    read_partial,
)
from asyncembed.sinks.npy import write_header

RUN, VECTORS, LABELS = "run.json", "vectors.npy", "vectors.npy.texts.jsonl"
RECORDS, COMMITS = "records.bin", "commits.jsonl"
PROVENANCE = Provenance(provider="p", model="m", truncate="END")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "v.npy.partial"


def create(folder, provenance=PROVENANCE, **settings):
    held = PartialFolder.acquire(folder.with_suffix(""))
    return together(Journal.create(held, provenance, **{"total": None, "may_replace": False, **settings}), held)


def reopen(folder):
    held = PartialFolder.acquire(folder.with_suffix(""))
    try:
        return together(Journal.open(held), held)
    except BaseException:
        held.release()
        raise


def together(journal, held):
    """Close a journal and let go of its folder in one go."""

    def close():
        Journal.close(journal)
        held.release()

    journal.close = close
    return journal


def begun(folder, groups=3, rows=5):
    """A journal with some groups in it, closed."""
    journal = create(folder)
    for group in range(groups):
        journal.add([numbered_block(group * rows, rows)])
    journal.close()
    return folder


def texts(count):
    return [EmbedInput(f"text {index}") for index in range(count)]


def recognise(journal, inputs):
    """What is to be asked for of the texts that a journal knows."""
    known = KnownTexts(journal.folder, journal.committed, journal.provenance.number)
    known.check_count(len(inputs))
    return known.recognise(0, inputs[: known.reach])


def finished(journal, folder):
    """Labels and matrix of the file that is made of a journal."""
    journal.close()
    output = claim(folder.with_suffix(""), PROVENANCE, resume=True)
    try:
        for _ in output.finish():
            pass
    finally:
        output.close()
    return read(folder.with_suffix(""))


def state(journal):
    return journal.settled, journal.rows, journal.width


def rows_in(folder):
    return [float(row[0]) for block in open_vectors(folder / VECTORS).blocks() for row in block.vectors]


def test_a_journal_comes_back_as_it_was(folder):
    journal = create(folder, total=7, may_replace=True)
    journal.add(with_failures([numbered_block(0, 3), numbered_block(5, 2)], 0))
    assert state(journal) == (7, 5, 4)
    journal.close()
    again = reopen(folder)
    note = again.note
    assert (state(again), note.total, note.may_replace, again.provenance) == ((7, 5, 4), 7, True, PROVENANCE)
    again.close()
    labels = [label for block in open_vectors(folder / VECTORS).blocks() for label in block.labels]
    assert labels == [Label(index, None, f"text {index}") for index in (0, 1, 2, 5, 6)]
    assert rows_in(folder) == [0, 1, 2, 5, 6]


def test_going_on_appends(folder):
    journal = reopen(begun(folder))
    journal.add([numbered_block(15, 2)])
    journal.close()
    assert rows_in(folder) == list(range(17))


@pytest.mark.parametrize("name", [VECTORS, LABELS, RECORDS, COMMITS])
def test_whatever_lies_behind_the_last_commit_never_happened(folder, name):
    begun(folder)
    with (folder / name).open("ab") as file:
        file.write(b'{"settled": 99, "rows')
    journal = reopen(folder)
    assert state(journal) == (15, 15, 4)
    journal.add([numbered_block(15, 1)])
    journal.close()
    assert rows_in(folder) == list(range(16))
    again = reopen(folder)
    assert state(again) == (16, 16, 4)
    again.close()


def test_a_crash_at_every_byte_leaves_the_last_commit_before_it(folder, tmp_path):
    """Files are cut where a process was killed while it appended: rows first, then labels, records, and the commit."""
    begun(folder, groups=1)
    before = {name: (folder / name).stat().st_size for name in (VECTORS, LABELS, RECORDS, COMMITS)}
    journal = reopen(folder)
    journal.add([numbered_block(5, 2)])
    journal.close()
    whole = {name: (folder / name).read_bytes() for name in before}
    order = [(name, size) for name in before for size in range(before[name], len(whole[name]) + 1)]
    copy = tmp_path / "copy.partial"
    for name, size in order:
        shutil.copytree(folder, copy)
        names = list(before)
        for later in names[names.index(name) + 1 :]:
            (copy / later).write_bytes(whole[later][: before[later]])
        (copy / name).write_bytes(whole[name][:size])
        found = reopen(copy)
        complete = name == COMMITS and size == len(whole[COMMITS])
        assert state(found) == ((7, 7, 4) if complete else (5, 5, 4)), (name, size)
        found.close()
        assert (copy / VECTORS).stat().st_size == (len(whole[VECTORS]) if complete else before[VECTORS])
        shutil.rmtree(copy)


@pytest.mark.parametrize("name", [VECTORS, LABELS, RECORDS])
def test_a_file_that_lost_what_was_committed_is_refused(folder, name):
    begun(folder)
    with (folder / name).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(
        ResumeError, match=f"damaged and cannot be resumed: {name} is shorter than its last commit says"
    ):
        reopen(folder)
    create(folder).close()  # the lock was given back


def test_damaged_notes_are_refused(folder):
    begun(folder)
    (folder / RUN).write_text("{")
    with pytest.raises(ResumeError, match="damaged"):
        reopen(folder)
    begun(folder)
    (folder / COMMITS).write_text("[1]\n")
    with pytest.raises(ResumeError, match="damaged"):
        reopen(folder)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (texts(14), "has results for the first 15 texts, but the input has only 14"),
        (
            [*texts(7), EmbedInput("other"), *texts(15)[8:]],
            "the text with index 7, or its id or metadata, has changed",
        ),
        ([*texts(7), EmbedInput("text 7", "7"), *texts(15)[8:]], "other texts: the text with index 7, or its id"),
        (texts(15)[::-1], "belongs to other texts: the text with index 0"),
    ],
    ids=["fewer", "another text", "another id", "another order"],
)
def test_other_texts_are_refused(folder, inputs, words):
    journal = reopen(begun(folder))
    with pytest.raises(ResumeError, match=words):
        recognise(journal, inputs)
    assert recognise(journal, texts(15)) == []
    journal.close()


def test_an_id_is_not_a_part_of_its_text(folder):
    """Neither is the id 1 the id "1"."""
    pairs = [("a", "bc"), ("ab", "c"), (None, "abc"), (1, "a"), ("1", "a"), (None, "a"), (None, "2:1a"), ("s", "a")]
    inputs = [EmbedInput(text, id_) for id_, text in pairs]
    journal = create(folder)
    journal.add([EmbedBlock(0, np.zeros((len(inputs), 4), np.float32), inputs)])
    for place, other in itertools.product(range(len(inputs)), inputs):
        changed = [*inputs[:place], other, *inputs[place + 1 :]]
        if other is inputs[place]:
            assert recognise(journal, changed) == []
        else:
            with pytest.raises(ResumeError, match=f"the text with index {place}, or its id"):
                recognise(journal, changed)
    journal.close()


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)), st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_results_in_any_order_are_read_in_theirs(tmp_path_factory, order, failed, withdrawn, group):
    """And what is withdrawn is asked for again; it may come once more."""
    folder = tmp_path_factory.mktemp("journal") / "v.npy.partial"
    journal = create(folder)
    items = [
        EmbedFailure(index, f"text {index}", None, AsyncEmbedError("no"))
        if index in failed
        else numbered_block(index, 1)
        for index in order
    ]
    for start in range(0, 12, group):
        journal.add(items[start : start + group])
    withdrawn = sorted(withdrawn - failed)
    if withdrawn:
        journal.add([Withdrawal(withdrawn, [EmbedInput(f"text {index}") for index in withdrawn])])
    journal.close()
    journal = reopen(folder)
    assert recognise(journal, texts(12)) == withdrawn
    assert state(journal) == (12 - len(withdrawn), 12 - len(failed) - len(withdrawn), 4 if len(failed) < 12 else 0)
    journal.add([numbered_block(index, 1) for index in withdrawn])
    kept = [index for index in range(12) if index not in failed]
    if kept:
        labels, vectors = finished(journal, folder)
        assert vectors[:, 0].tolist() == kept
        assert [label.index for label in labels] == kept
        assert [label.text for label in labels] == [f"text {index}" for index in kept]
        fingerprint = Fingerprint()
        fingerprint.add(texts(12))
        assert open_vectors(folder.with_suffix("")).provenance.fingerprint == fingerprint.hexdigest()
    journal.close()


def test_the_first_of_two_runs_leaves_gaps(folder):
    """They are told when its texts are read again, some at a time."""
    journal = create(folder)
    journal.add([numbered_block(8, 3), numbered_block(2, 2)])
    known = KnownTexts(journal.folder, journal.committed, journal.provenance.number)
    assert known.reach == 11
    inputs = texts(11)
    assert [known.recognise(first, inputs[first : first + 5]) for first in (0, 5, 10)] == [[0, 1, 4], [0, 1, 2], []]
    journal.close()


def test_a_damaged_index_is_refused_and_makes_no_file(folder):
    begun(folder)
    with (folder / RECORDS).open("r+b") as file:
        file.write((9).to_bytes(8, "little"))
    with pytest.raises(ResumeError, match="damaged"):
        finished(reopen(folder), folder)


def test_books_are_kept_with_the_results(folder):
    failure = InvalidInputError("too long", status=400, code="long", request_id="r-1", indices=(3,))
    totals = RunTotals(2, 1, failure, 30, 4, 5, 600, Usage(7_000, 80), 9.5)
    journal = create(folder)
    journal.add([numbered_block(0, 2)], totals)
    journal.add([numbered_block(2, 1)])  # without news
    journal.close()
    again = reopen(folder)
    found = again.committed.totals
    assert replace(found, failure=None) == replace(totals, failure=None)
    error = found.failure
    assert (type(error), str(error), error.indices) == (InvalidInputError, "too long", (3,))
    assert (error.status, error.code, error.request_id) == (400, "long", "r-1")
    again.close()


def test_the_words_of_a_failure_are_not_kept_where_texts_are_not(folder):
    journal = create(folder, replace(PROVENANCE, keep_text=False))
    failure = InvalidInputError("bad: 'my secret'", status=400, provider_message="my secret", indices=(0,))
    journal.add([numbered_block(0, 2)], RunTotals(failed=1, failure=failure))
    journal.close()
    assert b"secret" not in b"".join(file.read_bytes() for file in folder.iterdir())
    assert read_partial(folder).commit.totals.failure.status == 400


def test_a_journal_can_be_looked_at_while_it_is_written(folder):
    """Nothing of it is changed by that, nor by what was not committed."""
    assert read_partial(folder.with_suffix("")) is None
    journal = create(folder, total=20)
    assert read_partial(folder).commit.settled == 0
    journal.add([numbered_block(3, 2)], RunTotals(runs=1, requests=7))
    with (folder / COMMITS).open("ab") as file:
        file.write(b'{"settled":99')
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    found = read_partial(folder.with_suffix(""))
    assert (found.commit.settled, found.commit.reach, found.commit.totals.requests, found.total) == (2, 5, 7, 20)
    assert f"process {os.getpid()} on " in found.holder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    journal.close()
    assert read_partial(folder).holder == ""


def test_a_journal_of_the_first_version_is_refused_by_its_name(folder):
    held = PartialFolder.acquire(folder.with_suffix(""))
    provenance = {"provider": "p", "model": "m", "version": "0.1.0"}
    (folder / RUN).write_bytes(orjson.dumps({"provenance": provenance, "total": None, "may_replace": False}))
    with pytest.raises(ResumeError, match=r"was left by asyncembed 0\.1\.0, .* finish the file with that version"):
        Journal.open(held)
    held.release()
    with pytest.raises(ResumeError, match=r"0\.1\.0"):
        read_partial(folder)


def changed(folder, change):
    run = orjson.loads((folder / RUN).read_bytes())
    change(run)
    run["provenance"]["version"] = "9.9.9"
    (folder / RUN).write_bytes(orjson.dumps(run))


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run["provenance"].update(instruction=None),
        lambda run: run["identity"].update(instruction=None),
        lambda run: run.update(mood=None, weather="fine"),
    ],
)
def test_what_a_later_version_adds_and_says_nothing_does_not_matter(folder, change):
    changed(begun(folder), change)
    journal = reopen(folder)
    assert state(journal) == (15, 15, 4)
    journal.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda run: run["provenance"].update(instruction="x"),
            r"written by asyncembed 9\.9\.9 and uses instruction",
        ),
        (lambda run: run.update(journal=3), r"written by asyncembed 9\.9\.9 and has a journal of format 3"),
        (
            lambda run: run["provenance"].update(dtype="float16"),
            r"written by asyncembed 9\.9\.9 and has vectors of type float16",
        ),
        (lambda run: run.update(journal={"major": 3}), r"written by asyncembed 9\.9\.9 and has a run\.json that"),
        (lambda run: run.pop("total"), r"written by asyncembed 9\.9\.9 and has a run\.json that cannot be read"),
    ],
)
def test_a_later_version_that_is_needed_is_named(folder, change, words):
    changed(begun(folder), change)
    with pytest.raises(ResumeError, match=words):
        reopen(folder)
    with pytest.raises(ResumeError, match=words):
        read_partial(folder)


def test_what_a_later_version_adds_to_the_identity_is_a_difference(folder):
    changed(begun(folder), lambda run: run["identity"].update(instruction="x"))
    with pytest.raises(ResumeError, match="instruction was 'x' and is None now"):
        claim(folder.with_suffix(""), PROVENANCE, resume=True)


def test_whoever_holds_the_folder_is_named(folder):
    journal = create(folder)
    with pytest.raises(ConfigurationError, match="written by another process") as caught:
        PartialFolder.acquire(folder.with_suffix(""))
    said = re.search(r"process (\d+) on (\S+) since (\S+ \S+) UTC$", str(caught.value))
    assert (int(said[1]), said[2]) == (os.getpid(), platform.node())
    assert abs(datetime.now(UTC) - datetime.fromisoformat(f"{said[3]}Z")).days < 2
    journal.close()


def test_vectors_of_another_length_are_refused_and_not_counted(folder):
    journal = reopen(begun(folder))
    with pytest.raises(ResumeError, match="has vectors of 4 numbers, but the new ones have 6"):
        journal.add([numbered_block(15, 1), numbered_block(16, 1, dimension=6)])
    journal.close()
    again = reopen(folder)
    assert state(again) == (15, 15, 4)
    again.close()


def test_one_process_at_a_time(folder):
    journal = create(folder)
    file = folder.with_suffix("")
    code = (
        "from asyncembed.sinks import PartialFolder; from pathlib import Path; "
        f"PartialFolder.acquire(Path({str(file)!r}))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "is being written by another process" in other.stderr
    journal.close()
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert other.returncode == 0, other.stderr


def test_files_of_somebody_else_in_the_folder_are_left_alone(folder):
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    begun(folder)
    create(folder).close()
    assert (folder / "mine.txt").read_text() == "mine"
    assert (folder / RUN).is_file()


def test_a_removed_folder_is_noticed_at_the_next_commit(folder):
    journal = create(folder)
    journal.add([numbered_block(0, 1)])
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="another program removed the folder during the run") as caught:
        journal.add([numbered_block(1, 1)])
    assert caught.value.filename == str(folder)
    journal.close()


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="/dev/full is not there to be a full disk")
def test_a_full_disk_is_an_error_that_names_the_folder(folder, monkeypatch):
    """And what was committed before it is still there."""
    journal = reopen(begun(folder))
    full = pathlib.Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(journal._log, "_labels", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        journal.add([numbered_block(15, 1)])
    assert caught.value.filename == str(folder)
    full.close()
    journal.close()
    again = reopen(folder)
    assert state(again) == (15, 15, 4)
    again.close()


def test_the_list_of_commits_does_not_grow_for_ever(folder, monkeypatch):
    monkeypatch.setattr("asyncembed.sinks._row_log.MAX_COMMIT_BYTES", 1_000)
    journal = create(folder)
    for index in range(50):
        journal.add([numbered_block(index, 1)])
        assert (folder / COMMITS).stat().st_size < 1_400
    journal.close()
    again = reopen(folder)
    assert state(again) == (50, 50, 4)
    again.add([numbered_block(50, 1)])
    again.close()
    assert rows_in(folder) == list(range(51))


def test_the_header_has_room_for_any_count_of_rows(folder):
    begun(folder)
    data = (folder / VECTORS).read_bytes()
    assert len(data) == 128 + 15 * 4 * 4
    np.testing.assert_array_equal(np.load(folder / VECTORS)[:, 0], np.arange(15))


def test_texts_are_kept_only_if_they_are_wanted(folder):
    for keep_text in (True, False):
        provenance = Provenance(provider="p", model="m", keep_text=keep_text)
        journal = create(folder, provenance)
        journal.add([numbered_block(0, 1)])
        journal.close()
        line = orjson.loads((folder / LABELS).read_bytes())
        assert ("text" in line) is keep_text


def test_the_header_of_rows_that_never_counted_is_put_right(folder):
    """It is written before their commit."""
    begun(folder)
    with (folder / VECTORS).open("r+b") as file:
        write_header(file, np.float32, (99, 4))
    reopen(folder).close()
    assert np.load(folder / VECTORS).shape == (15, 4)


def test_a_commit_that_cannot_be_read_counts_as_none(folder):
    """The last good one before it does; half of it may have been brought to the disk before the power went."""
    begun(folder)
    with (folder / COMMITS).open("ab") as file:
        file.write(b'{"settled": 16, "ro\0\0\0\0\n')
    journal = reopen(folder)
    assert state(journal) == (15, 15, 4)
    journal.add([numbered_block(15, 1)])
    journal.close()
    assert rows_in(folder) == list(range(16))


def test_nothing_is_added_to_a_journal_that_could_not_be_written(folder):
    journal = create(folder)
    with pytest.raises(ResumeError):
        journal.add([numbered_block(0, 1), numbered_block(1, 1, dimension=6)])
    assert journal.is_broken
    with pytest.raises(RuntimeError, match="an earlier write to"):
        journal.add([numbered_block(0, 1)])
    journal.close()
    assert not (folder / COMMITS).read_bytes()


def test_a_lock_that_was_removed_is_no_lock(folder):
    """Whoever finishes takes it away; then the next one makes another."""
    first = PartialFolder.acquire(folder.with_suffix(""))
    (folder / "lock").unlink()
    second = PartialFolder.acquire(folder.with_suffix(""))
    first.release()
    with pytest.raises(ConfigurationError):
        PartialFolder.acquire(folder.with_suffix(""))
    second.release()
    assert not folder.exists()
