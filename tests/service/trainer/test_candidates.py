"""Networks of another shape that a training tries: when, how they are chosen, and how they are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parts import TurnedClock, config_of

from forecaster import Batch, ConfigError, Forecaster, History, Model, ModelConfig, TrainConfig, challenge, compare, fit
from service.monitoring.metrics import Metrics
from service.partitions.schedule import Progress
from service.registry.decisions import Decision
from service.registry.models import Registry
from service.snapshots import file
from service.snapshots.store import SnapshotStore
from service.trainer.candidates import better_of, candidate
from service.trainer.job import retrain
from service.trainer.season_check import Seasons

HOUR = 3_600_000
SMALL: dict[str, Any] = {
    "hidden_size": 16, "head_size": 16, "horizon": 6, "quantiles": (0.1, 0.5, 0.9), "pretrained": False,
    "calendar": False,
}  # fmt: skip
TRAIN = TrainConfig(max_steps=60, evaluate_every=20, k1=16, k2=24, batch=8)
DAILY = Seasons((), (24,), (24,))


def days(count: int) -> History:
    """Hourly values of two series with a day that no smooth function continues, and noise."""
    shape, steps = np.random.default_rng(3).normal(size=24), 24 * count
    noise = np.random.default_rng(4).normal(size=(steps, 2)) * 0.05
    forecaster = Forecaster(ModelConfig(**SMALL), max_series=2, history_events=2 * steps)
    values = shape[np.arange(steps) % 24, None] + noise + [0.0, 5.0]
    names = ["a", "b"] * steps
    forecaster.observe(Batch(names, np.repeat(np.arange(steps) * HOUR, 2), values.reshape(-1)))
    return forecaster.history()


def test_when_seasons_are_tried(tmp_path: Path) -> None:
    """A list that is left to trainings is tried where the trainings before found the same, at powers of two of them."""
    registry = Registry(tmp_path / "models", TurnedClock())
    auto, fixed = config_of(tmp_path, model=SMALL | {"seasons": "auto"}), config_of(tmp_path, model=SMALL)
    listed = config_of(tmp_path, model=SMALL | {"seasons": [7]})
    model, tried = ModelConfig(**SMALL), []
    for _ in range(10):
        found = candidate(auto, registry, model, DAILY)
        tried.append(found is not None)
        assert found in (None, replace(model, seasons=(24,)))
        assert candidate(listed, registry, model, DAILY) is None
        registry.record(Decision("kept", "", seasons=DAILY.to_dict()))
    assert fixed.model.seasons == "auto"  # the default
    assert tried == [False, True, True, False, True, False, False, False, True, False]
    assert candidate(auto, registry, model, Seasons((), (), ())) is None
    assert candidate(auto, registry, model, Seasons((), (168,), (168,))) is None  # found for the first time


class TestComparison:
    """Challengers of another shape."""

    def test_seasons_that_are_there_win(self) -> None:
        """The network with the season is the better training, and is promoted over the one without."""
        history, model = days(40), Model.initial(ModelConfig(**SMALL))
        own = fit(history, model, TRAIN)
        found = better_of(own, replace(model.config, seasons=(24,)), model, history, TRAIN)
        assert found.model.config.seasons == (24,)
        chosen, verdict = challenge(own.model, found, history, TRAIN)
        assert verdict.promote
        assert chosen.config.seasons == (24,)
        assert verdict.challenger_loss < 0.8 * verdict.champion_loss

    def test_units_are_those_of_the_champion(self) -> None:
        """A network that forecasts "the last value stays" has the naive loss under every shape."""
        history, one = days(30), Model.initial(ModelConfig(**SMALL))
        losses = []
        for seasons in ((), (24,), (6, 24)):
            still = Model.initial(replace(one.config, seasons=seasons))
            views = still.layout.views(still.params.copy())
            flat = np.zeros(still.layout.n_params, np.float32)
            named = still.layout.views(flat)
            named["head.d"][1:3] = -1e4  # narrow increments: every quantile is the last value
            assert views.keys() == named.keys()
            verdict = compare(one, Model(still.config, flat), history, TRAIN)
            losses.append(verdict.challenger_loss / verdict.naive_loss)
        np.testing.assert_allclose(losses, 1.0, rtol=2e-3)

    @pytest.mark.parametrize("other", [{"horizon": 5}, {"quantiles": (0.2, 0.5)}])
    def test_other_outputs_are_refused(self, other: dict[str, Any]) -> None:
        """What consumers rely on is not changed by a comparison."""
        one = Model.initial(ModelConfig(**SMALL))
        with pytest.raises(ConfigError, match=next(iter(other))):
            compare(one, Model.initial(replace(one.config, **other)), days(5), TRAIN)


def test_too_little_history_for_the_other_shape() -> None:
    """A shape that cannot be trained leaves the training as it is."""
    history, model = days(12), Model.initial(ModelConfig(**SMALL))
    own = fit(history, model, TRAIN)
    impossible = replace(TRAIN, min_windows=100_000)
    assert better_of(own, replace(model.config, seasons=(24,)), model, history, impossible) is own


def test_a_training_promotes_other_seasons(tmp_path: Path) -> None:
    """The second training that finds a season promotes a network that has it, with the scores in the decision."""
    train = {"max_steps": 60, "evaluate_every": 20, "k1": 16, "k2": 24, "batch": 8}
    config = config_of(tmp_path, model=SMALL | {"seasons": "auto"}, train=train)
    registry = Registry(tmp_path / "models", TurnedClock())
    store = SnapshotStore(tmp_path / "snapshots", 3, Metrics())
    model = registry.begin(config.library_model())
    history = days(40)
    live = Forecaster(model, max_series=2, history_events=len(history))
    live.observe(
        Batch([history.names[serial] for serial in history.series.tolist()], history.timestamp_ms, history.value)
    )
    file.write(store.root, file.take("0", 1, live, Progress()), 3)
    first, second = (retrain(config, registry, store) for _ in range(2))

    assert registry.load(first.model).config.seasons == ()
    assert first.seasons.wanted == (24,)
    assert second.outcome == "promoted"
    assert registry.load(second.model).config.seasons == (24,)
    assert not second.seasons.differ
