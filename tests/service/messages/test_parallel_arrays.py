"""Parallel arrays of a record; `test_field_mapping.py` has the law that their events are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mapped_records import decode, only, outcomes

from service.messages import mapping

FIELDS: dict[str, Any] = {"series": "site", "timestamp": "hourly[:].time", "values": ["hourly[:].a", "hourly[:].b"]}


def record(**hourly: object) -> bytes:
    """Returns a record with an object of arrays."""
    return json.dumps({"site": "s", "hourly": hourly, "daily": {"time": [1]}}).encode()


def test_names_and_order() -> None:
    """The values of an element follow each other; the names of their series have no mark of the arrays."""
    found = only(record(time=[5, 6], a=[1, 2], b=[3, None]), fields=FIELDS)
    assert found == [("s.hourly.a", 5, 1.0), ("s.hourly.b", 5, 3.0), ("s.hourly.a", 6, 2.0), ("s.hourly.b", 6, None)]
    everything = FIELDS | {"values": ["hourly[:].*"]}
    assert only(record(time=[5], a=[1], b=["2"], c="x"), fields=everything) == [
        ("s.hourly.a", 5, 1.0), ("s.hourly.b", 5, 2.0),
    ]  # fmt: skip
    top = {"series": "x", "timestamp": "[:].t", "value": "[:].v", "values": []}
    assert only(b'{"x":"s","t":[5,6],"v":[1,2]}', fields=top) == [("s", 5, 1.0), ("s", 6, 2.0)]


def test_arrays_of_different_lengths() -> None:
    """An element without a time is rejected; one without one of the values has the others."""
    (longer,) = outcomes(record(time=[5], a=[1, 2], b=[3]), fields=FIELDS)
    assert (len(longer.events), longer.reasons) == (2, ["missing_field"])
    assert only(record(time=[5, 6], a=[1], b=[3, 4]), fields=FIELDS)[-1] == ("s.hourly.b", 6, 4.0)


@pytest.mark.parametrize(
    ("hourly", "reason"), [({}, "wrong_type"), ({"time": 5}, "wrong_type"), (None, "missing_field")]
)
def test_no_arrays(hourly: object, reason: str) -> None:
    """A record without the arrays is rejected once."""
    value = json.dumps({"site": "s"} if hourly is None else {"site": "s", "hourly": hourly}).encode()
    assert outcomes(value, fields=FIELDS) == [([], [reason], 0)]


def test_a_condition_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition is that of each element; arrays that are too long are rejected even if few elements meet it."""
    monkeypatch.setattr(mapping, "MOST_EVENTS", 3)
    where = "hourly[:].a > 1"
    found = decode(
        record(time=[5, 6, 7], a=[1, 2, 3], b=[1, 2, 3]), fields=FIELDS | {"values": ["hourly[:].a"]}, where=where
    )
    assert (found.value.tolist(), found.filtered) == ([2.0, 3.0], [(0, 1)])
    long = record(time=[5, 6, 7, 8], a=[1, 1, 1, 2], b=[1] * 4)
    assert outcomes(long, fields=FIELDS, where=where) == [([], ["too_large"], 0)]
