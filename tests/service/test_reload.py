"""Settings that change at run time, from the file to the engine, and their state after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts import Bench, config_of, event
from prometheus_client import CollectorRegistry

from service.config.load import load_config
from service.config.sections import Config
from service.file_watcher import FileWatcher
from service.monitoring.metrics import Metrics
from service.ports import Unit
from service.reload import LIVE, ReloadableConfig, changes, is_live
from service.transport.memory import MemoryLog


class Watched:
    """A watched live configuration, and the settings that it reported."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "c.toml"
        self.path.write_text(text)
        self.reported: list[Config] = []
        self.waiting: list[list[str]] = []
        self.live = ReloadableConfig(
            load_config(self.path), self.path, {"model.horizon": 5}, self.reported.append, self.waiting.append
        )
        self.metrics = Metrics(CollectorRegistry())
        self.watch = FileWatcher(self.metrics, _Clock())
        self.watch.add("config", self.live.files, self.live.reload)

    def rewrite(self, text: str) -> None:
        """Rewrites the file and checks it."""
        self.path.write_text(text)
        self.watch.check()

    def sample(self, name: str, **labels: str) -> float | None:
        """Returns a metric's value."""
        return self.metrics.registry.get_sample_value(f"forecaster_{name}", labels)


class _Clock:
    def wall_ms(self) -> int:
        return 7000

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError


def test_a_changed_file(tmp_path: Path) -> None:
    """Changed live keys are reported at once, other changed keys by name; an unchanged file is not reported."""
    found = Watched(tmp_path, "[model]\nhorizon = 5\n")
    found.watch.check()
    assert found.reported == []

    found.rewrite('[model]\nhorizon = 9\nhidden_size = 64\n[log]\nlevel = "error"\n[anomaly]\nthreshold = 0.99\n')

    assert [config.log.level for config in found.reported] == ["error"]
    assert found.reported[0].anomaly.threshold == 0.99
    assert found.reported[0].model.hidden_size == 48
    assert found.waiting == [["model.hidden_size"]]  # a flag sets the horizon and overrides the file, as at the start
    assert found.sample("config_reloads_total", file="config", outcome="done") == 1


def test_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    """A bad file is counted, the metric shows it until a good one is read, and the settings stay."""
    found = Watched(tmp_path, "[model]\nhorizon = 5\n")
    for bad in ("[log]\nlevel = 7\n", "half a li", "[anomaly]\nthreshold = 7.0\n"):
        found.rewrite(bad)
        assert found.sample("config_last_reload_successful", file="config") == 0
        assert found.reported == []
    found.path.unlink()
    found.watch.check()
    found.rewrite('[log]\nlevel = "debug"\n')

    assert found.sample("config_last_reload_successful", file="config") == 1
    assert found.sample("config_reloads_total", file="config", outcome="refused") == 4
    assert found.reported[0].log.level == "debug"


def test_a_signal_reads_again(tmp_path: Path) -> None:
    """A forced check reloads an unchanged file."""
    found = Watched(tmp_path, "[log]\nlevel = 'info'\n")
    found.watch.check(forced=True)

    assert found.sample("config_reloads_total", file="config", outcome="done") == 1


def test_the_thread_looks(tmp_path: Path) -> None:
    """A wake makes the thread check the files; the thread ends with the block."""
    import threading

    done = threading.Event()
    watch = FileWatcher(Metrics(CollectorRegistry()), _Clock())
    watch.add("web", lambda: [tmp_path / "w"], done.set)
    with watch:
        watch.wake()
        assert done.wait(60)


def test_the_list_names_keys_that_exist() -> None:
    """The list of live keys has existing keys only, and none of the network."""
    keys = {
        f"{section}.{key}"
        for section, field in Config.model_fields.items()
        for key in getattr(field.annotation, "model_fields", ())
    }
    for live in LIVE:
        assert any(key == live or (live.endswith(".") and key.startswith(live)) for key in keys), live
    assert not any(is_live(key) for key in keys if key.startswith(("model.", "input.", "output.", "kafka.", "http.")))


def test_differences_are_found(tmp_path: Path) -> None:
    """Differences are found by section and key."""
    one, two = config_of(tmp_path), config_of(tmp_path, log={"level": "error"}, retrain={"nice": 3})
    assert changes(one, two) == {"log.level": "error", "retrain.nice": 3}
    three = config_of(tmp_path, group=[{"name": "a", "match": ["*"]}])
    assert changes(one, three) == {"group": three.group}
    assert not is_live("group")


