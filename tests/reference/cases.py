"""The few networks that tests share (each costs seconds of compilation), and seeded streams of events for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, Model, ModelConfig

QUANTILES = (0.1, 0.5, 0.8, 0.95)  # more levels above the median than below: the two sides are not interchangeable
T0 = 1_600_000_000_000
STEP_MS = 60_000


def plain(cell: str, layers: int = 1, head: str = "direct") -> ModelConfig:
    """Returns one season, no calendar, a known interval, no ensemble: for gradient checks, goldens and most tests.

    The decoder has two blocks of units, so that their order is tested.
    """
    return ModelConfig(
        cell=cell, hidden_size=32 if layers == 2 else 16, layers=layers, head=head,
        head_size=32 if head == "decoder" else 16, horizon=6, quantiles=QUANTILES, seasons=(5,),
        calendar=False, interval_ms=STEP_MS, max_gap=6, mixture=False, seed=layers,
    )  # fmt: skip


GRU = plain("gru")
DECODER = plain("gru", head="decoder")

# Every cell, depth 1 and 2, with and without seasons, calendar, covariates (with and without known future values),
# known and learnt interval: not the full product, but every value of each with every cell.
STREAMING = {
    "gru-1": GRU,
    "gru-2-covariates-calendar-learnt": replace(
        plain("gru", 2), seasons=(), calendar=True, covariates=("a", "b"), interval_ms=0
    ),
    "lstm-1": plain("lstm"),
    "lstm-2-bare-learnt": replace(plain("lstm", 2), seasons=(), interval_ms=0),
    "elman-1-two-seasons-calendar-covariate": replace(
        plain("elman"), seasons=(4, 7), calendar=True, covariates=("a",), future_covariates=("p", "a"), hidden_size=32
    ),
    "elman-2-calendar-learnt": replace(plain("elman", 2), calendar=True, interval_ms=0),
    "gru-1-profile": replace(GRU, seasons=(9, 130), profile_steps=7),
    "none": plain("none"),
    "decoder-calendar": replace(DECODER, calendar=True),
    "decoder-bare-none-learnt": replace(plain("none", head="decoder"), seasons=(), interval_ms=0),
}

# The networks with an ensemble, which changes forecasts but must keep every equality.
POOLED = {
    "gru-1-pool": replace(GRU, mixture=True),
    "gru-1-pool-profile": replace(GRU, seasons=(20, 50), profile_steps=3, mixture=True),
    "elman-1-pool-bare-learnt": replace(plain("elman"), seasons=(), interval_ms=0, mixture=True),
}


def rough_model(config: ModelConfig, seed: int = 0) -> Model:
    """Returns a model without parameters equal to zero or one, so that every path of the network has influence."""
    initial = Model.initial(config)
    noise = np.random.RandomState(seed).normal(scale=0.1, size=initial.params.size).astype(np.float32)
    return Model(config, initial.params + noise)


def stream(config: ModelConfig, events: int, series: int = 5, seed: int = 0, *, rough: bool = True) -> Batch:
    """Returns interleaved series; if rough with late, repeated, missing and extreme events, jitter and gaps."""
    rng = np.random.RandomState(seed)
    clock = np.full(series, T0, np.int64) + rng.randint(0, STEP_MS, series)
    which = rng.randint(0, series, events)
    ts = np.empty(events, np.int64)
    value = np.empty(events)
    for i, s in enumerate(which):
        jump, draw = STEP_MS, rng.rand()
        if rough and draw < 0.04:
            jump = 0
        elif rough and draw < 0.08:
            jump = -STEP_MS // 2
        elif rough and draw < 0.16:
            jump = STEP_MS * rng.randint(2, 6)
        elif rough and draw < 0.19:
            jump = STEP_MS * rng.randint(8, 90)
        elif rough and draw < 0.40:
            jump = STEP_MS + rng.randint(-STEP_MS // 4, STEP_MS // 4)
        ts[i] = clock[s] + jump
        clock[s] = max(clock[s], ts[i])
        value[i] = 10.0 * (s + 1) + 5 * np.sin(ts[i] / STEP_MS / 5 * 2 * np.pi) + rng.normal()
        if rough and rng.rand() < 0.06:
            value[i] = rng.choice([np.nan, np.inf, -np.inf, 1e300])
    covariates: NDArray[np.float32] | None = None
    if config.covariates:
        covariates = rng.normal(size=(events, len(config.covariates))).astype(np.float32)
        if rough:
            covariates[rng.rand(*covariates.shape) < 0.1] = np.nan
    future: NDArray[np.float32] | None = None
    if config.future_covariates:
        future = ahead(config, events, rng, rough=rough)
    return Batch([f"s{s}" for s in which], ts, value, covariates, future)


def ahead(config: ModelConfig, events: int, rng: np.random.RandomState, *, rough: bool = True) -> NDArray[np.float32]:
    """Returns known future values per event; if rough, with holes, short lists, and some events without any."""
    shape = (events, len(config.future_covariates), config.horizon)
    future = rng.normal(size=shape).astype(np.float32)
    if rough:
        future[rng.rand(*shape) < 0.1] = np.nan
        future[np.arange(config.horizon) >= rng.randint(0, 3 * config.horizon, (*shape[:2], 1))] = np.nan
        future[rng.rand(*shape) < 0.02] = np.inf
    return future


def part(batch: Batch, start: int, end: int) -> Batch:
    """Returns the events start..end-1 of a batch."""
    return batch.taken(slice(start, end))


def only(batch: Batch, series: str) -> Batch:
    """Returns the events of one series."""
    return batch.taken(np.array([i for i, name in enumerate(batch.series) if name == series], np.int64))
