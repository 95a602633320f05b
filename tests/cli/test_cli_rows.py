"""Rows that are wrong: in every format they fail alone, in their place, with file, row, reason and fix."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.scripted import refused

from asyncembed import ConfigurationError, EmbedInput
from asyncembed._decide import RefusedInput
from asyncembed.cli._inputs import Fields, InputError, count, parse_sources, read

UUIDS = [uuid.UUID(int=number << 64 | 77) for number in (1, 2)]


def rows_of(path, kind=None, limit=None, **fields):
    return list(read(parse_sources([str(path)], kind), Fields(**fields), limit))


def reasons_of(rows):
    return {place: row.reason for place, row in enumerate(rows) if isinstance(row, RefusedInput)}


def jsonl(*rows):
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


WRONG = {
    "x.txt": (b"one\nna\xefve\nthree\n", {1: "x.txt:2: byte 3 of the line is not UTF-8; convert it first"}),
    "x.jsonl": (
        jsonl(
            {"text": "one"},
            {"text": float("nan")},
            {"text": None},
            {"body": "?"},
            {"text": ["a"]},
            {"text": ""},
            {"text": "half \ud83d"},
            '{"text" "b"}',
            '["b"]',
            '{"text": "a", "text": "b"}',
            "[" * 5_000,
            {"text": "end"},
        ).encode(),
        {
            1: "x.jsonl:2: field 'text' is not a string but NaN; remove or fix the row",
            2: "x.jsonl:3: field 'text' is not a string but null",
            3: "x.jsonl:4: there is no field 'text'; the fields are 'body'; choose with --text-field",
            4: "x.jsonl:5: field 'text' is not a string but a list",
            5: "x.jsonl:6: field 'text' is empty; remove the row, or use --on-error skip",
            6: "x.jsonl:7: field 'text' holds half a surrogate pair at character 6, which is not valid Unicode",
            7: "x.jsonl:8: not JSON: ",
            8: "x.jsonl:9: not a JSON object but a list",
            9: "x.jsonl:10: two fields have the name 'text'; rename one of them",
            10: "x.jsonl:11: not JSON: ",
        },
    ),
    "x.csv": (
        b'n,text\n1,one\n2,na\xefve\n3\n4,\n5,"a\nb\xff"\n6,bare\rreturn\n7,end\n',
        {
            1: "x.csv:3: byte 5 of the line is not UTF-8",
            2: "x.csv:4: the row has 1 fields, but line 1 names 2",
            3: "x.csv:5: field 'text' is empty",
            4: "x.csv:7: byte 2 of the line is not UTF-8",
            5: "x.csv:8: not CSV: ",
        },
    ),
    "x.tsv": (b"n\ttext\n1\tone\n2\n3\tend\n", {1: "x.tsv:3: the row has 1 fields, but line 1 names 2"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rows_keep_their_place_and_are_named(tmp_path, name):
    content, expected = WRONG[name]
    path = tmp_path / name
    path.write_bytes(content)
    rows = rows_of(path)
    found = reasons_of(rows)
    assert found.keys() == expected.keys()
    for place, reason in expected.items():
        assert found[place].startswith(f"{tmp_path}/{reason}")
    assert (rows[0].text, rows[-1].text) == ("one", {"x.txt": "three"}.get(name, "end"))


@pytest.mark.parametrize("name", WRONG)
def test_they_are_skipped_counted_and_kept_as_dead_letters(run, threaded_server, openai, tmp_path, name):
    content, expected = WRONG[name]
    (tmp_path / name).write_bytes(content)
    out, dead = tmp_path / "v.jsonl", tmp_path / "dead.jsonl"
    options = [tmp_path / name, "-o", out, *openai(threaded_server)]
    ended = run("embed", *options)
    assert ended.code == 1
    assert min(expected.items())[1] in ended.err
    ended = run("embed", *options, "--on-error", "skip", "--dead-letter", dead, "--overwrite")
    assert ended.code == 0, ended.err
    assert f"{len(expected)} failed" in ended.err
    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    assert [letter["index"] for letter in letters] == list(expected)
    assert all(reason in letter["message"] for letter, reason in zip(letters, expected.values(), strict=True))
    written = [json.loads(line)["index"] for line in out.read_text().splitlines()]
    assert not set(written) & expected.keys()
    assert sorted([*written, *expected]) == list(range(len(written) + len(expected)))


def test_a_run_that_is_resumed_knows_its_wrong_rows(run, threaded_server, openai, tmp_path):
    content, _ = WRONG["x.jsonl"]
    path, out = tmp_path / "x.jsonl", tmp_path / "v.npy"
    path.write_bytes(content)
    options = [path, "-o", out, *openai(threaded_server), "--on-error", "skip", "--resume"]
    for _ in range(2):
        ended = run("embed", *options)
        assert ended.code == 0, ended.err
    assert [text for texts in threaded_server.asked for text in texts] == ["one", "end"]
    path.write_bytes(content.replace(b"half", b"fall"))
    ended = run("embed", *options)
    assert ended.code == 1
    assert "belongs to other texts" in ended.err


def test_what_is_wrong_in_a_field_that_is_not_taken_harms_nothing(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'{"text": "a", "score": NaN, "max": -Infinity, "half": "\\ud83d", "n": 99999999999999999999999}\n'
        b'{"text": "b", "note": "caf\xe9", "x": 1, "x": 2}\n'
    )
    assert rows_of(path) == [EmbedInput("a"), EmbedInput("b")]
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,note,,\na,caf\xe9,,\n")
    assert rows_of(path) == [EmbedInput("a")]


@pytest.mark.parametrize(
    ("start", "fix"),
    [
        (gzip.compress(b"a\n", mtime=0), "name it .gz"),
        (b"\x28\xb5\x2f\xfd\x04\n", "name it .zst"),
        ("a\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04\xff\n", "zip archive or a spreadsheet"),
    ],
)
def test_a_file_that_holds_no_lines_is_refused_as_a_whole(tmp_path, start, fix):
    (tmp_path / "x.txt").write_bytes(start)
    with pytest.raises(InputError, match=fix):
        rows_of(tmp_path / "x.txt")


def test_parquet_rows_fail_alone_too(tmp_path):
    raw = pa.array([b"one", b"caf\xe9", None, b"", b"end"], pa.binary())
    marked = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    for column in (raw, marked):
        pq.write_table(pa.table({"text": column, "id": range(5)}), tmp_path / "x.parquet")
        rows = rows_of(tmp_path / "x.parquet")
        assert [(row.text, row.id) for row in rows] == [("one", 0), ("caf\udce9", 1), ("", 2), ("", 3), ("end", 4)]
        assert {place: reason.removeprefix(f"{tmp_path}/") for place, reason in reasons_of(rows).items()} == {
            1: "x.parquet, row 2: byte 4 of the text is not UTF-8; convert it first, for example with iconv",
            2: "x.parquet, row 3: field 'text' is not a string but null; remove or fix the row",
            3: "x.parquet, row 4: field 'text' is empty; remove the row, or use --on-error skip",
        }


def test_ids_of_json_lines_are_exact_or_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    ids = [7, "7", 2**128 - 1, 2**128 - 2, -(2**63) - 1, 1.5, 1e30, True, {"$oid": "1"}, ["a"], "half \ud800", None]
    path.write_text(jsonl(*({"id": id_, "text": "t"} for id_ in ids)))
    rows = rows_of(path)
    assert [row.id for row in rows] == [7, "7", 2**128 - 1, 2**128 - 2, -(2**63) - 1, *[None] * 7]
    found = reasons_of(rows)
    assert list(found) == [5, 6, 7, 8, 9, 10]
    whats = ["a number with a fraction", "a number", "true or false", "an object", "a list"]
    for place, what in enumerate(whats, 5):
        assert f"x.jsonl:{place + 1}: the id in 'id' is {what}, but must be text, an integer or a UUID" in found[place]
    assert "the id in 'id' holds half a surrogate pair" in found[10]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([1, 2], pa.uint8()), [1, 2]),
        (pa.array([2**64 - 1, 1], pa.uint64()), [2**64 - 1, 1]),
        (pa.array(["a", None]), ["a", None]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([found.bytes for found in UUIDS], pa.binary(16)), [str(found) for found in UUIDS]),
        (pa.array([found.bytes for found in UUIDS], pa.binary()), [str(found) for found in UUIDS]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_ids_of_parquet_columns(tmp_path, ids, expected):
    pq.write_table(pa.table({"id": ids, "text": ["a", "b"]}), tmp_path / "x.parquet")
    assert [row.id for row in rows_of(tmp_path / "x.parquet")] == expected


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1.0, 2.0]),
        pa.array([Decimal("1.5"), Decimal(2)]),
        pa.array([True, False]),
        pa.array([{"oid": 1}] * 2),
        pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2),
        pa.array([b"a" * 12] * 2, pa.binary(12)),
    ],
)
def test_columns_that_hold_no_ids_are_refused_before_anything_is_sent(run, threaded_server, openai, tmp_path, ids):
    (tmp_path / "a.txt").write_text("first\n")
    pq.write_table(pa.table({"id": ids, "text": ["a", "b"]}), tmp_path / "x.parquet")
    options = [tmp_path / "a.txt", tmp_path / "x.parquet", "-o", tmp_path / "v.npy", *openai(threaded_server)]
    ended = run("embed", *options, "--on-error", "skip")
    assert ended.code == 1
    assert f"the ids in column 'id' have type {ids.type}, but must be text, integers or UUIDs" in ended.err
    assert threaded_server.asked == []


def test_a_bytes_id_of_another_length_is_refused_with_its_row(tmp_path):
    pq.write_table(
        pa.table({"id": pa.array([b"abc", b"x" * 16], pa.binary()), "text": ["a", "b"]}), tmp_path / "x.parquet"
    )
    rows = rows_of(tmp_path / "x.parquet")
    assert "row 1: the id in 'id' is 3 bytes, but must be text" in reasons_of(rows)[0]
    assert rows[1].id == str(uuid.UUID(bytes=b"x" * 16))


@pytest.mark.parametrize("names", [["id", "text", "text"], ["id", "id", "text"], ["text", "n", "n"]])
def test_two_columns_of_one_name_are_refused_if_the_name_is_needed(tmp_path, names):
    (tmp_path / "x.csv").write_text(f"{','.join(names)}\na,b,c\n")
    pq.write_table(pa.table([pa.array(["a"])] * 3, names=names), tmp_path / "x.parquet")
    for name in ("x.csv", "x.parquet"):
        if names[1:] == ["n", "n"]:
            assert [row.text for row in rows_of(tmp_path / name)] == ["a"]
        else:
            twice = max(names, key=names.count)
            with pytest.raises(InputError, match=f"2 fields have the name '{twice}'; rename all but one"):
                rows_of(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("X.TXT", b"one\ntwo\n"),
        ("x.Jsonl.GZ", gzip.compress(b'{"text": "one"}\n{"text": "two"}\n', mtime=0)),
        ("x.ndjson", b'{"text": "one"}\n{"text": "two"}'),
        ("x.tsv", b"n\ttext\n1\tone\n2\ttwo\n"),
        ("x.TSV.gz", gzip.compress(b"n\ttext\n1\tone\n2\ttwo\n", mtime=0)),
        ("cr.txt", b"one\rtwo\r"),
        ("cr.csv", b"n,text\r1,one\r2,two"),
        ("crlf.csv", b"n,text\r\n1,one\r\n2,two\r\n"),
    ],
)
async def test_suffixes_and_line_ends(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    assert [row.text for row in rows_of(path)] == ["one", "two"]
    assert await count(parse_sources([str(path)], None)) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", range(-2, 4))
def test_lines_are_the_same_wherever_they_are_cut(tmp_path, end, before):
    """A file is read 65,536 bytes at a time, and its first and second line end around there."""
    lines = ["first", "a" * (65_536 - len(f"first{end}") - before), "b", "c" * 200_000, "last"]
    (tmp_path / "x.txt").write_text(end.join(lines) + end, newline="")
    assert [row.text for row in rows_of(tmp_path / "x.txt")] == lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", range(-2, 4))
def test_a_first_line_that_is_cut_at_its_end(tmp_path, end, before):
    """Then the first piece does not say what lines end in."""
    lines = ["a" * (65_536 - before), "b", "last"]
    (tmp_path / "x.txt").write_text(end.join(lines) + end, newline="")
    assert [row.text for row in rows_of(tmp_path / "x.txt")] == lines


def test_a_cr_within_a_line_of_an_lf_file_is_a_character(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"one\n50 %\r100 %\n")
    assert [row.text for row in rows_of(tmp_path / "x.txt")] == ["one", "50 %\r100 %"]


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
async def test_delimiters(tmp_path, delimiter):
    path = tmp_path / "x.csv"
    path.write_text(f'id{delimiter}text\n1{delimiter}"a{delimiter}b\nc"\n')
    with pytest.raises(InputError, match=r"they seem to be separated by .*: use --delimiter"):
        rows_of(path)
    assert rows_of(path, delimiter=delimiter) == [EmbedInput(f"a{delimiter}b\nc", "1")]
    assert await count(parse_sources([str(path)], None), Fields(delimiter=delimiter)) == 1


async def test_a_folder_of_parquet_parts_is_read_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "table.parquet"
    (folder / "year=2023").mkdir(parents=True)
    for name in ("part-10.parquet", "part-02.PARQUET", "year=2023/part-0.parquet"):
        pq.write_table(pa.table({"text": [name]}), folder / name)
    for name in ("_SUCCESS", ".part-0.parquet.crc", "_metadata.parquet"):
        (folder / name).write_bytes(b"no rows")
    sources = parse_sources([str(folder)], None)
    assert [row.text for row in read(sources, Fields())] == [
        "part-02.PARQUET",
        "part-10.parquet",
        "year=2023/part-0.parquet",
    ]
    assert await count(sources) == 3


def test_an_output_that_would_be_a_part_of_its_input_is_refused(run, tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "p.parquet")
    ended = run("embed", tmp_path, "-o", tmp_path / "v.parquet")
    assert ended.code == 2
    assert "would become an input" in ended.err


def test_a_folder_without_parquet_is_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ConfigurationError, match="there is no Parquet file in the folder"):
        parse_sources([str(tmp_path)], None)


def test_several_zstandard_frames_are_one_file(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    texts, path = ["one" * 5_000, "two", "x" * 300_000], tmp_path / "x.txt.zst"
    frames = [zstandard.compress(f"{text}\n".encode()) for text in texts]
    path.write_bytes(b"".join(frames))
    assert [row.text for row in rows_of(path)] == texts
    path.write_bytes(b"")
    assert rows_of(path) == []
    for cut in (1, 5, 9):
        path.write_bytes(b"".join(frames)[:-cut])
        with pytest.raises(InputError, match="before the end of its last frame"):
            rows_of(path)


def test_zstandard_is_an_extra(tmp_path, monkeypatch):
    (tmp_path / "x.jsonl.zst").touch()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigurationError, match=r'pip install "asyncembed\[zstd\]"'):
        parse_sources([str(tmp_path / "x.jsonl.zst")], None)


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
async def test_zstandard_files_are_read(tmp_path, kind):
    zstandard = pytest.importorskip("zstandard")
    path, plain = tmp_path / f"x.{kind}.ZST", tmp_path / "plain"
    data = {"txt": b"one\ntwo\n", "jsonl": b'{"text": "one"}\n{"text": "two"}\n', "csv": b"text\none\ntwo\n"}
    if kind == "parquet":
        pq.write_table(pa.table({"text": ["one", "two"]}), plain)
    else:
        plain.write_bytes(data[kind])
    packed = zstandard.compress(plain.read_bytes())
    path.write_bytes(packed)
    sources = parse_sources([str(path)], None)
    rows = read(sources, Fields())
    assert [row.text for row in ([row async for row in rows] if kind == "parquet" else rows)] == ["one", "two"]
    for broken in (packed[:-3], b"no zstandard"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="cannot be"):
            _ = [row async for row in read(sources, Fields())] if kind == "parquet" else list(read(sources, Fields()))


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        (r"{title}\n{body}", {"title": "T", "body": "B"}, "T\nB"),
        (r"{title}\n{body}", {"title": None, "body": "B"}, "\nB"),
        (r"{a}{b}", {"a": float("nan"), "b": 3}, "3"),
        ("{{{a}}}", {"a": "x"}, "{x}"),
        (r"\\{a}\t", {"a": True}, "\\true\t"),
        ("{a b}/{ä}", {"a b": [1, "é"], "ä": {"k": 1}}, '[1,"é"]/{"k":1}'),
        ("always {a}", {"a": None}, ""),
        ("{a}", {"a": "{b}"}, "{b}"),
    ],
)
def test_templates(run, threaded_server, openai, tmp_path, template, row, text):
    path = tmp_path / "x.jsonl"
    path.write_text(jsonl(row))
    ended = run("embed", path, "-o", tmp_path / "v.npy", "--template", template, *openai(threaded_server))
    assert [text for texts in threaded_server.asked for text in texts] == [text] * bool(text)
    assert text or "the text from --template is empty" in ended.err


@pytest.mark.parametrize(
    "template",
    ["{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{}", "{ a }", "no field", "{a", "a}", "{{a}}", "{a}{", "{{}", ""],
)
def test_templates_with_more_than_plain_names_are_refused(run, tmp_path, template):
    (tmp_path / "x.jsonl").write_text('{"a": "x"}')
    ended = run("embed", tmp_path / "x.jsonl", "-o", tmp_path / "v.npy", "--template", template)
    assert ended.code == 2
    assert "--template" in ended.err


def test_texts_made_by_a_template(run, threaded_server, openai, tmp_path):
    (tmp_path / "x.csv").write_text("title,body\nT,B\n,only\n,\n")
    options = ["-o", tmp_path / "v.jsonl", *openai(threaded_server), "--on-error", "skip"]
    ended = run("embed", tmp_path / "x.csv", *options, "--template", r"{title}\n{body}")
    assert ended.code == 0, ended.err
    assert "1 failed" in ended.err
    assert [text for texts in threaded_server.asked for text in texts] == ["T\nB", "\nonly"]
    ended = run("embed", tmp_path / "x.csv", *options, "--overwrite", "--template", "{title}{boddy}")
    assert ended.code == 1
    assert "there is no field 'boddy'; the fields are 'title', 'body'; choose with --template" in ended.err
    assert len(threaded_server.asked) == 1
    ended = run("embed", tmp_path / "x.csv", *options, "--resume", "--template", r"{title} {body}")
    assert "belongs to other texts" in ended.err


def test_fields_of_json_lines_may_be_missing_in_some_rows_but_not_in_all(run, threaded_server, openai, tmp_path):
    path, out = tmp_path / "x.jsonl", tmp_path / "v.jsonl"
    path.write_text('{"title": "T"}\n{"body": "B", "lang": "de"}\n{"x": 1}\n')
    options = [path, "-o", out, *openai(threaded_server), "--template", "{title}{body}", "--on-error", "skip"]
    ended = run("embed", *options, "--keep-column", "lang")
    assert ended.code == 0, ended.err
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["text"], row["lang"]) for row in found] == [("T", None), ("B", "de")]
    assert "x.jsonl:3: the text from --template is empty" in ended.err
    for wrong, option in ((["--keep-column", "long"], "--keep-column"), (["--template", "{titel}"], "--template")):
        ended = run("embed", *options, "--overwrite", *wrong)
        name = wrong[1].strip("{}")
        assert (ended.code, len(threaded_server.asked)) == (1, 1)
        assert f"in its first 3 lines: there is no field {name!r}; choose with {option}" in ended.err


def test_the_first_texts_only(run, threaded_server, openai, tmp_path):
    (tmp_path / "x.txt").write_text("".join(f"text {number}\n" for number in range(9)))
    options = [tmp_path / "x.txt", "-o", tmp_path / "v.jsonl", *openai(threaded_server)]
    assert run("embed", *options, "--limit", 4).code == 0
    asked = [text for texts in threaded_server.asked for text in texts]
    assert asked == [f"text {number}" for number in range(4)]
    ended = run("embed", *options, "--limit", 5, "--resume")
    assert "belongs to other texts" in ended.err
    assert run("embed", *options, "--limit", 4, "--resume").code == 0
    assert len(threaded_server.asked) == 1


async def test_a_limit_holds_for_pipes_and_counts(start, server, openai, tmp_path):
    process = await start("embed", "-", "-o", tmp_path / "v.jsonl", *openai(server), "--limit", 2)
    ended = await process.end(b"one\ntwo\nthree\n")
    assert ended.code == 0, ended.err
    assert server.asked == [["one", "two"]]
    (tmp_path / "x.txt").write_text("a\n" * 5_000)
    assert await count(parse_sources([str(tmp_path / "x.txt")], None), None, 7) == 7


def test_request_options(run, threaded_server, openai, tmp_path):
    (tmp_path / "x.txt").write_text("one\n")
    options = [tmp_path / "x.txt", "-o", tmp_path / "v.jsonl", *openai(threaded_server)]
    report = tmp_path / "r.html"
    extra = ["--extra", "user=hush-hush", "--extra", 'nested={"a": [1]}', "--extra", "n=3"]
    ended = run("embed", *options, *extra, "--timeout", 5, "--max-attempts", 2, "--verbose", "--report", report)
    assert ended.code == 0, ended.err
    body = threaded_server.requests[0].body
    assert (body["user"], body["nested"], body["n"]) == ("hush-hush", {"a": [1]}, 3)
    assert "request_ended" in ended.err
    assert "request_ended" not in run("embed", *options, "--overwrite").err
    assert "hush-hush" not in report.read_text() + ended.err
    for wrong in ("user", "=1"):
        assert run("embed", *options, "--overwrite", "--extra", wrong).code == 2
    assert "given twice" in run("embed", *options, "--extra", "a=1", "--extra", "a=2").err
    assert "must be one character" in run("embed", *options, "--delimiter", "ab").err


def test_what_the_api_does_with_long_texts_is_told_to_it(run, threaded_server, tmp_path):
    (tmp_path / "x.txt").write_text("one\n")
    options = ["--provider", "cohere", "--base-url", threaded_server.url, "--model", "m", "--truncate", "END"]
    ended = run("embed", tmp_path / "x.txt", "-o", tmp_path / "v.npy", *options)
    assert ended.code == 0, ended.err
    assert threaded_server.requests[0].body["truncate"] == "END"


async def silent(_):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("reply", "words"),
    [(refused(503, headers={"Retry-After": "0"}), "answered 503"), (silent, "no response within 0.1 s")],
)
def test_attempts_and_silence_have_limits(run, threaded_server, openai, tmp_path, reply, words):
    (tmp_path / "x.txt").write_text("one\n")
    threaded_server.default = reply
    options = [*openai(threaded_server), "--timeout", 0.1, "--max-attempts", 2]
    ended = run("embed", tmp_path / "x.txt", "-o", tmp_path / "v.npy", *options)
    assert ended.code == 1
    assert words in ended.err
    assert len(threaded_server.requests) == 2
