"""What may be given as texts: collections of other packages, ids, metadata, and what is said of everything else."""

from __future__ import annotations

import re
import uuid
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import ConfigurationError, EmbedInput
from asyncembed._decide import RefusedInput, as_input, as_input_or_refused, check_texts, items_of

UUID = uuid.UUID("12345678-9abc-4def-8123-456789abcdef")


@pytest.mark.parametrize("id_", ["a", "", 7, -1, 2**200, np.int64(7), np.uint8(3), UUID])
def test_ids_stay_the_objects_they_are(id_):
    for item in ((id_, "text"), EmbedInput("text", id_)):
        found = as_input(item, 0)
        assert found.id is id_
        assert found.text == "text"


def test_16_bytes_are_a_uuid():
    assert as_input((UUID.bytes, "a"), 0) == EmbedInput("a", str(UUID))


@pytest.mark.parametrize(
    "id_", [1.0, float("nan"), Decimal(1), True, np.bool_(True), b"short", b"x" * 17, {"$oid": "1"}, ("a",)]
)
@pytest.mark.parametrize("form", [lambda id_: (id_, "text"), lambda id_: EmbedInput("text", id_)])
def test_other_ids_are_refused_with_the_fix(id_, form):
    """Their text might be that of another one."""
    with pytest.raises(ConfigurationError, match=rf"texts\[5\].*{type(id_).__name__}.*an id is a str, an int or a "):
        as_input(form(id_), 5)


@pytest.mark.parametrize("form", [lambda id_: (id_, "text"), lambda id_: EmbedInput("text", id_)])
def test_an_id_that_no_file_can_hold_is_refused(form):
    """An escape sequence in its place might be another id."""
    with pytest.raises(ConfigurationError, match=r"^texts\[5\] has the id .* with a lone surrogate at character 1,"):
        as_input(form("a\ud83d"), 5)
    assert as_input(form("\\ud83d\U0001f600"), 5).id == "\\ud83d\U0001f600"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (["a"], "metadata that is a list; give a mapping of names to values"),
        ({1: "a"}, "an? int as a name; names must be strings"),
        ({"a": b"x"}, "a value of 'a' that JSON cannot hold"),
        ({"a": {"b": object()}}, "a value of 'a'"),
        ({"big": 2**70}, "a value of 'big'"),
        ({"half": "\ud800"}, "a value of 'half'"),
        ({"text": "a"}, "the name 'text'"),
        ({"embedding": 1}, "the name 'embedding'"),
    ],
)
def test_metadata_that_no_file_can_hold_is_refused_by_name(metadata, words):
    with pytest.raises(ConfigurationError, match=words):
        as_input(EmbedInput("a", 1, metadata), 0)


def test_metadata_of_any_mapping_is_taken():
    given_ = EmbedInput("a", None, MappingProxyType({"x": [1, {"y": None}], "n": np.int64(3)}))
    assert as_input(given_, 0) is given_
    assert hash(EmbedInput("a", 1, {"x": 1})) == hash(EmbedInput("a", 1))


@given(
    st.none() | st.integers() | st.floats() | st.binary() | st.lists(st.integers()) | st.tuples(st.text(), st.none())
)
def test_anything_else_becomes_a_row_that_is_refused(item):
    found = as_input_or_refused(item, 3)
    assert isinstance(found, RefusedInput)
    assert found.text == ""
    assert found.reason.startswith("texts[3] is ")


def frames():
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    columns = {"id": [1, 2], "text": ["a", "b"]}
    yield pandas.DataFrame(columns), r"such as texts\['text'\]; they are 'id', 'text'"
    yield pandas.DataFrame({"title": ["a"], 3: ["b"]}), r"such as texts\['title'\]; they are 'title', 3"
    yield polars.DataFrame(columns), r"such as texts\['text'\]"
    yield polars.LazyFrame(columns), r"texts.collect\(\)\['text'\]"
    yield arrow.table(columns), r"such as texts\['text'\]"
    yield arrow.RecordBatch.from_pydict(columns), r"such as texts\['text'\]"


def test_frames_are_refused_with_the_line_to_write():
    for frame, hint in frames():
        with pytest.raises(ConfigurationError, match=rf"^texts is a {type(frame).__name__}, .*{hint}"):
            check_texts(frame)


