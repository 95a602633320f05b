"""A short, repeatable run of the fuzzer, and tests that it notices faults."""

from __future__ import annotations

from itertools import chain

import pytest

from asyncembed._parser import ResponseParser
from asyncembed._parser import splitter as _scan
from asyncembed._parser import vectors as _vectors
from fuzz.__main__ import plan
from fuzz.cases import case, fault_of
from fuzz.documents import KINDS
from fuzz.endless import excess_of
from fuzz.mending import mended

SEEDS = (1, 2, 3, 4)


@pytest.mark.parametrize("seed", SEEDS)
def test_only_right_vectors_and_our_errors_come_out(seed):
    for number in range(2_000):
        fault = fault_of(case(seed, number))
        assert not fault, f"python -m tests.fuzz --only {seed} {number}: {fault}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_response_without_end_takes_no_more_memory(seed):
    for number in range(8):
        excess = excess_of(seed, number)
        assert not excess, f"seed {seed}, case {number}: {excess}"


def test_a_case_is_the_same_again():
    assert case(7, 11) == case(7, 11)
    assert case(7, 11) != case(7, 12)


@pytest.mark.parametrize(("cases", "processes"), [(0, 2), (101, 1), (101, 2), (100, 7)])
def test_processes_share_all_cases_among_them(cases, processes):
    shared = sorted(chain.from_iterable(plan([3, 8], cases, processes, part) for part in range(processes)))
    assert shared == sorted(plan([3, 8], cases))
    assert len(set(shared)) == len(shared) == cases


def test_every_kind_of_response_is_met():
    assert {case(1, number).kind.layout for number in range(300)} == {kind.layout for kind in KINDS}


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (_scan, "_is_escaped", lambda data, start, quote: True),
        (type(ResponseParser(KINDS[0].layout, bytes)._structure), "detach", lambda self: None),
        (_vectors, "fault_in", lambda vector, is_base64: ""),
        (_vectors.VectorDecoder, "_check_dimension", lambda self, size: None),
    ],
)
def test_a_fault_in_the_parser_is_noticed(owner, name, broken, monkeypatch):
    monkeypatch.setattr(owner, name, broken)
    assert any(fault_of(case(1, number)) for number in range(3_000))


@pytest.mark.parametrize(
    ("text", "whole", "is_all"),
    [
        ('{"a":[1,2', '{"a":[1,2]}', False),
        ('{"a":[1,,2],"b":[3', '{"a":[],"b":[3]}', False),
        ('{"a":[1],"b":', '{"a":[1],"b":null}', False),
        ('{"a":[1],"b', '{"a":[1]}', False),
        ('{"a":[[1],[2]}', '{"a":[[1],[2]]}', False),
        ('{"a":1}}', '{"a":1}', False),
        ('{"a":"' + "x" * 70 + '\n","b":1}', '{"a":"!","b":1}', True),
        ('{"a":"x\n","b":1}', '{"a":null}', False),
        ("<html>", "null", False),
    ],
)
def test_what_came_before_a_fault_is_what_a_document_holds(text, whole, is_all):
    found = mended(text)
    assert (found.text, found.is_all) == (whole, is_all)
