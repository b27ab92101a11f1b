"""The decoder head: its initial state, its learning, and its distinction from the direct head."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import pytest
from short_trainings import TRAIN, sines

from forecaster import Batch, ConfigError, Forecaster, Model, fit, rollout

START = Model.initial(cases.DECODER)
MEDIAN = cases.QUANTILES.index(0.5)


def seasonal(steps: int, start_ms: int = cases.T0) -> Batch:
    """Returns one series: a repeated pattern of one season with some noise."""
    pattern = np.tile([1.0, 4.0, 2.0, 7.0, 5.0], steps // 5)
    noise = np.random.RandomState(2).normal(scale=0.5, size=steps)
    return Batch(["a"] * steps, start_ms + np.arange(steps) * cases.STEP_MS, pattern + noise)


def test_untrained_it_is_seasonal_naive() -> None:
    """The untrained median is the value one season before, within a tenth of the mean change, at every horizon."""
    events = seasonal(100)
    out = Forecaster(START).observe(events)
    horizons = np.arange(1, cases.DECODER.horizon + 1)
    origins = np.arange(50, 100)[:, None]
    before = events.value[origins + horizons - 5 * -(-horizons // 5)]
    differences = np.abs(out.quantiles[50:, :, MEDIAN] - before)
    assert differences.mean() < 0.1 * np.abs(np.diff(events.value)).mean()
    assert differences.mean() > 0, "the decoder is part of it"


def test_untrained_it_does_not_look_at_the_clock() -> None:
    """Forecasts of an untrained model do not depend on the hour, as no training has covered days and weeks."""
    model = Model.initial(replace(cases.DECODER, calendar=True))
    now, later = (Forecaster(model).observe(seasonal(60, cases.T0 + hours * 3_600_000)) for hours in (0, 31))
    assert now.quantiles.tobytes() == later.quantiles.tobytes()


def test_learns_a_sine() -> None:
    """A short training reaches a quarter of the naive loss where neither the last value nor a season helps."""
    report = fit(sines(), START, replace(TRAIN, max_steps=500, passes=1000))
    assert report.validation_loss < 0.25 * report.naive_loss


def test_paths() -> None:
    """Sample paths are drawn from the decoder head."""
    forecaster = Forecaster(START)
    answers = forecaster.observe(seasonal(60))
    paths = rollout(forecaster, "a", answers, steps=7, paths=20)
    assert paths.shape == (20, 7)
    assert np.isfinite(paths).all()
    assert np.unique(paths[:, 6]).size > 1


def test_another_head_is_adopted() -> None:
    """A running state goes over to the direct head, and forecasts with it from the next event on."""
    forecaster, model = Forecaster(START), Model.initial(replace(START.config, head="direct"))
    assert not forecaster.fits(model)
    forecaster.adopt(model)
    assert forecaster.model.sha256 == model.sha256
    assert forecaster.fits(model)


def test_unknown_heads_are_refused() -> None:
    """An unknown head is rejected; the error names the available heads."""
    with pytest.raises(ConfigError, match="one of direct, decoder"):
        replace(cases.DECODER, head="attention")
