r"""The last layer of every head: from hidden units to quantiles that cannot cross.

For horizon h with hidden units z_h and features f_h = (p_h, m, g_h, c_h) of place, moment, target and date (see
head_inputs.py):

    o_h = O z_h + L f_h + d                 (Q)
    s_h = o_h at the median, squareplus(o_h) > 0 elsewhere
    q_h[median] = s_h[median];  q_h[next above] = q_h + s_h;  q_h[next below] = q_h - s_h

Of L f_h, L p_h is a constant of the weights (`place_terms`), as p_h is the same for every event, L c_h is added to it
once for all events of one time (`write_date_terms`), and L m is added to d once per event, as m is the same for every
horizon.

The last line is a product with a matrix of 0, 1 and -1 whose terms are ordered median, upwards, downwards, so that each
quantile is its neighbour plus one more term: rounding is monotone, hence the quantiles are exactly non-decreasing.
Outputs are stored in that order ("slots"), padded to whole vectors.

Every head takes, for one event:

    head                      `HeadLayout`
    W                         parameters and constants, see `kernel_weights` in layout.py
    given                     `Block`, contribution of place and date, as written by `write_date_terms`
    inputs                    `HeadInputs`; dates follow the targets
    z                         hidden units: overwritten by forward, read by backward
    s                         `Block` of the slots (horizon, 16*QV): likewise
    q                         `Block`; forward, overwritten by the quantiles (horizon, 16*QV), the first Q of each row,
                              in units of scale around ref; backward, the gradient of the loss by them, zero in the
                              padding, overwritten

and backward also:

    transposed                `HeadTransposed`
    D                         gradients of all parameters, added to but for those of A and c; offsets as in W
    ds, dz                    scratch (horizon, 16*QV) and (horizon, Z), overwritten
    dt                        `Block` (Z), overwritten by the gradient of A t + B m + c; the caller sums those of A, c
    dtop                      `Block`, gradient of t (n_top), added to; negative dtop.at: not needed
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.activations import squareplus
from forecaster.kernels.jit import TALL, fresh_products, inlined, narrow_products, products
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.simd import load, select, splat, store
from forecaster.kernels.sizes import sized


@sized("decoder", "z_vectors", "q_vectors", n_place=3, n_moment=10)
class HeadLayout(NamedTuple):
    """Sizes of the head, and the offsets of its weights and constants in W.

    Attributes:
        decoder: 1 for the decoder, 0 for the direct head.
        z_vectors, q_vectors: sixteen-lane vectors of the hidden units (Z = 16 ZV) and of the padded quantiles.
        n_q: quantiles (Q).
        horizon: horizons.
        n_place, n_moment, n_target, n_date: features of place, moment, target and date.
        n_top: units of the top hidden state; a multiple of 16 if its gradient is needed.
        A: (n_top, Z). B: (n_f, Z), of the decoder (n_moment, Z). c: (Z,).
        O: (Z, 16*QV). L: (n_f, 16*QV). d: (16*QV,).
        tri, tri_transposed: (16*QV, 16*QV), see `cumulation`.
        median: (16*QV,), 1 at the slot of the median.
        place: (horizon, n_place), see `horizon_places`. Lp: (horizon, 16*QV), L p.
        Bp: (horizon, Z), B p; 0 for the decoder.
        wh, wx, bias: packed weights of the decoder's cell; 0 for the direct head.
    """

    decoder: int
    z_vectors: int
    q_vectors: int
    n_q: int
    horizon: int
    n_place: int
    n_moment: int
    n_target: int
    n_date: int
    n_top: int
    A: int
    B: int
    c: int
    O: int  # noqa: E741 - the matrix of the equations
    L: int
    d: int
    tri: int
    tri_transposed: int
    median: int
    place: int
    Lp: int
    Bp: int
    wh: int
    wx: int
    bias: int


class HeadTransposed(NamedTuple):
    """Transposed weights of the head, for the backward pass.

    Attributes:
        array: (n,) floats.
        A: start of A (Z, n_top). O: (16*QV, Z). wh: of the decoder's cell (3*Z, Z).
    """

    array: Any
    A: int
    O: int  # noqa: E741 - the matrix of the equations
    wh: int


def slot_levels(quantiles: tuple[float, ...]) -> list[int]:
    """Returns the index of the quantile level of each slot: the median, then upwards, then downwards."""
    m = quantiles.index(0.5)
    return [m, *range(m + 1, len(quantiles)), *range(m - 1, -1, -1)]


def cumulation(quantiles: tuple[float, ...], width: int) -> NDArray[np.float32]:
    """Returns the matrix (width, width) from slots to quantiles, zero outside (Q, Q)."""
    m, matrix = quantiles.index(0.5), np.zeros((width, width), np.float32)
    for slot, level in enumerate(slot_levels(quantiles)):
        if slot == 0:
            matrix[0, : len(quantiles)] = 1.0
        elif level > m:
            matrix[slot, level : len(quantiles)] = 1.0
        else:
            matrix[slot, : level + 1] = -1.0
    return matrix


def place_terms(places: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Returns the contribution of the inputs of place to each horizon: (horizon, n_p) x (n_f, n) -> (horizon, n).

    Every multiplication and addition is rounded, in this order, so that the bits do not depend on a library.
    """
    total = np.zeros((len(places), weights.shape[1]), weights.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # broken weights may give inf or nan
        for column, row in zip(places.T.astype(weights.dtype), weights, strict=False):
            total = total + column[:, None] * row
    return total


@inlined
def write_date_terms(head: HeadLayout, W: Any, given: Any, f: Any, date: int, apart: int) -> None:
    """Overwrites `given` by L p_h + L c_h (horizon, 16*QV), followed by B p_h + B c_h (horizon, Z).

    They are the same for all events at one time, so the next event can reuse them. For the decoder, whose cell has the
    dates among its inputs, the second table is not written.

    Args:
        head, W, given: those of every head, see the module.
        f, date, apart: the date of the target h steps ahead at f[date + i*apart + h - 1].
    """
    Z, QP, horizon = head.z_vectors * 16, head.q_vectors * 16, head.horizon
    before = head.n_place + head.n_moment + head.n_target
    G, g, dates = given.array, given.at, Strided(f, date, 1, apart)
    for v in range(0, horizon * QP, 16):
        store(G, g + v, load(W, head.Lp + v))
    narrow_products(horizon, head.q_vectors, Rows(G, g, QP), dates, Rows(W, head.L + before * QP, QP), head.n_date)
    if head.decoder == 0:
        for v in range(0, horizon * Z, 16):
            store(G, g + horizon * QP + v, load(W, head.Bp + v))
        products(horizon, head.z_vectors, Rows(G, g + horizon * QP, Z), dates,
                 Rows(W, head.B + before * Z, Z), head.n_date)  # fmt: skip


@inlined
def output_forward(head: HeadLayout, W: Any, given: Any, inputs: Any, z: Any, s: Any, q: Any) -> None:
    """Computes the quantiles of every horizon for one event.

    Args:
        head, W, given, inputs, s, q: those of every head, see the module.
        z: `Rows` of the hidden units (horizon, Z), only read.
    """
    QV, horizon, QP = head.q_vectors, head.horizon, head.q_vectors * 16
    S, s_at, quantiles, q_at, f, apart = s.array, s.at, q.array, q.at, inputs.array, inputs.row
    Lm, Lg = head.L + head.n_place * QP, head.L + (head.n_place + head.n_moment) * QP
    # d + L m, in the memory of the first quantiles
    for v in range(QV):
        store(quantiles, q_at + v * 16, load(W, head.d + v * 16))
    products(1, head.q_vectors, Rows(quantiles, q_at, 0), Strided(f, inputs.moment, 0, 1), Rows(W, Lm, QP),
             head.n_moment)  # fmt: skip
    # o_h = O z_h + L f_h + d
    fresh_products(TALL, horizon, head.q_vectors, 0, Rows(S, s_at, QP), Rows(quantiles, q_at, 0),
                   Rows(given.array, given.at, QP), Strided(z.array, z.at, z.row, 1), Rows(W, head.O, QP),
                   head.z_vectors * 16)  # fmt: skip
    narrow_products(horizon, head.q_vectors, Rows(S, s_at, QP), Strided(f, inputs.target, 1, apart), Rows(W, Lg, QP),
                    head.n_target)  # fmt: skip
    # s_h
    for h in range(horizon):
        for v in range(QV):
            place = s_at + h * QP + v * 16
            raw = load(S, place)
            store(S, place, select(load(W, head.median + v * 16), raw, squareplus(raw)))
            store(quantiles, q_at + h * QP + v * 16, splat(quantiles, 0.0))
    # q_h, as a product with 0, 1 and -1
    narrow_products(horizon, head.q_vectors, Rows(quantiles, q_at, QP), Strided(S, s_at, QP, 1), Rows(W, head.tri, QP),
                    head.n_q)  # fmt: skip


@inlined
def output_backward(
    head: HeadLayout, W: Any, transposed: Any, D: Any, inputs: Any, z: Any, s: Any, q: Any, ds: Any, dz: Any
) -> None:
    """Computes the gradients of one event; adds to those of O, L and d.

    Args:
        head, W, transposed, D, inputs, s, q, ds: those of every head, see the module.
        z: as in `output_forward`.
        dz: overwritten by the gradient of the hidden units (horizon, Z), the part from their own horizon.
    """
    QV, horizon, Z, QP = head.q_vectors, head.horizon, head.z_vectors * 16, head.q_vectors * 16
    S, s_at, quantiles, q_at, f, apart = s.array, s.at, q.array, q.at, inputs.array, inputs.row
    Lm, Lg = head.L + head.n_place * QP, head.L + (head.n_place + head.n_moment) * QP
    # the gradient of s_h
    for i in range(horizon * QV):
        store(ds, i * 16, splat(ds, 0.0))
    products(horizon, head.q_vectors, Rows(ds, 0, QP), Strided(quantiles, q_at, QP, 1),
             Rows(W, head.tri_transposed, QP), head.n_q)  # fmt: skip
    # that of o_h: squareplus' = s^2 / (s^2 + 1) by its value s; 1 at the median
    for h in range(horizon):
        for v in range(QV):
            squared = load(S, s_at + h * QP + v * 16)
            squared = squared * squared
            slope = select(load(W, head.median + v * 16), splat(S, 1.0), squared / (squared + 1.0))
            store(ds, h * QP + v * 16, load(ds, h * QP + v * 16) * slope)
    # that of z_h, through O
    for i in range(horizon * head.z_vectors):
        store(dz, i * 16, splat(dz, 0.0))
    products(horizon, head.z_vectors, Rows(dz, 0, Z), Strided(ds, 0, QP, 1),
             Rows(transposed.array, transposed.O, Z), head.n_q)  # fmt: skip
    # the gradient of d + L m, then those of the weights
    for v in range(QV):
        total = splat(ds, 0.0)
        for h in range(horizon):
            total = total + load(ds, h * QP + v * 16)
        store(quantiles, q_at + v * 16, total)
        store(D, head.d + v * 16, load(D, head.d + v * 16) + total)
    slots = Rows(ds, 0, QP)
    products(Z, head.q_vectors, Rows(D, head.O, QP), Strided(z.array, z.at, 1, z.row), slots, horizon)
    products(head.n_place, head.q_vectors, Rows(D, head.L, QP), Strided(W, head.place, 1, head.n_place), slots, horizon)
    products(head.n_moment, head.q_vectors, Rows(D, Lm, QP), Strided(f, inputs.moment, 1, 0),
             Rows(quantiles, q_at, 0), 1)  # fmt: skip
    products(head.n_target + head.n_date, head.q_vectors, Rows(D, Lg, QP), Strided(f, inputs.target, apart, 1), slots,
             horizon)  # fmt: skip


@inlined
def top_backward(head: HeadLayout, transposed: Any, dt: Any, dtop: Any) -> None:
    """Adds the gradient of the top hidden state t, through A, from that of A t + B m + c."""
    if dtop.at >= 0:
        for v in range(head.n_top // 16):
            products(1, 1, Rows(dtop.array, dtop.at + v * 16, 0), Strided(dt.array, dt.at, 0, 1),
                     Rows(transposed.array, transposed.A + v * 16, head.n_top), head.z_vectors * 16)  # fmt: skip
