"""What files and standard input may hold, and what is said about those that hold something else."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import anyio
import pytest

from asyncembed import ConfigurationError, EmbedInput
from asyncembed._core import async_lines, lines
from asyncembed._decide import RefusedInput
from asyncembed.cli._inputs import Fields, InputError, Source, count, parse_sources, read

CONTENTS = {
    "txt": "one\n\n  \ntwo and ä\r\nthree",
    "jsonl": '{"text": "one"}\n\n{"text": "two and ä", "more": [1]}\n{"text": "three"}',
    "csv": 'more,text\r\n1,one\r\n\r\n,"two and ä"\r\n3,three',
}
INPUTS = [EmbedInput("one"), EmbedInput("two and ä"), EmbedInput("three")]


def rows_of(path, **fields):
    return list(read(parse_sources([str(path)], None), Fields(**fields)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", CONTENTS)
async def test_each_format_is_read_and_counted(tmp_path, kind, compressed):
    path = tmp_path / f"rows.{kind}{'.gz' * compressed}"
    data = CONTENTS[kind].encode()
    path.write_bytes(gzip.compress(data) if compressed else data)
    assert rows_of(path) == INPUTS
    assert await count(parse_sources([str(path)], None)) == 3


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("first", ["one", "", " \t", "\u3000", "\ufeffone", " one ", "\u200b"])
@pytest.mark.parametrize("blank", ["", "   ", "\t", "\u00a0\u2003", "\x1c"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_the_library_and_the_command_line_read_the_same_texts(tmp_path, mark, first, blank, end):
    """A line of white space is none, and a byte order mark belongs to the file."""
    path = tmp_path / "rows.txt"
    path.write_text(mark + end.join([first, blank, " two ", blank, "three\ufeff"]), "utf-8", newline="")
    expected = [line for line in (first.removeprefix("\ufeff" * (not mark)), " two ", "three\ufeff") if line.strip()]
    assert [item.text for item in rows_of(path)] == expected
    with path.open(encoding="utf-8", newline="\n") as file:
        assert list(lines(file)) == expected
    async with await anyio.open_file(path, encoding="utf-8", newline="\n") as file:
        assert [line async for line in async_lines(file)] == expected
    assert await count(parse_sources([str(path)], None)) == len(expected)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    for kind, text in CONTENTS.items():
        path = tmp_path / f"rows.{kind}"
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert rows_of(path) == INPUTS


def test_fields_are_chosen_by_name(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "key": "a", "body": "one"}\n{"key": null, "body": "two"}\n{"key": 2, "body": "three"}')
    assert rows_of(path, text="body") == [EmbedInput("one", 1), EmbedInput("two"), EmbedInput("three")]
    assert rows_of(path, text="body", id="key") == [
        EmbedInput("one", "a"),
        EmbedInput("two"),
        EmbedInput("three", 2),
    ]


def test_several_files_follow_each_other(tmp_path):
    for name, text in (("a.txt", "one\n"), ("b.jsonl", '{"text": "two"}\n'), ("c.csv", "text\nthree\n")):
        (tmp_path / name).write_text(text)
    sources = parse_sources([str(tmp_path / name) for name in ("a.txt", "b.jsonl", "c.csv")], None)
    assert list(read(sources, Fields())) == [EmbedInput("one"), EmbedInput("two"), EmbedInput("three")]


def count_open_files():
    return len(list(Path("/dev/fd").iterdir()))


async def test_files_are_read_as_they_are_wanted_and_closed_when_they_are_left(tmp_path):
    path = tmp_path / "endless.txt"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    try:
        os.write(writer, b"one\ntwo\n")
        rows = read([Source(path, "txt")], Fields())
        before = count_open_files()
        assert await anext(rows) == EmbedInput("one")
        assert count_open_files() > before
        await rows.aclose()
        assert count_open_files() == before
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"text": "a"}\n\n{"text" "b"}\n', "x.jsonl:3: not JSON: "),
        ("x.jsonl", '{"text": "a"}\n["b"]\n', "x.jsonl:2: not a JSON object but a list"),
        (
            "x.jsonl",
            '{"body": "a", "n": 1}\n',
            "x.jsonl:1: there is no field 'text'; the fields are 'body', 'n'; choose",
        ),
        ("x.jsonl", '{"text": 3}\n', "x.jsonl:1: field 'text' is not a string but a number"),
        ("x.jsonl", '{"text": null}\n', "x.jsonl:1: field 'text' is not a string but null"),
        ("x.jsonl", '{"text": "a"}\n{"text": ""}\n', "x.jsonl:2: field 'text' is empty; remove the row, or use --on-"),
        ("x.txt", b"fine\nna\xefve\n", "x.txt:2: byte 3 of the line is not UTF-8; convert it first"),
        (
            "x.txt",
            gzip.compress(b"one", mtime=0),
            "x.txt:1: byte 2 of the line is not UTF-8; it is compressed: name it .gz",
        ),
        ("x.txt.gz", b"one\n", "x.txt.gz cannot be read: Not a gzipped file"),
        ("x.txt.gz", gzip.compress(b"one\n" * 99, mtime=0)[:-9], "x.txt.gz cannot be read: Compressed file ended"),
        ("x.csv", "body,n\na,1\n", "x.csv:1: there is no field 'text'; the fields are 'body', 'n'"),
        ("x.csv", 'text,n\n"a\nb",1\nc\n', "x.csv:4: the row has 1 fields, but line 1 names 2"),
        ("x.csv", "text\nfine\nbare\rreturn\n", "x.csv:3: not CSV: "),
        ("x.csv", 'text\nfine\n"open\nstill\n', "x.csv:3: a quoted field that begins in this line is never closed"),
        ("x.csv", 'text,n\n"a\nb","c\n', "x.csv:3: a quoted field that begins in this line is never closed"),
        ("x.parquet", "no parquet", "x.parquet cannot be read: "),
    ],
)
def test_errors_name_file_and_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        found = next(row.reason for row in rows_of(path) if isinstance(row, RefusedInput))
    except InputError as error:
        found = str(error)
    assert found.startswith(f"{tmp_path}/{message}")


def test_a_line_without_end_is_refused_instead_of_filling_memory(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"one\n")
    os.truncate(path, 1_000_000_000)  # a hole, without blocks on the disk
    rows = read(parse_sources([str(path)], None), Fields())
    assert next(rows) == EmbedInput("one")
    with pytest.raises(InputError, match=r"x.txt:2: the line is longer than 64,000,000 bytes"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "there is no file "),
        ("folder", "there is no Parquet file in the folder "),
        ("texts.docx", "the suffix does not tell the format; use .txt, .jsonl, .ndjson, .csv"),
    ],
)
def test_inputs_that_cannot_be_read_are_refused_at_once(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "texts.docx").touch()
    with pytest.raises(ConfigurationError) as caught:
        parse_sources([str(tmp_path / name)], None)
    assert message in str(caught.value)


def test_the_format_of_a_file_without_suffix_can_be_given(tmp_path):
    path = tmp_path / "rows"
    path.write_text('{"text": "one"}')
    assert parse_sources([str(path)], "jsonl") == [Source(path, "jsonl")]


def test_standard_input_is_read_once():
    with pytest.raises(ConfigurationError, match="only once"):
        parse_sources(["-", "-"], None)


async def test_what_is_expensive_or_impossible_to_count_is_not_counted(tmp_path):
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    broken = tmp_path / "x.txt.gz"
    broken.write_bytes(b"no gzip")
    big = tmp_path / "big.txt"
    with big.open("wb") as file:
        file.truncate(600_000_000)  # a hole, without blocks on the disk
    for path in (pipe, broken, big):
        assert await count(parse_sources([str(path)], None)) is None


@pytest.mark.parametrize("kind", CONTENTS)
async def test_standard_input_from_a_pipe(start, server, openai, tmp_path, kind):
    out = tmp_path / "v.jsonl"
    process = await start("embed", "-", "--format", kind, "-o", out, *openai(server))
    ended = await process.end(CONTENTS[kind].encode())
    assert ended.code == 0, ended.err
    assert [row.text for row in rows_of(out)] == ["one", "two and ä", "three"]


async def test_standard_input_from_a_file_after_another_file(start, server, openai, tmp_path):
    first, second, out = tmp_path / "a.txt", tmp_path / "b", tmp_path / "v.jsonl"
    first.write_text("one\n")
    second.write_text("two\nthree\n")
    with second.open() as stdin:
        process = await start("embed", first, "-", "-o", out, *openai(server), stdin=stdin)
        ended = await process.end()
    assert ended.code == 0, ended.err
    assert [row.text for row in rows_of(out)] == ["one", "two", "three"]


async def test_a_pipe_after_a_file(start, server, openai, tmp_path):
    first, out = tmp_path / "a.txt", tmp_path / "v.jsonl"
    first.write_text("one\n")
    ended = await (await start("embed", first, "-", "-o", out, *openai(server))).end(b"two\nthree")
    assert ended.code == 0, ended.err
    assert [row.text for row in rows_of(out)] == ["one", "two", "three"]


async def test_long_lines_from_a_pipe_are_put_together(start, server, openai, tmp_path):
    texts = [letter * 100_000 for letter in "abc"]
    process = await start("embed", "-", "-o", tmp_path / "v.jsonl", *openai(server))
    ended = await process.end("\n".join(texts).encode())
    assert ended.code == 0, ended.err
    assert [text for texts in server.asked for text in texts] == texts