# In the engine ------------------------------------------------------------------------------------------------


def script(n: int = 120) -> list[bytes]:
    """Returns a wave with spikes, some of which are flagged."""
    return [event(step, value=(step % 7) + (60.0 if step % 23 == 22 else 0.0)) for step in range(n)]


STRICT: dict[str, Any] = {"threshold": 0.5, "clear": 0.3, "quiet_events": 2, "per_day": 100}
LOOSE: dict[str, Any] = {"threshold": 0.9999, "clear": 0.9, "quiet_events": 30, "per_day": 1}


def bench(folder: Path, log: MemoryLog, anomaly: dict[str, Any]) -> Bench:
    """Returns an engine with batches of ten and no periodic snapshots."""
    sections = {"input": {"max_poll_records": 10}, "state": {"snapshot_every": 1e6}, "anomaly": anomaly}
    return Bench(folder, log, sections)


def forecasts(log: MemoryLog) -> list[bytes]:
    """Returns the committed forecasts in order."""
    return [forecast for unit in log.units for forecast in unit.forecasts]


def run_changing(folder: Path, log: MemoryLog, at: int, stop_at: int | None = None) -> Bench:
    """Runs from loose to strict rules after position `at`; is killed at `stop_at` without a last snapshot."""
    found = bench(folder, log, LOOSE)
    strict = bench(folder, log, STRICT).config

    def on_unit(unit: Unit) -> None:
        if unit.next_position == at:
            found.engine.configure(strict)
        if stop_at is not None and unit.next_position == stop_at:
            raise KeyboardInterrupt

    found.on_unit = on_unit
    if stop_at is None:
        found.run()
    else:
        with pytest.raises(KeyboardInterrupt):
            found.run()
    return found


def test_rules_change_between_two_batches(tmp_path: Path) -> None:
    """New rules apply after the change, earlier forecasts stay, and a snapshot is written at the change."""
    changed, plain = MemoryLog({"0": script()}), MemoryLog({"0": script()})
    run_changing(tmp_path / "a", changed, 60)
    bench(tmp_path / "b", plain, LOOSE).run()

    assert forecasts(changed)[:60] == forecasts(plain)[:60]
    assert forecasts(changed)[60:] != forecasts(plain)[60:]
    assert [path.name for path in (tmp_path / "a" / "snapshots" / "0").glob(f"{60:020d}*")]


@pytest.mark.parametrize("stop_at", [60, 70, 110])
def test_a_crash_behind_the_change(tmp_path: Path, stop_at: int) -> None:
    """A daemon killed at or after the change, with stored flags, publishes as one never killed."""
    quiet, killed = MemoryLog({"0": script()}), MemoryLog({"0": script()})
    run_changing(tmp_path / "a", quiet, 60)
    run_changing(tmp_path / "b", killed, 60, stop_at=stop_at)
    bench(tmp_path / "b", killed, STRICT).run()

    assert forecasts(killed) == forecasts(quiet)


def test_a_change_while_it_was_down(tmp_path: Path) -> None:
    """After a restart with other rules, the replay uses the old rules and later events the new ones."""
    quiet, killed = MemoryLog({"0": script()}), MemoryLog({"0": script()})
    run_changing(tmp_path / "a", quiet, 60)
    run_changing(tmp_path / "b", killed, 10_000, stop_at=60)
    bench(tmp_path / "b", killed, STRICT).run()

    assert forecasts(killed) == forecasts(quiet)


def test_no_snapshot_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the snapshot cannot be written the old rules stay in force."""
    log, plain = MemoryLog({"0": script()}), MemoryLog({"0": script()})
    bench(tmp_path / "b", plain, LOOSE).run()
    from service.snapshots.writer import SnapshotWriter

    monkeypatch.setattr(SnapshotWriter, "write_now", lambda *_: False)
    run_changing(tmp_path / "a", log, 60)

    assert forecasts(log) == forecasts(plain)


def test_the_schedule_changes(tmp_path: Path) -> None:
    """Trainings fall due by the new schedule from the next batch on."""
    log = MemoryLog({"0": script()})
    found = bench(tmp_path, log, LOOSE)
    other = Bench(tmp_path, log, found.sections | {"retrain": {"every_events": 45, "wait": "false"}}).config
    found.on_unit = lambda unit: found.engine.configure(other) if unit.next_position == 50 else None
    found.trainer.start = lambda *_, **__: True
    found.run()

    assert found.sample("training_triggers_total", cause="schedule") == 1  # at 90; 45 lies before the change
