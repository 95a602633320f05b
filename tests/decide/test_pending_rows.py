"""Vectors that are held back until their dimension is agreed on: none is lost, or comes twice, or waits for ever."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import EmbedInput, EmbedOptions, EmbedResult, ResponseError
from asyncembed._decide import Batch, BlockDelivery, ResultDelivery
from asyncembed._parser import DimensionVote, ResponseParser, VectorDecoder
from asyncembed.providers import OpenAI

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from asyncembed._models import EmbedBlock

MAX_PENDING = 4
LAYOUT = OpenAI().layout(EmbedOptions(model="m"), "float")
RIGHT = 3


class Job:
    """One batch of a run; its texts are their indices, and so are the numbers of their vectors."""

    def __init__(self, decoder: VectorDecoder, indices: range, kind: type = ResultDelivery) -> None:
        inputs = {index: EmbedInput(str(index)) for index in indices}
        self.delivery = kind(Batch(inputs), decoder)
        self.asked: list[list[int]] = []
        self.got: list[int] = []

    def begin(self, sizes: dict[int, int] | None = None) -> None:
        """Ask for what is missing; the answer will have vectors of these sizes, and right ones."""
        self._texts = [int(text) for text in self.delivery.begin_attempt()]
        self.asked.append(self._texts)
        self._parser = ResponseParser(LAYOUT, self.delivery.decode)
        self._sizes = sizes or {}
        self._place = 0

    def step(self) -> bool:
        """Take the next vector, and return whether there are more."""
        text = self._texts[self._place]
        item = {"index": self._place, "embedding": [text + 1] * self._sizes.get(text, RIGHT)}
        self._take(self.delivery.accept(self._parser.feed(self._before + json.dumps(item).encode())))
        self._place += 1
        return self._place < len(self._texts)

    def finish(self) -> list[int]:
        """Read the answer to its end, and return what is missing then."""
        self._take(self.delivery.accept(self._parser.feed(b"]}") + self._parser.close()))
        self._take(self.delivery.settle())
        self.delivery.check()
        try:
            self.delivery.finish(self._parser, "")
        except ResponseError as error:
            assert error.retryable  # noqa: PT017
            self.reason = str(error)
        return list(self.delivery.missing)

    def break_off(self) -> list[int]:
        """End the answer here, and return what is missing then."""
        self._parser.discard()
        self._take(self.delivery.settle())
        return list(self.delivery.missing)

    def answer(self, sizes: dict[int, int] | None = None) -> list[int]:
        """All of it."""
        self.begin(sizes)
        while self.step():
            pass
        return self.finish()

    @property
    def _before(self) -> bytes:
        return b"," if self._place else b'{"data":['

    def _take(self, results: Iterable[EmbedResult | EmbedBlock]) -> None:
        for result in results:
            for index, vector in rows(result):
                assert vector.tolist() == [index + 1] * RIGHT
                self.got.append(index)


def rows(result: EmbedResult | EmbedBlock) -> Iterable[tuple[int, np.ndarray]]:
    """Index and vector of each text that a result stands for."""
    vectors = [result.embedding] if isinstance(result, EmbedResult) else result.embeddings
    return enumerate(vectors, result.index)


def side_by_side(kind: type, lengths: list[int], decoder: VectorDecoder) -> list[Job]:
    """Batches of so many texts, all of one run."""
    ends = list(itertools.accumulate(lengths))
    return [Job(decoder, range(end - length, end), kind) for length, end in zip(lengths, ends, strict=True)]


@pytest.fixture
def decoder():
    return VectorDecoder("float32", vote=DimensionVote())


def test_the_second_vector_releases_the_first(decoder):
    job = Job(decoder, range(3))
    job.begin()
    job.step()
    assert (job.got, job.delivery.missing, decoder.dimension) == ([], (1, 2), None)
    job.step()
    assert (job.got, decoder.dimension) == ([0, 1], RIGHT)
    job.step()
    assert job.got == [0, 1, 2]
    assert job.finish() == []


@pytest.mark.parametrize("kind", [ResultDelivery, BlockDelivery])
@pytest.mark.parametrize("wrong", [{0: 2}, {0: 4}, {1: 2}, {0: 2, 1: 4}, {0: 4, 2: 5}])
def test_wrong_ones_are_asked_for_again(decoder, kind, wrong):
    job = Job(decoder, range(5), kind)
    assert job.answer(wrong) == sorted(wrong)
    assert f"instead of {RIGHT}" in job.reason
    assert job.answer() == []
    assert sorted(job.got) == list(range(5))
    assert job.asked == [list(range(5)), sorted(wrong)]


@pytest.mark.parametrize("kind", [ResultDelivery, BlockDelivery])
def test_a_vector_that_is_alone_is_believed_at_the_end_of_its_response(decoder, kind):
    job = Job(decoder, range(1), kind)
    assert job.answer() == []
    assert (job.got, decoder.dimension) == ([0], RIGHT)


@pytest.mark.parametrize("kind", [ResultDelivery, BlockDelivery])
def test_a_break_does_not_lose_what_is_held_back(decoder, kind):
    job = Job(decoder, range(3), kind)
    job.begin()
    job.step()
    assert job.break_off() == [1, 2]
    assert job.answer() == []
    assert job.got == [0, 1, 2]
    assert job.asked == [[0, 1, 2], [1, 2]]


def test_a_break_before_anything_settles_nothing():
    """Not even what is usual."""
    decoder = VectorDecoder("float32", vote=DimensionVote(expected=7))
    job = Job(decoder, range(2))
    job.begin()
    assert job.break_off() == [0, 1]
    assert decoder.is_open


def test_another_response_settles_it(decoder):
    """What was held back goes out with the next vector of its own response, or at its end."""
    first, second, third = (Job(decoder, range(start, start + 2)) for start in (0, 2, 4))
    for job in (first, second, third):
        job.begin({0: 2})
    for job in (first, second, third):
        job.step()
    assert (first.got, second.got, third.got) == ([], [], [4])
    second.step()
    assert second.got == [2, 3]
    assert first.break_off() == [0, 1]


def test_of_two_that_differ_nobody_knows_which_is_wrong(decoder):
    """So both are asked for again, and the third vector decides."""
    job = Job(decoder, range(2))
    assert job.answer({0: 2}) == [0, 1]
    assert "no other vector has as many" in job.reason
    assert job.answer() == []
    assert job.got == [0, 1]


def test_what_is_usual_speaks_against_a_vector_that_is_alone():
    decoder = VectorDecoder("float32", vote=DimensionVote(expected=RIGHT))
    job = Job(decoder, range(1))
    assert job.answer({0: 2}) == [0]
    assert job.answer() == []


def test_what_is_usual_may_have_changed():
    decoder = VectorDecoder("float32", vote=DimensionVote(expected=RIGHT + 1))
    job = Job(decoder, range(1))
    assert job.answer() == [0]
    assert job.answer() == []
    assert decoder.dimension == RIGHT


def test_only_a_few_are_held_back(decoder):
    """A server whose vectors are all different gets no more memory than that."""
    job = Job(decoder, range(3 * MAX_PENDING))
    job.begin({index: 10 + index for index in range(3 * MAX_PENDING)})
    for place in range(3 * MAX_PENDING):
        job.step()
        assert len(job.delivery.missing) == 3 * MAX_PENDING - min(place + 1, MAX_PENDING)
    assert job.finish() == list(range(3 * MAX_PENDING))
    assert job.answer() == []


def test_a_misaligned_response_does_not_lose_what_is_held_back(decoder):
    job = Job(decoder, range(2))
    job.begin()
    vectors = job.delivery.decode(bytearray(b"[1,1,1]"))
    assert list(job.delivery.accept([(0, vectors), (0, vectors)])) == []
    assert [result.index for result in job.delivery.settle()] == [0]
    with pytest.raises(ResponseError, match="two vectors for position 0"):
        job.delivery.check()


KINDS = st.sampled_from([ResultDelivery, BlockDelivery])


@given(KINDS, st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data())
def test_side_by_side_and_broken_anywhere(kind, lengths, data):
    """From an honest server everything comes once, and nothing that had arrived is asked for again."""
    decoder = VectorDecoder("float32", vote=DimensionVote())
    jobs = side_by_side(kind, lengths, decoder)
    taken: dict[Job, int] = {}
    for job in jobs:
        job.begin()
    open_jobs = list(jobs)
    while open_jobs:
        job = data.draw(st.sampled_from(open_jobs))
        arrived = taken.get(job, 0)
        if data.draw(st.integers(0, 4)) == 4:
            missing = job.break_off()
            assert missing == job.asked[-1][arrived:]
            taken[job] = 0
            job.begin()
        elif job.step():
            taken[job] = arrived + 1
        else:
            assert job.finish() == []
            open_jobs.remove(job)
    assert sorted(index for job in jobs for index in job.got) == list(range(sum(lengths)))


@given(KINDS, st.lists(st.integers(3, 8), min_size=1, max_size=4), st.data())
def test_where_the_right_ones_are_alike_and_the_wrong_ones_are_not(kind, lengths, data):
    """Side by side, with fewer wrong ones than right ones in each response: only those are asked for again."""
    decoder = VectorDecoder("float32", vote=DimensionVote())
    jobs = side_by_side(kind, lengths, decoder)
    wrong: dict[Job, set[int]] = {}
    for job in jobs:
        texts = job.delivery.missing
        wrong[job] = data.draw(st.sets(st.sampled_from(texts), max_size=(len(texts) - 1) // 2))
        job.begin({index: 10 + index for index in wrong[job]})
    open_jobs = list(jobs)
    while open_jobs:
        job = data.draw(st.sampled_from(open_jobs))
        if not job.step():
            assert job.finish() == sorted(wrong[job])
            open_jobs.remove(job)
    for job in jobs:
        if wrong[job]:
            assert job.answer() == []
    assert sorted(index for job in jobs for index in job.got) == list(range(sum(lengths)))
