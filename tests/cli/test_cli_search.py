"""`asyncembed search` and `asyncembed info`: on files as the sinks write them."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from support.blocks import read
from support.scripted import right, vector_of

from asyncembed import EmbedClient, search
from asyncembed.sinks import FORMATS
from asyncembed.testing import FakeServer

SUFFIXES = list(FORMATS)
GLOSSES = Path(__file__).parents[2] / "examples" / "data" / "wordnet-glosses.jsonl.gz"


@pytest.fixture
def corpus(run, threaded_server, openai, tmp_path):
    """Make a file of 3,000 vectors, one of which belongs to the text "needle"."""
    rows = tmp_path / "rows.jsonl"
    texts = [f"straw {number}" for number in range(3_000)]
    texts[1234] = "needle"
    rows.write_text("".join(json.dumps({"id": f"id-{i}", "text": text}) + "\n" for i, text in enumerate(texts)))

    def make(suffix: str) -> Path:
        path = tmp_path / f"v{suffix}"
        ended = run("embed", rows, "-o", path, *openai(threaded_server))
        assert ended.code == 0, ended.err
        return path

    return make


def base_url(server):
    return ("--base-url", f"{server.url}/v1")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_nearest_texts_are_found_in_every_format(run, threaded_server, corpus, suffix):
    ended = run("search", corpus(suffix), "needle", "-k", 3, "--json", *base_url(threaded_server))
    assert ended.code == 0, ended.err
    hits = json.loads(ended.out)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert {key: hits[0][key] for key in ("index", "id", "text")} == {"index": 1234, "id": "id-1234", "text": "needle"}
    assert hits[0]["score"] == pytest.approx(1, abs=1e-6)
    others = np.stack([vector_of(f"straw {number}") for number in range(3_000) if number != 1234])
    query = vector_of("needle")
    cosines = others @ query / np.linalg.norm(others, axis=1) / np.linalg.norm(query)
    assert [hit["score"] for hit in hits[1:]] == pytest.approx(sorted(cosines)[:-3:-1], abs=1e-6)


def test_the_query_is_embedded_as_the_file_says(run, threaded_server, corpus):
    path = corpus(".npy")
    before = len(threaded_server.requests)
    run("search", path, "needle", *base_url(threaded_server))
    query = threaded_server.requests[before]
    assert (query.path, query.texts, query.body["model"]) == ("/v1/embeddings", ["needle"], "scripted")


def test_the_query_is_called_a_query_where_the_api_has_a_word_for_it(run, threaded_server, tmp_path):
    texts = tmp_path / "t.txt"
    texts.write_text("one\ntwo\n")
    here = ("--provider", "cohere", "--base-url", threaded_server.url)
    assert run("embed", texts, "-o", tmp_path / "v.npy", "--dimensions", 8, *here).code == 0
    ended = run("search", tmp_path / "v.npy", "two", "--base-url", threaded_server.url)
    assert ended.code == 0, ended.err
    stored, query = threaded_server.requests
    assert (stored.body["input_type"], query.body["input_type"]) == ("search_document", "search_query")
    assert query.body["output_dimension"] == 8


def test_the_query_is_cut_where_the_client_has_cut_the_vectors(run, threaded_server, openai, tmp_path):
    texts = tmp_path / "t.txt"
    texts.write_text("one\ntwo\n")
    cut = ("--dimensions", 4, "--shorten", "client", "--prompts", "e5")
    made = run("embed", texts, "-o", tmp_path / "v.npy", *cut, *openai(threaded_server))
    assert made.code == 0, made.err
    told = run("info", tmp_path / "v.npy").out
    assert "prompt      'passage: '" in told
    assert "shortened   by the client" in told
    ended = run("search", tmp_path / "v.npy", "two", "--prompts", "e5", *base_url(threaded_server))
    assert ended.code == 0, ended.err
    stored, query = threaded_server.requests
    assert (sorted(stored.texts), query.texts) == (["passage: one", "passage: two"], ["query: two"])
    assert "dimensions" not in query.body


def test_a_table_has_rank_score_id_and_text(run, threaded_server, corpus):
    ended = run("search", corpus(".parquet"), "needle", "-k", 2, *base_url(threaded_server))
    head, first, second = ended.out.splitlines()
    assert head.split() == ["#", "score", "id", "text"]
    assert first.split() == ["1", "1.000", "id-1234", "needle"]
    assert second.split()[0] == "2"


def test_metadata_is_shown(run, threaded_server, openai, tmp_path):
    """Of a file and of a store; in a table only the names that the hits have."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 1, "text": "one", "lang": "en", "year": 1999}\n{"id": 2, "text": "two", "lang": null}\n')
    store = f"sqlite:{tmp_path / 'v.db'}#docs"
    for place, option in ((tmp_path / "v.parquet", "-o"), (store, "--to")):
        kept = ("--keep-column", "lang", "--keep-column", "year")
        assert run("embed", rows, option, place, *kept, *openai(threaded_server)).code == 0
        command = ("search", place, "one", *base_url(threaded_server))
        first, second = json.loads(run(*command, "--json").out)
        assert first["metadata"] == {"lang": "en", "year": 1999}
        assert second["metadata"] == {"lang": None, "year": None}
        head, line, _ = run(*command).out.splitlines()
        assert head.split() == ["#", "score", "id", "text", "lang", "year"]
        assert line.split()[2:] == ["1", "one", "en", "1999"]
    assert "columns     lang, year" in run("info", store).out


