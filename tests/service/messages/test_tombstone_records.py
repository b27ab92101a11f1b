"""Tombstones: not damaged, counted by a reason of their own; a replay does not restore forgotten series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from parts import Bench, event

from service.config.input import InputConfig
from service.messages.controls import Tombstone
from service.messages.decode import Decoder
from service.ports import Records
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, MemoryTransport, Script

MARK = b"\0"
NAMES = "abcd"
SCRIPT = [
    MARK + NAMES[step // 5 % 4].encode() if step % 5 == 3 else event(step // 4, NAMES[step % 4]) for step in range(120)
]
SECTIONS = {"input": {"tombstone": "forget"}, "retrain": {"drift": True, "check_events": 7}}


class Keyed(MemoryTransport):
    """A transport whose records with a leading mark have no value and the rest as key."""

    def _records(self, partition: str, start: int, end: int) -> Records:
        values = self._log.records(partition)[start:end]
        gone = frozenset(at for at, value in enumerate(values) if value.startswith(MARK))
        keys = [value[1:] if at in gone else None for at, value in enumerate(values)]
        values = [b"" if at in gone else value for at, value in enumerate(values)]
        return Records(partition, range(start, end), end, values, keys, tombstones=gone)


def bench(folder: Path, script: list[bytes | Script], limit: int = 1000, **more: Any) -> Bench:
    """Runs an engine over a script to its end."""
    sections = {name: dict(values) for name, values in SECTIONS.items()}
    sections["input"] |= {"max_poll_records": limit, **more.pop("input", {})}
    sections["state"] = more.pop("state", {})
    made = Bench(folder, MemoryLog({"0": script}, **more), sections)
    made.engine._connect = lambda: Keyed(made.log)
    made.run()
    return made


@pytest.mark.parametrize("limit", [1, 3, 8, 1000])
@pytest.mark.parametrize(
    "marks", [[], [(5, ABORT_PUBLISHED), (40, ABORT_PUBLISH), (41, ABORT_POLL), (90, ABORT_PUBLISHED)]]
)
def test_forgotten_at_its_position(tmp_path: Path, limit: int, marks: list[tuple[int, Script]]) -> None:
    """A tombstone resets its series at its position, however records are batched and wherever the process dies."""
    script: list[bytes | Script] = list(SCRIPT)
    for at, what in sorted(marks, key=lambda mark: -mark[0]):
        script.insert(at, what)
    expected = bench(tmp_path / "straight", list(SCRIPT))
    found = bench(tmp_path / "other", script, limit)
    assert found.log.forecasts("0") == expected.log.forecasts("0")
    assert found.sample("restarts_total") == len(marks)
    fresh: set[str] = set()
    for record, value in enumerate(SCRIPT):
        if value.startswith(MARK):
            fresh.discard(value[1:].decode())
            continue
        forecast = next(
            one for one in map(orjson.loads, found.log.forecasts("0")) if one["source"]["position"] == record
        )
        assert (forecast["interval_ms"] == 0) == (forecast["series"] not in fresh)
        fresh.add(forecast["series"])


def test_counted_and_not_rejected(tmp_path: Path) -> None:
    """Tombstones are counted by their own reason, are no dead letters, and are not unusable records."""
    found = bench(tmp_path, list(SCRIPT))
    assert found.sample("rejected_total", reason="tombstone") == 24
    assert found.sample("rejected_total", reason="undecodable") == 0
    assert [reject for unit in found.log.units for reject in unit.rejects] == []
    assert found.engine.summary.total.unusable == 0


def test_in_snapshots(tmp_path: Path) -> None:
    """A new process continues from a snapshot after a tombstone, and replays nothing."""
    expected = bench(tmp_path / "straight", list(SCRIPT)).log.forecasts("0")
    first = bench(tmp_path / "two", SCRIPT[:64])  # the last record is a tombstone
    second = bench(tmp_path / "two", list(SCRIPT), units=first.log.units)
    assert second.log.forecasts("0") == expected
    assert second.sample("replayed_events_total") == 0


def test_ignored(tmp_path: Path) -> None:
    """By default nothing is forgotten: tombstones change only the positions of the forecasts."""
    found = bench(tmp_path / "with", list(SCRIPT), input={"tombstone": "ignore"})
    without = bench(tmp_path / "without", [value for value in SCRIPT if not value.startswith(MARK)])
    mine, other = (map(orjson.loads, one.log.forecasts("0")) for one in (found, without))
    assert [one | {"source": 0} for one in mine] == [one | {"source": 0} for one in other]
    assert found.sample("rejected_total", reason="tombstone") == 24


def test_room_for_another(tmp_path: Path) -> None:
    """The row of a forgotten series serves the next new series, and no series is evicted."""
    events = [event(step, name) for step in range(3) for name in "ab"]
    found = bench(tmp_path, [*events, MARK + b"a", event(3, "c"), event(3, "b")], state={"max_series": 2})
    assert found.sample("series", partition="0") == 2
    assert found.sample("evicted_series") == 0
    assert found.recent.series() == [("0", "b"), ("0", "c")]


@pytest.mark.parametrize(
    ("key", "series"),
    [
        (b"a", "a"),
        (b'{"series": "a b"}', "a b"),
        (b'{"series": 3}', '{"series": 3}'),
        (b'{"id": "a"}', '{"id": "a"}'),
        (b"{a}", "{a}"),
        (b'{"series":' + b"[" * 2000 + b"]" * 2000 + b"}", None),
        (b"\xff", ""),
        (b"", ""),
        (None, ""),
    ],
)
def test_named_by_the_key(key: bytes | None, series: str | None) -> None:
    """The key names the series as text, or in an object by the series field; an empty key forgets nothing."""
    records = Records("0", [7, 8, 9], 10, [event(1), b"", event(2)], [b"", key, b""], tombstones=frozenset({1}))
    found = Decoder(InputConfig.model_validate({"tombstone": "forget"})).decode(records)
    series = (key or b"").decode() if series is None else series
    assert (found.tombstones, found.rejects) == ([Tombstone(8, 1, series)], [])
    assert found.forget == ([(1, series)] if series else [])
    assert Decoder(InputConfig()).decode(records).tombstones == [Tombstone(8, 1, "")]


def test_an_empty_value_is_none() -> None:
    """A record whose value has no bytes is no tombstone, and is rejected."""
    found = Decoder(InputConfig()).decode(Records("0", [7], 8, [b""], [b"a"]))
    assert [reject.reason for reject in found.rejects] == ["undecodable"]
