"""`embed_to_file`: every format, and every way a run can end before its file is whole."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.blocks import claim, read
from support.results import numbered
from support.scripted import KEY, refused, refusing, vector_of
from support.watching import until

from asyncembed import (
    APIStatusError,
    ConfigurationError,
    EmbedInput,
    InvalidInputError,
    QuotaExceededError,
    ResumeError,
    RunSummary,
    ServerError,
)
from asyncembed.sinks import FORMATS, TOTALS_SUFFIX, Label, Provenance, open_vectors
from asyncembed.sinks._row_log import RowLog

TEXTS = numbered(40)
SMALL = {"chunk_size": 4, "max_concurrency": 1}

every_format = pytest.mark.parametrize("suffix", FORMATS)


def expected(texts=TEXTS):
    return np.stack([vector_of(text) for text in texts])


def content(folder: Path, name: str) -> dict[str, bytes]:
    """The bytes of a file and of what belongs to it, but for the books of its runs."""
    files = (file for file in folder.glob(f"{name}*") if not file.name.endswith(TOTALS_SUFFIX))
    return {file.name.removeprefix(name): file.read_bytes() for file in files}


async def undisturbed(client, folder: Path, suffix: str, texts=TEXTS) -> dict[str, bytes]:
    await client.embed_to_file(texts, folder / f"whole{suffix}", **SMALL)
    return content(folder, f"whole{suffix}")


async def broken_off(server, client, path: Path, texts=TEXTS, **options) -> None:
    """Run until the API refuses the key at the fourth request."""
    server.script.extend([server.default] * 3 + [refused(402, "no more")])
    with pytest.raises(QuotaExceededError) as caught:
        await client.embed_to_file(texts, path, **{**SMALL, **options})
    server.script.clear()
    assert caught.value.__notes__ == [f"12 rows are kept in {path}.partial; continue with --resume (resume=True)"]
    assert not path.exists()
    server.requests.clear()


def asked(server) -> list[str]:
    return sorted((text for request in server.requests for text in request.texts), key=TEXTS.index)


@every_format
async def test_all_rows_are_in_the_file_in_order(client, tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    summary = await client.embed_to_file(((f"id-{n}", text) for n, text in enumerate(TEXTS)), path, chunk_size=3)
    labels, matrix = read(path)
    assert labels == [Label(n, f"id-{n}", text) for n, text in enumerate(TEXTS)]
    np.testing.assert_array_equal(matrix, expected())
    assert (summary.saved, summary.done, summary.resumed, summary.failed) == (40, 40, 0, 0)
    assert not list(tmp_path.glob("*partial*"))
    found = open_vectors(path).provenance
    assert (found.provider, found.texts, found.dimension, len(found.fingerprint)) == ("openai", 40, 8, 64)


async def some_texts():
    for text in TEXTS:
        yield text


@pytest.mark.parametrize("kind", ["list", "generator", "async generator", "open file"])
@every_format
async def test_a_run_that_broke_off_goes_on_and_gives_the_same_bytes(server, client, tmp_path, suffix, kind):
    """It asks only for what is not there, whatever the texts come from."""
    sources = {
        "list": lambda: TEXTS,
        "generator": lambda: (text for text in TEXTS),
        "async generator": some_texts,
        "open file": lambda: io.StringIO("\n\n".join(TEXTS)),
    }
    whole = await undisturbed(client, tmp_path, suffix)
    path = tmp_path / f"v{suffix}"
    await broken_off(server, client, path, sources[kind]())
    summary = await client.embed_to_file(sources[kind](), path, resume=True, **SMALL)
    assert asked(server) == TEXTS[12:]
    assert content(tmp_path, f"v{suffix}") == whole
    assert (summary.resumed, summary.done, summary.saved) == (12, 28, 40)


async def test_resuming_what_was_never_begun_begins(server, client, tmp_path):
    summary = await client.embed_to_file(TEXTS, tmp_path / "v.npy", resume=True)
    assert summary.saved == 40
    assert asked(server) == TEXTS


@every_format
async def test_resuming_a_finished_file_asks_for_nothing(server, client, tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    await client.embed_to_file(TEXTS, path)
    before = content(tmp_path, path.name)
    server.requests.clear()
    summary = await client.embed_to_file(iter(TEXTS), path, resume=True)
    assert (summary.resumed, summary.saved, summary.done, summary.dimension) == (40, 40, 0, 8)
    assert server.requests == []
    assert content(tmp_path, path.name) == before
    for other in (TEXTS[:-1], [*TEXTS, "more"], [*TEXTS[:-1], "other"]):
        with pytest.raises(ResumeError, match="is finished, and belongs to other texts: it was made from 40 texts"):
            await client.embed_to_file(other, path, resume=True)
    with pytest.raises(ResumeError, match="model was 'text-embedding-3-small' and is 'other' now"):
        await client.embed_to_file(TEXTS, path, resume=True, model="other")
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "other"}, "model was 'text-embedding-3-small' and is 'other' now"),
        ({"dimensions": 16}, "dimensions was None and is 16 now"),
        ({"keep_text": False}, "keep_text was True and is False now"),
        ({"extra": {"user": "me"}}, "extra was None and is '"),
        ({"model": "other", "dimensions": 16}, "model was .*; dimensions was"),
        ({"prompts": {"document": "passage: "}}, "prompt was None and is 'passage: ' now"),
        ({"normalize": True}, "normalize was None and is True now"),
        ({"dimensions": 4, "shorten": "client"}, "dimensions was None and is 4 now; shorten was None and is 'client'"),
    ],
)
async def test_another_model_or_option_is_refused_before_anything_is_sent(server, client, tmp_path, options, words):
    path = tmp_path / "v.npy"
    await broken_off(server, client, path)
    with pytest.raises(ResumeError, match=f"belongs to a run with other settings: {words}"):
        await client.embed_to_file(TEXTS, path, resume=True, **options)
    assert server.requests == []
    await client.embed_to_file(TEXTS, path, resume=True)  # the refusal has harmed nothing
    assert asked(server) == TEXTS[12:]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            ["other", *TEXTS[1:]],
            "the text with index 0, or its id or metadata, has changed",
        ),
        (TEXTS[:30], "is for 40 texts, but the input has 30 now"),
        ([*TEXTS, "more"], "is for 40 texts, but the input has 41 now"),
        (iter(TEXTS[:5]), "has results for the first 12 texts, but the input has only 5"),
        ([("id", text) for text in TEXTS], "belongs to other texts"),
    ],
    ids=["another", "fewer", "more", "far fewer", "ids"],
)
async def test_other_texts_are_refused_before_anything_is_sent(server, client, tmp_path, texts, words):
    path = tmp_path / "v.npy"
    await broken_off(server, client, path)
    with pytest.raises(ResumeError, match=words):
        await client.embed_to_file(texts, path, resume=True)
    assert server.requests == []


async def test_what_the_client_does_itself_goes_on_where_it_is_the_same(server, client, tmp_path):
    options = {"prompts": {"document": "passage: "}, "dimensions": 4, "shorten": "client"}
    path = tmp_path / "v.npy"
    prompted = {f"passage: {text}": text for text in TEXTS}
    await broken_off(server, client, path, **options)
    for other in ({**options, "prompts": "e5", "input_type": "query"}, {**options, "dimensions": 5}):
        with pytest.raises(ResumeError, match="belongs to a run with other settings"):
            await client.embed_to_file(TEXTS, path, resume=True, **other)
    await client.embed_to_file(TEXTS, path, resume=True, **options)
    assert sorted(prompted[text] for request in server.requests for text in request.texts) == sorted(TEXTS[12:])
    _, matrix = read(path)
    cut = expected(list(prompted))[:, :4]
    np.testing.assert_allclose(matrix, cut / np.linalg.norm(cut, axis=1, keepdims=True), rtol=1e-5)


async def test_an_input_type_that_is_the_default_is_no_difference(server, connect, tmp_path):
    client = connect("cohere", model="m")
    await broken_off(server, client, tmp_path / "v.npy")
    await client.embed_to_file(TEXTS, tmp_path / "v.npy", resume=True, input_type="document")
    with pytest.raises(ResumeError, match="input_type was 'document' and is 'query' now"):
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", resume=True, input_type="query")


async def test_vectors_of_another_length_are_refused(server, client, tmp_path):
    await broken_off(server, client, tmp_path / "v.npy")
    server.dimension = 16
    with pytest.raises(ResumeError, match="has vectors of 8 numbers, but the new ones have 16"):
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", resume=True)
    server.dimension = 8
    await client.embed_to_file(TEXTS, tmp_path / "v.npy", resume=True)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), expected())


async def test_nothing_that_exists_is_replaced_unless_it_is_asked_for(server, client, tmp_path):
    path = tmp_path / "v.npy"
    path.write_bytes(b"precious")
    with pytest.raises(ConfigurationError, match="exists; replace it with --overwrite"):
        await client.embed_to_file(TEXTS, path)
    assert (path.read_bytes(), server.requests) == (b"precious", [])
    await client.embed_to_file(TEXTS, path, overwrite=True)
    np.testing.assert_array_equal(np.load(path), expected())
    (tmp_path / "w.npy").mkdir()
    with pytest.raises(ConfigurationError, match="exists"):
        await client.embed_to_file(TEXTS, tmp_path / "w.npy", overwrite=True)


async def test_what_a_run_left_is_not_replaced_unless_it_is_asked_for(server, client, tmp_path):
    path = tmp_path / "v.npy"
    await broken_off(server, client, path)
    with pytest.raises(ConfigurationError, match=r"v\.npy\.partial exists, from a run that was stopped.* --resume"):
        await client.embed_to_file(TEXTS, path)
    with pytest.raises(ConfigurationError, match="contradict each other"):
        await client.embed_to_file(TEXTS, path, resume=True, overwrite=True)
    assert server.requests == []
    await client.embed_to_file(TEXTS, path, overwrite=True)
    assert asked(server) == TEXTS


async def test_a_run_that_may_replace_still_may_when_it_is_resumed(server, client, tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.zeros((1, 8), np.float32))
    server.script.extend([server.default, refused(402, "no")])
    with pytest.raises(QuotaExceededError):
        await client.embed_to_file(TEXTS, path, overwrite=True, **SMALL)
    assert np.load(path).shape == (1, 8)
    await client.embed_to_file(TEXTS, path, resume=True)
    np.testing.assert_array_equal(np.load(path), expected())


async def test_a_file_that_somebody_makes_meanwhile_is_not_replaced(server, client, tmp_path):
    path = tmp_path / "v.npy"

    def make_it(_: RunSummary) -> None:
        if not path.exists():
            path.write_bytes(b"precious")

    with pytest.raises(ConfigurationError, match="was created by another program during the run"):
        await client.embed_to_file(TEXTS, path, on_progress=make_it)
    assert path.read_bytes() == b"precious"
    server.requests.clear()
    path.unlink()
    await client.embed_to_file(TEXTS, path, resume=True)
    assert server.requests == []
    np.testing.assert_array_equal(np.load(path), expected())


@contextmanager
def files_no_longer_than(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@every_format
async def test_a_full_disk_is_an_error_that_leaves_everything_to_go_on_with(server, client, tmp_path, suffix):
    """First while the rows arrive, then while the file is made of them."""
    whole = await undisturbed(client, tmp_path, suffix)
    path = tmp_path / f"v{suffix}"
    await broken_off(server, client, path)
    with files_no_longer_than(1_000), pytest.raises(OSError, match="File too large") as caught:
        await client.embed_to_file(TEXTS, path, resume=True, **SMALL)
    assert caught.value.filename == f"{path}.partial"
    assert "rows are kept in" in caught.value.__notes__[0]
    server.requests.clear()
    if suffix != ".npy":  # for which there is nothing to make
        # Longer than the files of the journal, and shorter than what is made of them.
        with files_no_longer_than(2_600), pytest.raises(OSError, match="File too large") as caught:
            await client.embed_to_file(TEXTS, path, resume=True, **SMALL)
        assert caught.value.__notes__ == [f"40 rows are kept in {path}.partial; continue with --resume (resume=True)"]
        assert not path.exists()
        assert not list(Path(f"{path}.partial").glob("finished*"))
        server.requests.clear()
    await client.embed_to_file(TEXTS, path, resume=True, **SMALL)
    assert (server.requests == []) is (suffix != ".npy")
    assert content(tmp_path, path.name) == whole


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".jsonl"])
async def test_an_end_between_two_renames_costs_nothing(server, client, tmp_path, suffix, step, monkeypatch):
    whole = await undisturbed(client, tmp_path, suffix)
    path = tmp_path / f"v{suffix}"
    renames = 0
    replace = Path.replace

    def stops(self, target):
        nonlocal renames
        if Path(target).parent == tmp_path:
            renames += 1
            if renames == step:
                raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stops)
    renaming = {".npy": 3, ".parquet": 1, ".jsonl": 2}[suffix]
    if step <= renaming:
        with pytest.raises(KeyboardInterrupt):
            await client.embed_to_file(TEXTS, path, **SMALL)
        assert not path.exists()
    monkeypatch.undo()
    server.requests.clear()
    await client.embed_to_file(iter(TEXTS), path, resume=True, **SMALL)
    if step <= renaming:
        assert server.requests == []
    assert content(tmp_path, path.name) == whole


async def test_a_whole_file_of_another_format_is_not_given_the_name(client, tmp_path, monkeypatch):
    """It lacks only its name, which says nothing of its format."""

    path, replace = tmp_path / "vectors", Path.replace

    def stops(self, target):
        if Path(target).parent == tmp_path:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stops)
        with pytest.raises(KeyboardInterrupt):
            await client.embed_to_file(TEXTS, path, format="npz")
    with pytest.raises(ResumeError, match="has a complete npz file, not arrow"):
        await client.embed_to_file(TEXTS, path, format="arrow", resume=True)
    await client.embed_to_file(TEXTS, path, format="npz", resume=True)
    np.testing.assert_array_equal(np.load(path)["embeddings"], expected())


async def test_a_folder_that_is_removed_is_an_error_and_not_a_surprise_at_the_end(server, client, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    def remove(_: RunSummary) -> None:
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()

    with pytest.raises(FileNotFoundError, match="another program removed the folder") as caught:
        await client.embed_to_file((f"text {n}" for n in range(10**9)), folder / "v.npy", on_progress=remove)
    assert caught.value.__notes__ == ["nothing is kept"]


async def test_skipped_texts_are_settled_too(server, client, tmp_path):
    """They have no row, and are not asked for again."""
    path = tmp_path / "v.parquet"
    taken, skips = server.default, refusing(TEXTS[4:8], "too long")
    server.default = lambda exchange: (refused(402, "no") if TEXTS[12] in exchange.request.texts else skips)(exchange)
    with pytest.raises(QuotaExceededError):
        await client.embed_to_file(TEXTS, path, on_error="skip", **SMALL)
    server.default = taken
    server.requests.clear()
    summary = await client.embed_to_file(TEXTS, path, on_error="skip", resume=True, **SMALL)
    assert asked(server) == TEXTS[12:]
    labels, matrix = read(path)
    kept = [*range(4), *range(8, 40)]
    assert [label.index for label in labels] == kept
    np.testing.assert_array_equal(matrix, expected([TEXTS[index] for index in kept]))
    assert (summary.saved, summary.done, open_vectors(path).provenance.texts) == (36, 28, 40)


async def test_a_run_that_stopped_at_a_bad_text_may_go_on_without_it(server, client, tmp_path):
    path = tmp_path / "v.npy"
    texts = [*TEXTS[:10], "", *TEXTS[10:]]
    with pytest.raises(InvalidInputError, match=r"texts\[10\] is empty"):
        await client.embed_to_file(texts, path, chunk_size=5)
    server.requests.clear()
    summary = await client.embed_to_file(texts, path, chunk_size=5, resume=True, on_error="skip")
    assert asked(server) == TEXTS[10:]
    assert (summary.saved, summary.failed, summary.failure.indices) == (40, 1, (10,))
    np.testing.assert_array_equal(np.load(path), expected())


@pytest.mark.parametrize("kind", ["list", "async generator"])
async def test_a_run_that_stopped_at_a_bad_text_stops_there_again(server, client, tmp_path, kind):
    path, bad = tmp_path / "v.npy", [*TEXTS[:10], "", *TEXTS[10:]]

    async def produced():
        for text in bad:
            yield text

    server.script.append(refusing(TEXTS[:2]))  # so that there is something to ask for before it
    for _ in range(2):
        with pytest.raises(InvalidInputError) as caught:
            await asyncio.wait_for(client.embed_to_file(bad if kind == "list" else produced(), path, resume=True), 30)
    assert "texts[10] is empty" in str(caught.value)


async def test_without_a_result_there_is_no_file(server, client, tmp_path):
    assert (await client.embed_to_file([], tmp_path / "v.npy")).saved == 0
    server.default = refused(400, "no")
    with pytest.raises(APIStatusError):  # a harmless text is refused, too
        await client.embed_to_file(TEXTS, tmp_path / "v.npy", on_error="skip")
    server.default = refusing(TEXTS, "no")
    summary = await client.embed_to_file(TEXTS, tmp_path / "v.npy", on_error="skip")
    assert (summary.saved, summary.failed) == (0, 40)
    server.default = refused(402, "no")
    with pytest.raises(QuotaExceededError) as caught:
        await client.embed_to_file(TEXTS, tmp_path / "v.npy")
    assert caught.value.__notes__ == ["nothing is kept"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["cancel", "timeout"])
async def test_a_cancelled_run_keeps_what_came(server, client, tmp_path, way):
    """Also what came a moment before: the rest of the stream is taken before it is closed."""
    path = tmp_path / "v.npy"
    gate = asyncio.Event()

    async def stall(exchange):
        gate.set()
        await asyncio.Event().wait()

    server.script.extend([server.default] * 3 + [stall])
    task = asyncio.create_task(client.embed_to_file(TEXTS, path, **SMALL))
    await gate.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.script.clear()
    server.requests.clear()
    assert np.load(f"{path}.partial/vectors.npy").shape == (12, 8)
    await client.embed_to_file(TEXTS, path, resume=True)
    assert asked(server) == TEXTS[12:]


async def test_cancelled_at_any_moment_it_can_be_resumed(server, client, tmp_path):
    """With asyncio's own cancellation, which no shield stops."""
    whole = await undisturbed(client, tmp_path, ".arrow")
    path = tmp_path / "v.arrow"
    for moment in range(100):
        task = asyncio.create_task(client.embed_to_file(iter(TEXTS), path, resume=True, **SMALL))
        for _ in range(10 * moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            assert task.exception() is None
            break
    await client.embed_to_file(iter(TEXTS), path, resume=True, **SMALL)
    assert content(tmp_path, path.name) == whole


async def test_progress_is_told_while_nothing_happens_too(server, client, tmp_path):
    told: list[RunSummary] = []
    gate = asyncio.Event()

    async def stall(exchange):
        await gate.wait()
        await server.default(exchange)

    server.script.extend([server.default, stall])
    task = asyncio.create_task(client.embed_to_file(TEXTS, tmp_path / "v.npy", on_progress=told.append, **SMALL))
    await until(lambda: [now.saved for now in told[-3:]] == [4, 4, 4])
    gate.set()
    summary = await task
    assert told[-1] == summary
    assert summary.saved == 40


async def test_texts_that_fail_end_the_run_and_keep_what_came(server, client, tmp_path):
    def texts():
        yield from TEXTS[:10]
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone") as caught:
        await client.embed_to_file(texts(), tmp_path / "v.npy")
    assert "10 rows are kept" in caught.value.__notes__[0]


async def test_generators_are_closed_however_it_ends(server, client, tmp_path):
    closed = []

    def texts():
        try:
            yield from TEXTS
        finally:
            closed.append(True)

    await broken_off(server, client, tmp_path / "v.npy", texts())
    with pytest.raises(ResumeError):
        await client.embed_to_file(texts(), tmp_path / "v.npy", resume=True, model="other")
    other = texts()
    next(other)
    with pytest.raises(ResumeError):
        await client.embed_to_file(other, tmp_path / "v.npy", resume=True)
    assert len(closed) == 2  # the one that was never started has nothing to close


@every_format
async def test_the_format_may_be_named(client, tmp_path, suffix):
    await client.embed_to_file(TEXTS, tmp_path / "vectors", format=suffix.removeprefix("."))
    files = sorted(tmp_path.iterdir())
    assert files[0].name == "vectors"
    for file in files:
        file.rename(file.with_name(file.name.replace("vectors", f"v{suffix}")))
    _, matrix = read(tmp_path / f"v{suffix}")
    np.testing.assert_array_equal(matrix, expected())


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("v.xlsx", {}, "has the suffix .xlsx"),
        ("v.npy", {"format": "xlsx"}, "format='xlsx' is not known"),
        ("nowhere/v.npy", {}, "cannot be written: No such file or directory"),
        ("v.npy", {"on_error": "yield"}, "on_error='yield' is not known"),
        ("v.npy", {"ordered": False}, "no option 'ordered'"),
        ("v.npy", {"dtype": "int8"}, "dtype='int8' is not offered"),
    ],
)
async def test_wrong_arguments_are_found_before_anything_is_sent(server, client, tmp_path, path, options, words):
    with pytest.raises(ConfigurationError, match=words):
        await client.embed_to_file(TEXTS, tmp_path / path, **options)
    assert (server.requests, list(tmp_path.iterdir())) == ([], [])


