"""Requested and serving replicas against their definitions, over all earlier events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.config.scale_rules import ScaleRule
from service.scaling.provisioning import Provisioning
from service.scaling.replicas import replicas_for, steps_to_lead


def rule(**settings: Any) -> ScaleRule:
    """A rule of the series a with ten units per replica."""
    return ScaleRule.model_validate({"name": "a", "series": "a", "capacity": 10.0, **settings})


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(1, 20),
    st.integers(0, 20),
)
def test_as_defined(events: list[tuple[int, int]], lead: int, hold: int) -> None:
    """Requests are maxima of wishes, serving replicas minima of the requests in force; a naive scan has the same."""
    one = Provisioning(rule(lead=lead / 1000, hold=hold / 1000, least=0))
    times = np.cumsum([gap for gap, _ in events]).tolist()
    requests = list[int]()
    for at, (now, (_, wish)) in enumerate(zip(times, events, strict=True)):
        since = now - lead
        expected = None
        if requests and times[0] <= since:
            in_force = [made for made, end in zip(requests, times[1 : at + 1], strict=True) if end > since]
            expected = min(in_force)
        assert one.serving(now) == expected
        assert one.falls_short(now, 45.0) == (None if expected is None else expected < 4.5)
        wishes = [events[i][1] for i in range(at + 1) if times[i] > now - hold or i == at]
        requests.append(max(wishes))
        assert one.request(now, wish) == requests[-1] == one.requested


def test_the_state_is_bounded() -> None:
    """Whatever the events, the queues have no more entries than there are numbers of replicas."""
    one = Provisioning(rule(lead=1e6, hold=1e6, least=0, most=7))
    random = np.random.RandomState(0)
    for now in range(5000):
        one.request(now, int(random.randint(0, 8)))
        one.serving(now)
        assert len(one._wishes) <= 8
        assert len(one._over) <= 8


@given(st.floats(-1e300, 1e300), st.floats(0.01, 100.0))
def test_replicas(load: float, factor: float) -> None:
    """The replicas carry the load, and one fewer would not, except at the bounds."""
    one = rule(least=2, most=30)
    found = replicas_for(load, one, factor)
    assert 2 <= found <= 30
    assert found == 30 or found * 10.0 >= factor * load
    assert found == 2 or (found - 1) * 10.0 < factor * load


def test_steps_to_lead() -> None:
    """The lead time is rounded up to whole steps; 0 beyond the horizon."""
    ahead = np.array([60, 120, 180])
    assert [steps_to_lead(lead, ahead) for lead in (1, 60, 61, 180, 181)] == [1, 1, 2, 3, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"least": 5, "most": 4}, "got least = 5 and most = 4"),
        ({"capacity": 0}, "greater than 0"),
        ({"lead": "0s"}, "greater than 0"),
        ({"name": "a b"}, "pattern"),
    ],
)
def test_refused(settings: dict[str, Any], expected: str) -> None:
    """Settings that make no sense are refused."""
    with pytest.raises(ValidationError, match=expected):
        rule(**settings)
