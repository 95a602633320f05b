"""What one batch holds of the memory: reckoned before it starts, given back piece by piece, and only once."""

from __future__ import annotations

import asyncio

import pytest
from anyio.lowlevel import checkpoint

from asyncembed._core import MemoryBudget
from asyncembed._core.memory import Reservation
from asyncembed._decide import READ_BUFSIZE, CostModel


def reservation(
    budget: MemoryBudget, owner: set[Reservation], *, working: int = 10, waiting: int = 23, results: int = 4
):
    budget.reserved += working + waiting
    return Reservation(budget, working=working, waiting=waiting, results=results, owner=owner)


def test_a_reservation_is_given_back_piece_by_piece():
    """The working part once, a share for each result, and what rounding left over with the last."""
    budget, owner = MemoryBudget(100), set()
    held = reservation(budget, owner)
    assert owner == {held}
    levels = []
    for step in (held.consumed, held.end_work, held.end_work, held.consumed, held.consumed):
        step()
        levels.append(budget.reserved)
    assert levels == [28, 18, 18, 13, 8]
    assert owner == {held}
    held.consumed()
    assert (budget.reserved, owner) == (0, set())


def test_the_work_may_end_after_the_results():
    """Then all that is left goes with it."""
    budget, owner = MemoryBudget(100), set()
    held = reservation(budget, owner, results=1)
    held.consumed()
    assert (budget.reserved, owner) == (10, {held})
    held.end_work()
    assert (budget.reserved, owner) == (0, set())


@pytest.mark.parametrize("before", [0, 1, 4])
def test_releasing_gives_back_everything_once(before):
    """Whatever was given back already; ending the work after it is harmless."""
    budget, owner = MemoryBudget(100), set()
    budget.reserved = 7  # somebody else's
    held = reservation(budget, owner)
    for _ in range(before):
        held.consumed()
    held.release()
    held.release()
    held.end_work()
    assert (budget.reserved, owner) == (7, set())


def test_taking_a_result_after_releasing_is_harmless():
    """As ending the work is."""
    budget = MemoryBudget(100)
    held = reservation(budget, set())
    held.release()
    held.consumed()
    assert budget.reserved == 0


def test_more_results_than_there_are_give_back_no_more_than_is_held():
    """Nor is the working part given back before the work has ended more than once."""
    budget = MemoryBudget(100)
    budget.reserved = 7  # somebody else's
    held = reservation(budget, set(), results=1)
    for _ in range(3):
        held.consumed()
        assert budget.reserved >= 7
    held.end_work()
    assert budget.reserved == 7


@pytest.mark.parametrize("by", [-3, 0, 7])
def test_results_may_turn_out_to_be_of_another_size(by):
    """Of those that were not taken yet; in the end nothing is left."""
    budget, owner = MemoryBudget(100), set()
    held = reservation(budget, owner)
    held.consumed()
    before = budget.reserved
    held.resize(by)
    assert budget.reserved == before + 3 * by
    held.consumed(2)
    assert budget.reserved == before + 3 * by - 2 * (5 + by)
    held.end_work()
    held.consumed()
    held.resize(by)
    assert (budget.reserved, owner) == (0, set())


async def test_results_that_turn_out_smaller_wake_who_waits():
    """Those that turn out larger let nothing in."""
    budget = MemoryBudget(40)
    held = reservation(budget, set())
    held.resize(10)
    assert budget.reserved == 73
    task = asyncio.create_task(budget.reserve(17, {object()}))
    await checkpoint()
    held.resize(-10)
    await checkpoint()
    assert not task.done()
    held.resize(-3)
    await task


async def test_giving_back_wakes_who_waits():
    """Piece by piece, as soon as it fits."""
    budget = MemoryBudget(40)
    held = reservation(budget, set())
    task = asyncio.create_task(budget.reserve(20, {object()}))
    await checkpoint()
    held.consumed()
    await checkpoint()
    assert not task.done()
    held.end_work()
    await task


def test_what_a_request_may_need():
    """Its own bytes, what is read at once and one vector as text; then, for each result, a vector and what holds it."""
    cost = CostModel(dimension=1_000, itemsize=4)
    assert cost.working(500) - cost.working(0) == 500
    assert cost.working(0) > 3 * READ_BUFSIZE + 10 * 1_000
    assert cost.waiting(0, 700) == 700
    assert 4_000 < cost.waiting(1, 0) < 5_000
    assert cost.waiting(96, 700) == 700 + 96 * cost.waiting(1, 0)
    assert cost.total(96, 500, 700) == cost.working(500) + cost.waiting(96, 700)
    assert CostModel().dimension == 3_072


def test_bits_cost_the_bytes_they_take():
    """Eight in each, rounded up."""
    bits, numbers = CostModel(dimension=1_020, itemsize=1, packing=8), CostModel(dimension=128, itemsize=1)
    assert (bits.width, bits.row) == (128, 128)
    assert bits.total(96, 500, 700) == numbers.total(96, 500, 700)


def test_how_large_a_response_may_be():
    """One vector of any size is always taken; how large the others may be follows from it."""
    cost = CostModel(dimension=256)
    first = cost.largest_value(0)
    assert first == 48 * 16_384
    assert first < cost.largest_response(100, 0) < 100 * first / 4
    cost.dimension = 16_384
    assert cost.largest_response(100, 0) >= 100 * first
    cost.dimension, cost.is_settled = 256, True
    assert cost.largest_value(0) == 48 * 3_072
    assert cost.largest_value(1_000) == 48 * 3_072 + 6_000