@every_format
async def test_texts_can_be_left_out(client, tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    await client.embed_to_file([EmbedInput("a secret text", "a"), EmbedInput("b")], path, keep_text=False)
    labels, matrix = read(path)
    assert labels == [Label(0, "a", ""), Label(1, None, "")]
    np.testing.assert_array_equal(matrix, expected(["a secret text", "b"]))
    assert all(b"a secret text" not in data for data in content(tmp_path, path.name).values())


@every_format
async def test_no_secret_is_written(server, connect, tmp_path, suffix):
    client = connect(base_url=f"{server.url}/v1?token=hush-hush", headers={"X-Token": "psst-psst"})
    path = tmp_path / f"v{suffix}"
    await broken_off(server, client, path, extra={"user": "quiet-quiet"})
    left = b"".join(file.read_bytes() for file in Path(f"{path}.partial").iterdir())
    await client.embed_to_file(TEXTS, path, resume=True, extra={"user": "quiet-quiet"})
    left += b"".join(content(tmp_path, path.name).values())
    for secret in (KEY, "hush-hush", "psst-psst", "quiet-quiet"):
        assert secret.encode() not in left


@pytest.mark.parametrize(
    ("id_", "words"),
    [
        (object(), r"texts\[0\] is an EmbedInput of a str with a object as its id"),
        ("half \ud83d pair", r"texts\[0\] has the id .* with a lone surrogate at character 5"),
    ],
)
async def test_an_id_that_json_cannot_carry_is_refused_before_it_is_paid_for(server, client, tmp_path, id_, words):
    with pytest.raises(ConfigurationError, match=words):
        await client.embed_to_file([EmbedInput("a", id_)], tmp_path / "v.npy")
    assert server.requests == []


async def test_the_folder_is_held_until_the_last_file_has_its_name(server, client, tmp_path, monkeypatch):
    """Whoever comes meanwhile is refused, whatever they want, and harms nothing."""
    path, replace = tmp_path / "v.npy", Path.replace
    refused_with = []

    def watched(self, target):
        if Path(target).parent == tmp_path and not refused_with:  # the first of them
            for mode in ({"resume": True}, {"overwrite": True}, {}):
                with pytest.raises(ConfigurationError, match="is being written by another process") as caught:
                    claim(path, Provenance(provider="openai", model="text-embedding-3-small"), **mode)
                refused_with.append(caught.value)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    await client.embed_to_file(TEXTS, path)
    assert len(refused_with) == 3
    np.testing.assert_array_equal(np.load(path), expected())
    assert [file.name for file in tmp_path.glob("*partial*")] == []


WORKERS = """
import asyncio, sys
from asyncembed import EmbedClient, ConfigurationError
async def main(url, path):
    async with EmbedClient("openai", base_url=url, api_key="k") as client:
        try:
            await client.embed_to_file([f"text {n}" for n in range(40)], path, resume=True, chunk_size=4)
        except ConfigurationError as error:
            assert "being written by another process" in str(error), error
asyncio.run(main(*sys.argv[1:]))
"""


async def test_workers_that_all_resume_make_one_good_file(server, client, tmp_path):
    """Those who come too early are refused, those who come late find it whole."""
    path = tmp_path / "v.npy"
    for _ in range(3):
        await broken_off(server, client, path, overwrite=True)
        program = [sys.executable, "-c", WORKERS, f"{server.url}/v1", str(path)]
        workers = [await asyncio.create_subprocess_exec(*program) for _ in range(3)]
        assert [await worker.wait() for worker in workers] == [0, 0, 0]
        np.testing.assert_array_equal(np.load(path), expected())
        assert open_vectors(path).provenance.texts == 40
        assert not list(tmp_path.glob("*partial*"))
        path.unlink()
        server.requests.clear()


@pytest.mark.parametrize("ending", [".texts.jsonl", ".meta.json"])
async def test_what_lies_beside_the_file_is_not_replaced_either(server, client, tmp_path, ending):
    other = tmp_path / f"v.npy{ending}"
    other.write_text("precious")
    with pytest.raises(ConfigurationError, match=f"v.npy{ending} exists"):
        await client.embed_to_file(TEXTS, tmp_path / "v.npy")
    assert (other.read_text(), server.requests) == ("precious", [])
    await client.embed_to_file(TEXTS, tmp_path / "v.npy", overwrite=True)
    assert other.read_text() != "precious"


async def test_a_link_is_something_that_exists(server, client, tmp_path):
    (tmp_path / "v.npy").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="exists"):
        await client.embed_to_file(TEXTS, tmp_path / "v.npy")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not there to be a full disk")
