"""The engine over scripts of events, crashes and broken sinks."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import threading
from pathlib import Path

import orjson
import pytest
from parts import Bench, event

from forecaster import Model
from service.engine.training_triggers import TrainingTriggers
from service.errors import ConfigurationError, SourceGoneError
from service.ports import Records, Unit
from service.registry.models import RegistryError
from service.transport.memory import (
    ABORT_POLL,
    ABORT_PUBLISH,
    ABORT_PUBLISHED,
    SINK_DOWN,
    MemoryLog,
    MemoryTransport,
    Script,
)

EVENTS = [event(step, series) for step in range(40) for series in "ab"]


def straight(folder: Path, script: list[bytes | Script] | None = None, **sections: dict[str, object]) -> Bench:
    """Runs an engine over a script to its end."""
    bench = Bench(folder, MemoryLog({"0": script or EVENTS}), sections)
    bench.run()
    return bench


def with_script(*marks: tuple[int, Script]) -> list[bytes | Script]:
    """Returns the events with these marks inserted."""
    script: list[bytes | Script] = list(EVENTS)
    for at, what in sorted(marks, key=lambda mark: -mark[0]):
        script.insert(at, what)
    return script


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


class TestModels:
    """Changes of the champion between batches."""

    def promote(self, bench: Bench, seed: int) -> Model:
        """Promotes another champion."""
        config = bench.config.library_model()
        model = Model.initial(dataclasses.replace(config, seed=seed))
        bench.registry.promote(bench.registry.add(model))
        return model

    def test_adoption_is_recorded_and_replayed(self, tmp_path: Path) -> None:
        """A promoted model is adopted with a record; a process without snapshots replays by the records."""
        first = straight(tmp_path, list(EVENTS[:20]))
        model = self.promote(first, 7)
        second = Bench(tmp_path, MemoryLog({"0": EVENTS[:40]}, units=first.log.units))
        second.run()
        for path in (tmp_path / "snapshots" / "0").iterdir():
            path.unlink()
        units = list(second.log.units)
        third = Bench(tmp_path, MemoryLog({"0": EVENTS}, units=list(units)), {"input": {"max_poll_records": 6}})
        third.run()
        fourth = Bench(tmp_path / "x", MemoryLog({"0": EVENTS}, units=list(units)))
        for path in (tmp_path / "models").glob("*"):
            (fourth.registry.folder / path.name).write_bytes(path.read_bytes())
        fourth.run()

        assert [a.model_sha256 for a in MemoryTransport(third.log).adoptions("0")][1:] == [model.sha256]
        assert MemoryTransport(third.log).adoptions("0")[1].position == 20
        assert third.log.forecasts("0") == fourth.log.forecasts("0")
        assert orjson.loads(third.log.forecasts("0")[-1])["model"] == model.sha256[:12]
        assert third.sample("replayed_events_total") == 40

    def test_missing_model_stops_the_start(self, tmp_path: Path) -> None:
        """A missing model of an adoption stops the start with an error that names the model."""
        first = straight(tmp_path, list(EVENTS[:20]))
        self.promote(first, 7)
        used = first.log.units[0].adoption
        assert used is not None
        (tmp_path / "models" / f"{used.model_sha256}.safetensors").unlink()
        bench = Bench(tmp_path, MemoryLog({"0": EVENTS}, units=first.log.units))

        with pytest.raises(RegistryError, match=used.model_sha256[:12]):
            bench.run()

    def test_damaged_champion_is_refused(self, tmp_path: Path) -> None:
        """A new champion that cannot be read is refused and counted; the daemon continues with its model."""
        bench = Bench(tmp_path, MemoryLog({"0": EVENTS}), {"input": {"max_poll_records": 10}})
        damaged: list[str] = []

        def damage(unit: Unit) -> None:
            if not damaged:
                damaged.append(self.promote(bench, 9).sha256)
                path = bench.registry.folder / f"{damaged[0]}.safetensors"
                path.write_bytes(path.read_bytes()[:-9])
            bench.clock.now += 2

        bench.on_unit = damage
        bench.run()

        assert bench.sample("models_refused_total") == 1
        assert len(MemoryTransport(bench.log).adoptions("0")) == 1
        assert len(bench.log.forecasts("0")) == len(EVENTS)

    def test_another_network_in_the_configuration(self, tmp_path: Path) -> None:
        """A configuration that does not fit the stored state is refused before reading, by field."""
        first = straight(tmp_path, list(EVENTS[:20]))
        bench = Bench(tmp_path, MemoryLog({"0": EVENTS}, units=first.log.units), {"model": {"horizon": 5}})

        with pytest.raises(ConfigurationError, match=r"model\.horizon: got 5, expected 3"):
            bench.run()


FAILING_TRAINER = (sys.executable, "-c", "raise SystemExit('no luck today')")


class TestTraining:
    """Trainings of the engine."""

    def test_failed_training_changes_nothing(self, tmp_path: Path) -> None:
        """A training process that dies changes no forecast, and is counted."""
        expected = straight(tmp_path / "straight").log.forecasts("0")
        bench = Bench(
            tmp_path / "trained", MemoryLog({"0": EVENTS}), {"retrain": {"every_events": 25}}, command=FAILING_TRAINER
        )
        bench.run()

        assert bench.log.forecasts("0") == expected
        assert bench.sample("training_runs_total", outcome="failed") == 3
        assert "no luck today" in bench.trainer.trainings.last_reason

    def test_units_end_where_a_training_falls_due(self, tmp_path: Path) -> None:
        """The commit before a training is at exactly the training's position, however the events are batched."""
        bench = Bench(
            tmp_path,
            MemoryLog({"0": EVENTS}),
            {"retrain": {"every_events": 30, "first_after_events": 13}, "input": {"max_poll_records": 20}},
            command=FAILING_TRAINER,
        )
        bench.run()

        assert [unit.next_position for unit in bench.log.units] == [13, 20, 40, 43, 60, 73, 80]

    def test_too_short_a_history(self, tmp_path: Path) -> None:
        """A real training on too few events fails with the reason in the registry, and is not run again."""
        bench = straight(tmp_path, list(EVENTS), retrain={"first_after_events": 40})
        decision = bench.registry.decisions()[-1]

        assert decision.action == "failed"
        assert "not enough history" in decision.reason
        assert bench.sample("training_runs_total", outcome="failed") == 1


def test_a_stop_during_the_training_of_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop during a training that is due at the restored position ends the daemon before the next event.

    With `retrain.wait` the model of that training is adopted at that position; an event that is forecast without it
    would have other bytes than in a run without the stop.
    """

    def stopped(_: TrainingTriggers, stop: threading.Event) -> None:
        stop.set()

    monkeypatch.setattr(TrainingTriggers, "_await", stopped)
    sections = {"retrain": {"every_events": 20, "first_after_events": 20, "wait": "true"}}
    first = Bench(tmp_path, MemoryLog({"0": list(EVENTS)}), sections)
    first.run()
    assert [unit.next_position for unit in first.units] == [20]
    second = Bench(tmp_path, first.log, sections)
    second.run()
    assert second.units == []
