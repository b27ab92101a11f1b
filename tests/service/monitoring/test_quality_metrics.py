"""Coverage and skill metrics, and the health conditions, through the engine as they are scraped."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from parts import Bench, TurnedClock, event
from prometheus_client import CollectorRegistry

from service.config.monitoring import HealthConfig
from service.engine.conditions import Conditions
from service.engine.restore_queue import RestoreQueue
from service.monitoring.health import CONDITIONS, WARNINGS, Health
from service.monitoring.metrics import Metrics
from service.trainer.supervisor import Trainings
from service.transport.memory import ABORT_PUBLISHED, MemoryLog


def test_levels_of_a_run(tmp_path: Path) -> None:
    """Counters and rolling figures cover the same forecasts, by horizon and level, and agree."""
    bench = Bench(tmp_path, MemoryLog({"0": [event(step) for step in range(200)]}), {"metrics": {"window": 100}})
    bench.run()
    at = {"horizon": "1", "level": "0.8"}

    assert bench.sample("scored_forecasts_total", horizon="1") == 199
    assert bench.sample("scored_forecasts_total", horizon="3") == 197
    assert bench.sample("interval_scored_total", **at) == 199
    share = bench.sample("interval_hits_total", **at) / 199
    assert bench.sample("interval_coverage", **at) == pytest.approx(share)
    assert 0.5 < share <= 1.0
    assert bench.sample("interval_miss_budget", level="0.8") == pytest.approx(0.25)
    assert bench.sample("interval_width", **at) > 0.0
    assert bench.sample("pinball_loss", horizon="1") > 0.0
    errors = bench.sample("absolute_errors_total", horizon="1") / bench.sample(
        "naive_absolute_errors_total", horizon="1"
    )
    assert bench.sample("skill", horizon="1") == pytest.approx(1.0 - errors)
    assert bench.engine.status["quality"]["1"]["skill"] == pytest.approx(1.0 - errors)
    weights = [bench.sample("ensemble_weight", member=member, horizon="3") for member in ("network", "trend")]
    assert sum(weights) == pytest.approx(1.0)


def test_a_replay_counts_nothing(tmp_path: Path) -> None:
    """Forecasts scored before a restart are not counted again; open ones from before the restart are scored."""
    events = [event(step) for step in range(100)]
    log = MemoryLog({"0": [*events[:60], ABORT_PUBLISHED, *events[60:]]})
    bench = Bench(tmp_path, log, {"input": {"max_poll_records": 10}})
    bench.run()

    assert bench.sample("restarts_total") == 1
    # 49 of the first fifty events, none of the batch whose outcome was unknown, all forty after it.
    assert bench.sample("scored_forecasts_total", horizon="1") == 49 + 0 + 40


def test_switched_off(tmp_path: Path) -> None:
    """Without a sample nothing is scored, and the forecasts are unchanged."""
    logs = [MemoryLog({"0": [event(step) for step in range(30)]}) for _ in range(2)]
    for log, size in zip(logs, (0, 500), strict=True):
        bench = Bench(tmp_path / str(size), log, {"metrics": {"sample_series": size}})
        bench.run()
        if not size:
            assert (
                bench.metrics.registry.get_sample_value("forecaster_scored_forecasts_total", {"horizon": "1"}) is None
            )

    assert [unit.forecasts for unit in logs[0].units] == [unit.forecasts for unit in logs[1].units]


class TestHealth:
    """Phases, warnings and gauges."""

    def test_started_and_warm(self) -> None:
        """Health is warm once the kernels are compiled and started once it was ready; neither is reset."""
        health = Health(TurnedClock())
        seen = []
        for phase in ("compiling", "restoring", "running", "starting"):
            health.enter(phase)
            seen.append((health.report().warm, health.report().started))

        assert seen == [(False, False), (True, False), (True, True), (True, True)]

    @pytest.mark.parametrize(
        ("phase", "condition"),
        [
            ("starting", "starting"),
            ("compiling", "compiling"),
            ("restoring", "restoring"),
            ("blocked", "sink_down"),
            ("training", "waiting_for_training"),
            ("stopping", "stopping"),
        ],
    )
    def test_conditions(self, phase: str, condition: str) -> None:
        """Each phase has exactly one condition, with the detail."""
        health = Health(TurnedClock())
        health.enter(phase, "so it is")

        assert health.report().conditions == {condition: "so it is"}

    def test_stuck(self) -> None:
        """A loop without progress adds a condition and is unhealthy; an unavailable sink alone is not unhealthy."""
        clock = TurnedClock()
        health = Health(clock)
        health.enter("blocked", "sink down")
        assert health.report().healthy
        clock.now += 1000.0

        assert set(health.report().conditions) == {"stuck", "sink_down"}
        assert not health.report().healthy

    def test_gauges(self) -> None:
        """Every condition has a gauge from the start, and the gauges of active conditions are 1."""
        metrics, health = Metrics(CollectorRegistry()), Health(TurnedClock())
        health.enter("restoring", restored=0.25)
        health.warn("lagging", "by 7")
        metrics.show_health(health.report())
        found = {
            name: metrics.registry.get_sample_value("forecaster_condition", {"reason": name}) for name in CONDITIONS
        }

        assert {name for name, value in found.items() if value} == {"restoring", "lagging"}
        assert metrics.registry.get_sample_value("forecaster_restored_ratio") == 0.25

    def test_unknown_warnings(self) -> None:
        """An unknown warning is refused, so that the label stays bounded."""
        with pytest.raises(ValueError, match="expected one of lagging"):
            Health(TurnedClock()).warn("odd", "x")


class TestConditions:
    """The conditions that are checked once a second."""

    def look(self, tmp_path: Path, lag: dict[str, int], failed: int = 0, **limits: int) -> dict[str, str]:
        """Returns the warnings after one check."""
        health = Health(TurnedClock())
        health.enter("running")
        metrics = Metrics(CollectorRegistry())
        config = HealthConfig.model_validate({"min_free_bytes": 0} | limits)
        trainings = Trainings(failed, 0, last_reason="out of memory", failed_in_a_row=failed)
        Conditions(config, tmp_path, health, metrics).update(lag, trainings)
        report = health.report()
        assert report.ready
        assert set(report.conditions) <= set(WARNINGS)
        return dict(report.conditions)

    def test_all_is_well(self, tmp_path: Path) -> None:
        """Without limits exceeded there is no warning."""
        assert self.look(tmp_path, {"0": 10**9}) == {}

    def test_lagging(self, tmp_path: Path) -> None:
        """The warning names the partition with the greatest consumer lag."""
        assert "1 of 2 partitions, b by 11" in self.look(tmp_path, {"a": 10, "b": 11}, max_lag=10)["lagging"]

    def test_trainer(self, tmp_path: Path) -> None:
        """Three failures in a row raise a warning with the last reason."""
        assert self.look(tmp_path, {}, failed=2) == {}
        assert "out of memory" in self.look(tmp_path, {}, failed=3)["trainer_failing"]

    def test_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Little free space, or a folder that cannot be inspected, raises a warning."""
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
        assert "5 MiB free, expected 6 MiB" in self.look(tmp_path, {}, min_free_bytes=6 << 20)["disk_nearly_full"]
        monkeypatch.undo()
        assert "is unknown" in self.look(tmp_path / "gone", {})["disk_nearly_full"]


def test_failures_in_a_row(tmp_path: Path) -> None:
    """Failed trainings in a row are counted."""
    bench = Bench(tmp_path, MemoryLog({"0": []}), command=("false",))
    for expected in (1, 2):
        bench.trainer.start()
        while bench.trainer.poll() is None:
            pass
        assert bench.trainer.trainings.failed_in_a_row == expected


def test_progress_of_a_restore() -> None:
    """Progress is the mean share over all partitions; a restored partition counts as complete."""

    def steps(positions: list[int]):
        yield from positions
        return SimpleNamespace()

    restoring = RestoreQueue()
    restoring.begin("a", 100, steps([0, 50]))
    restoring.begin("b", 10, steps([0]))
    seen = [restoring.done]
    while restoring:
        restoring.step()
        seen.append(restoring.done)

    assert seen == [0.0, 0.0, 0.0, 0.25, 0.75, 1.0]
