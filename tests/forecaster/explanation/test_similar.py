"""The nearest past situations of a series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from cases import GRU, STEP_MS, T0, rough_model
from explained_streams import observed
from numpy.typing import NDArray

from forecaster import Batch, Forecaster
from forecaster.explanation.similar import similar

CONFIG = replace(GRU, seasons=())
H = CONFIG.horizon


def forecaster_of(values: NDArray[np.float64], history: int = 10_000) -> Forecaster:
    """Returns a forecaster that has observed values, a step apart."""
    forecaster = Forecaster(rough_model(CONFIG), history_events=history)
    times = T0 + np.arange(len(values)) * STEP_MS
    forecaster.observe(Batch(["a"] * len(values), times, values))
    return forecaster


def test_finds_a_copy() -> None:
    """A past stretch of the same shape at another level is the nearest, with what followed and the shift between."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=300)
    values[100:120] = values[280:300] + 5.0
    found = similar(forecaster_of(values).situation("a"))
    assert found[0].end_ms == T0 + 119 * STEP_MS
    assert found[0].distance < 0.2  # an outlier of the last twenty may have been replaced
    assert abs(found[0].shift + 5.0) < 1e-6
    assert np.allclose(found[0].followed, values[120 : 120 + H])
    assert [one.distance for one in found] == sorted(one.distance for one in found)


def test_what_follows_is_known_and_windows_do_not_overlap() -> None:
    """No situation ends within the horizon before the newest step, and they are a window apart."""
    forecaster, _ = observed(CONFIG, 2, 300)
    situation = forecaster.situation("a")
    found = similar(situation, 10)
    assert len(found) > 3
    ends = sorted(one.end_ms for one in found)
    assert ends[-1] <= situation.origin_ms - H * STEP_MS
    assert min(np.diff(ends)) >= 7 * STEP_MS
    assert all(len(one.followed) == H for one in found)


def test_from_the_row_alone() -> None:
    """Without a history the values of the row are searched."""
    wave = np.sin(np.arange(400) * 2 * np.pi / 20)
    forecaster = Forecaster(rough_model(replace(CONFIG, seasons=(40,))), history_events=0)
    forecaster.observe(Batch(["a"] * 400, T0 + np.arange(400) * STEP_MS, wave))
    found = similar(forecaster.situation("a"))
    assert found
    assert found[0].distance < 0.01
    assert (forecaster.situation("a").origin_ms - found[0].end_ms) % (20 * STEP_MS) == 0


def test_too_short() -> None:
    """A series that is shorter than two windows and a horizon has none."""
    assert similar(forecaster_of(np.arange(15.0)).situation("a")) == []
