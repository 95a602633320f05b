"""A folder where everybody may write: nothing is written through a link, nor into what another user has put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support.blocks import claim, numbered_block, read

from asyncembed import ConfigurationError, ResumeError
from asyncembed.sinks import FORMATS, Provenance

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no links that everybody may make")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes files of others")

PROVENANCE = Provenance(provider="p", model="m")
VALUABLE = b"what is not to be written to"
SOMEBODY = 12_345


@pytest.fixture
def shared(tmp_path):
    """A folder as /tmp is one."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def victim(tmp_path):
    """A file of ours elsewhere, to which links lead."""
    path = tmp_path / "victim"
    path.write_bytes(VALUABLE)
    yield path
    assert path.read_bytes() == VALUABLE
    assert not path.is_symlink()


def make(path, *, plant=lambda: None, **settings):
    """Make a file of four rows; `plant` is called when its rows are safe, before it is made of them."""
    output = claim(path, PROVENANCE, **settings)
    try:
        output.journal.add([numbered_block(0, 4)])
        plant()
        for _ in output.finish():
            pass
    finally:
        output.close()


def test_a_link_at_the_name_is_not_replaced_unasked(shared, victim):
    (shared / "v.npy").symlink_to(victim)
    with pytest.raises(ConfigurationError, match="exists; replace it with --overwrite"):
        make(shared / "v.npy")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_link_at_the_name_is_replaced_and_not_followed(shared, victim, suffix):
    path = shared / f"v{suffix}"
    for ending in ("", ".texts.jsonl", ".meta.json"):
        Path(f"{path}{ending}").symlink_to(victim)
    make(path, overwrite=True)
    assert not path.is_symlink()
    assert len(read(path)[1]) == 4


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_link_that_comes_while_the_run_goes(shared, victim, suffix):
    """It is noticed before the file gets its name, and the rows stay."""
    path = shared / f"v{suffix}"
    with pytest.raises(ConfigurationError, match="was created by another program during the run"):
        make(path, plant=lambda: path.symlink_to(victim))
    assert path.readlink() == victim
    assert (shared / f"v{suffix}.partial" / "ready.json").is_file()


@pytest.mark.parametrize("target", ["folder", "nowhere"])
@pytest.mark.parametrize("settings", [{}, {"resume": True}, {"overwrite": True}])
def test_a_link_in_the_place_of_the_folder_is_refused(shared, tmp_path, target, settings):
    elsewhere = tmp_path / target
    if target == "folder":
        elsewhere.mkdir()
    (shared / "v.npy.partial").symlink_to(elsewhere)
    with pytest.raises(
        ConfigurationError, match=r"v\.npy\.partial is a symbolic link, which is not followed for safety"
    ):
        claim(shared / "v.npy", PROVENANCE, **settings)
    assert target == "nowhere" or not list(elsewhere.iterdir())
    assert not (tmp_path / "nowhere").exists()


IN_FOLDER = ["lock", "run.json", "run.json.new", "vectors.npy", "vectors.npy.texts.jsonl", "commits.jsonl"]


@pytest.mark.parametrize("name", IN_FOLDER)
@pytest.mark.parametrize("dangling", [False, True])
def test_links_in_a_folder_that_was_there(shared, victim, tmp_path, name, dangling):
    """They are removed before the run begins, but for the lock, which tells that somebody plays tricks."""
    folder = shared / "v.npy.partial"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "made" if dangling else victim)
    if name == "lock":
        with pytest.raises(ConfigurationError, match="lock is a symbolic link"):
            make(shared / "v.npy", overwrite=True)
    else:
        make(shared / "v.npy", overwrite=True)
        assert len(read(shared / "v.npy")[1]) == 4
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["run.json", "vectors.npy", "vectors.npy.texts.jsonl", "commits.jsonl"])
def test_links_in_a_folder_to_go_on_with_are_refused(shared, victim, name):
    output = claim(shared / "v.npy", PROVENANCE)
    output.journal.add([numbered_block(0, 2)])
    output.close()
    kept = shared / "v.npy.partial" / name
    kept.rename(shared / "kept")
    kept.symlink_to(victim)
    with pytest.raises(ResumeError, match=f"{name} is a symbolic link"):
        claim(shared / "v.npy", PROVENANCE, resume=True)
    kept.unlink()
    (shared / "kept").rename(kept)
    make_rest = claim(shared / "v.npy", PROVENANCE, resume=True)
    assert make_rest.journal.rows == 2
    make_rest.close()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["finished.vectors", "finished.vectors.meta.json", "ready.json", "ready.json.new"])
