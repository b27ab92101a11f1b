r"""Direct head: all horizons at once.

The direct multi-horizon quantile forecaster of Wen et al. 2017 (arXiv:1711.11053), with one set of weights for all
horizons.

For horizon h with features f_h (see head_inputs.py) and top hidden state t:

    z_h = relu(A t + B f_h + c)             (Z)      and on to quantiles, see quantile_output.py

Of the features f_h = (p_h, m, g_h, c_h), p_h are the same for every event: B p_h is a constant of the weights. c_h are
the same for all events at one time: B c_h is added to it once for all of these (`write_date_terms` in
quantile_output.py). m is the same for every horizon: B m is added to A t + c, once per event. Only the product with g_h
is computed for every event and horizon.
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.jit import TILE, fresh_products, inlined, product, products
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.simd import load, select, splat, store
from forecaster.network.quantile_output import HeadLayout, output_backward, output_forward, top_backward


@inlined
def direct_shared(head: HeadLayout, rows: int, W: Any, top: Any, out: Any) -> None:
    """Computes A t + c of several events at once, so that they share the loads of A.

    Args:
        head, W: those of every head, see quantile_output.py.
        rows: number of events.
        top: `Rows` of the top hidden states (rows, n_top).
        out: `Block`, overwritten (rows, Z).
    """
    Z = head.z_vectors * 16
    for r in range(rows):
        for v in range(0, Z, 16):
            store(out.array, out.at + r * Z + v, load(W, head.c + v))
    products(rows, head.z_vectors, Rows(out.array, out.at, Z), Strided(top.array, top.at, top.row, 1),
             Rows(W, head.A, Z), head.n_top)  # fmt: skip


@inlined
def direct_forward(head: HeadLayout, W: Any, given: Any, shared: Any, inputs: Any, z: Any, s: Any, q: Any) -> None:
    """Computes the quantiles of every horizon for one event.

    Args:
        head, W, given, inputs, s, q: those of every head, see quantile_output.py.
        shared: `Block`, A t + c of the event (Z), see `direct_shared`; overwritten by A t + B m + c.
        z: `Block`, overwritten by the hidden layer (horizon, Z).
    """
    Z, QP, horizon, f = head.z_vectors * 16, head.q_vectors * 16, head.horizon, inputs.array
    Bm, Bg = head.B + head.n_place * Z, head.B + (head.n_place + head.n_moment) * Z
    # A t + B m + c
    product(1, head.z_vectors, Rows(shared.array, shared.at, 0), Strided(f, inputs.moment, 0, 1), Rows(W, Bm, Z),
            head.n_moment)  # fmt: skip
    # z_h = relu(A t + B f_h + c)
    fresh_products(TILE, horizon, head.z_vectors, 1, Rows(z.array, z.at, Z), Rows(shared.array, shared.at, 0),
                   Rows(given.array, given.at + horizon * QP, Z), Strided(f, inputs.target, 1, inputs.row),
                   Rows(W, Bg, Z), head.n_target)  # fmt: skip
    output_forward(head, W, given, inputs, Rows(z.array, z.at, Z), s, q)


@inlined
def direct_backward(
    head: HeadLayout, W: Any, transposed: Any, D: Any, inputs: Any, z: Any, s: Any, q: Any, ds: Any, dz: Any,
    dt: Any, dtop: Any,
) -> None:  # fmt: skip
    """Computes the gradients of one event; arguments as of every head, see quantile_output.py.

    z is as written by `direct_forward`.
    """
    Z, horizon, f = head.z_vectors * 16, head.horizon, inputs.array
    Bm, Bg = head.B + head.n_place * Z, head.B + (head.n_place + head.n_moment) * Z
    output_backward(head, W, transposed, D, inputs, Rows(z.array, z.at, Z), s, q, ds, dz)
    # through the relu, and summed over the horizons
    for v in range(head.z_vectors):
        total = splat(dz, 0.0)
        for h in range(horizon):
            place = h * Z + v * 16
            gradient = select(load(z.array, z.at + place), load(dz, place), splat(dz, 0.0))
            store(dz, place, gradient)
            total = total + gradient
        store(dt.array, dt.at + v * 16, total)
    # the gradients of B, and of t
    units = Rows(dz, 0, Z)
    products(head.n_place, head.z_vectors, Rows(D, head.B, Z), Strided(W, head.place, 1, head.n_place), units, horizon)
    products(head.n_moment, head.z_vectors, Rows(D, Bm, Z), Strided(f, inputs.moment, 1, 0),
             Rows(dt.array, dt.at, 0), 1)  # fmt: skip
    products(head.n_target + head.n_date, head.z_vectors, Rows(D, Bg, Z), Strided(f, inputs.target, inputs.row, 1),
             units, horizon)  # fmt: skip
    top_backward(head, transposed, dt, dtop)
