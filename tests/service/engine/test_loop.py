"""The engine over scripts of events, crashes and broken sinks."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path

import orjson
import pytest
from loop_scripts import EVENTS, straight, with_script
from parts import Bench, event

from service.errors import SourceGoneError
from service.ports import Records, Unit
from service.snapshots.sharing import SharedSnapshots
from service.transport.memory import (
    ABORT_POLL,
    ABORT_PUBLISH,
    ABORT_PUBLISHED,
    SINK_DOWN,
    MemoryLog,
    MemoryTransport,
    Script,
)


class TestOutput:
    """Output of an undisturbed engine."""

    def test_one_forecast_per_event(self, tmp_path: Path) -> None:
        """Every event gets one forecast, in order, with its own position."""
        bench = straight(tmp_path)
        sources = [orjson.loads(text)["source"]["position"] for text in bench.log.forecasts("0")]

        assert sources == list(range(len(EVENTS)))

    def test_first_unit_records_the_model(self, tmp_path: Path) -> None:
        """The first unit with forecasts, and no other, carries the adoption of the model that made them."""
        bench = straight(tmp_path, input={"max_poll_records": 16})
        adoptions = [unit.adoption for unit in bench.log.units]

        assert adoptions[0] is not None
        assert adoptions[0].model_sha256 == bench.registry.champion()
        assert adoptions[1:] == [None] * (len(adoptions) - 1)

    @pytest.mark.parametrize("limit", [1, 3, 1000])
    def test_batches_do_not_matter(self, tmp_path: Path, limit: int) -> None:
        """The output bytes do not depend on the batches."""
        whole = straight(tmp_path / "whole")
        parts = straight(tmp_path / "parts", input={"max_poll_records": limit})

        assert parts.log.forecasts("0") == whole.log.forecasts("0")

    def test_every_nth(self, tmp_path: Path) -> None:
        """With `every = 4` every fourth forecast of a series is published with unchanged bytes, through crashes too."""
        whole = straight(tmp_path / "whole")
        script = with_script((33, ABORT_PUBLISHED), (50, ABORT_PUBLISH))
        some = straight(tmp_path / "some", script, output={"every": 4}, input={"max_poll_records": 5})
        expected = [text for i, text in enumerate(whole.log.forecasts("0")) if (i // 2 + 1) % 4 == 0]

        assert some.log.forecasts("0") == expected
        assert len(expected) == len(EVENTS) // 4

    def test_bad_records_are_set_aside(self, tmp_path: Path) -> None:
        """An undecodable record is rejected with its bytes, and the forecasts of other records do not change."""
        clean = straight(tmp_path / "clean", list(EVENTS[:4]))
        bench = straight(tmp_path / "bad", [*EVENTS[:2], b"nonsense", *EVENTS[2:4]])
        rejects = [reject for unit in bench.log.units for reject in unit.rejects]

        assert [(r.position, r.value, r.reason) for r in rejects] == [(2, b"nonsense", "undecodable")]
        assert bench.sample("rejected_total", reason="undecodable") == 1
        quantiles = [[orjson.loads(text)["quantiles"] for text in b.log.forecasts("0")] for b in (clean, bench)]
        assert quantiles[0] == quantiles[1]

    def test_only_bad_records(self, tmp_path: Path) -> None:
        """A batch without any event is committed, and adopts no model."""
        bench = straight(tmp_path, [b"x", b"y"])

        assert [(unit.next_position, unit.adoption) for unit in bench.log.units] == [(2, None)]

    def test_late_events_are_dropped(self, tmp_path: Path) -> None:
        """An event older than the newest of its series is counted and gets neither forecast nor reject."""
        bench = straight(tmp_path, [event(5), event(4), event(6)])

        assert len(bench.log.forecasts("0")) == 2
        assert not any(unit.rejects for unit in bench.log.units)
        assert bench.sample("events_total", status="late") == 1

    def test_late_events_to_the_dead_letters(self, tmp_path: Path) -> None:
        """With the policy dead-letter a late event is rejected with its bytes, in the order of positions."""
        script = [event(5), event(4), b"bad", event(5), event(6)]
        bench = straight(tmp_path, list(script), input={"late": "dead-letter"})
        rejects = [(r.position, r.reason, r.value) for unit in bench.log.units for r in unit.rejects]

        assert rejects == [(1, "late", script[1]), (2, "undecodable", b"bad")]
        assert bench.sample("events_total", status="duplicate") == 1


class TestCrashes:
    """Output after crashes."""

    MARKS = (
        [(5, ABORT_PUBLISHED)],
        [(5, ABORT_PUBLISH)],
        [(0, ABORT_POLL), (40, ABORT_POLL)],
        [(3, ABORT_PUBLISH), (11, ABORT_PUBLISHED), (12, ABORT_POLL), (50, ABORT_PUBLISH), (79, ABORT_PUBLISHED)],
    )

    @pytest.mark.parametrize("marks", MARKS)
    def test_same_bytes(self, tmp_path: Path, marks: list[tuple[int, Script]]) -> None:
        """Wherever the process dies, the forecasts equal those of an undisturbed run."""
        expected = straight(tmp_path / "straight").log.forecasts("0")
        bench = straight(tmp_path / "crashed", with_script(*marks), input={"max_poll_records": 7})

        assert bench.log.forecasts("0") == expected
        assert bench.sample("restarts_total") == len(marks)

    def test_restart_from_a_snapshot(self, tmp_path: Path) -> None:
        """A new process continues from the snapshot of the last process and replays nothing."""
        expected = straight(tmp_path / "straight").log.forecasts("0")
        first = straight(tmp_path / "two", list(EVENTS[:30]))
        second = Bench(tmp_path / "two", MemoryLog({"0": EVENTS}, units=first.log.units))
        second.run()

        assert second.log.forecasts("0") == expected
        assert second.sample("replayed_events_total") == 0

    def test_restart_from_an_older_snapshot(self, tmp_path: Path) -> None:
        """With a damaged newest snapshot, the previous one and a replay give the same forecasts."""
        expected = straight(tmp_path / "straight").log.forecasts("0")
        first = straight(tmp_path / "two", list(EVENTS[:20]))
        second = Bench(tmp_path / "two", MemoryLog({"0": EVENTS[:50]}, units=first.log.units))
        second.run()
        newest = max((tmp_path / "two" / "snapshots" / "0").iterdir())
        newest.write_bytes(newest.read_bytes()[:-7])
        third = Bench(tmp_path / "two", MemoryLog({"0": EVENTS}, units=second.log.units))
        third.run()

        assert third.log.forecasts("0") == expected
        assert third.sample("replayed_events_total") == 30
        assert third.sample("snapshots_refused_total", reason="damaged") == 1

    def test_damaged_since(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A record that was damaged on disk after its forecast is left out of the replay, and counted."""
        first = straight(tmp_path, list(EVENTS[:30]))
        shutil.rmtree(tmp_path / "snapshots")
        plain = MemoryTransport._records

        def damaged(self: MemoryTransport, partition: str, start: int, end: int) -> Records:
            found = plain(self, partition, start, end)
            return dataclasses.replace(found, problems={12 - start: "damaged"} if start <= 12 < end else {})

        monkeypatch.setattr(MemoryTransport, "_records", damaged)
        second = Bench(tmp_path, MemoryLog({"0": EVENTS}, units=first.log.units))
        second.run()

        assert second.sample("replayed_damaged_total") == 1
        assert second.sample("replayed_events_total") == 29
        assert len(second.log.forecasts("0")) == len(EVENTS)

    def test_output_of_another_run(self, tmp_path: Path) -> None:
        """Snapshots that belong to a lost output are refused."""
        expected = straight(tmp_path / "straight").log.forecasts("0")
        straight(tmp_path / "again", list(EVENTS[:30]))
        bench = straight(tmp_path / "again", list(EVENTS))

        assert bench.log.forecasts("0") == expected
        assert bench.sample("snapshots_refused_total", reason="ahead") == 1

    def test_first_start_fails(self, tmp_path: Path) -> None:
        """An error of the transport at the very first start is raised, because a person must fix its cause."""
        log = MemoryLog({"0": EVENTS})
        other = MemoryTransport(log)
        other.start()
        bench = Bench(tmp_path, log)

        with pytest.raises(Exception, match="in use by another"):
            bench.run()
        assert not list(tmp_path.glob("models/*.safetensors"))  # nothing happens before the lock


