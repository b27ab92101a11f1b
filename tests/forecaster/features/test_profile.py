"""Means of bins in place of old values: what a bin holds, where it begins, and how much a row saves."""

from __future__ import annotations

import math
from dataclasses import replace

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, Model, ModelConfig
from forecaster.features.counters import STEPS
from forecaster.features.profile import ring_shape
from forecaster.layout import WARM_STEPS, layout_of
from forecaster.training.dataset import dataset

CONFIG = cases.POOLED["gru-1-pool-profile"]
MODEL = cases.rough_model(CONFIG, 1)
RING, RING_AT = MODEL.layout.ring, MODEL.layout.state_floats


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 20_000), st.integers(1, 20_000), st.integers(1, 1024))
def test_shape_of_the_rings(longest: int, width: int, horizon: int) -> None:
    """Every lag of two seasons is held, origins of all horizons as values; width 1 is a ring of values alone."""
    ring = ring_shape(longest, width, horizon, WARM_STEPS)
    plain = ring_shape(longest, 1, horizon, WARM_STEPS)
    assert ring.reach == plain.reach == plain.length == plain.full > 2 * longest
    if ring.held:
        assert ring.full > horizon
        assert ring.full > ring.width - 1, "the ring holds a bin when its mean is computed"
        assert ring.length == ring.full + WARM_STEPS < ring.reach
        first, last = 10**6 - ring.reach + 1, 10**6 - ring.full
        assert last // ring.width - first // ring.width < ring.held
    else:
        assert (ring.width, ring.length) == (1, ring.reach)


@st.composite
def streams(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and values of a series, with gaps short and long, missing values, outliers, and changes of level."""
    rng, n = np.random.default_rng(draw(st.integers(0, 2**20))), draw(st.integers(30, 260))
    gaps = draw(st.lists(st.tuples(st.integers(1, 259), st.sampled_from([2, 5, 30, 116, 125, 400])), max_size=4))
    jumps = np.ones(n, np.int64)
    for at, size in gaps:
        jumps[1 + at % (n - 1)] = size  # the first step of a series is 0
    value = 5.0 * np.sin(np.cumsum(jumps) * 2 * np.pi / 50) + rng.normal(size=n)
    value[rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.6]))] = np.nan
    value[rng.random(n) < draw(st.sampled_from([0.0, 0.03]))] += 900.0
    value[n // 2 :] += draw(st.sampled_from([0.0, 1e3, 1e9]))
    return np.cumsum(jumps) - 1, value


@settings(max_examples=40, deadline=None)
@given(streams())
def test_a_bin_is_the_mean_of_its_steps(stream: tuple[NDArray[np.int64], NDArray[np.float64]]) -> None:
    """Bit for bit: bins of consecutive steps from the first one on, nan where all are missing, moved with the anchor.

    The twin remembers every value of the ring, and computes the mean of a bin when its first step lies `full` back.
    """
    one = Forecaster(MODEL, max_series=1, history_events=0)
    values, means, steps, anchor = dict[int, np.float32](), dict[int, np.float32](), 0, 0.0
    for step, value in zip(*stream, strict=True):
        one.observe(Batch(["a"], np.array([cases.T0 + step * cases.STEP_MS]), np.array([value])))
        table = one._table
        now = int(table.counters[0, STEPS])
        assert now == step + 1
        for new in range(steps, now):
            first = new - RING.full
            if first >= 0 and first % RING.width == 0:
                known = [float(values[s]) for s in range(first, first + RING.width) if not math.isnan(values[s])]
                means[first // RING.width] = np.float32(sum(known) / len(known) if known else math.nan)
            values[new] = np.float32(math.nan)
        steps, by = now, table.stats[0, table.anchor_at] - anchor
        anchor += by
        if by:
            means = {number: np.float32(np.clip(float(mean) - by, -3e38, 3e38)) for number, mean in means.items()}
        for s in range(max(0, now - RING.length), now):
            values[s] = table.hidden[0, RING_AT + s % RING.length]
        held = {b: m for b, m in means.items() if b > max(means) - RING.held}
        got = {b: table.hidden[0, RING_AT + RING.length + b % RING.held] for b in held}
        readable = [b for b in held if (b + 1) * RING.width > now - RING.reach]
        np.testing.assert_array_equal([got[b] for b in readable], [held[b] for b in readable])


@pytest.mark.parametrize("gap", [1, 200])
def test_training_reads_the_bins_of_the_row(gap: int) -> None:
    """The bins of a data set are those of the row, also behind a gap that the data set shortens."""
    n, rng = 300, np.random.default_rng(2)
    step = np.arange(n) + np.where(np.arange(n) >= 150, gap - 1, 0)
    value = 3.0 * np.sin(step * 2 * np.pi / 50) + rng.normal(size=n)
    value[rng.random(n) < 0.1] = np.nan
    one = Forecaster(MODEL, max_series=1)
    one.observe(Batch(["a"] * n, cases.T0 + step * cases.STEP_MS, value))
    data = dataset(one.history(), MODEL.layout, 0.1)
    assert one._table.stats[0, one._table.anchor_at] == 0.0
    now, end = int(one._table.counters[0, STEPS]), len(data.y)
    assert (now - end) % RING.width == 0
    newest, shift = (now - 1 - RING.full) // RING.width, (now - end) // RING.width
    for b in range(newest - (RING.reach - RING.full) // RING.width + 1, newest + 1):
        live = one._table.hidden[0, RING_AT + RING.length + b % RING.held]
        np.testing.assert_array_equal(np.float32(data.lags[end + b - shift]), live)


def test_a_long_season_costs_a_fraction() -> None:
    """A week of minutes has 1,485 numbers instead of 20,161 with bins of 21 steps, and forecasts of the same shape."""
    whole = ModelConfig(seasons=(1440, 10_080))
    coarse = replace(whole, profile_steps=21)
    assert layout_of(whole).ring_floats == 20_161
    assert layout_of(coarse).ring_floats == 1_484
    assert layout_of(coarse).n_params == layout_of(whole).n_params


def test_a_step_of_one_is_the_former_network() -> None:
    """A configuration without bins has the identity that it always had."""
    assert "profile_steps" not in ModelConfig().to_dict()
    assert Model.initial(CONFIG).sha256 != Model.initial(replace(CONFIG, profile_steps=1)).sha256
