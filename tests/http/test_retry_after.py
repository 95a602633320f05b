"""How long an API asks to wait, in all the forms that providers send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncembed._http.headers import retry_after

NOW = 1_700_000_000.0


def at(seconds: float, zone: timezone = UTC, *, usegmt: bool = False) -> str:
    return format_datetime(datetime.fromtimestamp(NOW + seconds, zone), usegmt=usegmt)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5),
        ({"retry-after": " 5 "}, 5),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "86400"}, 86_400),
        ({"retry-after": at(30, usegmt=True)}, 30),
        ({"retry-after": at(30, timezone(timedelta(hours=-7)))}, 30),
        ({"retry-after": at(-30, usegmt=True)}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "-1"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "60"}, 60),
        ({"x-ratelimit-reset": str(NOW + 7)}, 7),
        ({"x-ratelimit-reset": str(NOW - 7)}, None),
        ({"x-ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-reset": "0"}, 0),
        ({"x-ratelimit-reset": "0.5"}, 0.5),
        ({"x-ratelimit-reset": "-30"}, None),
        ({"x-ratelimit-reset": f"{(NOW + 7) * 1e3:.0f}"}, 7),
        ({"x-ratelimit-reset": f"{(NOW - 7) * 1e3:.0f}"}, None),
        ({"x-ratelimit-reset": f"{(NOW + 7) * 1e6:.0f}"}, 7),
        ({"x-ratelimit-reset": "6m0s"}, 360),
        ({"x-ratelimit-reset": "350ms"}, 0.35),
        ({"x-ratelimit-reset": "2023-11-14T22:13:27Z"}, 7),
        ({"x-ratelimit-reset": at(7, usegmt=True)}, 7),
        ({"ratelimit-reset": "30"}, 30),
        ({"X-Rate-Limit-Reset": str(NOW + 7)}, 7),
        ({"retry-after": "6m0s"}, 360),
        ({"retry-after": "2 minutes"}, 120),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"retry-after": "2", "x-ratelimit-reset": str(NOW + 7)}, 2),
        ({"retry-after": at(662, usegmt=True), "Date": at(660, usegmt=True)}, 2),
        ({"retry-after": at(-658, usegmt=True), "Date": at(-660, usegmt=True)}, 2),
        ({"retry-after": at(600, usegmt=True), "Date": at(660, usegmt=True)}, 0),
        ({"retry-after": at(30, usegmt=True), "Date": "today"}, 30),
        ({"retry-after": "2", "Date": at(660, usegmt=True)}, 2),
        ({"x-ratelimit-reset": str(NOW + 662), "Date": at(660, usegmt=True)}, 2),
        ({"x-ratelimit-reset": at(662, usegmt=True), "Date": at(660, usegmt=True)}, 2),
    ],
)
def test_waits(headers, expected):
    """In all the forms that providers send."""
    assert retry_after(CIMultiDict(headers), NOW) == (None if expected is None else pytest.approx(expected))


@settings(max_examples=200)
@given(st.text(max_size=20) | st.from_regex(r"(Mon, )?\d{1,2} (Jan|Feb) \d{1,4} \d\d:\d\d(:\d\d)? ?([+-]\d{4}|GMT|X)?"))
def test_no_header_value_is_too_strange(value):
    """A wait is a finite number from 0 up, or unknown."""
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset", "ratelimit-reset"):
        wait = retry_after(CIMultiDict({name: value}), NOW)
        assert wait is None or 0 <= wait < float("inf")


@pytest.mark.parametrize(
    "value", ["Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 +99999999999999"]
)
def test_an_impossible_date_is_no_wait(value):
    """As any other header that makes no sense."""
    assert retry_after(CIMultiDict({"retry-after": value}), NOW) is None
