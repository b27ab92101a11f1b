"""The engine with `[aggregate]` and `input.late = "repair"`: revised windows, batches, restarts, crashes, counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from disturbances import Disturbed, Published
from parts import Bench

from service.errors import SettingsChangedError
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

BEGIN = 1_700_000_040_000  # a whole minute
WITHIN, GRACE = 4, 5
WINDOWS: dict[str, Any] = {"interval": "1m", "functions": ["count", "sum"], "grace": f"{GRACE}s", "empty": "zero"}
RULES = {"every_events": 60, "first_after_events": 40}


def raw(at: float, series: str = "s", value: float = 1.0) -> bytes:
    """Returns a raw event, `at` seconds after the begin."""
    return orjson.dumps({"series": series, "timestamp": BEGIN + round(at * 1000), "value": value})


def straggling(seed: int, count: int = 500) -> tuple[list[bytes], list[bytes]]:
    """Returns the events of three series by their arrival, a seventh of them late, and by time; both close all."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, 12, count))
    late = np.where(rng.random(count) < 0.15, rng.integers(0, GRACE + WITHIN * 60, count), 0)
    events = [raw(int(at), "abc"[step % 3], step % 7 + 0.5) for step, at in enumerate(times)]
    end = int(times[-1]) + WITHIN * 60
    rest = [raw(end + 60 * step, name) for step in range(4) for name in "abc"]
    return [events[i] for i in np.argsort(times + late, kind="stable")] + rest, events + rest


ARRIVED, SORTED = straggling(1)


def bench_of(folder: Path, script: list[bytes | Script], units: list[Any] | None = None, **sections: Any) -> Bench:
    """Returns an engine that revises windows, over a script of raw events."""
    settings = {"late": "repair", "late_within": WITHIN} | sections.pop("input", {})
    return Bench(
        folder,
        MemoryLog({"0": list(script)}, units=units or []),
        {"input": settings, "aggregate": WINDOWS, **sections},
    )


def forecasts_of(bench: Bench) -> list[dict[str, Any]]:
    """Returns the published forecasts."""
    return [orjson.loads(text) for text in bench.log.forecasts("0")]


def last_of(bench: Bench) -> dict[str, tuple[Any, ...]]:
    """Returns origin and quantiles of the last forecast of every series."""
    return {one["series"]: (one["origin"], one["quantiles"]) for one in forecasts_of(bench)}


STREAM = Disturbed(bench_of, ARRIVED, RULES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Published]:
    """The engine after an undisturbed run, and what it published."""
    return STREAM.straight(tmp_path_factory.mktemp("straight"))


def test_last_forecasts_of_the_sorted_stream(tmp_path: Path, undisturbed: tuple[Bench, Published]) -> None:
    """The last forecast of every series is that of the stream without stragglers."""
    ordered = bench_of(tmp_path, SORTED)
    ordered.run()

    assert last_of(undisturbed[0]) == last_of(ordered)
    assert ordered.sample("window_events_total", status="repaired") == 0
    assert undisturbed[0].sample("window_events_total", status="repaired") > 20


@pytest.mark.parametrize("seed", range(2, 6))
def test_other_streams(tmp_path: Path, seed: int) -> None:
    """The same for other random streams, with windows whose empty ones are missing or as before."""
    arrived, ordered = straggling(seed, 200)
    windows = WINDOWS | {"functions": ["max"], "empty": "last" if seed % 2 else "missing"}
    found = []
    for number, script in enumerate((arrived, ordered)):
        bench = bench_of(tmp_path / str(number), script, aggregate=windows)
        bench.run()
        found.append(last_of(bench))

    assert found[0] == found[1]


def test_revisions(undisturbed: tuple[Bench, Published]) -> None:
    """A revision is of the newest window, is marked, has no score, and names the revised window and its record."""
    bench, found = undisturbed[0], forecasts_of(undisturbed[0])
    revisions = [one for one in found if "revision" in one]
    newest: dict[str, str] = {}
    for one in found:
        if "revision" in one:
            assert one["origin"] == newest[one["series"]]
            assert one["source"]["window"]["start"] <= one["origin"]
        newest[one["series"]] = one["origin"]

    assert revisions
    assert all((one["revision"], one["anomaly"], one["flagged"]) == (1, None, False) for one in revisions)
    plain = [(one["series"], one["origin"]) for one in found if "revision" not in one]
    assert len(set(plain)) == len(plain)
    identities = [(one["source"]["position"], one["source"].get("event")) for one in found]
    assert len(set(identities)) == len(identities)
    assert bench.sample("revisions_total") == len(revisions) == bench.sample("events_total", status="repaired")
    assert bench.sample("window_events_total", status="late") == 0
    assert bench.engine.summary.events == len(ARRIVED)
    assert bench.sample("late_steps_count") == bench.sample("window_events_total", status="repaired")
    assert bench.sample("late_steps_bucket", le="5.0") == bench.sample("late_steps_count")


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_batches_do_not_matter(tmp_path: Path, undisturbed: tuple[Bench, Published], limit: int) -> None:
    """Bytes and trainings do not depend on the batches."""
    STREAM.batches(tmp_path, undisturbed[1], limit)


@pytest.mark.parametrize(("limit", "snapshots"), [(3, False), (500, True)])
@pytest.mark.parametrize("end", [91, 300])
def test_restart_in_the_middle(
    tmp_path: Path, undisturbed: tuple[Bench, Published], limit: int, snapshots: bool, end: int
) -> None:
    """A new process continues with the same bytes, from a snapshot or by a replay."""
    STREAM.restart(tmp_path, undisturbed[1], limit, end, snapshots=snapshots)


def test_crashes(tmp_path: Path, undisturbed: tuple[Bench, Published]) -> None:
    """Wherever the process dies, forecasts and revisions equal those of an undisturbed run."""
    kills = [(440, ABORT_PUBLISHED), (277, ABORT_POLL), (140, ABORT_PUBLISH), (90, ABORT_PUBLISHED)]
    STREAM.crashes(tmp_path, undisturbed[1], kills)


def test_too_late(tmp_path: Path) -> None:
    """Beyond the bound a straggler is dropped, and the metric has the bound that would repair it."""
    bench = bench_of(tmp_path, [raw(60 * step) for step in [*range(20), 14.5, 13.5]])
    bench.run()

    assert bench.sample("window_events_total", status="late") == 1
    assert bench.sample("window_events_total", status="repaired") == 1
    assert bench.engine.summary.late == 1
    assert (bench.sample("late_steps_count"), bench.sample("late_steps_sum")) == (2, 4 + 5)


def test_other_bound(tmp_path: Path) -> None:
    """After a clean stop another bound holds from there on; a replay with another one is refused."""
    first = bench_of(tmp_path, ARRIVED[:200], input={"late": "drop", "late_within": 0})
    first.run()
    second = bench_of(tmp_path, ARRIVED[:350], first.log.units)
    second.run()
    assert second.sample("window_events_total", status="repaired") > 0
    for path in (tmp_path / "snapshots" / "0").iterdir():
        path.unlink()
    third = bench_of(tmp_path, ARRIVED, second.log.units)
    with pytest.raises(SettingsChangedError, match=r"input\.late_within: got 4, expected 0"):
        third.run()
