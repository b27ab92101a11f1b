"""One recurrent layer over time, forward and backward, for any size; compiled once per cell and float type.

Buffers are flat. A slab has rows (T + 1, B) of `[h | c (LSTM only) | x]`, strips have rows (T, B) of a step's
activations, both as in `cells/layer.py`. A step that does not exist for a sequence leaves its state as it is: forward
the old state is copied over the new one, backward its gradient passes by.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forecaster._jit import SOURCE_DIGEST, kernel
from forecaster._simd import load, splat, store
from forecaster.cells.layer import CELLS, CODES, layer_step, layer_step_backward, layer_weight_gradients


@dataclass(frozen=True)
class Unroll:
    """The compiled kernels of a cell; their arguments stand in `_build`."""

    forward: Callable[..., None]
    backward: Callable[..., None]
    gradients: Callable[..., None]


def unroll_kernels(cell: str) -> Unroll:
    """The kernels of "elman", "gru" or "lstm"."""
    c: Any = CELLS[cell]
    return _build(CODES[cell], c.STRIP, c.H_FIRST, c.H_VECTORS, c.X_FIRST, c.X_VECTORS, c.STATES, SOURCE_DIGEST)


@functools.lru_cache(maxsize=8)
def _build(
    cell: int, strip: int, h_first: int, h_vectors: int, x_first: int, x_vectors: int, states: int, digest: int
) -> Unroll:
    old_cell = (strip - 1) * 16  # where the LSTM keeps the old cell state in a strip

    @kernel
    def forward(
        P: Any, wh: int, wx: int, bias: int, H: int, n_in: int, S: Any, A: Any, present: Any,
        start: int, stop: int, batch: int,
    ) -> None:  # fmt: skip
        """Steps start..stop-1: reads the slab's rows of step `start`, writes states up to row `stop`, and strips."""
        source = digest  # see observe.py  # noqa: F841
        ld, wide = states * H + n_in, H * strip
        for t in range(start, stop):
            row = t * batch
            layer_step(cell, batch, strip, h_first, h_vectors, x_first, x_vectors, H, n_in, P, wh, wx, bias,
                       S, row * ld, ld, states * H, A, row * wide, wide, strip * 16,
                       S, (row + batch) * ld, ld)  # fmt: skip
            for b in range(row, row + batch):
                old, new = b * ld, (b + batch) * ld
                for v in range(0, H, 16):
                    if not present[b]:
                        store(S, new + v, load(S, old + v))
                    if states == 2:
                        if present[b]:
                            store(S, new + H + v, load(S, old + H + v))
                        else:
                            store(S, new + H + v, load(A, b * wide + v * strip + old_cell))

    @kernel
    def backward(
        T: Any, whT: int, wxT: int, H: int, n_in: int, S: Any, A: Any, present: Any, dtop: Any, G: Any, C: Any,
        keep: Any, dx: Any, with_x: int, start: int, stop: int, batch: int,
    ) -> None:  # fmt: skip
        """Steps stop-1..start.

        Args:
            T, whT, wxT: transposed weights and where they start.
            H, n_in, S, present, start, stop, batch: as forward.
            A: strips, overwritten by gradients of the pre-activations.
            dtop: (T, B, H) gradient of the outputs by everything but the next step.
            G, C: (B, H) gradients of hidden and cell state behind step stop-1, overwritten by those before `start`.
            keep: (2, B, H) scratch, overwritten.
            dx: (T, B, n_in) gradient of the inputs, added to where with_x is 1.
        """
        source = digest  # noqa: F841
        ld, wide = states * H + n_in, H * strip
        for back in range(stop - start):
            row = (stop - 1 - back) * batch
            for v in range(0, batch * H, 16):
                store(G, v, load(G, v) + load(dtop, row * H + v))
            for b in range(batch):
                if not present[row + b]:
                    for v in range(b * H, (b + 1) * H, 16):
                        store(keep, v, load(G, v))
                        store(keep, batch * H + v, load(C, v))
                        store(G, v, splat(G, 0.0))
                        store(C, v, splat(C, 0.0))
            layer_step_backward(cell, batch, h_first, h_vectors, x_first, x_vectors, H, n_in, T, whT, T, wxT,
                                S, row * ld, ld, A, row * wide, wide, strip * 16, G, 0, C,
                                dx, row * n_in, n_in, with_x)  # fmt: skip
            for b in range(batch):
                if not present[row + b]:
                    for v in range(b * H, (b + 1) * H, 16):
                        store(G, v, load(keep, v))
                        store(C, v, load(keep, batch * H + v))

    @kernel
    def gradients(
        D: Any, wh: int, wx: int, bias: int, H: int, n_in: int, S: Any, A: Any, start: int, stop: int, batch: int
    ) -> None:
        """Adds the weight gradients of steps start..stop-1, from what `backward` left in the strips, to D."""
        source = digest  # noqa: F841
        ld, wide = states * H + n_in, H * strip
        first = start * batch
        layer_weight_gradients(strip, h_first, h_vectors, x_first, x_vectors, H, n_in, D, wh, wx, bias,
                               S, first * ld, ld, states * H, A, first * wide, wide,
                               (stop - start) * batch)  # fmt: skip

    return Unroll(forward, backward, gradients)