def test_a_query_for_a_store_uses_the_prompts(run, threaded_server, openai, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\n1,one\n")
    store = f"sqlite:{tmp_path / 'v.db'}#docs"
    assert run("embed", rows, "--to", store, "--prompts", "e5", *openai(threaded_server)).code == 0
    ended = run("search", store, "one", "--prompts", "e5", *base_url(threaded_server))
    assert ended.code == 0, ended.err
    assert [request.texts for request in threaded_server.requests] == [["passage: one"], ["query: one"]]


@pytest.mark.parametrize("command", [("info",), ("search", "query")])
def test_the_name_of_a_database_needs_a_table(run, tmp_path, command):
    rows, place = tmp_path / "rows.csv", tmp_path / "mix.db"
    rows.write_text("id,text\n1,one\n")
    assert run("embed", rows, "--to", f"sqlite:{place}#docs").code == 0
    ended = run(command[0], place, *command[1:])
    assert ended.code == 2
    assert f"{place} is an SQLite database; name one of its tables: sqlite:{place}#TABLE" in ended.err


@pytest.mark.parametrize("command", [("info",), ("search", "query")])
def test_the_folder_of_a_finished_run_is_gone(run, threaded_server, corpus, tmp_path, command):
    path = corpus(".npy")
    ended = run(command[0], f"{path}.partial", *command[1:])
    assert ended.code == 2
    assert f"there is no folder {path}.partial; {path} is finished" in ended.err


def test_texts_cannot_talk_to_the_terminal(run, threaded_server, openai, tmp_path):
    texts = tmp_path / "t.txt"
    texts.write_text("evil \x1b]0;title\x07 [red]text\n")
    run("embed", texts, "-o", tmp_path / "v.npy", *openai(threaded_server))
    ended = run("search", tmp_path / "v.npy", "evil", *base_url(threaded_server))
    assert "\x1b" not in ended.out
    assert "\x07" not in ended.out
    assert "[red]text" in ended.out
    assert "index" in ended.out  # there are no ids


def test_a_file_does_not_decide_where_a_key_is_sent(run, threaded_server, corpus):
    path = corpus(".parquet")
    before = len(threaded_server.requests)
    ended = run("search", path, "needle")
    assert ended.code == 2
    assert f"add --base-url {threaded_server.url}/v1" in ended.err
    assert len(threaded_server.requests) == before


def test_a_file_of_another_model_is_noticed(run, threaded_server, corpus):
    path = corpus(".npy")
    threaded_server.dimension = 6
    ended = run("search", path, "needle", *base_url(threaded_server))
    assert ended.code == 2
    assert "the vector of the query has 6 numbers, but those of " in ended.err


def test_a_bare_matrix_is_searched_with_what_is_named(run, threaded_server, openai, tmp_path):
    path = tmp_path / "bare.npy"
    np.save(path, np.stack([vector_of("one"), vector_of("two")]))
    refused = run("search", path, "two")
    assert refused.code == 2
    assert "add --provider and --model" in refused.err
    ended = run("search", path, "two", "--json", *openai(threaded_server))
    assert [hit["index"] for hit in json.loads(ended.out)] == [1, 0]
    assert "made with   unknown" in run("info", path).out


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_ranks_by_cosine_in_every_type(tmp_path, suffix, dtype):
    """Packed bits are compared with the cosine of the -1 and 1 they stand for."""
    texts, path = [f"text {number}" for number in range(50)], tmp_path / f"v{suffix}"
    async with FakeServer(dimension=64) as server, EmbedClient("cohere", base_url=server.url, api_key="k") as client:
        await client.embed_to_file(texts, path, dtype=dtype)
        hits = await search(path, client, texts[20], 50)
    matrix = read(path)[1]
    packed = dtype in {"binary", "ubinary"}
    plain = np.unpackbits(matrix.view(np.uint8), axis=1) * 2.0 - 1 if packed else matrix.astype(float)
    cosines = plain @ plain[20] / np.linalg.norm(plain, axis=1) / np.linalg.norm(plain[20])
    assert [hit.text for hit in hits] == [texts[index] for index in np.argsort(-cosines.round(6), kind="stable")]
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines, reverse=True), abs=1e-5)


