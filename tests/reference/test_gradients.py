"""Gradients of every cell, depth and head against central finite differences, in float64.

The second chunk starts from the state carried by the first, k1 < k2, which tests both ends of the truncation: the
given state of a chunk is a constant, and the loss of its last k1 steps flows back through all k2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster import History, Model
from forecaster.layout import Layout, layout_of
from forecaster.training.dataset import BURN_STEPS, Dataset, Windows, dataset
from forecaster.training.tbptt import Chunk

STACKS = [(cell, depth, "direct") for cell in ("elman", "gru", "lstm") for depth in (1, 2, 3)] + [
    ("none", 1, "direct"), ("elman", 2, "decoder"), ("gru", 1, "decoder"), ("lstm", 1, "decoder"),
    ("none", 1, "decoder"),
]  # fmt: skip
K1, K2, STREAMS, LENGTH = 6, 12, 3, 60
STEP = 1e-6  # the error of a central difference is of the order of STEP^2, its rounding 1e-16 / 1e-6
WITHIN = 1e-5  # relative, above a floor of 1e-3 of the largest; measured 1e-7
ROUNDING = 5e-10  # of a difference of two losses near 1, over 2e-6
PER_TENSOR = 6  # entries probed


def history() -> History:
    """Returns three series with gaps, 5 % of their values missing."""
    rng = np.random.RandomState(3)
    series = np.repeat(np.arange(STREAMS), LENGTH)
    step = np.tile(np.arange(LENGTH), STREAMS)
    value = (np.sin(step / 5 * 2 * np.pi + series) + 0.3 * rng.normal(size=step.size) + 3).astype(np.float32)
    value[rng.rand(step.size) < 0.05] = np.nan
    keep = rng.rand(step.size) > 0.05
    ts = cases.T0 + step * cases.STEP_MS
    return History(series[keep], ts[keep], value[keep], np.zeros((int(keep.sum()), 0), np.float32))


class Problem:
    """Two chunks of three streams, the last one padded, as a function of the parameters."""

    def __init__(self, cell: str, depth: int, head: str) -> None:
        self.layout: Layout = layout_of(cases.plain(cell, depth, head))
        self.data: Dataset = dataset(history(), self.layout, 0.15)
        self.chunk = Chunk(self.layout, STREAMS, K2, np.float64)
        starts = self.data.segment[:, 0]
        first, limit = starts + np.array([2, 20, 9]), starts + np.array([50, 50, 24])
        self.windows = (
            Windows(first, np.full(STREAMS, K2), np.full(STREAMS, BURN_STEPS), limit),
            Windows(first + K1, np.array([K2, K2, 9]), np.full(STREAMS, K2 - K1), limit),
        )
        rng = np.random.RandomState(5)
        model = Model.initial(self.layout.config)
        self.params = model.params.astype(np.float64) + 0.05 * rng.normal(size=self.layout.n_params)
        self.given = 0.3 * rng.normal(size=self.chunk.carried.shape)
        self.state = [self.given]
        self.loss(self.params, 0)
        self.state.append(self.chunk.carried.copy())

    def loss(self, params: NDArray[Any], number: int, *, learn: bool = False) -> float:
        """Returns the loss of a chunk from its given state; with `learn`, `chunk.gradient` holds the gradient."""
        self.chunk.carried[...] = self.state[number]
        loss, naive, count = self.chunk.run(params, self.data, self.windows[number], K1, learn=learn)
        assert np.isfinite([loss, naive]).all()
        assert count > 30
        return loss


_PROBLEMS: dict[tuple[str, int, str], Problem] = {}


def problem_of(cell: str, depth: int, head: str = "direct") -> Problem:
    """Builds each problem once for all tests."""
    if (cell, depth, head) not in _PROBLEMS:
        _PROBLEMS[cell, depth, head] = Problem(cell, depth, head)
    return _PROBLEMS[cell, depth, head]


@pytest.mark.parametrize(("cell", "depth", "head"), STACKS)
@pytest.mark.parametrize("number", [0, 1], ids=["burn-in", "carried state"])
def test_gradient_is_that_of_the_loss(cell: str, depth: int, head: str, number: int) -> None:
    """Entries of every tensor agree with central differences of the loss."""
    problem = problem_of(cell, depth, head)
    problem.loss(problem.params, number, learn=True)
    gradient = problem.chunk.gradient.copy()
    assert np.isfinite(gradient).all(), "checked before anything is compared: nan compares as it likes"
    rng = np.random.RandomState(depth)
    for name, (at, size) in problem.layout.tensors.items():
        block = gradient[at : at + int(np.prod(size))]
        floor = 1e-3 * np.abs(block).max()
        assert floor > 0, f"{name} has no gradient"
        used = np.flatnonzero(block)
        for i in at + rng.choice(used, min(PER_TENSOR, len(used)), replace=False):
            shifted = problem.params.copy()
            shifted[i] += STEP
            above = problem.loss(shifted, number)
            shifted[i] -= 2 * STEP
            slope = (above - problem.loss(shifted, number)) / (2 * STEP)
            assert np.isfinite(slope)
            allowed = WITHIN * (abs(slope) + floor) + ROUNDING
            assert abs(slope - gradient[i]) <= allowed, (name, int(i) - at, slope, gradient[i])


@pytest.mark.parametrize(("cell", "depth", "head"), STACKS)
def test_zero_gradients_are_those_of_unused_numbers(cell: str, depth: int, head: str) -> None:
    """A parameter without gradient is padding or a unit cut off by the relu: changing all of these changes no loss."""
    problem = problem_of(cell, depth, head)
    loss = problem.loss(problem.params, 1, learn=True)
    moved = np.where(problem.chunk.gradient == 0, problem.params + STEP, problem.params)
    assert problem.loss(moved, 1) == pytest.approx(loss, abs=1e-13)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("number", [0, 1])
class TestWithoutInfluence:
    """Excluded inputs and targets change neither the loss nor a bit of the gradient."""

    def _both(self, problem: Problem, number: int, data: Dataset) -> tuple[float, NDArray[Any], NDArray[Any]]:
        original, problem.data = problem.data, data
        loss = problem.loss(problem.params, number, learn=True)
        problem.data = original
        return loss, problem.chunk.gradient.copy(), problem.chunk.carried.copy()

    def _same(self, problem: Problem, number: int, data: Dataset) -> bool:
        a, b = self._both(problem, number, problem.data), self._both(problem, number, data)
        return a[0] == b[0] and np.array_equal(a[1], b[1])

    def test_what_lies_behind_the_limit(self, cell: str, number: int) -> None:
        """Targets at or after the limit may have any value."""
        problem = problem_of(cell, 1)
        y = problem.data.y.copy()
        for limit, start in zip(problem.windows[number].limit, problem.data.segment[:, 0], strict=True):
            end = problem.data.end[start]
            y[limit:end] = 1e6
        assert self._same(problem, number, replace(problem.data, y=y))

    def test_padded_steps(self, cell: str, number: int) -> None:
        """Inputs after the last step of a stream may have any value, even nan."""
        problem = problem_of(cell, 1)
        x, window = problem.data.x.copy(), problem.windows[number]
        padded = 0
        for first, steps in zip(window.first, window.steps, strict=True):
            x[first + steps : first + K2] = np.nan
            padded += K2 - steps
        assert padded == (3 if number else 0)
        assert self._same(problem, number, replace(problem.data, x=x))

    def test_inputs_do_count(self, cell: str, number: int) -> None:
        """One input inside a window changes the loss (control)."""
        problem = problem_of(cell, 1)
        x = problem.data.x.copy()
        x[problem.windows[number].first[0] + 3] += 0.5
        assert not self._same(problem, number, replace(problem.data, x=x))

    def test_missing_targets(self, cell: str, number: int) -> None:
        """A missing target drops only its own terms: the count falls by them, and the gradient stays finite."""
        problem = problem_of(cell, 1)
        window = problem.windows[number]
        at = int(window.first[0] + window.steps[0])  # the first value after the window, a target only
        y = problem.data.y.copy()
        y[at] = 0.5
        problem.chunk.carried[...] = problem.state[number]
        counts = []
        for value in (0.5, np.nan):
            y[at] = value
            data = replace(problem.data, y=y)
            counts.append(problem.chunk.run(problem.params, data, window, K1, learn=True)[2])
            assert np.isfinite(problem.chunk.gradient).all()
        # the scored steps whose horizon includes the target
        assert counts[0] - counts[1] == min(problem.layout.config.horizon, window.steps[0] - window.loss_from[0])


def test_carried_state_is_the_state_after_k1_steps() -> None:
    """The carried state is that after k1 steps, for k1 below, at and above the window length."""
    problem = problem_of("lstm", 1)
    window = Windows(
        problem.windows[0].first, np.full(STREAMS, 4), np.zeros(STREAMS, np.int64), problem.windows[0].limit
    )

    def state_after(k1: int, steps: int) -> NDArray[Any]:
        problem.chunk.carried[...] = problem.given
        problem.chunk.run(problem.params, problem.data, replace(window, steps=np.full(STREAMS, steps)), k1, learn=False)
        return problem.chunk.carried.copy()

    expected = state_after(4, 9)  # within a longer window
    np.testing.assert_array_equal(state_after(4, 4), expected)
    np.testing.assert_array_equal(state_after(1 << 60, 4), expected)
    assert not np.array_equal(state_after(3, 4), expected)