def test_links_at_what_is_made_at_the_end(shared, victim, tmp_path, suffix, name):
    folder = shared / f"v{suffix}.partial"
    make(shared / f"v{suffix}", plant=lambda: (folder / name).symlink_to(victim))
    assert len(read(shared / f"v{suffix}")[1]) == 4
    assert not (shared / f"v{suffix}").is_symlink()


def test_a_link_at_the_note_of_a_matrix(shared, victim):
    make(shared / "v.npy", plant=lambda: (shared / "v.npy.partial" / "vectors.npy.meta.json").symlink_to(victim))
    assert len(read(shared / "v.npy")[1]) == 4


def test_the_folder_exchanged_for_a_link_while_the_run_goes(shared, tmp_path):
    """Where everybody may rename everything. That ends in an error, and nothing of ours elsewhere is touched."""
    shared.chmod(0o777)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ready.json.new").write_bytes(VALUABLE)

    def exchange():
        (shared / "v.npy.partial").rename(shared / "moved")
        (shared / "v.npy.partial").symlink_to(elsewhere)

    with pytest.raises((ConfigurationError, OSError)):
        make(shared / "v.npy", plant=exchange)
    assert [(file.name, file.read_bytes()) for file in elsewhere.iterdir()] == [("ready.json.new", VALUABLE)]


@as_root
@pytest.mark.parametrize("settings", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_of_another_user_is_refused_where_everybody_may_write(shared, settings):
    """He could put anything into it while we write."""
    folder = shared / "v.npy.partial"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    with pytest.raises(ConfigurationError, match="belongs to another user, in a folder where every user may write"):
        claim(shared / "v.npy", PROVENANCE, **settings)
    assert not list(folder.iterdir())
    shared.chmod(0o755)
    claim(shared / "v.npy", PROVENANCE, **settings).close()


@as_root
def test_what_belongs_to_the_owner_of_the_shared_folder_is_trusted(shared):
    """As on a network share that knows only one user."""
    os.chown(shared, SOMEBODY, SOMEBODY)
    (shared / "v.npy.partial").mkdir()
    os.chown(shared / "v.npy.partial", SOMEBODY, SOMEBODY)
    make(shared / "v.npy")
    assert len(read(shared / "v.npy")[1]) == 4


@as_root
@pytest.mark.parametrize("settings", [{"resume": True}, {"overwrite": True}])
def test_a_file_of_another_user_is_neither_replaced_nor_believed(shared, settings):
    """Before anything is paid for: where everybody may write, only its owner could be robbed of it, or has laid it."""
    make(shared / "v.npy")
    os.chown(shared / "v.npy", SOMEBODY, SOMEBODY)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        claim(shared / "v.npy", PROVENANCE, **settings)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077])
@pytest.mark.parametrize("suffix", FORMATS)
def test_files_and_folders_follow_the_umask(tmp_path, suffix, mask):
    modes: dict[str, int] = {}

    def look():
        modes.update({path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")})

    before = os.umask(mask)
    try:
        make(tmp_path / f"v{suffix}", plant=look)
        look()
    finally:
        os.umask(before)
    assert {"run.json", "lock", "commits.jsonl", f"v{suffix}"} <= modes.keys()
    assert modes.pop(f"v{suffix}.partial") == 0o777 & ~mask
    assert set(modes.values()) == {0o666 & ~mask}


def test_a_folder_may_be_reached_by_a_link(tmp_path):
    """What the caller has named is his."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make(tmp_path / "link" / "v.npy")
    assert len(read(tmp_path / "real" / "v.npy")[1]) == 4
