"""Silence records of the daemon: published exactly once, with the same bytes after any crash."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from parts import Bench, event

from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script


def test_records(tmp_path: Path) -> None:
    """A silence record follows the forecast of the event that revealed the silence, under the silent series' key."""
    script = [event(step, name) for step in range(8) for name in "ab"] + [event(step, "a") for step in range(8, 16)]
    bench = Bench(tmp_path, MemoryLog({"0": script}), {"anomaly": {"silent_after": 4}})

    bench.run()

    found = [orjson.loads(record) for unit in bench.units for record in unit.forecasts]
    (at,) = [i for i, one in enumerate(found) if one.get("kind") == "silence"]
    assert found[at] == {
        "series": "b",
        "kind": "silence",
        "last": "2023-11-14T22:20:20.000Z",
        "expected": "2023-11-14T22:21:20.000Z",
        "noticed": "2023-11-14T22:24:20.000Z",
        "source": {"partition": "0", "position": found[at - 1]["source"]["position"]},
    }
    assert [name for unit in bench.units for name in unit.series][at] == "b"
    assert (bench.sample("silences_total"), bench.sample("forecasts_total")) == (1, 24)


@pytest.mark.parametrize("death", [ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED])
@pytest.mark.parametrize("cut", [17, 19, 20, 23])
def test_the_same_after_a_crash(tmp_path: Path, cut: int, death: Script) -> None:
    """A crash before, at or after a silence record changes no output byte, and the record is published once."""
    script = [event(step, name) for step in range(8) for name in "ab"] + [event(step, "a") for step in range(8, 16)]
    whole, broken = MemoryLog({"0": script}), MemoryLog({"0": [*script[:cut], death, *script[cut:]]})
    sections = {"anomaly": {"silent_after": 4}, "input": {"max_poll_records": 3}}
    Bench(tmp_path / "one", whole, sections).run()

    Bench(tmp_path / "two", broken, sections | {"input": {"max_poll_records": 4}}).run()

    assert broken.happened
    assert broken.forecasts("0") == whole.forecasts("0")
    assert sum(b'"silence"' in record for record in broken.forecasts("0")) == 1
