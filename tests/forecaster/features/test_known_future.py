"""Known future values: benefit, broadcasts, missing steps, training, paths, and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import Batch, BatchError, ConfigError, Forecaster, History, ModelConfig, Shadow, TrainConfig, rollout
from forecaster.evaluation.backtest import replayed
from forecaster.training.dataset import dataset

CONFIG = cases.STREAMING["elman-1-two-seasons-calendar-covariate"]  # covariate a; known future values p and a
MODEL = cases.rough_model(CONFIG)
H, STEP = CONFIG.horizon, cases.STEP_MS
NAN = np.nan


def said_and_written() -> tuple[Batch, Batch]:
    """Returns a stream with broadcasts, and the stream with their values written into every event."""
    rng = np.random.RandomState(0)
    broadcast: dict[int, tuple[int, NDArray[Any]]] = {}  # name -> time, values
    names, ts, said, written = [], [], [], []
    broadcasts = {0: [1, 0], 20: [1, 1], 21: [0, 1], 45: [1, 1]}
    for minute in range(60):
        moment = cases.T0 + minute * STEP
        if minute in broadcasts:
            # Broadcast times off the stream's own time and grid: before, at, and after the next event.
            at = moment + {0: 0, 20: 3 * STEP + 9000, 21: -2 * STEP, 45: 0}[minute]
            lists = rng.normal(size=(2, H))
            lists[:, 4:] = NAN
            lists[np.array(broadcasts[minute]) == 0] = NAN
            broadcast |= {name: (at, lists[name]) for name in (0, 1) if broadcasts[minute][name]}
            names.append("@all")
            ts.append(at)
            said.append(lists)
            written.append(np.full((2, H), NAN))
        for name in "abc":
            own = np.where(rng.rand(2, H) < 0.3, rng.normal(size=(2, H)), NAN)
            when = moment + rng.randint(-9000, 9000)
            filled = own.copy()
            for covariate, (at, known) in broadcast.items():
                for h in range(H):
                    place = h + round((when - at) / STEP)
                    if np.isnan(filled[covariate, h]) and 0 <= place < H:
                        filled[covariate, h] = known[place]
            names.append(name)
            ts.append(when)
            said.append(own)
            written.append(filled)
    n = len(names)
    columns = names, np.array(ts, np.int64), rng.normal(size=n), np.zeros((n, 1), np.float32)
    return Batch(*columns, np.array(said, np.float32)), Batch(*columns, np.array(written, np.float32))


class TestBroadcast:
    """A broadcast event carries known future values for all other series."""

    def test_as_if_every_event_had_brought_it(self, tmp_path: Path) -> None:
        """Broadcast values are shifted by event time, bit for bit, in any batches and saved and loaded in between."""
        said, written = said_and_written()
        others = np.array([i for i, name in enumerate(said.series) if name != "@all"])
        plain = Forecaster(MODEL)
        expected = plain.observe(written.taken(others)).quantiles
        whole = Forecaster(MODEL, broadcast="@all")
        assert whole.observe(said).quantiles[others].tobytes() == expected.tobytes()
        forecaster, found = Forecaster(MODEL, broadcast="@all"), []
        for start in range(0, len(said), 7):
            found.append(forecaster.observe(cases.part(said, start, start + 7)).quantiles)
            forecaster.save(tmp_path / "f")
            forecaster = Forecaster.load(tmp_path / "f")
        assert np.concatenate(found)[others].tobytes() == expected.tobytes()
        for each in (whole, forecaster):
            history = each.history().future
            assert history is not None
            assert history.tobytes() == written.taken(others).future.tobytes()  # type: ignore[union-attr]

    def test_a_model_on_trial_hears_it(self) -> None:
        """A shadow with the live weights, started midway, forecasts like the live model: its e-process stays zero."""
        said, _ = said_and_written()
        live = Forecaster(MODEL, broadcast="@all")
        live.observe(cases.part(said, 0, 70))
        shadow = Shadow.start(live, cases.rough_model(CONFIG), 10)
        for start in range(70, len(said), 9):
            batch = cases.part(said, start, start + 9)
            shadow.observe(batch, live.observe(batch))
        assert shadow.e_process.count > 0
        assert shadow.e_process.total == 0.0

    def test_needs_an_interval(self) -> None:
        """Broadcasts need a configured interval, which determines by how many steps the values are shifted."""
        config = replace(CONFIG, interval_ms=0)
        with pytest.raises(ConfigError, match="interval_ms"):
            Forecaster(config, broadcast="@all")


def test_known_future_values_stay_in_force_over_missing_steps() -> None:
    """A step without an event is learnt from with the rest of the last values; its statistics stay."""
    n = 12
    jumps = np.array([1, 1, 3, 1, 1, 2, 1, 1, 1, 1, 1])
    ts = cases.T0 + np.concatenate([[0], np.cumsum(jumps)]) * STEP
    future = np.random.RandomState(1).normal(size=(n, 2, H)).astype(np.float32)
    forecaster = Forecaster(MODEL)
    forecaster.observe(Batch(["a"] * n, ts, np.arange(n, dtype=float), np.zeros((n, 1), np.float32), future))
    data = dataset(forecaster.history(), MODEL.layout, 0.15)
    assert data.since.tolist() == [0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert (data.future_at // (2 * H)).tolist() == [0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11]
    assert data.future.tobytes() == future.tobytes()
    stats = forecaster._table.stats[0]
    np.testing.assert_array_equal(data.future_stats[-1], stats[-5:-1])
    np.testing.assert_array_equal(data.future_stats[3:5], data.future_stats[[2, 2]])


def test_history_is_learnt_from_as_it_was_kept() -> None:
    """A wrapped ring, a state and a merger of partitions keep each event's known future values."""
    batch = cases.stream(CONFIG, 300, series=3, seed=5)
    forecaster = Forecaster(MODEL, history_events=100)
    out = forecaster.observe(batch)
    kept = np.flatnonzero(out.status <= 1)[-100:]
    expected = batch.taken(kept).future
    assert expected is not None
    history = forecaster.history()
    of_state = History.of_state(forecaster.state(), forecaster.header(), 40)
    merged = History.merged([history, of_state])
    for found, wanted in ((history, expected), (of_state, expected[-40:]), (merged, [*expected, *expected[-40:]])):
        assert found.future is not None
        assert found.future.tobytes() == np.array(wanted).tobytes()
    again = replayed(history, cases.rough_model(CONFIG, 7), forecaster).history()
    assert again.future is not None
    assert again.future.tobytes() == expected.tobytes()