def parts():
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    columns = {"id": [1], "text": ["a"]}
    yield [columns | {"text": "a"}], "row['text']"
    yield [{"title": "a"}], "row['title']"
    for frames in (pandas.DataFrame(columns), polars.DataFrame(columns)):
        yield [frames], "(text for part in texts for text in part['text'])"
    for batches in (arrow.table(columns).to_reader(), arrow.table(columns).to_batches()):
        yield batches, "(text for part in texts for text in part['text'].to_pylist())"
    for values in (list(arrow.array(["a"])), zip(arrow.array([1]), ["a"], strict=True)):
        yield values, "as_py(), or a whole column with to_pylist()"


def test_parts_of_frames_and_values_of_arrow_are_refused_with_the_line_to_write():
    for texts, line in parts():
        check_texts(texts)
        first = next(iter(texts))
        with pytest.raises(ConfigurationError, match=rf"^texts\[7\] is .*{re.escape(line)}"):
            as_input(first, 7)
        if "for text in" in line:
            assert list(eval(line, {"texts": [first]})) == ["a"]


class Dataset:
    """As those of Hugging Face: rows are mappings, columns are asked for by name."""

    column_names = ("id", "body")

    def __len__(self):
        return 1

    def __getitem__(self, key):
        return ["a"] if isinstance(key, str) else {"id": 1, "body": "a"}

    def __iter__(self):
        yield {"id": 1, "body": "a"}


class IterableDataset:
    column_names = None

    def __iter__(self):
        yield {"text": "a"}


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        (Dataset(), r"such as texts\['id'\]; they are 'id', 'body'"),
        (IterableDataset(), r"\(row\['text'\] for row in texts\)"),
        ({"train": Dataset()}, r"texts\['train'\]\['text'\]"),
        ({"a": "text"}, r"texts.values\(\), or texts.items\(\)"),
        (MappingProxyType({"a": "text"}), r"texts.values\(\)"),
        ({"a", "b"}, r"sorted\(texts\)"),
        (frozenset("ab"), r"sorted\(texts\)"),
        (np.array([["a", "b"]]), r"2 dimensions.*texts\[:, 0\]"),
        (np.array("a"), "0 dimensions"),
        (EmbedInput("a"), r"put it into a list"),
        (bytearray(b"a"), r"put it into a list"),
    ],
)
def test_other_collections_that_are_no_list_of_texts(texts, hint):
    with pytest.raises(ConfigurationError, match=hint):
        check_texts(texts)


def test_what_a_hint_says_is_taken():
    mapping = {"k": "text"}
    for texts in (mapping.values(), mapping.items(), mapping.keys(), sorted({"b", "a"}), Dataset()["body"]):
        check_texts(texts)
    assert [as_input(item, 0) for item in items_of(mapping.items())] == [EmbedInput("text", "k")]


def series():
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    values = ["one", None, "zwei ä"]
    yield pandas.Series(values)
    yield pandas.Series(values, dtype=object)
    yield pandas.DataFrame({"text": values})["text"].astype("category")
    yield polars.Series(values)
    yield arrow.array(values)
    yield arrow.array(values).dictionary_encode()
    yield arrow.array(values, arrow.large_string())
    yield arrow.array([value and value.encode() for value in values], arrow.binary())
    yield arrow.chunked_array([values[:1], values[1:]])
    yield arrow.table({"text": values})["text"]
    yield np.array(values, object)


def test_series_and_arrow_arrays_are_texts():
    for texts in series():
        check_texts(texts)
        found = [as_input_or_refused(item, index) for index, item in enumerate(items_of(texts))]
        assert [item.text for item in found] == ["one", "", "zwei ä"], type(texts)
        assert [isinstance(item, RefusedInput) for item in found] == [False, True, False]


def test_arrow_arrays_are_read_in_parts_and_bad_bytes_fail_alone():
    arrow = pytest.importorskip("pyarrow")
    raw = arrow.array([b"good"] * 2_000 + [b"caf\xe9", b"end"], arrow.binary())
    for texts in (raw, arrow.Array.from_buffers(arrow.string(), len(raw), raw.buffers())):
        found = [as_input_or_refused(item, index) for index, item in enumerate(items_of(texts))]
        assert [item.text for item in found[:2_000]] == ["good"] * 2_000
        assert found[2_001] == EmbedInput("end")
        assert found[2_000].reason == (
            "texts[2000]: byte 4 of the text is not UTF-8; convert it first, for example with iconv"
        )
