"""The benchmarks work, and what they compare gives the same vectors; how fast they are is not asked here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import bare, engines, faulty, ours, soak, throughput
from benchmarks.job import Check, Job
from benchmarks.measure import ratio
from benchmarks.server import running

DIMENSION, COUNT = 48, 50


@pytest.mark.parametrize("way", [*ours.WAYS, *bare.WAYS])
async def test_a_way_gives_the_vectors_that_were_sent(way):
    pytest.importorskip("httpx" if way.startswith("httpx") else "numpy")
    pytest.importorskip("simdjson" if "simdjson" in way else "numpy")
    check = Check(DIMENSION)
    async with running(DIMENSION) as url:
        await {**ours.WAYS, **bare.WAYS}[way](Job(url, COUNT, dimension=DIMENSION, batch=7, concurrency=3), check)
    assert check.count == COUNT


async def test_another_vector_is_noticed():
    check = Check(DIMENSION)
    async with running(DIMENSION) as url:
        with pytest.raises(SystemExit, match="vector 1 is not the one that was sent"):
            check(1, (await _vectors(url))[0])


async def _vectors(url):
    async with ours.client(Job(url, 2, dimension=DIMENSION), "openai") as client:
        return (await client.embed(Job(url, 2).texts())).embeddings


def test_a_ratio_is_that_of_runs_of_the_same_round():
    """A machine that is three times slower in one round changes nothing."""
    assert ratio({"cpu_us_runs": [10, 30, 11]}, {"cpu_us_runs": [20, 60, 22]}) == 0.5


def test_every_target_is_about_ways_that_are_run():
    for target in throughput.TARGETS:
        assert {target.ours, target.other} <= set(throughput.NAMES)
        assert not target.tls or {target.ours, target.other} <= set(throughput.OVER_TLS)


async def test_a_soak_sees_every_vector_and_every_fault():
    async with faulty.running(8, 0.2, 1) as url:
        samples, run = await soak.soak(url, 3_000, 8)
    assert [sample["done"] for sample in samples[-2:]] == [2_994, 3_000]
    assert run["retries"] > 0
    assert run["requests"] >= run["retries"] + 3_000 // soak.BATCH + 1
    assert not run["tasks_left"]
    assert not soak.judged(samples, 3_000)["grew"]["tasks"]


@pytest.mark.parametrize("way", ["no engine, embed_to_file", "Daft, embed"])
async def test_an_engine_that_is_measured_gives_every_row(way, tmp_path):
    package, _ = engines.WAYS[way]
    pytest.importorskip(package, reason=f"{package} is not installed")
    engines.write_source(tmp_path / "in", 500)
    async with running(engines.DIMENSION) as url:
        found = await engines.measure(way, 500, url, tmp_path)
    assert found["texts/s"] > 0


def test_what_grows_is_noticed():
    def samples(figure: str, each: float) -> list[dict[str, float]]:
        flat = {"resident_mb": 50.0, "descriptors": 20, "tasks": 10}
        return [{"done": 10_000 * n, **flat, figure: flat[figure] + each * n} for n in range(1, 101)]

    for figure, name in (("resident_mb", "memory"), ("descriptors", "descriptors"), ("tasks", "tasks")):
        grew = soak.judged(samples(figure, 0.11), 1_000_000)["grew"]
        assert [each for each, is_so in grew.items() if is_so] == [name]
    assert not any(soak.judged(samples("resident_mb", 0.009), 1_000_000)["grew"].values())