async def test_a_large_file_is_ranked_only_until_it_is_cancelled(server, tmp_path):
    path, answered = tmp_path / "large.npy", asyncio.Event()

    async def answer(exchange):
        await right(exchange)
        answered.set()

    async with EmbedClient("openai", base_url=f"{server.url}/v1", api_key="k", model="scripted") as client:
        await client.embed_to_file(["text"], path)
        np.save(path, np.ones((2_000_000, 8), np.float32))
        server.default = answer
        task = asyncio.create_task(search(path, client, "query", 1))
        waits = asyncio.create_task(answered.wait())
        await asyncio.wait([task, waits], return_when=asyncio.FIRST_COMPLETED)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


def test_a_vector_of_zeros_is_like_nothing(run, threaded_server, openai, tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.stack([np.zeros(8, np.float32), vector_of("two")]))
    ended = run("search", path, "two", "--json", *openai(threaded_server))
    assert [(hit["index"], hit["score"]) for hit in json.loads(ended.out)] == [
        (1, pytest.approx(1, abs=1e-6)),
        (0, 0),
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_info_tells_what_a_file_holds(run, corpus, threaded_server, suffix):
    path = corpus(suffix)
    lines = dict(line.split(maxsplit=1) for line in run("info", path).out.splitlines())
    assert lines["file"] == str(path)
    assert lines["rows"] == "3,000"
    assert lines["dimension"] == "8"
    assert lines["dtype"] == "float32"
    assert lines["provider"] == "openai"
    assert lines["model"] == "scripted"
    assert lines["server"] == f"{threaded_server.url}/v1"
    assert lines["made"].startswith("with   asyncembed ")
    assert lines["size"].startswith("0.")


@pytest.mark.parametrize("command", [("info",), ("search", "query")])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.npy", None, "there is no file "),
        ("x.txt", b"", "the name of a file of vectors ends in "),
        ("x.npy", b"no numpy", "is not a .npy file"),
        ("x.parquet", b"no parquet", "is not a complete Parquet file"),
        ("x.jsonl", b'{"text": "one"}\n', "x.jsonl:1 is not a row with index and embedding"),
        ("x.jsonl", b"", "x.jsonl:1 is not a row with index and embedding"),
    ],
)
def test_other_files_are_refused(run, tmp_path, command, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ended = run(command[0], tmp_path / name, *command[1:])
    assert ended.code == 2
    assert message in ended.err


def test_wordnet_is_a_reverse_dictionary(run, tmp_path):
    """The demo of the README, with the real model: 10,000 definitions, and the word for one that is not among them."""
    pytest.importorskip("model2vec")
    path = tmp_path / "glosses.parquet"
    ended = run("embed", GLOSSES, "-o", path)
    assert ended.code == 0, ended.err
    with gzip.open(GLOSSES) as lines:
        assert f"{sum(1 for _ in lines):,} texts embedded" in ended.err
    hits = json.loads(run("search", path, "a small domesticated feline", "--json").out)
    assert hits[0]["id"] == "cat"