def promotions(steps: int, *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Returns demand with a season of 7, doubled by promotions of three to eight steps, and the promotions."""
    rng = np.random.default_rng(seed)
    on = np.zeros(steps + 64, np.float32)
    at = 0
    while at < steps:
        at += int(rng.integers(10, 40))
        length = int(rng.integers(3, 9))
        on[at : at + length] = 1.0
        at += length
    demand = 50 + 10 * np.sin(np.arange(steps) / 7 * 2 * np.pi) + rng.normal(size=steps)
    return demand * (1 + on[:steps]), on


def error(demand: NDArray[np.float64], on: NDArray[np.float32], *, known: bool) -> float:
    """Returns the mean absolute error of the medians over the last fifth, by a network trained on the rest."""
    n, cut = len(demand), len(demand) * 4 // 5
    future = np.full((n, 2, H), NAN, np.float32)
    if known:
        future[:, 0] = np.stack([on[1 + h : 1 + h + n] for h in range(H)], axis=1)
    stream = Batch(["a"] * n, np.arange(n) * STEP, demand, on[:n, None], future)
    learner = Forecaster(CONFIG)
    learner.observe(cases.part(stream, 0, cut))
    learner.fit(TrainConfig(max_steps=600, batch=16))
    medians = learner.observe(cases.part(stream, cut, n)).quantiles[:, :, CONFIG.quantiles.index(0.5)]
    origins = np.arange(n - cut - H)
    target = np.stack([demand[cut + 1 + h + origins] for h in range(H)], axis=1)
    return float(np.abs(medians[origins] - target).mean())


def test_a_known_promotion_is_forecast() -> None:
    """A promotion that doubles demand, known ahead, less than halves the error without this knowledge.

    Both networks see whether there is a promotion now. The noise alone costs about 1.
    """
    demand, on = promotions(1500, seed=3)
    with_it, without = error(demand, on, known=True), error(demand, on, known=False)
    assert with_it < without / 2, (with_it, without)


class TestPaths:
    """A path uses the known future values beyond its first step."""

    def paths(self, future: NDArray[Any] | None) -> NDArray[np.float32]:
        """Returns paths of a series with 40 observed events."""
        forecaster = Forecaster(MODEL)
        batch = cases.stream(CONFIG, 40, series=1, seed=2, rough=False)
        out = forecaster.observe(batch)
        covariates = np.zeros((5, 1), np.float32)
        return rollout(forecaster, "s0", out, 5, paths=8, seed=1, covariates=covariates, future=future)

    def test_the_rest_of_the_list_counts(self) -> None:
        """A known value of the fifth step changes the path from that step on only."""
        future = np.zeros((2, 9))
        other = future.copy()
        other[:, 4] = 3.0  # of the fifth step ahead
        one, two = self.paths(future), self.paths(other)
        assert one[:, :4].tobytes() == two[:, :4].tobytes()
        assert (one[:, 4] != two[:, 4]).all()
        assert self.paths(future[:, :0]).shape == (8, 5)  # nothing is known ahead

    def test_it_must_be_given(self) -> None:
        """A network with known future values rejects paths without them."""
        with pytest.raises(BatchError, match=r"future: got none, expected \(2, K\)"):
            self.paths(None)
        with pytest.raises(BatchError, match=r"future: got \(1, 6\), expected \(2, K\)"):
            self.paths(np.zeros((1, 6)))


class TestBounds:
    """Errors name what does not fit."""

    def test_of_the_configuration(self) -> None:
        """Names are distinct, and an event carries at most 4096 values."""
        with pytest.raises(ConfigError, match="different names, at most 170"):
            ModelConfig(future_covariates=("a", "a"))
        with pytest.raises(ConfigError, match="future_covariates"):
            ModelConfig(horizon=1024, future_covariates=tuple("abcde"))
        assert ModelConfig(horizon=1024, future_covariates=tuple("abcd")).to_dict()["future_covariates"] == list("abcd")

    def test_without_them_a_configuration_does_not_name_them(self) -> None:
        """A configuration without known future values omits the setting: earlier models and states keep their names."""
        assert "future_covariates" not in ModelConfig().to_dict()
        assert ModelConfig.from_dict(ModelConfig().to_dict()) == ModelConfig()
        assert ModelConfig.from_dict(CONFIG.to_dict()) == CONFIG

    def test_of_a_batch(self) -> None:
        """Errors give the shapes; no event of a rejected batch is counted."""
        forecaster, batch = Forecaster(MODEL), cases.stream(CONFIG, 3)
        with pytest.raises(BatchError, match="got no future, expected 2 x 6 per event: p, a"):
            forecaster.observe(replace(batch, future=None))
        with pytest.raises(BatchError, match=r"got future \(3, 2, 5\), expected \(3, 2, 6\): p, a"):
            forecaster.observe(replace(batch, future=np.zeros((3, 2, 5), np.float32)))
        assert forecaster.events_total == 0
        with pytest.raises(BatchError, match=r"got future \(3, 2, 6\), expected \(3, 0, 6\): none"):
            Forecaster(cases.GRU).observe(replace(batch, covariates=None))