class TestRestoring:
    """Partitions that are restored while others are served."""

    def test_the_others_are_served(self, tmp_path: Path) -> None:
        """A partition with a long replay does not delay one with a short replay, and all forecasts are unchanged."""
        lines = {"long": [event(step) for step in range(400)], "short": [event(step) for step in range(20)]}
        sections = {"input": {"max_poll_records": 10}}
        whole = Bench(tmp_path / "whole", MemoryLog({name: list(events) for name, events in lines.items()}), sections)
        whole.run()
        log = MemoryLog({"long": lines["long"][:390], "short": lines["short"][:10]})
        Bench(tmp_path / "cut", log, sections).run()
        shutil.rmtree(tmp_path / "cut" / "snapshots")
        for name, events in lines.items():
            log.script[name].extend(events[len(log.script[name]) :])
        again = Bench(tmp_path / "cut", log, sections)
        phases: list[tuple[str, bool]] = []
        again.on_unit = lambda unit: phases.append((unit.partition, again.health.report().ready))
        again.run()

        assert phases[0] == ("short", False)  # served, though not all is restored
        assert phases[-1] == ("long", True)
        assert again.sample("replayed_events_total") == 400
        for name in lines:
            assert log.forecasts(name) == whole.log.forecasts(name)


class TestRelease:
    """Release of source positions."""

    def test_up_to_the_oldest_kept_snapshot(self, tmp_path: Path) -> None:
        """Positions up to the oldest of three snapshots are released, and none before there are three."""
        sections = {"input": {"max_poll_records": 10}, "state": {"snapshot_every": "1s"}}
        bench = Bench(tmp_path, MemoryLog({"0": EVENTS}), sections)
        heard: list[int | None] = []

        def after_each_unit(_: Unit) -> None:
            bench.engine._writer.wait()
            bench.clock.now += 2.0
            heard.append(bench.log.released.get("0"))

        bench.on_unit = after_each_unit
        bench.run()

        assert heard[:4] == [None] * 4
        assert heard[4:] == [10, 20, 30, 40]