@pytest.mark.parametrize("which", ["_vectors", "_labels", "_commits"])
async def test_a_cancellation_that_meets_a_full_disk_leaves_what_was_safe(server, client, tmp_path, which, monkeypatch):
    path = tmp_path / "v.npy"
    await broken_off(server, client, path)
    append = RowLog.append
    tasks = []

    def fails(self, *arguments):
        tasks[0].get_loop().call_soon_threadsafe(tasks[0].cancel)
        self._files.append(Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115
        setattr(self, which, self._files[-1])
        return append(self, *arguments)

    monkeypatch.setattr(RowLog, "append", fails)
    tasks.append(asyncio.create_task(client.embed_to_file(TEXTS, path, resume=True, **SMALL)))
    await asyncio.wait(tasks)
    assert tasks[0].cancelled() or isinstance(tasks[0].exception(), OSError)
    monkeypatch.undo()
    server.requests.clear()
    await client.embed_to_file(TEXTS, path, resume=True, **SMALL)
    assert asked(server) == TEXTS[12:]
    np.testing.assert_array_equal(np.load(path), expected())


async def test_what_comes_after_a_slow_request_is_safe_all_the_same(server, client, tmp_path):
    """It does not wait for what comes before it, and neither does what is asked for after it."""
    gate = asyncio.Event()

    async def late(exchange):
        await gate.wait()
        await server.default(exchange)

    server.script.append(late)
    texts, told = numbered(4_000), []
    task = asyncio.create_task(
        client.embed_to_file(texts, tmp_path / "v.npy", chunk_size=4, on_progress=lambda now: told.append(now.saved))
    )
    await until(lambda: told and told[-1] == 3_996)
    assert np.load(tmp_path / "v.npy.partial" / "vectors.npy").shape == (3_996, 8)
    gate.set()
    assert (await task).saved == 4_000
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), expected(texts))


