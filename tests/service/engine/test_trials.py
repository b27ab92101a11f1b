"""The training loop end to end: sabotaged trainers, challengers on live events, crashes during a trial, drift."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parts import MODEL, Bench, event

import service.trainer.job
from forecaster import Batch, Comparison, FitReport, Forecaster, Model, ModelConfig, TrainConfig
from service.registry.decisions import Decision
from service.trainer.job import retrain
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

CONFIG = ModelConfig(**MODEL | {"quantiles": (0.1, 0.5, 0.9)})
EVENTS = [event(step, series) for step in range(450) for series in "ab"]
TRAIN = {"k1": 8, "k2": 12, "batch": 8, "max_steps": 8, "evaluate_every": 4}
TRIAL = {"first_after_events": 200, "shadow": 400, "check_events": 20, "shadow_series": 10}


@pytest.fixture(scope="module")
def trained() -> FitReport:
    """A model trained on the wave."""
    steps = np.repeat(np.arange(400), 2)
    values = (steps % 7) + 0.25 * (steps % 3)
    forecaster = Forecaster(CONFIG)
    forecaster.observe(Batch(["a", "b"] * 400, 1_700_000_000_000 + steps * 60_000, values))
    return forecaster.fit(TrainConfig(**TRAIN | {"max_steps": 150, "learning_rate": 0.01, "passes": 100.0}))


def bench_of(
    folder: Path,
    trainer: Callable[..., FitReport],
    monkeypatch: pytest.MonkeyPatch,
    *,
    events: list[bytes | Script] | None = None,
    champion: Model | None = None,
    log: MemoryLog | None = None,
    **sections: dict[str, Any],
) -> Bench:
    """Returns an engine whose trainings run in the test's process, with `trainer` in place of `fit`."""
    bench = Bench(folder, log or MemoryLog({"0": EVENTS if events is None else events}), {"train": TRAIN, **sections})

    def fit_from(history: Any, champion: Model, start: str, *rest: Any) -> FitReport:
        return trainer(history, champion.config if start == "cold" else champion, *rest)

    monkeypatch.setattr(service.trainer.job, "fit_from", fit_from)

    def start(*_: Any, champion: str | None = None, job: str = "", start: str = "") -> bool:
        retrain(bench.config, bench.registry, bench.store, champion=champion, job=job, start=start)
        return True

    monkeypatch.setattr(bench.trainer, "start", start)
    if champion is not None and bench.registry.champion() is None:
        bench.registry.add(champion)
        bench.registry.record(Decision("initial", champion.sha256))
    return bench


class Saboteur:
    """A trainer that returns unusable weights, of another kind every time."""

    def __init__(self, good: FitReport) -> None:
        self.good, self.calls = good, 0

    def __call__(self, history: object, start: Model, *_: object) -> FitReport:
        """Returns bad weights, different at every call."""
        self.calls += 1
        rng, best = np.random.default_rng(self.calls), self.good.model.params
        params = {
            0: best + rng.normal(0.0, 2.0, best.shape),
            1: best,
            2: best * 1e20 * (1 + self.calls),
            3: Model.initial(replace(CONFIG, seed=self.calls)).params,  # stale: untrained
            4: best.copy(),  # stale: the champion itself
        }[self.calls % 5]
        report = replace(self.good, model=Model(CONFIG, params.astype(np.float32)))
        if self.calls % 5 == 1:
            if self.calls % 2:  # raises, as in a trainer of this package
                Model(CONFIG, np.full_like(best, np.nan))
            report.model.params.setflags(write=True)
            report.model.params[::7] = np.nan  # as a trainer that bypasses the check
        return report


