"""The check of seasons at every training: its result for a history, and where the result is reported."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from parts import MODEL, Bench, config_of, event
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from forecaster import History, ModelConfig, detect_seasons
from service.cli import main
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
from service.registry.decisions import Decision
from service.registry.models import Registry
from service.trainer.job import retrain
from service.trainer.season_check import Seasons, check_seasons
from service.trainer.supervisor import Outcome, Trainer
from service.transport.memory import MemoryLog

HOUR = 3_600_000


def history(days: int, *, day: float = 0.0, week: float = 0.0, series: int = 2, hole: int = 0) -> History:
    """Returns hourly noise with a day and a week of these amplitudes, interleaved; every `hole`-th event is lost."""
    steps = 24 * days
    t = np.arange(steps)
    wave = day * np.sin(2 * np.pi * t / 24) + week * np.sign(np.sin(2 * np.pi * t / 168))
    value = wave[:, None] + np.random.default_rng(0).normal(size=(steps, series))
    which: NDArray[np.int64] = np.tile(np.arange(series), steps)
    keep = np.arange(steps * series) % hole > 0 if hole else np.ones(steps * series, np.bool_)
    none = np.zeros((int(keep.sum()), 0), np.float32)
    return History(
        which[keep], (np.repeat(t, series) * HOUR)[keep], value.ravel().astype(np.float32)[keep], none,
        {number: f"s{number}" for number in range(series)}, dict.fromkeys(range(series), HOUR),
    )  # fmt: skip


def asked(found: History, *seasons: int, interval_ms: int = 0) -> Seasons:
    """Returns the check's result for a network with these seasons."""
    return check_seasons(found, ModelConfig(seasons=seasons, interval_ms=interval_ms))


