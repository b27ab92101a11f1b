"""A short soak: the same code for less than half a minute. `make soak` is the long form."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from kafka_soak import BrokerMissingError, soak_kafka
from load import Feeder
from report import Life, compare, descriptors, growth, slope_per_hour
from soak import Flatness, Plan, judge, judge_kafka, soak

# So short a life gives no memory trend, and on a slow machine a start takes longer; slopes are tested below.
SHORT = Plan(
    minutes=0.2,
    rate=300.0,
    life=2.5,
    retrain=1500,
    history=1000,
    settle=1.0,
    window=0.1,
    growth=float("inf"),
    descriptors=1000,
    behind=120.0,
)


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_under_load(tmp_path: Path) -> None:
    """A daemon that is killed, stopped and retrained under load publishes the output of an undisturbed one."""
    lives, feeder = soak(SHORT, tmp_path)
    table, wrong = judge(SHORT, lives, feeder, tmp_path)
    assert wrong == []
    report = dict(table)
    assert report["lost, doubled, of other bytes"] == "0, 0, 0"
    assert {life.ended_by for life in lives} == {"SIGKILL", "SIGTERM"}
    assert feeder.records > 1000


@pytest.mark.slow
@pytest.mark.broker
def test_nothing_is_lost_or_doubled_by_rebalances(tmp_path: Path) -> None:
    """Two daemons of a group, of which one starts and ends repeatedly, publish the output of a single daemon."""
    try:
        seen = soak_kafka(tmp_path, 0.7, 100.0, 8.0)
    except BrokerMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    table, wrong = judge_kafka(SHORT, seen)
    assert wrong == []
    assert dict(table)["Kafka: lost, doubled, of other bytes"] == "0, 0, 0"
    assert set(seen.ends) == {"SIGKILL", "SIGTERM"}
    assert seen.records > 1000


def test_flat_is_a_share() -> None:
    """Memory growth is relative to the memory size; growth or descriptors above the plan's limits are reported."""
    plan = Plan(minutes=60, settle=10, window=20)
    lives = [
        Life(
            samples=[(0.0, at, 200_000_000 + at * slope, 0.0) for at in range(3600)],
            descriptors=[30] * 1800 + [more] * 1800,
        )
        for slope, more in ((1_000, 30), (1_200, 45))
    ]
    for life, share, found in zip(lives, (0.018, 0.0214), ((30, 30), (30, 45)), strict=True):
        assert growth([life], 10, 20, 1.0)[0] == pytest.approx(share, rel=0.02)
        assert descriptors([life]) == found
    assert Flatness.of(plan, lives[:1]).wrong(plan) == []
    assert Flatness.of(plan, lives[1:]).wrong(plan) == [
        "memory grows by 2.1%, expected at most 2%", "descriptors grow from 30 to 45",
    ]  # fmt: skip


def test_a_leak_is_found() -> None:
    """Growth within lives is independent of the initial level of each life."""
    lives = [Life(samples=[(0.0, at, int(level + at * 1000), 0.0) for at in range(100)]) for level in (5e6, 9e6, 2e6)]
    slope, spread = slope_per_hour(lives, 10.0, 20.0)
    assert slope == pytest.approx(3.6e6)
    assert spread < 1e3
    flat = [Life(samples=[(0.0, at, 7_000_000, 0.0) for at in range(101)])]
    assert slope_per_hour(flat, 10.0, 20.0) == (0.0, 0.0)


def test_what_comes_back_is_no_leak() -> None:
    """A burst in every fifty seconds is not reported as growth, at any phase; a leak below bursts is."""
    for start in range(0, 50, 7):
        life = [(0.0, at, 200_000_000 + 9_000_000 * ((at + start) % 50 < 10), 0.0) for at in range(365)]
        assert slope_per_hour([Life(samples=life)], 180.0) == (0.0, 0.0)
        leaking = [(0.0, at, size + at * 10_000, 0.0) for _, at, size, _ in life]
        assert slope_per_hour([Life(samples=leaking)], 180.0)[0] == pytest.approx(3.6e7)


def test_a_stop_differs_from_a_slow_start(tmp_path: Path) -> None:
    """Time in which the whole soak was stopped is measured and reported apart from the time until ready."""
    feeder, waited = Feeder(tmp_path / "events.jsonl", 10.0, stopped=0.1), []

    def wait(seconds: float) -> bool:  # simulates a process that was stopped meanwhile
        waited.append(seconds)
        time.sleep(0.2)
        return len(waited) > 1

    feeder._stop.wait = wait  # type: ignore[assignment,method-assign]
    feeder.start()
    feeder.stop()
    assert feeder.stood >= 0.2
    assert "ready after 3.0 s and 200 s in which" in Life(ready_after=203.0, stood=200.0).summary(1.0)


def written(folder: Path, places: list[int], value: float = 1.0) -> Path:
    """Writes an output with forecasts at these positions, one batch each."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "forecasts.sqlite")) as database, database:
        database.execute("CREATE TABLE batches (position, next_position, forecasts)")
        database.execute("CREATE TABLE rejects (position, reason, value)")
        database.execute("CREATE TABLE adoptions (position, model)")
        database.execute("CREATE TABLE positions (next_position)")
        for place in places:
            text = json.dumps([{"source": {"position": place}, "quantiles": value}])
            database.execute("INSERT INTO batches VALUES (?, ?, ?)", (place, place + 1, text))
    return folder


def test_what_is_lost_doubled_or_changed_is_counted(tmp_path: Path) -> None:
    """The comparison of outputs counts lost, duplicated and different forecasts, and none for equal outputs."""
    quiet = written(tmp_path / "quiet", [0, 10, 20, 30])
    cases = {"same": [0, 10, 20, 30], "lost": [0, 20, 30], "end": [0, 10, 20], "doubled": [0, 10, 10, 20, 30]}
    found = {name: compare(written(tmp_path / name, places), quiet) for name, places in cases.items()}
    assert {name: (one["lost"], one["doubled"]) for name, one in found.items()} == {
        "same": (0, 0), "lost": (1, 0), "end": (1, 0), "doubled": (0, 1),
    }  # fmt: skip
    assert found["same"]["different"] == 0
    assert compare(written(tmp_path / "other", [0, 10, 20, 30], 2.0), quiet)["different"] == 4
