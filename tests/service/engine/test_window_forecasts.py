"""The engine over raw events with windows: batches, restarts, trainings, late events, changed settings."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from disturbances import Disturbed, Published, published
from parts import Bench, due_of
from structlog.testing import capture_logs

import service.partitions.pieces
from forecaster import Model
from forecaster.state.checkpoint import read_checkpoint, write_checkpoint
from service.errors import SettingsChangedError
from service.partitions.partition import Partition
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

MINUTE = 60_000
BEGIN = 1_700_000_040_000  # a whole minute
WINDOWS: dict[str, Any] = {"interval": "1m", "functions": ["count", "sum"], "grace": "5s"}
RULES = {"every_events": 25, "first_after_events": 10}


def raw(at: int, series: str = "s", value: float | None = 1.0, **changes: object) -> bytes:
    """Returns a raw event, `at` seconds after the begin."""
    return orjson.dumps({"series": series, "timestamp": BEGIN + at * 1000, "value": value} | changes)


def disordered(count: int = 400) -> list[bytes]:
    """Returns raw events of three series, every 4 s, some of them late, missing, in the wrong place, or no event."""
    found = []
    for step in range(count):
        at = 4 * step - (9 if step % 11 == 5 else 0) - (200 if step % 37 == 20 else 0)
        found.append(raw(at, "abc"[step % 3], None if step % 13 == 7 else step % 7 + 0.5))
        if step % 50 == 30:
            found.append(b"no event")
    return found


EVENTS = disordered()


def bench_of(folder: Path, script: list[bytes | Script], units: list[Any] | None = None, **sections: Any) -> Bench:
    """Returns an engine over a script of raw events."""
    sections = {"aggregate": WINDOWS, "input": {"late": "dead-letter"}} | sections
    return Bench(folder, MemoryLog({"0": list(script)}, units=units or []), sections)


STREAM = Disturbed(bench_of, EVENTS, RULES, late="dead-letter")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """What an undisturbed run publishes."""
    return STREAM.straight(tmp_path_factory.mktemp("straight"))[1]


def forecasts_of(bench: Bench) -> list[dict[str, Any]]:
    """Runs an engine, and returns its forecasts."""
    bench.run()
    return [orjson.loads(text) for text in bench.log.forecasts("0")]


class TestOutput:
    """Forecasts of closed windows."""

    def test_a_forecast_for_every_closed_window(self, tmp_path: Path) -> None:
        """A window closes with the record that reaches its end and the grace, and its source names both."""
        script = [raw(at) for at in (0, 10, 59, 61, 64, 65, 125)]
        found = forecasts_of(bench_of(tmp_path, script, aggregate=WINDOWS | {"functions": ["sum"]}))

        first, second = "2023-11-14T22:14:00.000Z", "2023-11-14T22:15:00.000Z"
        assert [(one["series"], one["origin"]) for one in found] == [("s", first), ("s", second)]
        third = "2023-11-14T22:16:00.000Z"
        assert [one["source"] for one in found] == [
            {"partition": "0", "position": 5, "window": {"start": first, "end": second}},
            {"partition": "0", "position": 6, "window": {"start": second, "end": third}},
        ]

    def test_several_functions_are_several_series(self, tmp_path: Path) -> None:
        """Each function has a series and a forecast, and the values of one record are numbered."""
        found = forecasts_of(bench_of(tmp_path, [raw(0), raw(30), raw(65)]))

        assert [(one["series"], one["source"]["event"]) for one in found] == [("s.count", 0), ("s.sum", 1)]

    def test_values_are_those_of_the_windows(self, tmp_path: Path) -> None:
        """The engine observes the values of the windows at their begins."""
        bench = bench_of(tmp_path, [raw(0, value=2.0), raw(30, value=4.0), raw(65), raw(125)])
        publications: list[Any] = []
        bench.on_publication = publications.append  # type: ignore[method-assign]
        bench.run()

        events = [part.decoded for part in publications]
        found = [pair for one in events for pair in zip(one.series, one.timestamp_ms, one.value, strict=True)]
        assert found == [
            ("s.count", BEGIN, 2.0), ("s.sum", BEGIN, 6.0), ("s.count", BEGIN + MINUTE, 1.0),
            ("s.sum", BEGIN + MINUTE, 1.0),
        ]  # fmt: skip

    @pytest.mark.parametrize("limit", [1, 2, 7, 100])
    def test_batches_make_no_difference(self, tmp_path: Path, straight: Published, limit: int) -> None:
        """Bytes, rejects and trainings do not depend on the batches."""
        STREAM.batches(tmp_path, straight, limit)
        assert len(straight.due) > 2
        assert len(straight.forecasts) > 100
        assert {reason for _, reason, _ in straight.rejects} == {"late", "undecodable"}

    def test_pieces_make_no_difference(self, tmp_path: Path, straight: Published, monkeypatch: Any) -> None:
        """A small bound of the values of a unit changes no byte."""
        monkeypatch.setattr(service.partitions.pieces, "PIECE_EVENTS", 4)
        bench = bench_of(tmp_path, EVENTS, retrain=RULES)

        assert published(bench) == straight
        assert len(bench.log.units) > 20

    def test_several_workers(self, tmp_path: Path) -> None:
        """Partitions have windows of their own, whatever the number of threads."""
        logs = []
        for workers in (1, 2):
            sections: dict[str, Any] = {"aggregate": WINDOWS, "input": {"workers": workers, "max_poll_records": 40}}
            log = MemoryLog({"0": list(EVENTS), "1": list(EVENTS[::2])})
            Bench(tmp_path / str(workers), log, sections).run()
            logs.append((log.forecasts("0"), log.forecasts("1")))

        assert logs[0] == logs[1]
        assert logs[0][0] != logs[0][1]


class TestLate:
    """Events behind a closed window."""

    @pytest.mark.parametrize("late", ["drop", "dead-letter"])
    def test_counted_and_rejected(self, tmp_path: Path, late: str) -> None:
        """A late event is counted, and with dead-letter rejected with its bytes and what to do; it changes no value."""
        script = [raw(0), raw(1), raw(65), raw(30), raw(125)]
        bench = bench_of(tmp_path, script, input={"late": late})
        found = forecasts_of(bench)

        assert len(found) == 4
        assert bench.sample("events_total", status="late") == 0
        assert bench.sample("window_events_total", status="late") == 1
        assert bench.sample("window_events_total", status="open") == 4
        assert bench.engine.summary.late == 1
        assert bench.engine.summary.events == 4
        rejects = [one for unit in bench.log.units for one in unit.rejects]
        assert [(one.position, one.value, one.reason) for one in rejects] == [(3, script[3], "late")] * (
            late == "dead-letter"
        )
        assert all("aggregate.grace" in one.detail for one in rejects)

    def test_windows_are_not_counted_as_records(self, tmp_path: Path) -> None:
        """Many late events among few windows do not make the run fail: the counts are of raw events."""
        script = [raw(at) for at in range(0, 120, 2)] + [raw(1)] * 20
        bench = bench_of(tmp_path, script)
        bench.run()
        total = bench.engine.summary.total

        assert (total.events, total.late, total.duplicates) == (60, 20, 0)
        assert [unit.outcomes.events for unit in bench.log.units] == [60]
        assert [unit.outcomes.late for unit in bench.log.units] == [20]


class TestWrongTimes:
    """Windows of a time that was wrong."""

    @pytest.mark.parametrize("empty", ["zero", "missing"])
    def test_series_continue(self, tmp_path: Path, empty: str) -> None:
        """A series whose windows closed in the far future has forecasts in the present again."""
        far = 10**9
        script = [raw(at) for at in range(0, 300, 10)] + [raw(far + at) for at in range(0, 500, 60)]
        script += [raw(300 + at) for at in range(3000)]
        bench = bench_of(tmp_path, script, aggregate=WINDOWS | {"functions": ["count"], "empty": empty})
        last = forecasts_of(bench)[-20:]

        assert [(one["status"], one["origin"][:4]) for one in last] == [("ok", "2023")] * 20


class TestRestart:
    """A restart with open windows."""

    @pytest.mark.parametrize("cut", [1, 2, 150, 230])
    @pytest.mark.parametrize("snapshots", [True, False])
    def test_in_the_middle(self, tmp_path: Path, straight: Published, cut: int, snapshots: bool) -> None:
        """A new process continues the open windows with the same bytes, from a snapshot or by a replay."""
        second = STREAM.restart(tmp_path, straight, 7, cut, snapshots=snapshots)

        accepted = sum(value != b"no event" for value in EVENTS[:cut])
        assert second.sample("replayed_events_total") == (0 if snapshots else accepted)

    def test_after_crashes(self, tmp_path: Path, straight: Published) -> None:
        """Wherever the process dies, the forecasts equal those of an undisturbed run."""
        kills = [(300, ABORT_PUBLISHED), (170, ABORT_POLL), (3, ABORT_PUBLISH)]
        STREAM.crashes(tmp_path, straight, kills)

    def test_a_stop_between_two_pieces(self, tmp_path: Path, straight: Published, monkeypatch: Any) -> None:
        """A stop in the middle of a batch leaves a snapshot of the windows at exactly the committed position."""
        monkeypatch.setattr(service.partitions.pieces, "PIECE_EVENTS", 4)
        units: list[Any] = []
        for count in (1, 3, 10):
            bench = bench_of(tmp_path, EVENTS, units, retrain=RULES)
            seen: list[Any] = []
            bench.on_unit = lambda unit, bench=bench, seen=seen, count=count: (  # type: ignore[misc]
                seen.append(unit), bench.stop.set() if len(seen) == count else None
            )  # fmt: skip
            due_of(bench)
            assert len(seen) == count
            units = bench.log.units
            assert units[-1].next_position < len(EVENTS)
        last = bench_of(tmp_path, EVENTS, units, retrain=RULES)

        assert published(last)[:2] == straight[:2]
        assert last.sample("replayed_events_total") == 0

    def test_windows_before_the_first_forecast(self, tmp_path: Path) -> None:
        """Windows that were open before any forecast was made are restored by a replay too."""
        first = bench_of(tmp_path, [raw(0), raw(1)])
        first.run()
        assert first.log.forecasts("0") == []
        shutil.rmtree(tmp_path / "snapshots")
        second = bench_of(tmp_path, [raw(0), raw(1), raw(65)], first.log.units, aggregate=WINDOWS)
        second.run()

        assert [unit.outcomes.events for unit in second.log.units] == [2, 1]
        assert [one["series"] for one in map(orjson.loads, second.log.forecasts("0"))] == ["s.count", "s.sum"]
        assert second.sample("replayed_events_total") == 2

    def test_invalid_windows(self, tmp_path: Path, straight: Published) -> None:
        """A snapshot with a valid checksum and invalid windows is refused, and the one before is used."""
        units: list[Any] = []
        for cut in (150, 230):
            bench = bench_of(tmp_path, EVENTS[:cut], units, retrain=RULES)
            due_of(bench)
            units = bench.log.units
        newest = max((tmp_path / "snapshots" / "0").iterdir())
        arrays, header = read_checkpoint(newest, "snapshot")
        arrays["windows.windows"] = arrays["windows.windows"][:-1]
        write_checkpoint(newest, arrays, header, "snapshot")
        last = bench_of(tmp_path, EVENTS, units, retrain=RULES)

        assert published(last)[:2] == straight[:2]
        assert last.sample("snapshots_refused_total", reason="unfit") == 1


class TestModels:
    """Models that change while windows are open."""

    def jobs_of(self, bench: Bench) -> list[str]:
        """Runs an engine whose trainings promote another model; returns the identity of each training."""
        found: list[str] = []

        def trained(partition: Partition, *_: Any) -> None:
            found.append(bench.engine._groups[""].training._job(partition))
            model = Model.initial(dataclasses.replace(bench.config.library_model(), seed=7))
            bench.registry.promote(bench.registry.add(model))
            bench.engine._groups[""].champion.refresh()

        bench.engine._groups[""].training.on_training_due = trained  # type: ignore[method-assign] # instead of a training
        bench.run()
        return found

    def test_a_training_before_a_stop(self, tmp_path: Path) -> None:
        """A training whose window was the last one before a stop has the same identity at the next start.

        Raw events were added to windows since then. Its model is in force from the next closed window on.
        """
        script = [raw(at) for at in range(0, 1000, 10)]
        settings: dict[str, Any] = {"retrain": {"every_events": 100, "first_after_events": 10}}
        settings["input"] = {"max_poll_records": 1}
        first = bench_of(tmp_path, script[:34], **settings)
        jobs = self.jobs_of(first)
        units = list(first.log.units)
        second = bench_of(tmp_path, script, units, **settings)
        again = self.jobs_of(second)
        adoptions = [unit.adoption for unit in second.log.units if unit.adoption is not None]

        assert len(jobs) == 1
        assert again == jobs
        assert [one.position for one in adoptions] == [0, 37]
        assert second.log.units[37].forecasts
        assert not second.log.units[36].forecasts


class TestSettings:
    """Settings that change between two starts."""

    def test_turned_on_behind_a_crash(self, tmp_path: Path) -> None:
        """Events that were forecast as they are are not replayed into windows, also if an older release read them."""
        script = [raw(at) for at in range(0, 200, 2)]
        first = bench_of(tmp_path, script[:50], aggregate={})
        first.run()
        shutil.rmtree(tmp_path / "snapshots")
        (notes,) = (tmp_path / "settings").iterdir()
        kept = orjson.loads(notes.read_bytes())
        for name in [name for name in kept[0]["settings"] if name.startswith("aggregate.")]:
            del kept[0]["settings"][name]
        notes.write_bytes(orjson.dumps(kept))

        with pytest.raises(SettingsChangedError, match=r'aggregate.interval: got "1m", expected "0s"'):
            bench_of(tmp_path, script, first.log.units).run()

    @pytest.mark.parametrize("after", [{}, WINDOWS | {"functions": ["sum"]}])
    def test_changed_behind_a_stop(self, tmp_path: Path, after: dict[str, Any]) -> None:
        """Open windows of other settings are dropped with a line in the log; the others begin with the next event."""
        script = [raw(at) for at in range(0, 200, 2)]
        first = bench_of(tmp_path, script[:50])
        first.run()
        with capture_logs() as logs:
            second = bench_of(tmp_path, script, first.log.units, aggregate=after)
            second.run()

        dropped = [line for line in logs if line["event"] == "open windows dropped, their settings have changed"]
        assert [(line["partition"], line["windows"]) for line in dropped] == [("0", 1)]
        assert second.engine.summary.events == 50

    def test_other_grace_keeps_them(self, tmp_path: Path) -> None:
        """Another grace or value of empty windows continues with the open windows."""
        script = [raw(at) for at in range(0, 200, 2)]
        first = bench_of(tmp_path, script[:45])
        first.run()
        second = bench_of(tmp_path, script, first.log.units, aggregate=WINDOWS | {"grace": "20s", "empty": "last"})
        second.run()
        whole = bench_of(tmp_path / "whole", script, aggregate=WINDOWS | {"grace": "20s"})
        whole.run()

        values = [
            [(one["origin"], one["series"]) for one in map(orjson.loads, bench.log.forecasts("0"))]
            for bench in (second, whole)
        ]
        assert values[0] == values[1]