class TestSourceGone:
    """The source no longer holds what a restart needs."""

    def crashed(self, folder: Path) -> MemoryLog:
        """Returns a log that was read up to 30, without a snapshot, and begins at position 10."""
        first = straight(folder, list(EVENTS[:30]))
        for path in (folder / "snapshots" / "0").iterdir():
            path.unlink()
        return MemoryLog({"0": EVENTS}, units=first.log.units, earliest={"0": 10})

    def test_stop(self, tmp_path: Path) -> None:
        """By default the daemon stops with an error."""
        bench = Bench(tmp_path, self.crashed(tmp_path))

        with pytest.raises(SourceGoneError, match="but the log begins at position 10"):
            bench.run()

    def test_cold(self, tmp_path: Path) -> None:
        """With `cold` the daemon continues at the committed position with empty state, and counts the cold start."""
        bench = Bench(tmp_path, self.crashed(tmp_path), {"state": {"on_source_gone": "cold"}})
        bench.run()

        assert len(bench.log.forecasts("0")) == len(EVENTS)
        assert bench.sample("cold_starts_total") == 1
        cold = straight(tmp_path / "cold", list(EVENTS[30:]))
        quantiles = [
            [orjson.loads(text)["quantiles"] for text in log.forecasts("0")[-50:]] for log in (bench.log, cold.log)
        ]
        assert quantiles[0] == quantiles[1]

    @pytest.mark.parametrize("way", ["stop", "cold"])
    def test_a_shared_snapshot_that_cannot_be_read_yet(self, way: str, tmp_path: Path) -> None:
        """Where one may make the lost records unnecessary, the start is repeated until the storage has answered."""
        first = straight(tmp_path, list(EVENTS[:30]))
        (path,) = (tmp_path / "snapshots" / "0").glob("*.snapshot")
        held, asked = path.read_bytes(), list[str]()
        for one in (tmp_path / "snapshots" / "0").iterdir():
            one.unlink()

        class Exchange:
            """Storage that answers the third question."""

            def offer(self, partition: str, position: int, path: Path) -> None:
                """Does nothing."""

            def newest(self, partition: str) -> int | None:
                """Returns the position of the copy."""
                asked.append(partition)
                if len(asked) < 3:
                    raise OSError("not reachable")
                return 30

            def fetch(self, partition: str) -> bytes | None:
                """Returns the copy."""
                return held

        log = MemoryLog({"0": EVENTS}, units=first.log.units, earliest={"0": 10})
        bench = Bench(tmp_path, log, {"state": {"on_source_gone": way}})
        bench.store._shared = SharedSnapshots(Exchange(), 1e9, bench.metrics, bench.clock)
        bench.run()

        assert asked == ["0"] * 3
        assert bench.sample("cold_starts_total") == 0
        assert bench.log.forecasts("0") == straight(tmp_path / "straight", list(EVENTS)).log.forecasts("0")

    def test_a_shared_snapshot_that_is_lost(self, tmp_path: Path) -> None:
        """One that is known to be lost does not hold up the start, which asks once."""
        first, asked = straight(tmp_path, list(EVENTS[:30])), list[str]()
        for one in (tmp_path / "snapshots" / "0").iterdir():
            one.unlink()

        class Exchange:
            """Storage that has the place of a copy only."""

            def offer(self, partition: str, position: int, path: Path) -> None:
                """Does nothing."""

            def newest(self, partition: str) -> int | None:
                """Returns the position of the copy."""
                return 30

            def fetch(self, partition: str) -> bytes | None:
                """Finds nothing."""
                asked.append(partition)
                raise SourceGoneError("chunks are lost")

        log = MemoryLog({"0": EVENTS}, units=first.log.units, earliest={"0": 10})
        bench = Bench(tmp_path, log, {"state": {"on_source_gone": "cold"}})
        bench.store._shared = SharedSnapshots(Exchange(), 1e9, bench.metrics, bench.clock)
        bench.run()

        assert asked == ["0"]
        assert bench.sample("cold_starts_total") == 1
        assert len(bench.log.forecasts("0")) == len(straight(tmp_path / "straight", list(EVENTS)).log.forecasts("0"))


