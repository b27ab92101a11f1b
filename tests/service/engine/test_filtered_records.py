"""The engine over records that do not meet `input.where`: no outputs, positions that advance, equal replays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from parts import Bench, due_of

from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

RULES = {"every_events": 15, "first_after_events": 10}


def event(step: int) -> bytes:
    """Returns a record of a wave; two of three have the unit C, and one is no event."""
    unit, value = "CFC"[step % 3], "x" if step == 17 else (step % 7) + 0.25
    time = 1_700_000_000_000 + step * 60_000
    return orjson.dumps({"series": "s", "timestamp": time, "value": value, "unit": unit})


RECORDS = [event(step) for step in range(60)]
WANTED = [at for at in range(60) if at % 3 != 1]


def run(folder: Path, script: list[bytes | Script], units: list[Any] | None = None, limit: int = 100) -> Bench:
    """Runs an engine with a condition to the end of a script; trainings become due, and none takes place."""
    settings = {"retrain": RULES, "input": {"where": "unit == 'C'", "max_poll_records": limit}}
    bench = Bench(folder, MemoryLog({"0": list(script)}, units=units or []), settings)
    due_of(bench)
    return bench


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The forecasts of a run without a restart, in one batch."""
    bench = run(tmp_path_factory.mktemp("straight"), list(RECORDS))
    assert bench.sample("filtered_records_total") == 20
    return bench.log.forecasts("0")


def test_neither_forecast_nor_rejected(straight: list[bytes], tmp_path: Path) -> None:
    """The forecasts are those of a stream without the other records, at their own positions."""
    found = [orjson.loads(text) for text in straight]
    assert [one["source"]["position"] for one in found] == [at for at in WANTED if at != 17]
    alone = [orjson.loads(text) for text in run(tmp_path, [RECORDS[at] for at in WANTED]).log.forecasts("0")]
    assert [one["quantiles"] for one in found] == [one["quantiles"] for one in alone]


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_batches_and_a_restart_do_not_matter(straight: list[bytes], tmp_path: Path, limit: int) -> None:
    """Any batches, and a new process that replays, give the same bytes and count every record once."""
    first = run(tmp_path, list(RECORDS[:32]), limit=limit)
    for path in (tmp_path / "snapshots" / "0").iterdir():
        path.unlink()
    second = run(tmp_path, list(RECORDS), first.log.units, limit)
    assert second.log.forecasts("0") == straight
    assert [one.position for unit in second.log.units for one in unit.rejects] == [17]
    counts = [bench.sample("filtered_records_total") for bench in (first, second)]
    assert counts == [11, 9]


def test_crashes(straight: list[bytes], tmp_path: Path) -> None:
    """Wherever the process dies, the forecasts equal those of an undisturbed run."""
    script: list[bytes | Script] = list(RECORDS)
    for at, what in [(50, ABORT_PUBLISHED), (31, ABORT_POLL), (18, ABORT_PUBLISH)]:
        script.insert(at, what)
    assert run(tmp_path, script, limit=7).log.forecasts("0") == straight


def test_the_position_passes_records_without_events(tmp_path: Path) -> None:
    """Records of which none meets the condition are read once."""
    others = [RECORDS[at] for at in range(60) if at % 3 == 1]
    first = run(tmp_path, list(others), limit=7)
    assert first.log.forecasts("0") == []
    assert first.log.units[-1].next_position == 20
    assert run(tmp_path, list(others), first.log.units).sample("filtered_records_total") == 0
