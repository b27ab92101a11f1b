"""The soak in little: the same code for less than half a minute. `make soak` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest
from report import Life, slope_per_hour
from soak import Plan, judge, soak

# So short a life says nothing of memory, and on a slow machine a start is longer than it; slopes are tested below.
SHORT = Plan(
    minutes=0.2, rate=300.0, life=2.5, retrain=1500, history=1000, settle=1.0, growth=float("inf"), behind=120.0
)


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_under_load(tmp_path: Path) -> None:
    """Killed, stopped and retrained under load that does not wait, a daemon publishes what an undisturbed one does."""
    lives, feeder = soak(SHORT, tmp_path)
    table, wrong = judge(SHORT, lives, feeder, tmp_path)
    assert wrong == []
    told = dict(table)
    assert told["lost, doubled, of other bytes"] == "0, 0, 0"
    assert {life.ended_by for life in lives} == {"SIGKILL", "SIGTERM"}
    assert feeder.records > 1000


def test_a_leak_is_found() -> None:
    """Growth within lives is told apart from the level at which each begins."""
    lives = [Life(samples=[(0.0, at, int(level + at * 1000), 0.0) for at in range(100)]) for level in (5e6, 9e6, 2e6)]
    slope, spread = slope_per_hour(lives, 10.0)
    assert slope == pytest.approx(3.6e6)
    assert spread < 1e3
    flat = [Life(samples=[(0.0, at, 7_000_000, 0.0) for at in range(100)])]
    assert slope_per_hour(flat, 10.0) == (0.0, 0.0)