async def test_texts_that_an_outage_took_are_asked_for_again(server, once, tmp_path):
    """But not those that were refused."""
    path = tmp_path / "v.npy"
    taken, skips, down = server.default, refusing(TEXTS[12:16], "too long"), refused(503, "down")
    met: list[str] = []

    async def reply(exchange):
        met.extend(exchange.request.texts)
        is_down = TEXTS[4] in exchange.request.texts or TEXTS[16] in met
        await (down if is_down else skips)(exchange)

    server.default = reply
    with pytest.raises(ServerError):
        await once.embed_to_file(TEXTS * 3, path, on_error="skip", dedupe=False, **SMALL)
    server.default = taken
    server.requests.clear()
    summary = await once.embed_to_file(TEXTS * 3, path, on_error="skip", resume=True, dedupe=False, **SMALL)
    asked_again = [text for request in server.requests for text in request.texts]
    assert asked_again == [*TEXTS[4:8], *(TEXTS * 3)[16:]]
    assert (summary.saved, summary.failed, summary.resumed) == (116, 4, 12)


async def test_a_run_that_was_begun_with_more_texts_is_not_finished_with_fewer(server, client, tmp_path):
    await broken_off(server, client, tmp_path / "v.npy")
    with pytest.raises(ResumeError, match="is for 40 texts, but the input has 20 now"):
        await client.embed_to_file(iter(TEXTS[:20]), tmp_path / "v.npy", resume=True)
    assert not (tmp_path / "v.npy").exists()
    await client.embed_to_file(iter(TEXTS), tmp_path / "v.npy", resume=True)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), expected())


