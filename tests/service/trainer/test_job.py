"""One training, from snapshots to a recorded decision."""

from __future__ import annotations

import fcntl
import math
import threading
from pathlib import Path

import pytest
from parts import Bench, event

from service.config.sections import Config
from service.ports import Unit
from service.trainer.job import TrainingBusyError, retrain
from service.transport.memory import MemoryLog

TRAIN = {"k1": 8, "k2": 12, "batch": 8, "max_steps": 8, "evaluate_every": 4, "margin": -1.0}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A daemon that has processed two partitions and written snapshots."""
    events = {name: [event(step, series) for step in range(300) for series in name] for name in ("ab", "cd")}
    found = Bench(tmp_path, MemoryLog(events), {"train": TRAIN})
    found.run()
    return found


def with_margin(bench: Bench, margin: float) -> Config:
    """Returns the configuration with another margin."""
    values = bench.config.model_dump()
    return Config.model_validate(values | {"train": values["train"] | {"margin": margin}})


def test_promotes_what_is_better(bench: Bench) -> None:
    """A candidate better by the margin becomes champion; model, parent and figures are recorded."""
    before = bench.registry.champion()
    result = retrain(bench.config, bench.registry, bench.store)

    assert result.outcome == "promoted"
    assert bench.registry.champion() == result.model != before
    decision = bench.registry.decisions()[-1]
    assert (decision.action, decision.parent, decision.figures) == ("promoted", before, result.figures)
    assert {"champion_loss", "challenger_loss", "naive_loss", "gradient_norm"} <= set(result.figures)


def test_keeps_the_champion(bench: Bench) -> None:
    """A candidate that is not better by the margin is stored as a file and the champion stays."""
    before = bench.registry.champion()
    result = retrain(with_margin(bench, 0.99), bench.registry, bench.store)

    assert result.outcome == "kept"
    assert bench.registry.champion() == before
    assert result.model in {entry.sha256 for entry in bench.registry.entries()}
    assert bench.registry.decisions()[-1].action == "kept"


def test_learns_from_all_partitions(bench: Bench) -> None:
    """A training uses the histories of all partitions."""
    assert retrain(bench.config, bench.registry, bench.store).figures["series"] == 4


def test_repeatable(bench: Bench) -> None:
    """The same snapshots and champion give the same weights."""
    champion = bench.registry.champion()
    models = {retrain(bench.config, bench.registry, bench.store, champion=champion).model for _ in range(2)}

    assert len(models) == 1


def test_same_job_is_not_run_again(bench: Bench) -> None:
    """A training with a recorded decision is not run again, whatever has changed since."""
    first = retrain(bench.config, bench.registry, bench.store, job="j")
    again = retrain(with_margin(bench, 0.99), bench.registry, bench.store, job="j")

    assert again == first
    assert [decision.job for decision in bench.registry.decisions()].count("j") == 1


def test_never_twice_at_once(bench: Bench) -> None:
    """A training during another one is refused, and no decision is recorded."""
    before = bench.registry.decisions()
    with (bench.registry.folder / "train.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TrainingBusyError, match="another training is running"):
            retrain(bench.config, bench.registry, bench.store)

    assert bench.registry.decisions() == before


def test_no_snapshot(tmp_path: Path) -> None:
    """A training without snapshots has the outcome "failed" with the reason."""
    bench = Bench(tmp_path, MemoryLog({"0": []}))
    result = retrain(bench.config, bench.registry, bench.store)

    assert result.outcome == "failed"
    assert "no snapshot" in result.reason


@pytest.mark.parametrize("missing", [False, True])
def test_nothing_to_learn(tmp_path: Path, *, missing: bool) -> None:
    """Constant series, some without any value, have a recorded outcome of their own, which is no failure."""
    values = {"a": 5.0, "b": math.nan if missing else 7.0}
    events = [event(step, name, value) for step in range(200) for name, value in values.items()]
    bench = Bench(tmp_path, MemoryLog({"0": events}), {"train": TRAIN, "retrain": {"first_after_events": 300}})
    bench.run()
    result = retrain(bench.config, bench.registry, bench.store)

    assert (result.outcome, result.model) == ("nothing_to_learn", "")
    assert "none of 2 series has changed" in result.reason
    assert [decision.action for decision in bench.registry.decisions()][-2:] == ["nothing_to_learn"] * 2
    assert bench.sample("training_runs_total", outcome="nothing_to_learn") == 1
    assert bench.sample("training_runs_total", outcome="failed") == 0
    assert bench.trainer.trainings.failed_in_a_row == 0


def test_damaged_snapshot(bench: Bench) -> None:
    """A damaged snapshot is skipped for the one before."""
    bench.log.script = {name: [*script, event(300, name[0])] for name, script in bench.log.script.items()}
    Bench(bench.folder, bench.log, bench.sections).run()
    newest = max((bench.folder / "snapshots" / "ab").iterdir())
    newest.write_bytes(b"junk")

    assert retrain(bench.config, bench.registry, bench.store).figures["series"] == 4
    assert bench.sample("snapshots_refused_total", reason="damaged") == 1


def test_background(bench: Bench) -> None:
    """A training at run time does not stop the daemon, which adopts the promoted model and records the adoption."""
    events = {
        name: [*script, *[event(s, name[0]) for s in range(300, 340)]] for name, script in bench.log.script.items()
    }
    log = MemoryLog(events, units=bench.log.units, ends=False)
    running = Bench(bench.folder, log, bench.sections)
    running.trainer.request()
    before = running.registry.champion()

    def end_after_adoption(unit: Unit) -> None:
        if unit.adoption and unit.adoption.model_sha256 != before:
            running.stop.set()

    running.on_unit = end_after_adoption
    feed(running, before)
    adopted = [unit.adoption.model_sha256 for unit in log.units if unit.adoption]

    assert adopted[-1] == running.registry.champion() != before
    assert running.sample("training_runs_total", outcome="promoted") == 1


def feed(bench: Bench, before: str | None) -> None:
    """Runs the engine; once the champion has changed, adds events until the engine stops."""

    def more() -> None:
        step = 400
        for _ in range(2000):
            if bench.stop.wait(0.05):
                return
            if bench.registry.champion() != before:
                log = bench.log
                log.script = {name: [*script, event(step, name[0])] for name, script in log.script.items()}
                step += 1
        bench.stop.set()

    thread = threading.Thread(target=more)
    thread.start()
    bench.run()
    thread.join()
