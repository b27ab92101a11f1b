"""Rules of anomalies, budgets and maintenance in the daemon: the same published bytes after any crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from parts import Bench, event

from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

RULES: dict[str, Any] = {
    "threshold": 0.9, "clear": 0.8, "quiet_events": 1, "per_day": 1000, "budget": 2, "budget_period": "20m",
    "rules": [{"series": "b", "side": "low", "min_deviation": 5.0}],
    "maintenance": [{"series": "a", "start": "22:30", "end": "22:40"}],
}  # fmt: skip


def script() -> list[Any]:
    """Returns events of two series, each seventh of which jumps, ever further, up or down."""
    jumps = [float(step * step) * (1 - 2 * (step % 2)) if step % 7 == 6 else 0.0 for step in range(60)]
    return [event(step, name, jumps[step] + step % 5) for step in range(60) for name in "ab"]


def run(folder: Path, log: MemoryLog, poll: int, every: float = 60.0) -> Bench:
    """Runs an engine over a log."""
    bench = Bench(
        folder, log, {"anomaly": RULES, "input": {"max_poll_records": poll}, "state": {"snapshot_every": every}}
    )
    bench.run()
    return bench


@pytest.mark.parametrize("death", [ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED])
@pytest.mark.parametrize("cut", [70, 71, 96])
def test_the_same_after_a_crash(tmp_path: Path, cut: int, death: Script) -> None:
    """The counts of the budget and the rules of series are in snapshots and replayed."""
    whole, broken = MemoryLog({"0": script()}), MemoryLog({"0": [*script()[:cut], death, *script()[cut:]]})
    run(tmp_path / "one", whole, 50)

    run(tmp_path / "two", broken, 7, every=0.001)

    assert broken.happened
    assert broken.forecasts("0") == whole.forecasts("0")
    found = [orjson.loads(one) for one in whole.forecasts("0")]
    assert {one.get("suppressed") for one in found} == {None, "budget", "maintenance"}
    assert any(one["flagged"] for one in found)
    assert not any(one["flagged"] and "suppressed" in one for one in found)