class TestBackPressure:
    """A sink that is down."""

    def test_nothing_lost(self, tmp_path: Path) -> None:
        """A unit is published again until the sink accepts it."""
        expected = straight(tmp_path / "straight").log.forecasts("0")
        bench = straight(tmp_path / "down", with_script((3, SINK_DOWN), (60, SINK_DOWN)), input={"max_poll_records": 9})

        assert bench.log.forecasts("0") == expected
        assert bench.sample("sink_retries_total") == 2
        assert bench.sample("restarts_total") == 0

    def test_not_ready_meanwhile_and_stops(self, tmp_path: Path) -> None:
        """A blocked daemon is not ready and reports the reason; a stop ends it without storing uncommitted state."""
        bench = Bench(tmp_path, MemoryLog({"0": [*EVENTS[:9], *[SINK_DOWN] * 10_000]}))
        thread = threading.Thread(target=bench.run)
        thread.start()
        while bench.sample("sink_retries_total") < 2:
            thread.join(0.01)
        report = bench.health.report()
        bench.stop.set()
        thread.join(10)

        assert (report.ready, report.healthy, report.phase) == (False, True, "blocked")
        assert "sink is unavailable" in report.reason
        assert not thread.is_alive()
        assert not bench.log.units
        assert not list(tmp_path.glob("snapshots/*/*"))
