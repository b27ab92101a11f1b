"""The generated series behind the shipped weights, and the windows of their training."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from pretraining import dynamics, series, train


@pytest.mark.parametrize("seasons", [(), (7,), (24, 168), (6, 48, 336)])
def test_series_are_of_one_seed(seasons: tuple[int, ...]) -> None:
    """The same seed gives the same history; values are finite, and no two series are equal."""
    one, same = (series.history(np.random.default_rng(3), [400] * 30, seasons) for _ in range(2))
    ends = np.flatnonzero(np.diff(one.series)) + 1

    assert (one.value == same.value).all()
    assert np.isfinite(one.value).all()
    assert len({part[:40].tobytes() for part in np.split(one.value, ends)}) == 30


def test_kinds_are_there() -> None:
    """A few hundred series include counts with zeros, shares, missing and stuck values, heavy tails, random walks."""
    rng = np.random.default_rng(0)
    drawn = [series.one_series(rng, 500, (24,)) for _ in range(300)]
    seen = [y[np.isfinite(y)] for y in drawn]

    whole = [y for y in seen if (y == np.round(y)).all() and y.min() >= 0 and len(np.unique(y)) > 1]
    assert sum((y == 0).mean() > 0.3 for y in whole) >= 3
    assert sum(y.min() > 0 and y.max() < 1 for y in seen) >= 5
    assert sum(len(y) < 500 for y in seen) >= 15
    assert sum((np.diff(y) == 0).mean() > 0.02 for y in seen) >= 30
    assert sum(np.abs(y - np.median(y)).max() > 10 * y.std() for y in seen) >= 3
    steps = [np.corrcoef(y[:-1] - y.mean(), y[1:] - y.mean())[0, 1] for y in seen if y.std() > 0]
    assert sum(r > 0.98 for r in steps) >= 20


@pytest.mark.parametrize("kind", [f for f, _ in dynamics.DYNAMICS])
def test_dynamics_are_in_proportion(kind: object) -> None:
    """Every dynamic is finite and stays within 60 of its scale units."""
    for seed in range(20):
        y = kind(np.random.default_rng(seed), 800)  # type: ignore[operator]
        assert y.shape == (800,)
        assert np.isfinite(y).all()
        assert np.abs(y).max() < 60.0


def test_a_beginning_is_learnt_from_its_second_event() -> None:
    """Windows over beginnings start where series start; only the last steps have a loss, at the earliest the second."""
    config = train.config_of((7,), 2)
    shape = train.Model.initial(config).layout
    data = train.dataset(series.history(np.random.default_rng(0), [30, 50, 90], (7,)), shape, 0.0)
    windows = train.beginnings(data, np.random.default_rng(1))

    assert set(windows.first.tolist()) <= set(data.start.tolist())
    assert (windows.loss_from == np.maximum(1, windows.steps - train.SCORED)).all()
    assert (windows.loss_from == 1).any()
    assert (windows.first + windows.steps <= data.end[windows.first]).all()
