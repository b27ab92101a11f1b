"""Networks of another shape that a training tries: when, how they are chosen, and how they are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import TurnedClock, config_of

from forecaster import Batch, ConfigError, Forecaster, History, Model, ModelConfig, TrainConfig, challenge, compare, fit
from service.config.sections import Config
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
from service.partitions.schedule import Progress
from service.registry.decisions import Decision, searchable
from service.registry.models import Registry
from service.snapshots import file
from service.snapshots.store import SnapshotStore
from service.trainer.candidates import better_of, neighbours, next_neighbour, other_seasons, time_guard
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
        found = other_seasons(auto, registry, model, DAILY)
        tried.append(found is not None)
        assert found in (None, replace(model, seasons=(24,)))
        assert other_seasons(listed, registry, model, DAILY) is None
        registry.record(Decision("kept", "", seasons=DAILY.to_dict()))
    assert fixed.model.seasons == "auto"  # the default
    assert tried == [False, True, True, False, True, False, False, False, True, False]
    assert other_seasons(auto, registry, model, Seasons((), (), ())) is None
    assert other_seasons(auto, registry, model, Seasons((), (168,), (168,))) is None  # found for the first time


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


def snapshot(folder: Path, history: History, **sections: Any) -> tuple[Config, Registry, SnapshotStore]:
    """A configuration, its registry with a first champion, and snapshots with a history."""
    train = {"max_steps": 60, "evaluate_every": 20, "k1": 16, "k2": 24, "batch": 8}
    config = config_of(folder, train=train, **sections)
    registry = Registry(folder / "models", TurnedClock())
    store = SnapshotStore(folder / "snapshots", 3, Metrics())
    live = Forecaster(registry.begin(config.library_model()), max_series=2, history_events=len(history))
    live.observe(
        Batch([history.names[serial] for serial in history.series.tolist()], history.timestamp_ms, history.value)
    )
    file.write(store.root, file.take("0", 1, live, Progress()), 3)
    return config, registry, store


ALL = ("head", "hidden_size", "calendar", "layers")
NETWORKS = st.builds(
    ModelConfig, hidden_size=st.integers(1, 20).map(lambda n: 16 * n), layers=st.integers(1, 3),
    cell=st.sampled_from(["gru", "none"]), head=st.sampled_from(["direct", "decoder"]), calendar=st.just(True),
    holidays=st.sampled_from(["", "DE"]),
)  # fmt: skip


class TestSearch:
    """`retrain.search`: which neighbours of the champion are tried, and when."""

    @given(model=NETWORKS, search=st.permutations(ALL))
    def test_neighbours(self, model: ModelConfig, search: list[str]) -> None:
        """Each differs in one searched setting, in the order of the list, and keeps what consumers rely on."""
        found, own = neighbours(search, model), searchable(model)
        changes = [[name for name, value in searchable(one).items() if value != own[name]] for one in found]
        assert all(len(names) == 1 for names in changes)
        assert [search.index(names[0]) for names in changes] == sorted(search.index(names[0]) for names in changes)
        assert len({str(searchable(one)) for one in found}) == len(found)
        for one, (name,) in zip(found, changes, strict=True):
            assert replace(one, **{name: own[name]}) == model
            assert name != "hidden_size" or 32 <= one.hidden_size <= 128
            assert name != "layers" or one.layers <= 2 or one.layers < model.layers
        assert not neighbours((), model)

    @settings(max_examples=30)
    @given(
        search=st.lists(st.sampled_from(ALL), unique=True),
        between=st.lists(st.integers(0, 2), min_size=90, max_size=90),
    )
    def test_in_turn_and_ever_more_rarely(self, search: list[str], between: list[int]) -> None:
        """The first n trainings try every neighbour once; then each is tried again after n, 2 n, 4 n ... trainings.

        Decisions that are not of trainings change nothing.
        """
        model, decisions, tried = ModelConfig(), list[Decision](), list[dict[str, Any]]()
        for others in between:
            found = next_neighbour(search, model, decisions)
            tried.append(searchable(found) if found else {})
            decisions.append(Decision("kept", "x", seasons=DAILY.to_dict(), tried=tried[-1]))
            decisions += [Decision("promote", "x"), Decision("failed", "")][:others]
        expected = [searchable(one) for one in neighbours(search, model)]
        n = len(expected)
        assert tried[:n] == expected
        for one in expected:
            at = [i for i, other in enumerate(tried) if other == one]
            gaps = np.diff(at).tolist()
            assert all(gap >= n << i for i, gap in enumerate(gaps))
            assert len(at) >= 3

    def test_the_order_goes_on_after_a_promotion(self) -> None:
        """From the promoted network on, the former shape is a neighbour like others, and is tried in its turn."""
        decisions = [Decision("promoted", "x", seasons=DAILY.to_dict(), tried=searchable(ModelConfig(head="decoder")))]
        found = next_neighbour(["head", "layers"], ModelConfig(head="decoder"), decisions)
        assert found == ModelConfig()

    def test_time(self) -> None:
        """No other shape is begun in the last three fifths of the deadline, and one is given up before its end."""
        for passed, has_time in ((0.0, True), (40.0, True), (41.0, False)):
            assert time_guard(lambda passed=passed: passed, 100.0)[0] == has_time  # type: ignore[misc]
        history, model, now = days(12), Model.initial(ModelConfig(**SMALL)), 0.0
        own = fit(history, model, TRAIN)
        _, check = time_guard(lambda: now, 100.0)
        shape = replace(model.config, calendar=True)
        in_time = better_of(replace(own, validation_loss=1e9), shape, model, history, TRAIN, check)
        now = 81.0
        too_late = better_of(replace(own, validation_loss=1e9), shape, model, history, TRAIN, check)
        assert in_time.model.config == shape
        assert too_late.model.config == model.config


def test_a_training_promotes_other_seasons(tmp_path: Path) -> None:
    """The second training that finds a season promotes a network that has it, with the scores in the decision."""
    config, registry, store = snapshot(tmp_path, days(40), model=SMALL | {"seasons": "auto"})
    first, second = (retrain(config, registry, store) for _ in range(2))

    assert registry.load(first.model).config.seasons == ()
    assert first.seasons.wanted == (24,)
    assert second.outcome == "promoted"
    assert registry.load(second.model).config.seasons == (24,)
    assert not second.seasons.differ


def test_a_training_promotes_a_neighbour(tmp_path: Path) -> None:
    """A calendar in which the day of the stream shows is found by the search, and recorded; repeats give the same."""
    model = SMALL | {"seasons": []}
    config, registry, store = snapshot(tmp_path, days(40), model=model, retrain={"search": ["calendar", "layers"]})
    begun = registry.champion()
    found = [retrain(config, registry, store, champion=begun) for _ in range(2)]

    assert [one.tried["calendar"] for one in found] == [True, False]
    assert [one.tried["layers"] for one in found] == [1, 2]
    assert found[0].outcome == "promoted"
    assert registry.load(found[0].model).config == replace(config.library_model(), calendar=True)
    assert [one.tried for one in registry.decisions()] == [{}, *(one.tried for one in found)]
    again, others, kept = snapshot(tmp_path / "again", days(40), model=model, retrain={"search": ["calendar"]})
    assert retrain(again, others, kept).model == found[0].model
    short = again.model_copy(update={"retrain": again.retrain.model_copy(update={"deadline": 1e-6})})
    in_haste = retrain(short, Registry(others.folder, SystemClock()), kept)
    assert (in_haste.outcome in {"kept", "promoted"}, in_haste.tried) == (True, {})