class TestSabotage:
    """A trainer that only returns bad weights."""

    def test_held_out(self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """100 trainings with worse, NaN, huge or stale weights are all rejected, and no output byte changes."""
        plain = bench_of(tmp_path / "plain", Saboteur(trained), monkeypatch, champion=trained.model)
        plain.run()
        rules = {"first_after_events": 200, "every_events": 7}
        bench = bench_of(tmp_path / "bad", Saboteur(trained), monkeypatch, champion=trained.model, retrain=rules)
        bench.run()
        decisions = bench.registry.decisions()[1:]

        assert len(decisions) >= 100
        assert {decision.action for decision in decisions} == {"kept", "failed"}
        assert bench.registry.champion() == trained.model.sha256
        assert bench.log.forecasts("0") == plain.log.forecasts("0")

    def test_live(self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """The trial on live events rejects weights that pass the held-out comparison; no output byte changes."""
        plain = bench_of(tmp_path / "plain", Saboteur(trained), monkeypatch, champion=trained.model)
        plain.run()
        fooled = Comparison(True, 1.0, 0.5, 1.0, 0.0, 9, "fooled")
        monkeypatch.setattr(service.trainer.job, "challenge", lambda _, report, *__: (report.model, fooled))
        rules = TRIAL | {"every_events": 20, "shadow": 120}
        bench = bench_of(tmp_path / "bad", Saboteur(trained), monkeypatch, champion=trained.model, retrain=rules)
        bench.run()
        verdicts = [d for d in bench.registry.decisions()[1:] if d.action not in {"shadow", "failed"}]

        assert len(verdicts) >= 5
        assert {verdict.action for verdict in verdicts} == {"kept"}
        assert bench.log.forecasts("0") == plain.log.forecasts("0")


class TestTrial:
    """Challengers that are better, and ones that only seem better."""

    def test_promoted_then_confirmed(self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """A challenger that is better live is promoted at a recorded position, and confirmed against the old model."""
        bench = bench_of(tmp_path, lambda *_: trained, monkeypatch, retrain=TRIAL)
        bench.run()
        decisions = bench.registry.decisions()
        adopted = [unit.adoption for unit in bench.log.units if unit.adoption]

        assert [decision.action for decision in decisions] == ["initial", "shadow", "promoted", "confirmed"]
        promoted = decisions[2]
        assert adopted[1].position == promoted.figures["position"]
        assert adopted[1].model_sha256 == trained.model.sha256 == bench.registry.champion()
        assert promoted.figures["shadow_better"] >= 20
        assert "e-value" in promoted.reason
        assert bench.sample("shadow_verdicts_total", verdict="promoted") == 1

    def test_old_one_comes_back(self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """A promoted model that is worse than its predecessor on live events is rolled back automatically."""
        bad = replace(trained, model=Model.initial(replace(CONFIG, seed=5)))
        bad = replace(bad, model=Model(CONFIG, bad.model.params * 3))
        fooled = Comparison(True, 1.0, 0.5, 1.0, 0.0, 9, "fooled")
        monkeypatch.setattr(service.trainer.job, "challenge", lambda _, report, *__: (report.model, fooled))
        settings = TRIAL | {"shadow_alpha": 0.05}
        bench = bench_of(tmp_path, lambda *_: bad, monkeypatch, champion=trained.model, retrain=settings)
        registry, check = bench.registry, bench.engine._groups[""].trials.check
        promoted = []

        def bribed(partition: Any, partitions: Any) -> None:
            """Forces the first verdict."""
            if partition.shadow is not None and not partition.guard and not promoted:
                promoted.append(partition.position)
                registry.record(Decision("promoted", bad.model.sha256, trained.model.sha256))
                bench.engine._groups[""].champion.refresh()
            check(partition, partitions)

        monkeypatch.setattr(bench.engine._groups[""].trials, "check", bribed)
        bench.run()

        assert [d.action for d in registry.decisions()] == ["initial", "shadow", "promoted", "restored"]
        assert registry.champion() == trained.model.sha256
        assert [u.adoption.model_sha256 for u in bench.log.units if u.adoption][-1] == trained.model.sha256

    def test_by_hand(self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """A manual promotion ends any trial, and a rollback returns to the champion before the promotion."""
        bench = bench_of(tmp_path, lambda *_: trained, monkeypatch, retrain=TRIAL, events=EVENTS[:260])
        bench.run()
        registry = bench.registry
        initial = registry.champion()
        assert registry.standing().challenger == trained.model.sha256

        registry.promote(trained.model.sha256)
        assert registry.standing().challenger == ""
        assert registry.rollback() == initial

    CRASHES = (
        [(201, ABORT_PUBLISHED), (219, ABORT_PUBLISH), (260, ABORT_POLL)],
        [(at, ABORT_PUBLISHED) for at in range(190, 700, 30)],
        [(at, ABORT_PUBLISH) for at in range(200, 700, 40)],
    )

    @pytest.mark.parametrize("marks", CRASHES)
    def test_crashes(
        self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch, marks: list[tuple[int, Script]]
    ) -> None:
        """Crashes during a trial, at its verdict or after its promotion change neither bytes nor decisions."""
        rules = TRIAL | {"drift": True, "drift_cooldown": 100}
        straight = bench_of(tmp_path / "straight", lambda *_: trained, monkeypatch, retrain=rules)
        straight.run()
        script: list[bytes | Script] = list(EVENTS)
        for at, what in sorted(marks, key=lambda mark: -mark[0]):
            script.insert(at, what)
        crashed = bench_of(
            tmp_path / "crashed", lambda *_: trained, monkeypatch, retrain=rules, events=script,
            input={"max_poll_records": 7},
        )  # fmt: skip
        crashed.run()

        assert crashed.log.forecasts("0") == straight.log.forecasts("0")
        facts = [[(d.action, d.model, d.figures) for d in b.registry.decisions()] for b in (straight, crashed)]
        assert facts[0] == facts[1]
        assert len(facts[0]) == 4

    @pytest.mark.parametrize("at", [230, 277, 470])
    def test_restart_from_a_snapshot(
        self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        """A trial that is in a snapshot continues from the snapshot, without a replay."""
        straight = bench_of(tmp_path / "straight", lambda *_: trained, monkeypatch, retrain=TRIAL)
        straight.run()
        first = bench_of(tmp_path / "two", lambda *_: trained, monkeypatch, retrain=TRIAL, events=EVENTS[:at])
        first.run()
        log = MemoryLog({"0": EVENTS}, units=first.log.units)
        second = bench_of(tmp_path / "two", lambda *_: trained, monkeypatch, retrain=TRIAL, log=log)
        second.run()

        assert second.sample("replayed_events_total") == 0
        assert second.log.forecasts("0") == straight.log.forecasts("0")
        facts = [[(d.action, d.model, d.figures) for d in b.registry.decisions()] for b in (straight, second)]
        assert facts[0] == facts[1]


def test_never_judged_by_a_part(tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a partition is restored the others are served, and no trial is decided without that partition."""
    log = MemoryLog({"0": EVENTS[:230], "1": EVENTS[:110]})
    sections = {"input": {"max_poll_records": 7}}
    bench_of(
        tmp_path, lambda *_: trained, monkeypatch, retrain=TRIAL | {"shadow_alpha": 1e-9}, log=log, **sections
    ).run()
    shutil.rmtree(tmp_path / "snapshots" / "0")  # so that this partition is replayed, and the other is not
    log.script = {"0": EVENTS, "1": EVENTS}
    bench = bench_of(tmp_path, lambda *_: trained, monkeypatch, retrain=TRIAL, log=log, **sections)
    check, seen, looks = bench.engine._groups[""].trials.check, list[int](), list[int]()

    def noted(partition: Any, partitions: Any) -> None:
        if partition.shadow is not None:
            seen.append(len(partitions))
        check(partition, partitions)

    plain = bench.engine._process

    def process(session: Any, partitions: Any, batch: Any) -> bool:
        going_on = plain(session, partitions, batch)
        if batch.partition.shadow is not None and batch.partition.at_check:
            looks.append(len(partitions.served))
        return going_on

    monkeypatch.setattr(bench.engine._groups[""].trials, "check", noted)
    monkeypatch.setattr(bench.engine, "_process", process)
    bench.run()

    assert 1 in looks  # a check of one with a trial was due while the other was restored
    assert set(seen) == {2}
    assert "promoted" in {decision.action for decision in bench.registry.decisions()}


class TestDrift:
    """Trainings that are due because forecasts have become worse."""

    def test_trains(self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """A change of the stream triggers a training, cold if configured so; a calm stream triggers none."""
        rng, wanted = np.random.default_rng(1), []
        noise = rng.normal(size=450)
        calm = [event(step, series, 20 + float(noise[step])) for step in range(450) for series in "ab"]
        noise[300:] *= 6
        changed = [event(step, series, 20 + float(noise[step])) for step in range(450) for series in "ab"]

        def keep(history: object, start: Model | ModelConfig, *_: object) -> FitReport:
            wanted.append(type(start))
            return trained

        rules = {"drift": True, "drift_start": "cold", "drift_cooldown": 300, "check_events": 20}
        found = []
        for name, events in (("calm", calm), ("changed", changed)):
            bench = bench_of(tmp_path / name, keep, monkeypatch, events=list(events), retrain=rules)
            bench.run()
            found.append(bench.sample("training_triggers_total", cause="drift"))

        assert found[0] == 0
        assert found[1] >= 1
        assert set(wanted) == {ModelConfig}

    def test_followed(self, tmp_path: Path, trained: FitReport, monkeypatch: pytest.MonkeyPatch) -> None:
        """Further trainings follow that of an alarm at fixed distances in events, through crashes too."""
        noise = np.random.default_rng(1).normal(size=450)
        noise[200:212] += 30 * np.sin(np.arange(12))
        events = [event(step, series, 20 + float(noise[step])) for step in range(450) for series in "ab"]
        script: list[bytes | Script] = list(events)
        for at in (700, 560, 480):
            script.insert(at, ABORT_PUBLISHED)
        rules = {"drift": True, "drift_cooldown": 120, "check_events": 20, "drift_follow": 2, "drift_threshold": 20}
        found = []
        for name, lines in (("straight", list(events)), ("crashed", script)):
            bench = bench_of(tmp_path / name, lambda *_: trained, monkeypatch, events=lines, retrain=rules)
            due, fell_due = [], bench.engine._groups[""].training.on_training_due

            def noted(partition: Any, *rest: Any, due: Any = due, fell_due: Any = fell_due) -> None:
                due.append((partition.progress.events, partition.progress.cause, partition.progress.follow))
                fell_due(partition, *rest)

            monkeypatch.setattr(bench.engine._groups[""].training, "on_training_due", noted)
            bench.run()
            found.append(due)

        alarm = found[0][0][0]
        assert 400 < alarm <= 520
        assert found[0] == [(alarm + 120 * i, "drift", 2 - i) for i in range(3)]
        assert list(dict.fromkeys(found[1])) == found[0]
