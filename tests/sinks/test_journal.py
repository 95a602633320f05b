"""The journal: what was committed is there after any end, and nothing else is."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import orjson
import pytest
from support.blocks import numbered_block, with_failures

from asyncembed import ConfigurationError, EmbedInput, ResumeError
from asyncembed.sinks import Journal, Label, PartialFolder, Provenance, open_vectors
from asyncembed.sinks._folder import RUN
from asyncembed.sinks._log import COMMITS, LABELS, VECTORS
from asyncembed.sinks.npy import write_header

PROVENANCE = Provenance(provider="p", model="m", truncate="END")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "v.npy.partial"


def create(folder, provenance=PROVENANCE, **settings):
    held = PartialFolder.take(folder.with_suffix(""))
    return together(Journal.create(held, provenance, **{"total": None, "may_replace": False, **settings}), held)


def reopen(folder):
    held = PartialFolder.take(folder.with_suffix(""))
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


def recognise(journal, count):
    journal.fingerprint.add(EmbedInput(f"text {index}") for index in range(count))
    journal.check_input()


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
    assert (state(again), again.total, again.may_replace, again.provenance) == ((7, 5, 4), 7, True, PROVENANCE)
    again.close()
    labels = [label for block in open_vectors(folder / VECTORS).blocks() for label in block.labels]
    assert labels == [Label(index, None, f"text {index}") for index in (0, 1, 2, 5, 6)]
    assert rows_in(folder) == [0, 1, 2, 5, 6]


def test_going_on_appends(folder):
    journal = reopen(begun(folder))
    recognise(journal, 15)
    journal.add([numbered_block(15, 2)])
    journal.close()
    assert rows_in(folder) == list(range(17))


@pytest.mark.parametrize("name", [VECTORS, LABELS, COMMITS])
def test_whatever_lies_behind_the_last_commit_never_happened(folder, name):
    begun(folder)
    with (folder / name).open("ab") as file:
        file.write(b'{"settled": 99, "rows')
    journal = reopen(folder)
    assert state(journal) == (15, 15, 4)
    recognise(journal, 15)
    journal.add([numbered_block(15, 1)])
    journal.close()
    assert rows_in(folder) == list(range(16))
    again = reopen(folder)
    assert state(again) == (16, 16, 4)
    again.close()


def test_a_crash_at_every_byte_leaves_the_last_commit_before_it(folder, tmp_path):
    """Files are cut where a process was killed while it appended: rows first, then labels, then the commit."""
    begun(folder, groups=1)
    before = {name: (folder / name).stat().st_size for name in (VECTORS, LABELS, COMMITS)}
    journal = reopen(folder)
    recognise(journal, 5)
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


@pytest.mark.parametrize("name", [VECTORS, LABELS])
def test_a_file_that_lost_what_was_committed_is_refused(folder, name):
    begun(folder)
    with (folder / name).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ResumeError, match=f"damaged and cannot be resumed: {name} is shorter than what was committed"):
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
        ([EmbedInput(f"text {n}") for n in range(14)], "the first 15 texts of another input; this one has only 14"),
        ([EmbedInput(f"text {n + (n == 7)}") for n in range(15)], "belongs to other texts"),
        ([EmbedInput(f"text {n}", "7" if n == 7 else None) for n in range(15)], "belongs to other texts"),
        ([EmbedInput(f"text {n}") for n in reversed(range(15))], "belongs to other texts"),
    ],
    ids=["fewer", "another text", "another id", "another order"],
)
def test_other_texts_are_refused(folder, inputs, words):
    journal = reopen(begun(folder))
    journal.fingerprint.add(inputs)
    with pytest.raises(ResumeError, match=words):
        journal.check_input()
    journal.close()


def test_vectors_of_another_length_are_refused_and_not_counted(folder):
    journal = reopen(begun(folder))
    recognise(journal, 15)
    with pytest.raises(ResumeError, match="holds vectors of 4 numbers, but those that come now have 6"):
        journal.add([numbered_block(15, 1), numbered_block(16, 1, dimension=6)])
    journal.close()
    again = reopen(folder)
    assert state(again) == (15, 15, 4)
    again.close()


def test_one_process_at_a_time(folder):
    journal = create(folder)
    file = folder.with_suffix("")
    code = (
        f"from asyncembed.sinks import PartialFolder; from pathlib import Path; PartialFolder.take(Path({str(file)!r}))"
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
    with pytest.raises(FileNotFoundError, match="the folder was removed while it was being written") as caught:
        journal.add([numbered_block(1, 1)])
    assert caught.value.filename == str(folder)
    journal.close()


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="/dev/full is not there to be a full disk")
def test_a_full_disk_is_an_error_that_names_the_folder(folder, monkeypatch):
    """And what was committed before it is still there."""
    journal = reopen(begun(folder))
    recognise(journal, 15)
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
    monkeypatch.setattr("asyncembed.sinks._log.MAX_COMMIT_BYTES", 1_000)
    journal = create(folder)
    for index in range(50):
        journal.add([numbered_block(index, 1)])
        assert (folder / COMMITS).stat().st_size < 1_300
    journal.close()
    again = reopen(folder)
    assert state(again) == (50, 50, 4)
    recognise(again, 50)
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
    recognise(journal, 15)
    journal.add([numbered_block(15, 1)])
    journal.close()
    assert rows_in(folder) == list(range(16))


def test_what_does_not_follow_is_never_written(folder):
    journal = create(folder)
    with pytest.raises(RuntimeError, match="does not follow"):
        journal.add([numbered_block(3, 1)])
    assert journal.is_broken
    with pytest.raises(RuntimeError):
        journal.add([numbered_block(0, 1)])
    journal.close()
    assert not (folder / COMMITS).read_bytes()


def test_a_lock_that_was_removed_is_no_lock(folder):
    """Whoever finishes takes it away; then the next one makes another."""
    first = PartialFolder.take(folder.with_suffix(""))
    (folder / "lock").unlink()
    second = PartialFolder.take(folder.with_suffix(""))
    first.release()
    with pytest.raises(ConfigurationError):
        PartialFolder.take(folder.with_suffix(""))
    second.release()
    assert not folder.exists()
