r"""All horizons at once, with quantiles that cannot cross.

The direct multi-horizon quantile forecaster of Wen et al. 2017 (arXiv:1711.11053), with one set of weights for all
horizons.

For horizon h with features f_h (see features.py) and top hidden state t:

    z_h = relu(A t + B f_h + c)             (Z)
    o_h = O z_h + L f_h + d                 (Q)
    s_h = o_h at the median, squareplus(o_h) > 0 elsewhere
    q_h[median] = s_h[median];  q_h[next above] = q_h + s_h;  q_h[next below] = q_h - s_h

Of the features f_h = (p_h, m, g_h), see features.py, p_h are the same for every event: their products with B and L are
constants of the weights (`placed`). m is the same for every horizon: B m joins A t + c, and L m joins d, once per
event. What is left for every event and horizon are the products with g_h and with z_h.

The last line is a product with a matrix of 0, 1 and -1 whose terms come in the order median, upwards, downwards, so
that each quantile is its neighbour plus one more term: rounding is monotone, hence the quantiles are non-decreasing,
exactly. Outputs are kept in that order ("slots"), padded to whole vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster._jit import inlined, narrow_products, products, relu_products
from forecaster._math import squareplus
from forecaster._simd import choose, load, splat, store


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
    for column, row in zip(places.T.astype(weights.dtype), weights, strict=False):
        total = total + column[:, None] * row
    return total


@inlined
def direct_forward(
    ZV: int, QV: int, Q: int, columns: Any, n_top: int, horizon: int, W: Any, at: Any, top: Any, top_at: int,
    f: Any, moment: int, target: int, apart: int, z: Any, z_at: int, s: Any, s_at: int, q: Any, q_at: int,
) -> None:  # fmt: skip
    """Quantiles of every horizon for one event.

    Args:
        ZV, QV: literals, sixteen-lane vectors of z and of the padded quantiles.
        Q, n_top, horizon: literals: quantiles, top units, horizons.
        columns: tuple of literals: how many features are of the place, of the moment, of a target.
        W: parameters and constants.
        at: tuple of the offsets (A, B, c, O, L, d, tri, tri transposed, median mask, p, B p, L p) in W.
        top, top_at: top hidden state (n_top).
        f, moment, target, apart: inputs of the moment and of the targets, see `horizon_features`.
        z, z_at: overwritten by the hidden layer (horizon, Z); one more row in front of it, from z_at - Z on, is
            scratch and overwritten by A t + B m + c.
        s, s_at: overwritten by the slots (horizon, 16*QV).
        q, q_at: output (horizon, 16*QV), the first Q of each row are the quantiles in units of scale around ref.
    """
    A, B, c, O, L, d, tri, _, median, _, Bp, Lp = at  # noqa: E741 - O is the matrix of the docstring
    Z, QP = ZV * 16, QV * 16
    n_p, n_m, n_g = columns
    Bm, Bg, Lm, Lg = B + n_p * Z, B + (n_p + n_m) * Z, L + n_p * QP, L + (n_p + n_m) * QP
    shared = z_at - Z
    for v in range(ZV):
        store(z, shared + v * 16, load(W, c + v * 16))
    products(1, ZV, z, shared, 0, top, top_at, 0, 1, W, A, Z, n_top)
    products(1, ZV, z, shared, 0, f, moment, 0, 1, W, Bm, Z, n_m)
    for v in range(QV):  # d + L m, where the first quantiles will stand
        store(q, q_at + v * 16, load(W, d + v * 16))
    products(1, QV, q, q_at, 0, f, moment, 0, 1, W, Lm, QP, n_m)
    for h in range(horizon):
        for v in range(ZV):
            store(z, z_at + h * Z + v * 16, load(z, shared + v * 16) + load(W, Bp + h * Z + v * 16))
        for v in range(QV):
            store(s, s_at + h * QP + v * 16, load(q, q_at + v * 16) + load(W, Lp + h * QP + v * 16))
    relu_products(horizon, ZV, z, z_at, Z, f, target, 1, apart, W, Bg, Z, n_g)
    narrow_products(horizon, QV, s, s_at, QP, z, z_at, Z, 1, W, O, QP, Z)
    narrow_products(horizon, QV, s, s_at, QP, f, target, 1, apart, W, Lg, QP, n_g)
    for h in range(horizon):
        for v in range(QV):
            place = s_at + h * QP + v * 16
            raw = load(s, place)
            store(s, place, choose(load(W, median + v * 16), raw, squareplus(raw)))
            store(q, q_at + h * QP + v * 16, splat(q, 0.0))
    narrow_products(horizon, QV, q, q_at, QP, s, s_at, QP, 1, W, tri, QP, Q)


@inlined
def direct_backward(
    ZV: int, QV: int, Q: int, columns: Any, n_top: int, horizon: int, W: Any, at: Any, T: Any, at_t: Any, D: Any,
    f: Any, moment: int, target: int, apart: int, z: Any, z_at: int, s: Any, s_at: int, q: Any, q_at: int,
    ds: Any, dz: Any, dt: Any, dt_at: int, dtop: Any, dtop_at: int,
) -> None:  # fmt: skip
    """The same event backward; adds to the gradients of everything but A and c.

    Args:
        ZV, QV, Q, columns, n_top, horizon, W, at: as forward.
        T: transposed weights.
        at_t: tuple of the offsets (A transposed (Z, n_top), O transposed (16*QV, Z)) in T.
        D: gradients of all parameters, added to; offsets as in W.
        f, moment, target, apart, z, z_at, s, s_at: as forward left them; s is overwritten.
        q, q_at: gradient of the loss by the quantiles (horizon, 16*QV), zero in the padding; overwritten.
        ds: scratch (horizon, 16*QV), overwritten.
        dz: scratch (horizon, Z), overwritten.
        dt, dt_at: overwritten by the gradient of A t + B m + c (Z), from which the caller sums those of A and c.
        dtop, dtop_at: gradient of the top hidden state (n_top), added to; n_top a multiple of 16. Negative dtop_at:
            nobody wants it.
    """
    _, B, _, O, L, d, _, triT, median, p, _, _ = at  # noqa: E741 - O is the matrix of the docstring
    AT, OT = at_t
    Z, QP = ZV * 16, QV * 16
    n_p, n_m, n_g = columns
    Bm, Bg, Lm, Lg = B + n_p * Z, B + (n_p + n_m) * Z, L + n_p * QP, L + (n_p + n_m) * QP
    for i in range(horizon * QV):
        store(ds, i * 16, splat(ds, 0.0))
    products(horizon, QV, ds, 0, QP, q, q_at, QP, 1, W, triT, QP, Q)
    for h in range(horizon):
        for v in range(QV):
            # squareplus' = s^2 / (s^2 + 1) by its value s; 1 at the median
            squared = load(s, s_at + h * QP + v * 16)
            squared = squared * squared
            slope = choose(load(W, median + v * 16), splat(s, 1.0), squared / (squared + 1.0))
            store(ds, h * QP + v * 16, load(ds, h * QP + v * 16) * slope)
    for i in range(horizon * ZV):
        store(dz, i * 16, splat(dz, 0.0))
    products(horizon, ZV, dz, 0, Z, ds, 0, QP, 1, T, OT, Z, Q)
    for v in range(ZV):
        total = splat(dz, 0.0)
        for h in range(horizon):
            place = h * Z + v * 16
            gradient = choose(load(z, z_at + place), load(dz, place), splat(dz, 0.0))
            store(dz, place, gradient)
            total = total + gradient
        store(dt, dt_at + v * 16, total)
    for v in range(QV):
        total = splat(ds, 0.0)
        for h in range(horizon):
            total = total + load(ds, h * QP + v * 16)
        store(q, q_at + v * 16, total)  # the gradient of d + L m
        store(D, d + v * 16, load(D, d + v * 16) + total)
    products(n_p, ZV, D, B, Z, W, p, 1, n_p, dz, 0, Z, horizon)
    products(n_m, ZV, D, Bm, Z, f, moment, 1, 0, dt, dt_at, 0, 1)
    products(n_g, ZV, D, Bg, Z, f, target, apart, 1, dz, 0, Z, horizon)
    products(Z, QV, D, O, QP, z, z_at, 1, Z, ds, 0, QP, horizon)
    products(n_p, QV, D, L, QP, W, p, 1, n_p, ds, 0, QP, horizon)
    products(n_m, QV, D, Lm, QP, f, moment, 1, 0, q, q_at, 0, 1)
    products(n_g, QV, D, Lg, QP, f, target, apart, 1, ds, 0, QP, horizon)
    if dtop_at >= 0:
        for v in range(n_top // 16):
            products(1, 1, dtop, dtop_at + v * 16, 0, dt, dt_at, 0, 1, T, AT + v * 16, n_top, Z)
