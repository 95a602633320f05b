"""CSV line by line: what is in quotes, what is not, and what never ends."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import EmbedInput
from asyncembed.cli._files import MAX_LINE_BYTES
from asyncembed.cli._rows import CsvParser, Fields, InputError

FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
MESSY = st.one_of(FIELD, st.text(alphabet='",\r\n x', max_size=8))


@given(st.lists(st.tuples(MESSY, MESSY.filter(bool)), max_size=6))
def test_csv_is_what_the_csv_module_wrote(rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("id", "text"), *rows])
    parser = CsvParser("x.csv", Fields())
    found = [parser.feed(line) for line in buffer.getvalue().encode().splitlines(keepends=True)]
    parser.close()
    assert [row for row in found if row] == [EmbedInput(text, id_) for id_, text in rows]


def test_a_quoted_field_that_is_never_closed_is_refused_instead_of_filling_memory():
    """It begins in line 3, in a row that begins in line 2, and ends at the last line that is too much."""
    parser = CsvParser("x.csv", Fields())
    for line in (b"text,n\n", b'"one\n', b'two","open\n'):
        assert parser.feed(line) is None
    half = b"x" * (MAX_LINE_BYTES // 2 - 10)
    assert parser.feed(half) is parser.feed(half) is None
    with pytest.raises(InputError, match=r"^x\.csv:3: a quoted field that begins in this line makes the row longer th"):
        parser.feed(b"twenty more characters")


def test_each_line_of_a_long_quoted_field_is_read_once_and_then_the_row_once(monkeypatch):
    read_characters = []
    reader = csv.reader

    def counting(lines, **options):
        read_characters.append(len(lines[0]))
        return reader(lines, **options)

    monkeypatch.setattr(csv, "reader", counting)
    text = "".join(f'line {number} says ""hello""\n' for number in range(2_000))
    parser = CsvParser("x.csv", Fields())
    lines = f'text\n"{text}"\n'.encode().splitlines(keepends=True)
    *none, row = [parser.feed(line) for line in lines]
    assert none == [None] * 2_001
    assert row == EmbedInput(text.replace('""', '"'))
    assert sum(read_characters) < 2.2 * sum(map(len, lines))


def test_a_quote_inside_an_unquoted_field_opens_nothing():
    parser = CsvParser("x.csv", Fields())
    lines = [b"text,n\n", b'5" pipe,1\n', b'"a\n', b'b",6" pipe\n', b"end,2\n"]
    found = [parser.feed(line) for line in lines]
    parser.close()
    assert [row.text for row in found if row] == ['5" pipe', "a\nb", "end"]
