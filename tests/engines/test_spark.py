"""Spark: the recipe, with two Python workers on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.engines import check_rows, needs_heavy, paid_again, text_of, workers, write_texts
from support.plain import wait_until
from support.threaded_clients import KEY

pytest.importorskip("pyspark", reason="pyspark is not installed")
if not shutil.which("java"):
    pytest.skip("there is no java", allow_module_level=True)

from pyspark.sql import SparkSession

from asyncembed.testing import Limit

pytestmark = [needs_heavy, pytest.mark.timeout(400), pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
BATCH = 200


def load_recipe():
    found = importlib.util.spec_from_file_location("spark_embed", ROOT / "examples" / "spark_embed.py")
    module = sys.modules["spark_embed"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


RECIPE = load_recipe()


@pytest.fixture(scope="module")
def spark():
    """Two Python workers, which take the key from their environment; a task that fails is tried four times."""
    before = dict(os.environ)
    path = f"{ROOT}{os.pathsep}{ROOT / 'examples'}"
    os.environ |= {"EMBEDDINGS_KEY": KEY, "PYTHONPATH": path, "PYSPARK_PYTHON": sys.executable}
    session = (
        SparkSession.builder
        .master("local[2,4]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH))
        .getOrCreate()
    )
    yield session
    session.stop()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def rows_in(folder):
    return pq.read_table(folder).to_pylist()


def test_every_row_is_right_and_null_and_empty_are_not_asked_for(spark, spec, server, tmp_path, capfd):
    frame = spark.read.parquet(write_texts(tmp_path / "in", 4_000))
    vectors = RECIPE.embed(frame, spec, workers=2)
    vectors.explain(extended=True)
    vectors.write.parquet(str(tmp_path / "out"))
    check_rows(rows_in(tmp_path / "out"), 4_000)
    assert server.ledger.asked == {text_of(number): 1 for number in range(4_000) if text_of(number)}
    told = capfd.readouterr()
    assert "MapInArrow" in told.out
    assert KEY not in told.out + told.err


def test_a_killed_worker_costs_at_most_its_partition(spark, spec, server, tmp_path):
    frame = spark.read.parquet(write_texts(tmp_path / "in", 8_000)).repartition(8)
    limited = replace(spec, max_concurrency=2)
    server.latency = 0.1
    vectors = RECIPE.embed(frame, limited, workers=2)
    writing = threading.Thread(target=lambda: vectors.write.parquet(str(tmp_path / "out")))
    writing.start()
    wait_until(lambda: server.ledger.requests > 4, 300)
    (daemon, *_) = workers("pyspark.daemon")
    daemon.children()[0].kill()
    server.latency = 0.0
    writing.join()
    check_rows(rows_in(tmp_path / "out"), 8_000)
    print("paid again:", paid_again(server.ledger))
    assert paid_again(server.ledger) <= 2 * 1_000


def test_a_declared_limit_is_kept_by_two_workers(spark, spec, server, tmp_path):
    server.limit = Limit(inputs=1_500)
    frame = spark.read.parquet(write_texts(tmp_path / "in", 2_400)).repartition(2)
    RECIPE.embed(frame, replace(spec, inputs_per_minute=1_500), workers=2).write.parquet(str(tmp_path / "out"))
    check_rows(rows_in(tmp_path / "out"), 2_400)
    assert 429 not in server.ledger.statuses
