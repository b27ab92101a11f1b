r"""Many-to-many of unequal length: a second cell, unrolled over the horizon, fed what is known of each target.

The encoder is the stream itself. With the features f_h = (p_h, m, g_h) of place, moment and target, its date among the
last (see head_inputs.py), and the top hidden state t:

    z_0 = A t + B m + c                     (Z)
    z_h = GRU(z_{h-1}, g_h)                 (Z)      the equations of cells/gru.py; h = 1 .. horizon
                                                     and on to quantiles, see quantile_output.py

No output is fed back (Wen et al. 2017, arXiv:1711.11053; Cho et al. 2014 and Sutskever et al. 2014 feed it): one pass
gives the quantiles of every horizon, and training sees the inputs that live has. What horizon h knows beyond f_h is
what the cell kept of t, m and g_1 .. g_{h-1}.

Scratch of an event, rows of Z + 16*ceil(n_g/16) numbers and behind them the activations of the cell:

    row h = [ z_h (Z) | g_{h+1} (n_g) ]     h = 0 .. horizon;      strips (horizon, 4*Z) [nh | r | z | n], see gru.py
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.buffers import padded_width
from forecaster.kernels.jit import inlined, products
from forecaster.kernels.simd import load, splat, store
from forecaster.network.gru import H_FIRST, H_VECTORS, STRIP, X_FIRST, X_VECTORS
from forecaster.network.layer import GRU, layer_step, layer_step_backward, layer_weight_gradients
from forecaster.network.quantile_output import output_backward, output_forward


def decoder_floats(units: int, n_g: int, horizon: int) -> int:
    """Length of the scratch of one event, for `units` = Z."""
    return (horizon + 1) * (units + padded_width(n_g)) + horizon * STRIP * units


@inlined
def decoder_forward(
    ZV: int, QV: int, Q: int, columns: Any, horizon: int, W: Any, at: Any, given: Any, given_at: int,
    shared: Any, shared_at: int, f: Any, moment: int, target: int, apart: int,
    z: Any, z_at: int, s: Any, s_at: int, q: Any, q_at: int,
) -> None:  # fmt: skip
    """Quantiles of every horizon for one event.

    Args:
        ...: those of every head, see quantile_output.py.
        shared, shared_at: A t + c of the event (Z), see `direct_shared`; may be where z_0 will stand.
        z, z_at: scratch of `decoder_floats`, overwritten; it starts at z_at - Z.
    """
    _, B, _, _, _, _, _, _, _, _, _, wh, wx, bias = at
    Z = ZV * 16
    _, n_m, n_t, n_c = columns
    n_g = n_t + n_c
    row, first, wide = Z + (n_g + 15) // 16 * 16, z_at - Z, STRIP * Z
    strips = first + (horizon + 1) * row
    for v in range(ZV):
        store(z, first + v * 16, load(shared, shared_at + v * 16))
    products(1, ZV, z, first, 0, f, moment, 0, 1, W, B, Z, n_m)
    for h in range(horizon):
        here = first + h * row
        for v in range(n_g):
            z[here + Z + v] = f[target + v * apart + h]
        layer_step(GRU, 1, STRIP, H_FIRST, H_VECTORS, X_FIRST, X_VECTORS, Z, n_g, W, wh, wx, bias,
                   z, here, row, Z, z, strips + h * wide, wide, STRIP * 16, z, here + row, row)  # fmt: skip
    output_forward(QV, Q, columns, Z, horizon, W, at, given, given_at, f, moment, target, apart, z, first + row, row,
                   s, s_at, q, q_at)  # fmt: skip


@inlined
def decoder_backward(
    ZV: int, QV: int, Q: int, columns: Any, n_top: int, horizon: int, W: Any, at: Any, T: Any, at_t: Any, D: Any,
    f: Any, moment: int, target: int, apart: int, z: Any, z_at: int, s: Any, s_at: int, q: Any, q_at: int,
    ds: Any, dz: Any, dt: Any, dt_at: int, dtop: Any, dtop_at: int,
) -> None:  # fmt: skip
    """The same event backward, through the whole horizon.

    Args:
        ...: those of every head, see quantile_output.py.
        at_t: its third offset is that of Wh transposed (3*Z, Z).
        z, z_at: as forward left them; the strips in z are overwritten.
    """
    _, B, _, _, _, _, _, _, _, _, _, wh, wx, bias = at
    AT, OT, whT = at_t
    Z = ZV * 16
    _, n_m, n_t, n_c = columns
    n_g = n_t + n_c
    row, first, wide = Z + (n_g + 15) // 16 * 16, z_at - Z, STRIP * Z
    strips = first + (horizon + 1) * row
    output_backward(QV, Q, columns, ZV, horizon, W, at, T, OT, D, f, moment, target, apart, z, first + row, row,
                    s, s_at, q, q_at, ds, dz)  # fmt: skip
    # back through the horizon: dt holds the gradient of z_h, at the end that of z_0
    for v in range(ZV):
        store(dt, dt_at + v * 16, splat(dt, 0.0))
    for back in range(horizon):
        h = horizon - 1 - back
        for v in range(ZV):
            store(dt, dt_at + v * 16, load(dt, dt_at + v * 16) + load(dz, h * Z + v * 16))
        layer_step_backward(GRU, 1, H_FIRST, H_VECTORS, Z, T, whT, z, first + h * row, row,
                            z, strips + h * wide, wide, STRIP * 16, dt, dt_at, dt)  # fmt: skip
    layer_weight_gradients(STRIP, H_FIRST, H_VECTORS, X_FIRST, X_VECTORS, Z, n_g, n_g, D, wh, wx, bias,
                           z, first, row, Z, z, strips, wide, STRIP * 16, horizon)  # fmt: skip
    products(n_m, ZV, D, B, Z, f, moment, 1, 0, dt, dt_at, 0, 1)
    if dtop_at >= 0:
        for v in range(n_top // 16):
            products(1, 1, dtop, dtop_at + v * 16, 0, dt, dt_at, 0, 1, T, AT + v * 16, n_top, Z)
