"""The checkers find the faults that they are made for."""

from __future__ import annotations

import json

import pytest
from checkers import judge, torn_units

pytestmark = pytest.mark.no_broker

WANTED = [("p-0 a", "p-0", at) for at in range(5)] + [("p-1 a", "p-1", at) for at in range(5)]


@pytest.mark.parametrize(
    ("mine", "wrong"),
    [
        (WANTED, {}),
        (WANTED[:3] + WANTED[4:], {"lost": 1}),
        ([*WANTED[:5], WANTED[4], *WANTED[5:]], {"duplicated": 1}),
        ([WANTED[1], WANTED[0], *WANTED[2:]], {"order": 1}),
        ([*WANTED[:5], WANTED[1], *WANTED[5:]], {"duplicated": 1, "order": 1}),
    ],
    ids=["right", "lost", "duplicated", "order", "duplicated late"],
)
def test_judge(mine, wrong):
    """A single fault is counted under its kind, and no other kind is counted."""
    verdict = judge(mine, WANTED, 0, 0)
    found = {name: getattr(verdict, name) for name in ("lost", "duplicated", "torn", "aborted", "order")}
    assert {name: count for name, count in found.items() if count} == wrong
    assert verdict.right == (not wrong)
    assert verdict.events == len(WANTED)


@pytest.mark.parametrize(("torn", "aborted", "right"), [(None, None, True), (1, 0, False), (0, 1, False)])
def test_what_an_observer_found_counts(torn, aborted, right):
    """A torn transaction or an aborted read is a fault even if the final output is correct."""
    assert judge(WANTED, WANTED, torn, aborted).right == right


def test_torn_units():
    """A unit is torn if some of its forecasts are visible and some are not."""
    values = [
        json.dumps({"source": {"position": at}, "unit": [at // 3 * 3, at // 3 * 3 + 3]}).encode() for at in range(9)
    ]
    assert torn_units(values) == 0
    assert torn_units(values[:4] + values[5:]) == 1
    assert torn_units(values[:3]) == 0
