"""CSV line by line: what is in quotes, what is not, and what never ends."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import EmbedInput
from asyncembed.cli._inputs import Fields, InputError, parse_sources, read

FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
MESSY = st.one_of(FIELD, st.text(alphabet='",\r\n x', max_size=8))


HALF = b"x" * 31_999_990
"""Of the longest row."""


def rows_of(path, content=None):
    if content is not None:
        path.write_bytes(content)
    return list(read(parse_sources([str(path)], None), Fields()))


@given(st.lists(st.tuples(MESSY, MESSY.filter(bool)), max_size=6))
def test_csv_is_what_the_csv_module_wrote(tmp_path_factory, rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("id", "text"), *rows])
    found = rows_of(tmp_path_factory.mktemp("csv") / "x.csv", buffer.getvalue().encode())
    assert found == [EmbedInput(text, id_) for id_, text in rows]


def test_a_quoted_field_that_is_never_closed_is_refused_instead_of_filling_memory(tmp_path):
    """It begins in line 3, in a row that begins in line 2, and ends at the last line that is too much."""
    start = b'text,n\n"one\ntwo","open\n'
    with pytest.raises(InputError, match=r"x\.csv:3: a quoted field that begins in this line makes the row longer th"):
        rows_of(tmp_path / "x.csv", start + HALF + b"\n" + HALF + b"\ntwenty more characters\n")
    with pytest.raises(InputError, match=r"x\.csv:3: a quoted field that begins in this line is never closed"):
        rows_of(tmp_path / "x.csv", start + HALF + b"\n")


def test_each_line_of_a_long_quoted_field_is_read_once_and_then_the_row_once(tmp_path, monkeypatch):
    read_characters = []
    reader = csv.reader

    def counting(lines, **options):
        read_characters.append(len(lines[0]))
        return reader(lines, **options)

    monkeypatch.setattr(csv, "reader", counting)
    text = "".join(f'line {number} says ""hello""\n' for number in range(2_000))
    content = f'text\n"{text}"\n'.encode()
    assert rows_of(tmp_path / "x.csv", content) == [EmbedInput(text.replace('""', '"'))]
    assert sum(read_characters) < 2.2 * len(content)


def test_a_quote_inside_an_unquoted_field_opens_nothing(tmp_path):
    found = rows_of(tmp_path / "x.csv", b'text,n\n5" pipe,1\n"a\nb",6" pipe\nend,2\n')
    assert [row.text for row in found] == ['5" pipe', "a\nb", "end"]
