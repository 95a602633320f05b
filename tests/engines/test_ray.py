"""Ray Data: a pool of actors on this machine."""

from __future__ import annotations

import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.engines import check_rows, needs_heavy, paid_again, text_of, workers, write_texts
from support.plain import wait_until
from support.threaded_clients import KEY

pytest.importorskip("ray.data", reason="ray is not installed")

import ray.data

from asyncembed import ConfigurationError
from asyncembed.ray import Embed, embed
from asyncembed.testing import Limit

pytestmark = [needs_heavy, pytest.mark.timeout(400), pytest.mark.filterwarnings("default")]
ACTOR = "MapWorker"
BLOCK = 500


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Workers take the key from the environment in which Ray was started."""
    before = dict(os.environ)
    os.environ |= {"EMBEDDINGS_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2]), "RAY_DEDUP_LOGS": "0"}
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=300_000_000, log_to_driver=False)
    yield
    ray.shutdown()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def source(tmp_path):
    return write_texts(tmp_path / "in", 6_000)


def rows_in(folder):
    return pq.read_table(folder).to_pylist()


def test_every_row_is_right_and_null_and_empty_are_not_asked_for(spec, server, source, tmp_path):
    dataset = embed(ray.data.read_parquet(source), spec, rows_per_block=BLOCK)
    dataset.write_parquet(str(tmp_path / "out"))
    check_rows(rows_in(tmp_path / "out"), 6_000)
    assert server.ledger.asked == {text_of(number): 1 for number in range(6_000) if text_of(number)}


def test_a_killed_actor_costs_at_most_its_blocks(spec, server, source, tmp_path):
    server.latency = 0.1
    dataset = embed(ray.data.read_parquet(source), spec, rows_per_block=BLOCK, chunk_size=50, max_concurrency=2)
    writing = threading.Thread(target=lambda: dataset.write_parquet(str(tmp_path / "out")))
    writing.start()
    wait_until(lambda: server.ledger.requests > 20, 300)
    workers(ACTOR)[0].kill()
    server.latency = 0.0
    writing.join()
    check_rows(rows_in(tmp_path / "out"), 6_000)
    print("paid again:", paid_again(server.ledger))
    assert paid_again(server.ledger) <= 4 * BLOCK


def test_a_declared_limit_is_kept_by_two_workers(spec, server, tmp_path):
    source = write_texts(tmp_path / "in", 2_400)
    server.limit = Limit(inputs=1_500)
    limited = replace(spec, inputs_per_minute=1_500)
    dataset = embed(ray.data.read_parquet(source), limited, rows_per_block=200)
    dataset.write_parquet(str(tmp_path / "out"))
    check_rows(rows_in(tmp_path / "out"), 2_400)
    assert 429 not in server.ledger.statuses


def test_the_key_is_in_no_pickle_and_no_log(spec, source):
    assert KEY.encode() not in pickle.dumps(Embed(spec))
    embed(ray.data.read_parquet(source), spec, rows_per_block=BLOCK).take(1)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = [path for path in (session / "logs").rglob("*") if path.is_file()]
    assert logs
    assert not [path for path in logs if KEY.encode() in path.read_bytes()]


def test_a_block_without_any_text_has_the_type_of_the_others(spec, tmp_path):
    texts = pa.array([None if n < 10 else f"text {n}" for n in range(20)], pa.string())
    table = pa.table({"id": list(range(20)), "text": texts})
    dataset = ray.data.from_arrow([table.slice(0, 10), table.slice(10)])
    embed(dataset, spec, rows_per_block=10, workers=1).write_parquet(str(tmp_path / "out"))
    found = {row["id"]: row["embedding"] for row in rows_in(tmp_path / "out")}
    assert [number for number in range(20) if found[number] is None] == list(range(10))


def test_wrong_settings_are_told_before_anything_runs(spec):
    dataset = ray.data.from_items([{"text": "a"}])
    for wrong, named in (
        ({"workers": 0}, "workers"),
        ({"into": "text"}, "into"),
        ({"on_error": "skip"}, "on_error"),
        ({"max_retries": -1}, "max_retries"),
        ({"rows_per_block": 0}, "rows_per_block"),
        ({"temperature": 1}, "no option"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            embed(dataset, spec, **wrong)
    with pytest.raises(Exception, match="no column 'body'"):
        embed(dataset, spec, column="body", max_retries=0).materialize()
