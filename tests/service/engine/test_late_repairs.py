"""The engine with `input.late = "repair"`: revisions, batches, restarts, crashes, and how late events are."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from disturbances import Disturbed, Published
from parts import Bench, event

from service.config.input import InputConfig
from service.errors import SettingsChangedError
from service.recent.store import RecentStore
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

WITHIN = 5
RULES = {"every_events": 60, "first_after_events": 40}


def disorder(steps: int, seed: int, most: int = WITHIN) -> list[int]:
    """Returns steps of which a quarter arrives up to `most` events too late."""
    rng = np.random.default_rng(seed)
    behind = np.where(rng.random(steps) < 0.25, rng.integers(1, most + 1, steps), 0)
    found: list[int] = np.argsort(np.arange(steps) + behind + 0.5 * (behind > 0), kind="stable").tolist()
    return found


def interleaved(*series: list[int]) -> list[bytes]:
    """Returns the events of series "a", "b", ..., one of each in turn."""
    return [event(step, "abc"[name]) for steps in zip(*series, strict=True) for name, step in enumerate(steps)]


ARRIVED = interleaved(disorder(80, 1), disorder(80, 2))
SORTED = interleaved([*range(80)], [*range(80)])


def bench_of(folder: Path, script: list[bytes | Script], units: list[Any] | None = None, **sections: Any) -> Bench:
    """Returns an engine that repairs, over a script."""
    settings = {"late": "repair", "late_within": WITHIN} | sections.pop("input", {})
    return Bench(folder, MemoryLog({"0": list(script)}, units=units or []), {"input": settings, **sections})


def forecasts_of(bench: Bench) -> list[dict[str, Any]]:
    """Returns the published forecasts."""
    return [orjson.loads(text) for text in bench.log.forecasts("0")]


STREAM = Disturbed(bench_of, ARRIVED, RULES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Published]:
    """The engine after an undisturbed run, and what it published."""
    return STREAM.straight(tmp_path_factory.mktemp("straight"))


def test_last_forecasts_of_the_sorted_stream(tmp_path: Path, undisturbed: tuple[Bench, Published]) -> None:
    """The last forecast of every series is that of the sorted stream, and those before were not published again."""
    ordered = bench_of(tmp_path, SORTED)
    ordered.run()
    found = [
        {one["series"]: (one["origin"], one["quantiles"]) for one in forecasts_of(bench)}
        for bench in (undisturbed[0], ordered)
    ]

    assert found[0] == found[1]


def test_revisions(undisturbed: tuple[Bench, Published]) -> None:
    """A late event has one record: the corrected forecast of the newest event, marked, without an anomaly score."""
    newest: dict[str, int] = {}
    late = set[int]()
    for position, text in enumerate(ARRIVED):
        record = orjson.loads(text)
        name, at = record["series"], record["timestamp"]
        if at < newest.get(name, 0):
            late.add(position)
        newest[name] = max(at, newest.get(name, 0))
    bench, found = undisturbed[0], forecasts_of(undisturbed[0])
    revisions = [one for one in found if "revision" in one]

    assert {one["source"]["position"] for one in revisions} == late
    assert all((one["revision"], one["anomaly"], one["flagged"]) == (1, None, False) for one in revisions)
    assert all(one["status"] == "ok" for one in revisions)
    plain = [(one["series"], one["origin"]) for one in found if "revision" not in one]
    assert len(set(plain)) == len(plain) == len(ARRIVED) - len(late)
    before: dict[str, str] = {}
    for one in found:
        assert "revision" not in one or one["origin"] == before[one["series"]]
        before[one["series"]] = one["origin"]
    assert bench.sample("revisions_total") == len(late) == bench.sample("events_total", status="repaired")
    assert bench.sample("forecasts_total") == len(ARRIVED)
    assert bench.engine.summary.events == len(ARRIVED)


@pytest.mark.parametrize("limit", [1, 2, 7, 500])
def test_batches_do_not_matter(tmp_path: Path, undisturbed: tuple[Bench, Published], limit: int) -> None:
    """Bytes and trainings do not depend on the batches."""
    STREAM.batches(tmp_path, undisturbed[1], limit)


@pytest.mark.parametrize(("limit", "snapshots"), [(3, False), (500, False), (3, True), (500, True)])
def test_restart_in_the_middle(
    tmp_path: Path, undisturbed: tuple[Bench, Published], limit: int, snapshots: bool
) -> None:
    """A new process continues with the same bytes, from a snapshot or by a replay."""
    STREAM.restart(tmp_path, undisturbed[1], limit, 91, snapshots=snapshots)


def test_crashes(tmp_path: Path, undisturbed: tuple[Bench, Published]) -> None:
    """Wherever the process dies, forecasts and revisions equal those of an undisturbed run."""
    kills = [(140, ABORT_PUBLISHED), (77, ABORT_POLL), (40, ABORT_PUBLISH), (9, ABORT_PUBLISHED)]
    STREAM.crashes(tmp_path, undisturbed[1], kills)


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_corrected_forecast_everywhere(tmp_path: Path, limit: int) -> None:
    """Exported series and the API have the forecast that was published last, with the time and value of its event."""
    bench = bench_of(tmp_path, ARRIVED, input={"max_poll_records": limit}, metrics={"export_series": ["*"]})
    bench.recent = RecentStore(4, 10)
    last: dict[str, dict[str, Any]] = {}
    corrected: list[str] = []

    def compare(unit: Any) -> None:
        for text in unit.forecasts:
            one = orjson.loads(text)
            last[one["series"]] = one
        corrected.extend(name for name, one in last.items() if "revision" in one)
        exported = {row.series: row for row in bench.metrics.exports.exports.rows()}
        for name, one in last.items():
            if one["quantiles"] is None:
                continue
            row, detail = exported[name], bench.recent.detail("0", name)
            assert detail is not None
            assert detail.latest is not None
            assert row.quantiles.tolist() == detail.latest.tolist()
            np.testing.assert_allclose(row.quantiles, one["quantiles"], rtol=1e-4, atol=1e-4)
            assert (row.interval_ms, detail.interval_ms) == (one["interval_ms"],) * 2
            origin = datetime.fromisoformat(one["origin"]).timestamp() * 1000
            assert row.timestamp_ms == detail.timestamp_ms[-1] == origin
            tracked = row.quantiles[np.array(detail.tracked) - 1]
            assert detail.quantiles[-1].tolist() == tracked.tolist()

    bench.on_unit = compare
    bench.run()

    assert len(last) == 2
    assert corrected or limit == 500


def test_too_late(tmp_path: Path) -> None:
    """Beyond the bound an event is dropped; the metric has how late it was."""
    bench = bench_of(tmp_path, [event(step) for step in [*range(20), 22, 20, 3]])
    bench.run()

    assert bench.sample("events_total", status="late") == 1
    assert bench.sample("events_total", status="repaired") == 1
    assert not [one for unit in bench.log.units for one in unit.rejects]
    assert bench.sample("late_steps_count") == 2
    assert bench.sample("late_steps_sum") == 2 + 19
    assert bench.sample("late_steps_bucket", le="2.0") == 1


@pytest.mark.parametrize("late", ["drop", "dead-letter"])
def test_how_late_without_repairs(tmp_path: Path, late: str) -> None:
    """The metric has the same numbers for every handling of late events; duplicates are none."""
    bench = bench_of(tmp_path, [event(step) for step in [*range(20), 22, 20, 22, 3]],
                     input={"late": late, "late_within": 0})  # fmt: skip
    bench.run()

    assert (bench.sample("late_steps_count"), bench.sample("late_steps_sum")) == (2, 21)
    assert bench.sample("events_total", status="late") == 2


def test_every(tmp_path: Path) -> None:
    """A revision is published where the forecast that it corrects is."""
    bench = bench_of(tmp_path, [event(step) for step in [*range(10), 11, 10, 12, 14, 13]], output={"every": 4})
    bench.run()

    found = [(int(one["origin"][14:16]) - 13, one.get("revision")) for one in forecasts_of(bench)]
    assert found == [(3, None), (7, None), (11, None), (11, 1)]


def test_other_bound(tmp_path: Path) -> None:
    """After a clean stop another bound holds from there on; a replay with another one is refused."""
    first = bench_of(tmp_path, ARRIVED[:60], input={"late": "drop", "late_within": 0})
    first.run()
    second = bench_of(tmp_path, ARRIVED[:100], first.log.units)
    second.run()
    assert second.sample("events_total", status="repaired") > 0
    for path in (tmp_path / "snapshots" / "0").iterdir():
        path.unlink()
    third = bench_of(tmp_path, ARRIVED, second.log.units)
    with pytest.raises(SettingsChangedError, match=r"input\.late_within: got 5, expected 0"):
        third.run()


@pytest.mark.parametrize(
    ("late", "within", "expected"), [("repair", 0, "1 step or more"), ("drop", 3, 'or late = "repair"')]
)
def test_bound_and_handling_belong_together(late: str, within: int, expected: str) -> None:
    """A bound without repairs, and repairs without a bound, are refused."""
    with pytest.raises(ValueError, match=expected):
        InputConfig.model_validate({"late": late, "late_within": within})
