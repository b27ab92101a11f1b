r"""Decoder head, many-to-many of unequal length: a second cell, unrolled over the horizon, reads each target's inputs.

The encoder is the layer stack, whose state follows the stream. With the features f_h = (p_h, m, g_h) of place, moment
and target, the latter followed by its date (see head_inputs.py), and the top hidden state t:

    z_0 = A t + B m + c                     (Z)
    z_h = GRU(z_{h-1}, g_h)                 (Z)      the equations of network/gru.py; h = 1 .. horizon
                                                     and on to quantiles, see quantile_output.py

No output is fed back (Wen et al. 2017, arXiv:1711.11053; Cho et al. 2014 and Sutskever et al. 2014 feed it): one pass
gives the quantiles of every horizon, and training has the same inputs as live forecasting. Beyond f_h, horizon h
depends on what the cell retains of t, m and g_1 .. g_{h-1}.

Scratch of an event, rows of Z + 16*ceil(n_g/16) numbers, followed by the activations of the cell:

    row h = [ z_h (Z) | g_{h+1} (n_g) ]     h = 0 .. horizon;      strips (horizon, 4*Z) [nh | r | z | n], see gru.py
"""

from __future__ import annotations

from typing import Any

from forecaster.kernels.buffers import padded_width
from forecaster.kernels.jit import inlined, products
from forecaster.kernels.operands import Block, Rows, Strided
from forecaster.kernels.simd import load, splat, store
from forecaster.network.gru import STRIP
from forecaster.network.layer import (
    LayerWeights,
    Slab,
    Strips,
    gates_of,
    layer_step,
    layer_step_backward,
    layer_weight_gradients,
)
from forecaster.network.quantile_output import HeadLayout, output_backward, output_forward, top_backward

GRU_GATES = gates_of("gru")


def decoder_floats(units: int, n_g: int, horizon: int) -> int:
    """Returns the length of the scratch of one event, for `units` = Z."""
    return (horizon + 1) * (units + padded_width(n_g)) + horizon * STRIP * units


@inlined
def decoder_forward(head: HeadLayout, W: Any, given: Any, shared: Any, inputs: Any, z: Any, s: Any, q: Any) -> None:
    """Computes the quantiles of every horizon for one event.

    Args:
        head, W, given, inputs, s, q: those of every head, see quantile_output.py.
        shared: `Block`, A t + c of the event (Z), see `direct_shared`; may share its memory with z_0.
        z: `Block`, scratch of `decoder_floats`, overwritten; it starts at z.at - Z.
    """
    Z, horizon, n_g = head.z_vectors * 16, head.horizon, head.n_target + head.n_date
    units, f, target, apart = z.array, inputs.array, inputs.target, inputs.row
    row, first, wide = Z + (n_g + 15) // 16 * 16, z.at - Z, STRIP * Z
    strips = first + (horizon + 1) * row
    # z_0 = A t + B m + c
    for v in range(head.z_vectors):
        store(units, first + v * 16, load(shared.array, shared.at + v * 16))
    products(1, head.z_vectors, Rows(units, first, 0), Strided(f, inputs.moment, 0, 1), Rows(W, head.B, Z),
             head.n_moment)  # fmt: skip
    # z_h = GRU(z_{h-1}, g_h)
    for h in range(horizon):
        here = first + h * row
        for v in range(n_g):
            units[here + Z + v] = f[target + v * apart + h]
        layer_step(GRU_GATES, 1, Z, n_g, LayerWeights(W, head.wh, head.wx, head.bias), Slab(units, here, row, Z),
                   Strips(units, strips + h * wide, wide, STRIP * 16), Rows(units, here + row, row))  # fmt: skip
    output_forward(head, W, given, inputs, Rows(units, first + row, row), s, q)


@inlined
def decoder_backward(
    head: HeadLayout, W: Any, transposed: Any, D: Any, inputs: Any, z: Any, s: Any, q: Any, ds: Any, dz: Any,
    dt: Any, dtop: Any,
) -> None:  # fmt: skip
    """Computes the gradients of one event, back through the whole horizon.

    Args:
        head, W, transposed, D, inputs, s, q, ds, dz, dt, dtop: those of every head, see quantile_output.py.
        z: as written by `decoder_forward`; the strips in it are overwritten.
    """
    Z, horizon, n_g = head.z_vectors * 16, head.horizon, head.n_target + head.n_date
    units, gradient, dt_at = z.array, dt.array, dt.at
    row, first, wide = Z + (n_g + 15) // 16 * 16, z.at - Z, STRIP * Z
    strips = first + (horizon + 1) * row
    output_backward(head, W, transposed, D, inputs, Rows(units, first + row, row), s, q, ds, dz)
    # back through the horizon: dt holds the gradient of z_h, at the end that of z_0
    for v in range(head.z_vectors):
        store(gradient, dt_at + v * 16, splat(gradient, 0.0))
    for back in range(horizon):
        h = horizon - 1 - back
        for v in range(head.z_vectors):
            store(gradient, dt_at + v * 16, load(gradient, dt_at + v * 16) + load(dz, h * Z + v * 16))
        layer_step_backward(GRU_GATES, 1, Z, Block(transposed.array, transposed.wh),
                            Slab(units, first + h * row, row, Z),
                            Strips(units, strips + h * wide, wide, STRIP * 16), gradient, dt_at, gradient)  # fmt: skip
    # the gradients of the cell's weights, of B, and of t
    layer_weight_gradients(GRU_GATES, Z, n_g, n_g, LayerWeights(D, head.wh, head.wx, head.bias),
                           Slab(units, first, row, Z), Strips(units, strips, wide, STRIP * 16), horizon)  # fmt: skip
    products(head.n_moment, head.z_vectors, Rows(D, head.B, Z), Strided(inputs.array, inputs.moment, 1, 0),
             Rows(gradient, dt_at, 0), 1)  # fmt: skip
    top_backward(head, transposed, dt, dtop)