class TestLook:
    """Results of the check."""

    def test_shows_what_the_network_lacks(self) -> None:
        """A day and a week are shown, whether the network has none, one or both, also with lost events."""
        for found in (history(80, day=3.0, week=3.0), history(80, day=3.0, week=3.0, hole=7)):
            assert asked(found) == Seasons((), (24, 168), (24, 168))
            assert asked(found, 24).differ == (168,)
            assert asked(found, 24, 168).differ == ()

    def test_rules_out_what_is_not_there(self) -> None:
        """A long history of noise shows no season; one with a day only shows the day."""
        assert asked(history(80), 24, 168) == Seasons((24, 168), (), ())
        assert asked(history(80, day=3.0), 24, 168) == Seasons((24, 168), (24,), (24,))

    def test_says_nothing_too_early(self) -> None:
        """Before seven cycles a season is neither missed nor ruled out."""
        found = history(6, day=3.0)
        assert asked(found).differ == asked(found, 24, 168).differ == ()
        assert asked(history(20, day=3.0), 24, 168) == Seasons((24, 168), (24,), (24, 168))

    def test_leaves_other_lengths_alone(self) -> None:
        """A season of five steps is kept; of more than three seasons, the shown ones take precedence."""
        assert asked(history(80, day=3.0), 5) == Seasons((5,), (24,), (5, 24))
        assert asked(history(80, day=3.0, week=3.0), 5, 7, 11).wanted == (5, 24, 168)

    def test_intervals(self) -> None:
        """The configured interval is used, else that of most series; without either no season is checked."""
        found = history(80, day=3.0)
        assert asked(found, interval_ms=HOUR).shown == (24,)
        assert asked(replace(found, intervals={0: HOUR, 1: 7000})).shown == (24,)
        nothing = History(found.series, found.timestamp_ms, found.value, found.covariates)
        assert asked(nothing, 24) == Seasons((24,), (), (24,))

    def test_many_series(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A history of many series is checked on some of them."""
        counts: list[int] = []

        def counted(grids: Any, *rest: Any, **more: Any) -> Any:
            counts.append(len(grids))
            return detect_seasons(grids, *rest, **more)

        monkeypatch.setattr("service.trainer.season_check.detect_seasons", counted)
        assert asked(history(20, day=3.0, series=100)).shown == (24,)
        assert max(counts) < 100


def test_words() -> None:
    """The description states the setting as a line of the configuration."""
    found = Seasons((24,), (24, 168), (24, 168))
    assert found.description() == (
        'the history clearly shows 24, 168, the network has 24: set model.seasons = [24, 168], or "auto", which lets '
        "trainings try them"
    )
    possible = Seasons((12, 288, 2016), (), (288, 2016))
    assert possible.description() == (
        "the history clearly shows none, the network has 12, 288, 2016 and may need 288, 2016: set model.seasons = "
        '[288, 2016], or "auto", which lets trainings try them'
    )
    assert Seasons().description() == "the history clearly shows none, the network has none"
    assert Seasons.of(json.loads(json.dumps(found.to_dict()))) == found
    assert Seasons.of(None) == Seasons.of({}) == Seasons()


def test_every_training_records_them(tmp_path: Path) -> None:
    """The decision records the seasons, the same job returns them again, and the command line shows them."""
    events = [event(step, value=math.sin(2 * math.pi * step / 60) + step % 3 / 9) for step in range(600)]
    train = {"k1": 8, "k2": 12, "batch": 8, "max_steps": 4, "evaluate_every": 4, "margin": -1.0}
    bench = Bench(tmp_path, MemoryLog({"0": list(events)}), {"train": train})
    bench.run()
    result = retrain(bench.config, bench.registry, bench.store, job="j")
    assert result.seasons == Seasons((), (60,), (60,))
    assert Seasons.of(bench.registry.decisions()[-1].seasons) == result.seasons
    assert retrain(bench.config, bench.registry, bench.store, job="j").seasons == result.seasons

    sets = [f"--set=model.{name}={json.dumps(value)}" for name, value in MODEL.items()]
    shown = CliRunner().invoke(main, ["models", "show", "--data-dir", str(tmp_path), *sets])
    assert "the network has none: set model.seasons = [60]" in shown.output
    text = CliRunner().invoke(main, ["models", "show", "--json", "--data-dir", str(tmp_path), *sets])
    assert json.loads(text.stdout)["decisions"][-1]["seasons"] == {"network": [], "shown": [60], "wanted": [60]}


def test_a_decision_of_before_says_nothing(tmp_path: Path) -> None:
    """Decisions recorded without seasons are read."""
    registry = Registry(tmp_path, SystemClock())
    registry.record(Decision("kept", "a" * 64))
    path = tmp_path / "decisions.jsonl"
    line = json.loads(path.read_text())
    del line["seasons"]
    path.write_text(json.dumps(line) + "\n")
    assert [decision.seasons for decision in Registry(tmp_path, SystemClock()).decisions()] == [{}]


@pytest.mark.parametrize("outcome", ["kept", "promoted"])
def test_it_is_reported_once(tmp_path: Path, outcome: str) -> None:
    """A changed result is logged once, and the metric always shows it; a failed training changes neither."""
    metrics = Metrics(CollectorRegistry())
    trainer = Trainer(config_of(tmp_path), metrics, SystemClock())
    day, fits = Seasons((), (24,), (24,)), Seasons((24,), (24,), (24,))
    lines, values = [], []
    for kind, seasons in (
        (outcome, fits), (outcome, day), (outcome, day), ("failed", Seasons()), (outcome, day), (outcome, fits)
    ):  # fmt: skip
        with capture_logs() as logs:
            trainer._end(Outcome(kind, "", "", {}, 1.0, seasons))
        lines.append([(line["log_level"], line["reason"][-3:]) for line in logs if line["event"] == "seasons checked"])
        values.append(metrics.registry.get_sample_value("forecaster_seasons_differ"))
    assert values == [0, 1, 1, 1, 1, 0]
    assert lines == [[], [("warning", "hem")], [], [], [], [("info", " 24")]]
