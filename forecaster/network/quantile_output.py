r"""The last layer of every head: from hidden units to quantiles that cannot cross.

For horizon h with hidden units z_h and features f_h = (p_h, m, g_h, c_h) of place, moment, target and date (see
head_inputs.py):

    o_h = O z_h + L f_h + d                 (Q)
    s_h = o_h at the median, squareplus(o_h) > 0 elsewhere
    q_h[median] = s_h[median];  q_h[next above] = q_h + s_h;  q_h[next below] = q_h - s_h

Of L f_h, L p_h is a constant of the weights (`placed`), as p_h is the same for every event, L c_h joins it once for all
events of one time (`give`), and L m joins d once per event, as m is the same for every horizon.

The last line is a product with a matrix of 0, 1 and -1 whose terms come in the order median, upwards, downwards, so
that each quantile is its neighbour plus one more term: rounding is monotone, hence the quantiles are non-decreasing,
exactly. Outputs are kept in that order ("slots"), padded to whole vectors.

Every head takes, for one event:

    ZV, QV, Q, horizon        literals: sixteen-lane vectors of z and of the padded quantiles; quantiles; horizons
    columns                   tuple of literals: how many features are of place, moment, target and date
    W, at                     parameters and constants, and the offsets of `head_offsets` in them
    given, given_at           what place and date add, from given[given_at] on, as `give` left it
    f, moment, target, apart  inputs of the moment and of the targets, see `horizon_features`; dates behind the targets
    z, z_at                   hidden units: overwritten forward, as they were left backward
    s, s_at                   slots (horizon, 16*QV): likewise
    q, q_at                   forward, overwritten by the quantiles (horizon, 16*QV), the first Q of each row, in units
                              of scale around ref; backward, the gradient of the loss by them, zero in the padding,
                              overwritten

and backward also:

    n_top                     literal: units of the top hidden state t, a multiple of 16 if its gradient is wanted
    T, at_t                   transposed weights, and a tuple of offsets in them: A transposed (Z, n_top), O transposed
                              (16*QV, Z), one of the head's own
    D                         gradients of all parameters, all but those of A and c added to; offsets as in W
    ds, dz                    scratch (horizon, 16*QV) and (horizon, Z), overwritten
    dt, dt_at                 overwritten by the gradient of A t + B m + c (Z): the caller sums those of A and c
    dtop, dtop_at             gradient of t (n_top), added to; negative dtop_at: nobody wants it
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.activations import squareplus
from forecaster.kernels.jit import TALL, fresh_products, inlined, narrow_products, products
from forecaster.kernels.simd import load, select, splat, store


def slot_levels(quantiles: tuple[float, ...]) -> list[int]:
    """Index of the quantile level that each slot belongs to: the median, then upwards, then downwards."""
    m = quantiles.index(0.5)
    return [m, *range(m + 1, len(quantiles)), *range(m - 1, -1, -1)]


def cumulation(quantiles: tuple[float, ...], width: int) -> NDArray[np.float32]:
    """The matrix (width, width) from slots to quantiles, zero outside (Q, Q)."""
    m, matrix = quantiles.index(0.5), np.zeros((width, width), np.float32)
    for slot, level in enumerate(slot_levels(quantiles)):
        if slot == 0:
            matrix[0, : len(quantiles)] = 1.0
        elif level > m:
            matrix[slot, level : len(quantiles)] = 1.0
        else:
            matrix[slot, : level + 1] = -1.0
    return matrix


def placed(places: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """What the inputs that only depend on the horizon add to each horizon: (horizon, n_p) x (n_f, n) -> (horizon, n).

    Rounded after every multiplication and addition, in this order, so that no library decides on the bits.
    """
    total = np.zeros((len(places), weights.shape[1]), weights.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # of broken weights nothing finite is expected
        for column, row in zip(places.T.astype(weights.dtype), weights, strict=False):
            total = total + column[:, None] * row
    return total


@inlined
def give(
    ZV: int, QV: int, columns: Any, horizon: int, W: Any, at: Any, given: Any, given_at: int,
    f: Any, date: int, apart: int, direct: int,
) -> None:  # fmt: skip
    """Overwrites given[given_at:] by L p_h + L c_h (horizon, 16*QV), behind it by B p_h + B c_h (horizon, Z).

    They are the same for all events at one time, and can be kept for the next one.

    Args:
        ...: those of every head, see the module.
        f, date, apart: the date of the target h steps ahead at f[date + i*apart + h - 1].
        direct: literal, 0 for the decoder: its cell takes dates in, and the second table is left alone.
    """
    Z, QP = ZV * 16, QV * 16
    n_p, n_m, n_g, n_c = columns
    for v in range(0, horizon * QP, 16):
        store(given, given_at + v, load(W, at[10] + v))
    narrow_products(horizon, QV, given, given_at, QP, f, date, 1, apart, W, at[4] + (n_p + n_m + n_g) * QP, QP, n_c)
    if direct == 1:
        for v in range(0, horizon * Z, 16):
            store(given, given_at + horizon * QP + v, load(W, at[11] + v))
        products(horizon, ZV, given, given_at + horizon * QP, Z, f, date, 1, apart,
                 W, at[1] + (n_p + n_m + n_g) * Z, Z, n_c)  # fmt: skip


@inlined
def output_forward(
    QV: int, Q: int, columns: Any, units: int, horizon: int, W: Any, at: Any, given: Any, given_at: int,
    f: Any, moment: int, target: int, apart: int, z: Any, z_at: int, z_row: int, s: Any, s_at: int, q: Any, q_at: int,
) -> None:  # fmt: skip
    """Quantiles of every horizon for one event.

    Args:
        ...: those of every head, see the module.
        units: literal, hidden units.
        z, z_at, z_row: hidden units, only read: those of horizon h from z_at + (h - 1)*z_row on.
    """
    O, L, d, tri, median = at[3], at[4], at[5], at[6], at[8]  # noqa: E741 - O is the matrix of the docstring
    QP = QV * 16
    n_p, n_m, n_g, _ = columns
    Lm, Lg = L + n_p * QP, L + (n_p + n_m) * QP
    for v in range(QV):  # d + L m, where the first quantiles will stand
        store(q, q_at + v * 16, load(W, d + v * 16))
    products(1, QV, q, q_at, 0, f, moment, 0, 1, W, Lm, QP, n_m)
    fresh_products(TALL, horizon, QV, 0, s, s_at, QP, q, q_at, given, given_at, QP, z, z_at, z_row, 1, W, O, QP, units)
    narrow_products(horizon, QV, s, s_at, QP, f, target, 1, apart, W, Lg, QP, n_g)
    for h in range(horizon):
        for v in range(QV):
            place = s_at + h * QP + v * 16
            raw = load(s, place)
            store(s, place, select(load(W, median + v * 16), raw, squareplus(raw)))
            store(q, q_at + h * QP + v * 16, splat(q, 0.0))
    narrow_products(horizon, QV, q, q_at, QP, s, s_at, QP, 1, W, tri, QP, Q)


@inlined
def output_backward(
    QV: int, Q: int, columns: Any, ZV: int, horizon: int, W: Any, at: Any, T: Any, OT: int, D: Any,
    f: Any, moment: int, target: int, apart: int, z: Any, z_at: int, z_row: int, s: Any, s_at: int, q: Any, q_at: int,
    ds: Any, dz: Any,
) -> None:  # fmt: skip
    """The same event backward; adds to the gradients of O, L and d.

    Args:
        ...: those of every head, see the module.
        OT: offset of O transposed in T.
        z, z_at, z_row: as forward.
        dz: overwritten by the gradient of the hidden units (horizon, Z), as far as it comes from their own horizon.
    """
    O, L, d, triT, median, p = at[3], at[4], at[5], at[7], at[8], at[9]  # noqa: E741 - O is the matrix of the docstring
    Z, QP = ZV * 16, QV * 16
    n_p, n_m, n_g, n_c = columns
    Lm, Lg = L + n_p * QP, L + (n_p + n_m) * QP
    for i in range(horizon * QV):
        store(ds, i * 16, splat(ds, 0.0))
    products(horizon, QV, ds, 0, QP, q, q_at, QP, 1, W, triT, QP, Q)
    for h in range(horizon):
        for v in range(QV):
            # squareplus' = s^2 / (s^2 + 1) by its value s; 1 at the median
            squared = load(s, s_at + h * QP + v * 16)
            squared = squared * squared
            slope = select(load(W, median + v * 16), splat(s, 1.0), squared / (squared + 1.0))
            store(ds, h * QP + v * 16, load(ds, h * QP + v * 16) * slope)
    for i in range(horizon * ZV):
        store(dz, i * 16, splat(dz, 0.0))
    products(horizon, ZV, dz, 0, Z, ds, 0, QP, 1, T, OT, Z, Q)
    for v in range(QV):
        total = splat(ds, 0.0)
        for h in range(horizon):
            total = total + load(ds, h * QP + v * 16)
        store(q, q_at + v * 16, total)  # the gradient of d + L m
        store(D, d + v * 16, load(D, d + v * 16) + total)
    products(Z, QV, D, O, QP, z, z_at, 1, z_row, ds, 0, QP, horizon)
    products(n_p, QV, D, L, QP, W, p, 1, n_p, ds, 0, QP, horizon)
    products(n_m, QV, D, Lm, QP, f, moment, 1, 0, q, q_at, 0, 1)
    products(n_g + n_c, QV, D, Lg, QP, f, target, apart, 1, ds, 0, QP, horizon)
