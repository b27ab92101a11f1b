"""Sizes of kernels: data but for a few literals, so that a configuration of another shape compiles nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import QUANTILES, STEP_MS, T0
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from numba.core import event

from forecaster import Batch, Forecaster, ModelConfig, TrainConfig
from forecaster.kernels.jit import kernel
from forecaster.kernels.sizes import MOST, bind, literals, sized, split
from forecaster.layout import layout_of
from forecaster.observe import observe_kernel
from forecaster.observe.buffers import observe_layout
from forecaster.training.chunk_kernel import chunk_kernel
from forecaster.training.prepare_kernel import prepare_kernel

# One network and another of the same cell and head: nothing else of them is the same.
FIRST = ModelConfig(
    cell="gru", hidden_size=16, head_size=16, horizon=6, quantiles=QUANTILES, seasons=(5,), interval_ms=STEP_MS,
    calendar=False, max_gap=6, pretrained=False,
)  # fmt: skip
SECOND = ModelConfig(
    cell="gru", hidden_size=48, layers=2, head_size=16, horizon=19, quantiles=(0.2, 0.3, 0.5, 0.6, 0.7, 0.9),
    seasons=(4, 7, 12), calendar=True, timezone="Europe/Berlin", covariates=("a", "b"), future_covariates=("p",),
    max_gap=3, pretrained=False,
)  # fmt: skip
BARE = replace(SECOND, seasons=(), covariates=(), future_covariates=(), quantiles=(0.5,), mixture=False, horizon=1)

lengths = st.lists(st.integers(2, 400), max_size=3, unique=True).map(sorted).map(tuple)
levels = st.sets(st.integers(1, 99).map(lambda n: n / 100), max_size=15).map(lambda s: tuple(sorted(s | {0.5})))
shapes = st.fixed_dictionaries(
    {
        "horizon": st.integers(1, 300),
        "quantiles": levels,
        "seasons": lengths,
        "interval_ms": st.sampled_from((0, 1000, STEP_MS)),
        "calendar": st.booleans(),
        "timezone": st.sampled_from(("UTC", "Europe/Berlin")),
        "covariates": st.sampled_from(((), ("a",), ("a", "b"))),
        "future_covariates": st.sampled_from(((), ("p",), ("p", "a"))),
        "hidden_size": st.sampled_from((16, 48, 128)),
        "layers": st.integers(1, 4),
        "mixture": st.booleans(),
        "max_gap": st.integers(0, 100),
    }
)


@sized("width", seasons=3)
class Inner(NamedTuple):
    """Sizes within sizes."""

    width: int
    seasons: tuple[int, ...]
    rate: float


@sized()
class Outer(NamedTuple):
    """Sizes of a kernel."""

    inner: Inner
    count: int


@literals
class Fixed(NamedTuple):
    """Sizes that are all literals."""

    width: int


def test_split_and_bind() -> None:
    """A kernel reads the data of sizes, nested ones, numbers of other lengths and fractions too; literals divide."""
    first, numbers = split(Outer(Inner(2, (3, 5), 0.1), 7))
    second, others = split(Outer(Inner(2, (), 1e-300), 0))
    third, _ = split(Outer(Inner(3, (3, 5), 0.1), 7))
    assert first == second != third
    assert split(Fixed(4))[0] == Fixed(4)

    @kernel
    def read(numbers: Any, out: Any) -> None:
        sizes = bind(first, numbers)
        inner = sizes.inner
        out[0], out[1], out[2], out[3] = sizes.count, inner.width, inner.rate, len(inner.seasons)
        for i in range(len(inner.seasons)):
            out[4 + i] = inner.seasons[i]

    out = np.zeros(6)
    read(numbers, out)
    assert out.tolist() == [7, 2, 0.1, 2, 3, 5]
    read(others, out)
    assert out.tolist() == [0, 2, 1e-300, 0, 3, 5]


@given(shapes)
def test_shapes_share_kernels(shape: dict[str, Any]) -> None:
    """Networks of one cell and head have the same kernels, whose numbers hold all other sizes of each."""
    first, layout = layout_of(FIRST), layout_of(replace(FIRST, **shape))
    assert observe_kernel(layout).general is observe_kernel(first).general
    assert chunk_kernel(layout)[0] is chunk_kernel(first)[0]
    assert prepare_kernel(layout)[0] is prepare_kernel(first)[0]
    assert bind(*split(observe_layout(layout))) == observe_layout(layout)


def learn(config: ModelConfig) -> None:
    """Observes some series, with a gap, missing values and outliers, and trains on them."""
    forecaster, rng, steps = Forecaster(config), np.random.default_rng(0), 160
    for series in ("x", "y"):
        value, step = rng.normal(size=steps) + 10, np.arange(steps)
        step[100:] += 9
        value[[20, 60]] = np.nan, 1e6
        side = rng.normal(size=(steps, len(config.covariates))).astype(np.float32)
        ahead = rng.normal(size=(steps, len(config.future_covariates), config.horizon)).astype(np.float32)
        forecaster.observe(
            Batch(
                [series] * steps, T0 + step * STEP_MS, value, side if config.covariates else None,
                ahead if config.future_covariates else None,
            )
        )  # fmt: skip
    forecaster.fit(TrainConfig(k1=6, k2=12, batch=4, max_steps=2, evaluate_every=1, warmup_steps=1, min_windows=1))


@pytest.fixture(scope="module")
def first_network() -> None:
    """The kernels of the first network, compiled or loaded from the cache."""
    learn(FIRST)
    learn(replace(FIRST, interval_ms=0))  # a training that cuts series where their interval changes


@pytest.mark.usefixtures("first_network")
@pytest.mark.parametrize("config", [SECOND, BARE], ids=["more of everything", "nothing of anything"])
def test_another_shape_compiles_nothing(config: ModelConfig) -> None:
    """After one network has run, another one runs and trains without a compilation."""
    with event.install_recorder("numba:compile") as compilations:  # type: ignore[no-untyped-call]
        learn(config)
    assert [found.data["dispatcher"].py_func.__qualname__ for _, found in compilations.buffer if found.is_start] == []


def test_compilations_are_counted() -> None:
    """The counter of the previous test counts: a function that was never compiled is one compilation."""
    with event.install_recorder("numba:compile") as compilations:  # type: ignore[no-untyped-call]
        assert njit(lambda a: a + 1)(1) == 2
    assert compilations.buffer


@pytest.mark.parametrize("wrong", [-1, MOST + 1])
def test_numbers_out_of_range(wrong: int) -> None:
    """Kernels are compiled for numbers of a range, so others are refused."""
    with pytest.raises(ValueError, match=rf"Outer\.count: got {wrong}, expected a whole number from 0 to {MOST}"):
        split(Outer(Inner(2, (), 0.5), wrong))
    with pytest.raises(ValueError, match=r"Inner\.seasons"):
        split(Outer(Inner(2, (3, wrong), 0.5), 1))
    with pytest.raises(ValueError, match="expected at most 3 whole numbers"):
        split(Outer(Inner(2, (1,) * 4, 0.5), 1))
