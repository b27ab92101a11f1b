r"""All horizons at once.

The direct multi-horizon quantile forecaster of Wen et al. 2017 (arXiv:1711.11053), with one set of weights for all
horizons.

For horizon h with features f_h (see head_inputs.py) and top hidden state t:

    z_h = relu(A t + B f_h + c)             (Z)      and on to quantiles, see quantile_output.py

Of the features f_h = (p_h, m, g_h, c_h), p_h are the same for every event: B p_h is a constant of the weights. c_h are
the same for all events at one time: B c_h joins it once for all of these (`give` in quantile_output.py). m is the same
for every horizon: B m joins A t + c, once per event. What is left for every event and horizon is the product with g_h.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.jit import TILE, fresh_products, inlined, product, products
from forecaster.kernels.simd import load, select, splat, store
from forecaster.network.quantile_output import output_backward, output_forward


@inlined
def direct_shared(
    rows: int, ZV: int, n_top: int, W: Any, at: Any, top: Any, top_at: int, top_row: int, out: Any, out_at: int
) -> None:
    """A t + c of some events at once, so that they share the loads of A.

    Args:
        rows: number of events.
        ZV, n_top, W, at: as in `direct_forward`.
        top, top_at, top_row: top hidden states (rows, n_top), `top_row` numbers apart.
        out, out_at: overwritten (rows, Z).
    """
    A, c = at[0], at[2]
    for r in range(rows):
        for v in range(0, ZV * 16, 16):
            store(out, out_at + r * ZV * 16 + v, load(W, c + v))
    products(rows, ZV, out, out_at, ZV * 16, top, top_at, top_row, 1, W, A, ZV * 16, n_top)


@inlined
def direct_forward(
    ZV: int, QV: int, Q: int, columns: Any, horizon: int, W: Any, at: Any, given: Any, given_at: int,
    shared: Any, shared_at: int, f: Any, moment: int, target: int, apart: int,
    z: Any, z_at: int, s: Any, s_at: int, q: Any, q_at: int,
) -> None:  # fmt: skip
    """Quantiles of every horizon for one event.

    Args:
        ...: those of every head, see quantile_output.py.
        shared, shared_at: A t + c of the event (Z), see `direct_shared`; overwritten by A t + B m + c.
        z, z_at: overwritten by the hidden layer (horizon, Z).
    """
    B = at[1]
    Z, QP = ZV * 16, QV * 16
    n_p, n_m, n_g, _ = columns
    Bm, Bg = B + n_p * Z, B + (n_p + n_m) * Z
    product(1, ZV, shared, shared_at, 0, f, moment, 0, 1, W, Bm, Z, n_m)
    fresh_products(TILE, horizon, ZV, 1, z, z_at, Z, shared, shared_at, given, given_at + horizon * QP, Z,
                   f, target, 1, apart, W, Bg, Z, n_g)  # fmt: skip
    output_forward(QV, Q, columns, Z, horizon, W, at, given, given_at, f, moment, target, apart, z, z_at, Z,
                   s, s_at, q, q_at)  # fmt: skip


@inlined
def direct_backward(
    ZV: int, QV: int, Q: int, columns: Any, n_top: int, horizon: int, W: Any, at: Any, T: Any, at_t: Any, D: Any,
    f: Any, moment: int, target: int, apart: int, z: Any, z_at: int, s: Any, s_at: int, q: Any, q_at: int,
    ds: Any, dz: Any, dt: Any, dt_at: int, dtop: Any, dtop_at: int,
) -> None:  # fmt: skip
    """The same event backward; arguments as of every head, see quantile_output.py. The third of `at_t` is unused."""
    B, p = at[1], at[9]
    AT, OT, _ = at_t
    Z = ZV * 16
    n_p, n_m, n_g, n_c = columns
    Bm, Bg = B + n_p * Z, B + (n_p + n_m) * Z
    output_backward(QV, Q, columns, ZV, horizon, W, at, T, OT, D, f, moment, target, apart, z, z_at, Z, s, s_at,
                    q, q_at, ds, dz)  # fmt: skip
    for v in range(ZV):
        total = splat(dz, 0.0)
        for h in range(horizon):
            place = h * Z + v * 16
            gradient = select(load(z, z_at + place), load(dz, place), splat(dz, 0.0))
            store(dz, place, gradient)
            total = total + gradient
        store(dt, dt_at + v * 16, total)
    products(n_p, ZV, D, B, Z, W, p, 1, n_p, dz, 0, Z, horizon)
    products(n_m, ZV, D, Bm, Z, f, moment, 1, 0, dt, dt_at, 0, 1)
    products(n_g + n_c, ZV, D, Bg, Z, f, target, apart, 1, dz, 0, Z, horizon)
    if dtop_at >= 0:
        for v in range(n_top // 16):
            products(1, 1, dtop, dtop_at + v * 16, 0, dt, dt_at, 0, 1, T, AT + v * 16, n_top, Z)
