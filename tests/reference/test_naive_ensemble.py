"""The ensemble within the observe kernel against its naive twin, step by step."""

from __future__ import annotations

import dataclasses
import math

import cases
import numpy as np
import pytest
from naive_ensemble import NaiveEnsemble

from forecaster import Batch, Forecaster, Model, ModelConfig
from forecaster.ensemble.weights import tracked_horizons
from forecaster.features.step_inputs import LAG_LIMIT

HOUR = 3_600_000
CONFIG = ModelConfig(
    hidden_size=16, head_size=16, horizon=6, quantiles=(0.1, 0.5, 0.9), seasons=(4, 9), interval_ms=HOUR, calendar=False
)
PROFILE = dataclasses.replace(CONFIG, seasons=(9, 60), profile_steps=4)  # older values are means of four


def expert_points(pool: NaiveEnsemble, ref: float, scale: float) -> np.ndarray:
    """Returns every expert's forecast per horizon, around ref in scales; a missing lag is replaced."""
    horizon, now = pool.config.horizon, len(pool.y) - 1
    points = np.zeros((len(pool.members), horizon))
    if scale <= 0:
        return points
    for i, (kind, season) in enumerate(pool.members):
        if kind == "network":
            continue
        if kind == "trend":
            said = [pool.trend.ahead(k, scale) * pool.trend.damping(k) for k in pool.tracked]
            points[i] = np.interp(np.arange(1, horizon + 1), pool.tracked, said)
            continue
        origin = pool._value(now - season)
        shift = 0.0 if math.isnan(origin) else np.clip((ref - origin) / scale, -LAG_LIMIT, LAG_LIMIT)
        for h in range(1, horizon + 1):
            back = season * math.ceil(h / season)
            one, two = pool._value(now + h - back), pool._value(now + h - back - season)
            one, two = (two if math.isnan(one) else one), (one if math.isnan(two) else two)
            one, two = (0.0 if math.isnan(v) else np.clip((v - ref) / scale, -LAG_LIMIT, LAG_LIMIT) for v in (one, two))
            points[i, h - 1] = {"plain": one, "adjusted": one + shift, "two": 0.5 * (one + two + shift)}[kind]
    return points


@pytest.mark.parametrize(("config", "seed"), [(CONFIG, 1), (CONFIG, 2), (PROFILE, 3)])
def test_mixture_agrees_with_the_naive_twin(config: ModelConfig, seed: int) -> None:
    """Every mixed quantile equals the twin's over a season with noise, missing values and a change of weights."""
    rng = np.random.default_rng(seed)
    n, change = 160, 90
    values = np.float32(10 + 3 * np.sin(np.arange(n) * 2 * np.pi / 9) + rng.normal(size=n)).astype(np.float64)
    values[rng.random(n) < 0.06] = np.nan
    values[0] = 9.5
    alone = dataclasses.replace(config, mixture=False)
    weights = [cases.rough_model(alone, seed).params, cases.rough_model(alone, seed + 10).params]
    network = Forecaster(Model(alone, weights[0]), max_series=2, history_events=0)
    mixed = Forecaster(Model(config, weights[0]), max_series=2, history_events=0)
    pool = NaiveEnsemble(config)
    for t in range(n):
        if t == change:
            network.adopt(Model(alone, weights[1]))
            mixed.adopt(Model(config, weights[1]))
            pool.adopt()
        event = Batch(["a"], np.array([1_700_000_000_000 + t * HOUR]), values[t : t + 1])
        raw = network.observe(event).quantiles[0].astype(np.float64)
        got = mixed.observe(event).quantiles[0]
        _, scale, ref = network._table.stats[0, :3]
        pool.y.append(values[t])
        pool.learn(values[t], scale)
        pool.learn_trend(values[t])
        pool.follow(values[t])
        ref += mixed._table.stats[0, mixed._table.anchor_at]
        expected = pool.mix(raw, expert_points(pool, ref, scale), ref, scale)
        pool.keep(raw, ref, scale)
        if scale > 0:  # without a scale the forecast is that of prior.py
            np.testing.assert_allclose(got, expected, rtol=0, atol=2e-3 * max(scale, 1e-3), err_msg=f"step {t}")


def test_pending_forecasts_are_kept_as_halves_around_their_origin() -> None:
    """A row stores last value and scale of the step, and the quantiles to eleven bits."""
    rng = np.random.default_rng(3)
    values = np.float32(100 + 5 * rng.normal(size=40)).astype(np.float64)
    times = 1_700_000_000_000 + np.arange(40) * HOUR
    weights = cases.rough_model(CONFIG, 3).params
    alone = dataclasses.replace(CONFIG, mixture=False)
    network = Forecaster(Model(alone, weights), max_series=1, history_events=0)
    mixed = Forecaster(Model(CONFIG, weights), max_series=1, history_events=0)
    raw = network.observe(Batch(["a"] * 40, times, values)).quantiles[-1].astype(np.float64)
    mixed.observe(Batch(["a"] * 40, times, values))
    state = mixed._table.hidden[0, mixed._table.ensemble_at :]
    _, scale, ref = mixed._table.stats[0, :3]
    anchor = mixed._table.stats[0, mixed._table.anchor_at]
    step, horizon, levels = 39, CONFIG.horizon, len(CONFIG.quantiles)
    np.testing.assert_array_equal(state[2 * (step % horizon) :][:2], np.float32([ref, scale]))
    halves, at = state[2 * horizon :].view(np.float16).astype(np.float64), 0
    for k in tracked_horizons(horizon):
        kept = halves[at + step % k * levels :][:levels]
        np.testing.assert_allclose(
            anchor + ref + scale * kept, raw[k - 1], rtol=0, atol=scale * (2**-11 * abs(kept).max() + 1e-4)
        )
        at += k * levels
