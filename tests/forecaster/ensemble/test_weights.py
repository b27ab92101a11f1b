"""Ensemble weights computed from losses alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from forecaster.ensemble.weights import NETWORK_ODDS, gather_losses, weigh
from forecaster.kernels.jit import kernel

TRACKED = (1, 2, 3)
LONG = 100_000  # steps after which the sharpness has its full value


@kernel
def laid_out_and_weighed(
    members: int, steps: int, losses: NDArray[np.float32], begins: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """Calls the kernels as combine_members does."""
    gather_losses(members, TRACKED, steps, losses, 0, begins, 0, out, 0, 16 * members)
    weigh(members, out, 0, 16 * members)


def weights(losses: list[list[float]], steps: int = LONG, scratch: float = 0.0) -> NDArray[np.float32]:
    """Returns weights (tracked, members) for losses of the same shape; `scratch` fills the buffer beforehand."""
    table = np.array(losses, np.float32)
    horizons, members = table.shape
    out = np.full(16 * members + 16, scratch, np.float32)
    begins = np.repeat(np.float32(TRACKED), members)  # all members are scored from the first step on
    laid_out_and_weighed(members, steps, table.ravel(), begins, out)
    for horizon in range(horizons):
        assert (out[16 * members + horizon] > 0.0) == (not np.isnan(table[horizon]).all())
    return out[: 16 * members].reshape(members, 16)[:, :horizons].T


def test_network_is_favoured_where_losses_are_alike() -> None:
    """The network's weight relates to that of an expert with equal losses as NETWORK_ODDS to 1."""
    found = weights([[2.0, 2.0, 2.0]] * 3)

    np.testing.assert_allclose(found, [[NETWORK_ODDS, 1.0, 1.0] / np.float32(NETWORK_ODDS + 2.0)] * 3, rtol=1e-6)


def test_losses_at_other_horizons_count() -> None:
    """Of two experts with equal loss at one horizon, the one that lost more at another has less weight at both."""
    found = weights([[1.0, 1.0, 1.0], [1.0, 1.0, 1.2], [1.0, 1.0, 1.0]])

    assert (found[:, 2] < found[:, 1]).all()
    assert found[1, 2] < found[0, 2]


def test_only_scored_horizons_count() -> None:
    """A member never scored at a horizon has weight 0 there, and its other weights do not change."""
    nan = np.nan
    found = weights([[1.0, 1.3, nan], [1.0, 1.3, nan], [nan, nan, nan]])

    assert (found[:, 2] == 0.0).all()
    assert (found[2] == 0.0).all()
    np.testing.assert_array_equal(found[0], weights([[1.0, 1.3, nan]] * 3)[0])


@pytest.mark.parametrize("scratch", [np.nan, 1.0, 1e35])
def test_weights_do_not_depend_on_what_scratch_held(scratch: float) -> None:
    """The contents of the scratch buffer, including lanes after the last tracked horizon, do not change the weights."""
    losses = [[1.0, 1.5, 0.9], [1.0, 1.2, 0.8], [2.0, 1.9, 2.1]]

    np.testing.assert_array_equal(weights(losses, scratch=scratch), weights(losses))


def test_loss_of_zero_leaves_nothing_to_others() -> None:
    """A member with zero loss has all the weight, and no weight is nan."""
    found = weights([[1.0, 0.0, 0.5]] * 3)

    np.testing.assert_array_equal(found, [[0.0, 1.0, 0.0]] * 3)
