"""Texts for engines, the check of what an engine made of them, and the workers that a test kills."""

from __future__ import annotations

import os
from collections import Counter

import psutil
import pytest

from asyncembed.testing import vector_of

needs_heavy = pytest.mark.skipif(
    os.environ.get("ASYNCEMBED_HEAVY") != "1", reason="it takes long; ASYNCEMBED_HEAVY=1 runs it"
)


def text_of(number):
    """Every seventh text is null or empty."""
    return f"text {number}" if number % 7 else ("" if number % 2 else None)


def write_texts(folder, rows, files=4):
    """Write texts with ids into Parquet files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for file in range(files):
        ids = range(file, rows, files)
        table = pa.table({"id": list(ids), "text": [text_of(number) for number in ids]})
        pq.write_table(table, folder / f"{file}.parquet")
    return str(folder)


def check_rows(found, rows, dimension=8):
    """Every row is there once, with its own id and vector; null and empty texts have none."""
    assert Counter(row["id"] for row in found) == Counter(range(rows))
    for row in found:
        text = text_of(row["id"])
        expected = vector_of(text, dimension).tolist() if text else None
        assert (row["text"], listed(row["embedding"])) == (text, expected)


def listed(vector):
    """Return a vector as a list of numbers, whatever an engine gives it as."""
    return vector.tolist() if hasattr(vector, "tolist") else vector


def paid_again(ledger):
    """How many vectors were sent a second time."""
    return sum(ledger.sent.values()) - len(ledger.sent)


def workers(name):
    """Processes that this one has started, directly or not, and that are called so."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has ended
            continue
    return found
