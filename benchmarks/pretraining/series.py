"""Whole series, as varied as the streams that the program may meet, and a history of many of them. Generated, seeded.

    state = sum of seasons + a level's dynamics + noise + perhaps a trend, each of its own strength
    value = state, or e^state, a count of that rate, a share between 0 and 1; then accidents and the sensor's resolution

A season that is configured may be absent from the series, and one that is not configured may be there.
"""

from __future__ import annotations

import math

import numpy as np

from forecaster import History
from pretraining.cycles import repeated, week
from pretraining.dynamics import Rng, Series, any_dynamics, random_walk, standard, stretches, trend, volatility, white

T0, INTERVAL_MS = 1_700_000_000_000, 3_600_000


def strength(rng: Rng, low: float, high: float) -> float:
    """Log-uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def seasonal(rng: Rng, n: int, seasons: tuple[int, ...]) -> Series:
    """Sum of the seasons that the series has; zero if it has none."""
    y = np.zeros(n)
    for i, length in enumerate(seasons):
        if rng.random() < (0.75 if length <= n else 0.3):
            shorter = [day for day in seasons[:i] if length % day == 0]
            inner = shorter and rng.random() < 0.7
            one = week(rng, shorter[-1], length, n) if inner else repeated(rng, length, n)
            y += strength(rng, 0.2, 2.0) * one
    if rng.random() < (0.1 if seasons else 0.6):
        usual = (7, 12, 24, 24, 48, 60, 96, 144, 288)
        length = int(rng.choice(usual)) if rng.random() < 0.7 else int(10.0 ** rng.uniform(0.6, 2.5))
        y += strength(rng, 0.2, 2.0) * repeated(rng, length, n)
    return y


def state(rng: Rng, n: int, seasons: tuple[int, ...]) -> Series:
    """What goes on behind the values."""
    cycle = seasonal(rng, n, seasons)
    noise = white(rng, n) * volatility(rng, n)
    if rng.random() < 0.35 and cycle.any():
        noise = noise * np.exp(rng.uniform(0.3, 1.0) * standard(cycle))  # quiet nights, or quiet days
    if rng.random() < 0.2:
        noise = np.zeros(n)
    y = cycle + strength(rng, 0.05, 1.5) * any_dynamics(rng, n) + strength(rng, 0.02, 0.8) * noise
    if rng.random() < 0.25:
        y = y + trend(rng, n)
    return y


def counts(rng: Rng, n: int, seasons: tuple[int, ...]) -> Series:
    """Intermittent or busy counts: Poisson or negative binomial, of a rate from one in fifty to a thousand."""
    swing = np.exp(rng.uniform(0.2, 1.2) * standard(state(rng, n, seasons)))
    rate = np.minimum(strength(rng, 0.02, 1000.0) * swing, 1e6)
    if rng.random() < 0.5:
        spread = strength(rng, 0.3, 20.0)
        rate = rate * rng.gamma(spread, 1.0 / spread, n)
    return rng.poisson(rate).astype(np.float64)


def accidents(rng: Rng, y: Series) -> Series:
    """What happens to a sensor: jumps of the level, outliers, values that stick, limits, a coarse resolution."""
    n, spread = y.size, float(y.std()) or 1.0
    if rng.random() < 0.12:
        y = y + spread * stretches(rng, n, rng.uniform(0.5, 3.0))
    if rng.random() < 0.12:
        hit = rng.random(n) < 10.0 ** rng.uniform(-3.5, -1.7)
        y = np.where(hit, y + spread * rng.normal(0.0, rng.uniform(2.0, 12.0), n), y)
    if rng.random() < 0.08:
        held = np.zeros(n, np.bool_)
        for at in rng.integers(n, size=int(rng.integers(1, 6))):
            held[at : at + int(10.0 ** rng.uniform(0.5, 2.0))] = True
        held[0] = False
        y = y[np.maximum.accumulate(np.where(held, 0, np.arange(n)))]
    if rng.random() < 0.1:
        low, high = np.quantile(y, [rng.uniform(0.0, 0.5), rng.uniform(0.8, 1.0)])
        y = np.clip(y, low, high) if rng.random() < 0.4 else np.maximum(y, low)
    if rng.random() < 0.25:
        step = spread * strength(rng, 0.01, 1.0)
        y = np.round(y / step) * step
    return y


def one_series(rng: Rng, n: int, seasons: tuple[int, ...]) -> Series:
    """A series of n steps; nan where a value is missing."""
    kind = rng.random()
    if kind < 0.55:
        y = state(rng, n, seasons)
    elif kind < 0.7:
        y = np.exp(rng.uniform(0.2, 1.0) * standard(state(rng, n, seasons)))
    elif kind < 0.82:
        y = counts(rng, n, seasons)
    elif kind < 0.88:
        y = 1.0 / (1.0 + np.exp(-rng.uniform(0.5, 3.0) * standard(state(rng, n, seasons)) - rng.normal(0.0, 2.0)))
    else:
        y = random_walk(rng, n)
        if rng.random() < 0.3:
            y = np.exp(strength(rng, 0.005, 0.05) * np.clip(y, -200.0, 200.0))
    y = accidents(rng, y)
    if rng.random() < 0.12:
        y = y.copy()
        for at in rng.integers(n, size=max(1, int(n * rng.uniform(0.0, 0.01)))):
            y[at : at + int(10.0 ** rng.uniform(0.0, 1.5))] = math.nan
    return y


def history(rng: Rng, lengths: list[int], seasons: tuple[int, ...]) -> History:
    """Series of these lengths, all beginning at the same time, as a history."""
    series, times, values = [], [], []
    for number, n in enumerate(lengths):
        y = one_series(rng, n, seasons)
        there = np.flatnonzero(np.isfinite(y))
        series.append(np.full(there.size, number, np.int64))
        times.append(T0 + there * INTERVAL_MS)
        values.append(y[there].astype(np.float32))
    value = np.concatenate(values)
    return History(
        np.concatenate(series),
        np.concatenate(times),
        value,
        np.zeros((value.size, 0), np.float32),
        names={number: str(number) for number in range(len(lengths))},
        intervals=dict.fromkeys(range(len(lengths)), INTERVAL_MS),
    )