async def test_a_new_matrix_never_has_the_texts_of_an_old_one(server, client, tmp_path, monkeypatch):
    """Not for a moment: the old one is put aside before the first of the new files comes."""
    path = tmp_path / "v.npy"
    await client.embed_to_file(["old"], path)
    replace = Path.replace

    def watched(self, target):
        replaced = replace(self, target)
        if Path(target).parent == tmp_path and path.exists():
            labels, matrix = read(path)
            np.testing.assert_array_equal(matrix, expected([label.text for label in labels]))
        return replaced

    monkeypatch.setattr(Path, "replace", watched)
    await client.embed_to_file(["new"], path, overwrite=True)
    assert [label.text for label in read(path)[0]] == ["new"]
    assert len(list(tmp_path.iterdir())) == 4


async def test_the_path_is_the_one_of_the_call(server, client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    await client.embed_to_file(TEXTS, "v.npy", on_progress=lambda _: os.chdir(elsewhere))
    assert (tmp_path / "v.npy").exists()


async def test_others_get_their_turn_while_texts_are_recognised(server, client, tmp_path):
    texts = numbered(30_000)

    async def produced():
        for text in texts:
            yield text

    await client.embed_to_file(texts, tmp_path / "v.npy")
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await client.embed_to_file(produced(), tmp_path / "v.npy", resume=True)
    ticking.cancel()
    assert ticks > 25


async def test_ids_from_numpy_are_the_ids_they_look_like(server, client, tmp_path):
    path = tmp_path / "v.npy"
    await broken_off(server, client, path, [(np.str_(f"id-{n}"), text) for n, text in enumerate(TEXTS)])
    await client.embed_to_file([(f"id-{n}", text) for n, text in enumerate(TEXTS)], path, resume=True)
    assert [label.id for label in read(path)[0]] == [f"id-{n}" for n in range(40)]


async def test_one_long_id_does_not_make_a_huge_file(client, tmp_path):
    await client.embed_to_file([("x" * 10_000, "text 0"), *TEXTS[1:]], tmp_path / "v.npz")
    assert (tmp_path / "v.npz").stat().st_size < 50_000
    assert "ids" not in np.load(tmp_path / "v.npz").files
    assert read(tmp_path / "v.npz")[0][0].id == "x" * 10_000


@pytest.mark.parametrize("path", ["", ".", "nul\0.npy", "n" * 250 + ".npy", "n" * 240 + ".npy"])
async def test_names_that_cannot_be_are_found_before_anything_is_sent(server, client, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot be written|exists"):
        await client.embed_to_file(TEXTS, path, format="npy")
    assert (server.requests, list(tmp_path.iterdir())) == ([], [])
