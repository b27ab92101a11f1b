"""When a threshold is crossed: the forecaster's median and Prometheus' `predict_linear`, on series that fill up.

    python benchmarks/trend.py [--quick]          a table; quick: fewer and shorter series

Every series has a value a minute and begins half a day before its first forecast is judged. One forecast of the next
360 minutes is judged every 20 minutes until the threshold is crossed. Where the crossing lies within those 360, the
error is the time between it and the first step at which the forecast crosses, 360 minutes where it never does; the
table has the median error. The true crossing is that of the series without its noise. Where it does not lie within
them, a forecast that crosses is a false alarm. `predict_linear` is the least squares line through the newest hour or
the newest six hours.

    linear        falls from 100 to the threshold of 5 in 18 to 30 hours
    noisy         the same with noise, a standard deviation of 2
    stairs        the same, reported in whole numbers
    saturating    falls ever slower, towards 5 above or below the threshold
    sawtooth      falls for 100 to 240 minutes and is emptied again, never below 30
    still         stays around 50
    walk          a random walk that goes nowhere in particular
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, ModelConfig, start_model

MINUTE, EVERY = 60_000, 20
CONFIG = ModelConfig(horizon=360, interval_ms=MINUTE, quantiles=(0.05, 0.5, 0.95), seasons=())
THRESHOLD = 5.0
WINDOWS = (60, 360)
SHAPES = ("linear", "noisy", "stairs", "saturating", "sawtooth", "still", "walk")

Array = NDArray[np.float64]


def series(shape: str, rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """One series of a shape, and the same without noise."""
    t = np.arange(n, dtype=np.float64)
    minutes = rng.uniform(18, 30) * 60
    line = 100.0 - (100.0 - THRESHOLD) * t / minutes
    noise = {"linear": 0.02, "noisy": 2.0, "saturating": 0.05, "sawtooth": 0.2, "still": 1.0}.get(shape, 0.0)
    plain = line
    if shape == "saturating":
        end = THRESHOLD + rng.choice([-5.0, 5.0])
        plain = end + (100.0 - end) * np.exp(-3.0 * t / minutes)
    elif shape == "sawtooth":
        period = rng.integers(100, 240)
        plain = 90.0 - 60.0 * (t % period) / period
    elif shape == "still":
        plain = np.full(n, 50.0)
    elif shape == "walk":
        plain = 50.0 + np.cumsum(rng.normal(0, 0.3, n))
    value = plain + rng.normal(0, 1.0, n) * noise
    return (np.round(value) if shape == "stairs" else value), plain


def first_below(path: Array) -> float:
    """The first of these steps, from 1 on, that lies at or below the threshold; infinity where none does."""
    below = path <= THRESHOLD
    return float(below.argmax()) + 1.0 if below.any() else math.inf


def predict_linear(past: Array, horizon: int) -> float:
    """Minutes until the least squares line through these minutes crosses the threshold, within the horizon."""
    t = np.arange(1.0 - len(past), 1.0)
    slope, at = np.polyfit(t, past, 1)
    if at <= THRESHOLD:
        return 1.0
    minutes = (THRESHOLD - at) / slope if slope < 0.0 else math.inf
    return minutes if minutes <= horizon else math.inf


def judged(value: Array, plain: Array, medians: Array) -> list[tuple[float, list[float]]]:
    """(minutes to the true crossing, those that each method says) at every judged origin; infinity: not in sight."""
    horizon = medians.shape[1]
    found = []
    for origin in range(2 * horizon, len(value) - horizon, EVERY):
        if plain[origin] <= THRESHOLD:
            break
        true = first_below(plain[origin + 1 : origin + 1 + horizon])
        said = [predict_linear(value[max(0, origin + 1 - window) : origin + 1], horizon) for window in WINDOWS]
        found.append((true, [first_below(medians[origin]), *said]))
    return found


def medians_of(values: Array, config: ModelConfig) -> Array:
    """(series, n, horizon) medians of the forecasts of every event, with the weights that come with the program."""
    median = config.quantiles.index(0.5)
    forecaster = Forecaster(start_model(config), max_series=len(values), history_events=0)
    names = [str(i) for i in range(len(values))]
    found = np.zeros((*values.shape, config.horizon))
    for step in range(values.shape[1]):
        ts = np.full(len(names), 1_700_000_000_000 + step * MINUTE)
        found[:, step] = forecaster.observe(Batch(names, ts, values[:, step])).quantiles[:, :, median]
    return found


def table(config: ModelConfig, count: int, n: int) -> str:
    """The table, over so many series of every shape and so many minutes."""
    names = ["forecaster", *(f"predict_linear {w // 60} h" for w in WINDOWS)]
    said = " | ".join(f"{name}, min" for name in names), " | ".join(f"{name}, false" for name in names)
    lines = [f"| shape | crossings | {said[0]} | origins without | {said[1]} |"]
    lines.append("|---|" + "--:|" * (2 + 2 * len(names)))
    for shape in SHAPES:
        rng = np.random.default_rng(sum(map(ord, shape)))
        drawn = [series(shape, rng, n) for _ in range(count)]
        medians = medians_of(np.stack([value for value, _ in drawn]), config)
        found = [one for i, (value, plain) in enumerate(drawn) for one in judged(value, plain, medians[i])]
        crossing = [(true, said) for true, said in found if true < math.inf]
        quiet = [said for true, said in found if true == math.inf]
        errors, false = [], []
        for i in range(len(names)):
            away = [min(abs(said[i] - true), float(config.horizon)) for true, said in crossing]
            errors.append(f"{np.median(away):.0f}" if away else "-")
            false.append(f"{np.mean([said[i] < math.inf for said in quiet]):.1%}" if quiet else "-")
        lines.append(f"| {shape} | {len(crossing)} | {' | '.join(errors)} | {len(quiet)} | {' | '.join(false)} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two series of each shape instead of sixteen")
    arguments = parser.parse_args()
    print(table(CONFIG, *((2, 1500) if arguments.quick else (16, 2200))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
