"""The engine over models and trainings: adoptions, rollbacks, failures, restarts."""

from __future__ import annotations

import dataclasses
import sys
import threading
from pathlib import Path

import orjson
import pytest
from loop_scripts import EVENTS, straight
from parts import Bench

from forecaster import Model
from service.engine.training_triggers import TrainingTriggers
from service.ports import Unit
from service.registry.models import RegistryError
from service.transport.memory import (
    MemoryLog,
    MemoryTransport,
)


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
