"""Preparation of a chunk: packs weights for the kernels, and copies features to the rows of the first slab."""

from __future__ import annotations

from typing import Any, NamedTuple

from forecaster.kernels.jit import kernel
from forecaster.kernels.simd import load, store
from forecaster.kernels.transpose import copy_part, transpose_tile
from forecaster.network.layer import LayerWeights


class PackedSizes(NamedTuple):
    """Sizes of the weights of a layer: wh (blocks, H, h), wx (blocks, n_in, x), bias (blocks, strip).

    Attributes:
        blocks, H, n_in, h, x, strip: see above.
        used: number of inputs without padding.
    """

    blocks: int
    H: int
    n_in: int
    used: int
    h: int
    x: int
    strip: int


@kernel
def pack_weights(source: Any, target: Any, sizes: Any) -> None:
    """Copies the weights of a layer, without those of inputs that are padding.

    Args:
        source: `LayerWeights` of the parameters.
        target: `LayerWeights`, overwritten by wh, wx (blocks, used, x) and bias.
        sizes: `PackedSizes`.
    """
    old, new, size = LayerWeights(*source), LayerWeights(*target), PackedSizes(*sizes)
    P, W, blocks, used, x = old.array, new.array, size.blocks, size.used, size.x
    for v in range(0, blocks * size.H * size.h, 16):
        store(W, new.wh + v, load(P, old.wh + v))
    for b in range(blocks):
        for v in range(0, used * x, 16):
            store(W, new.wx + b * used * x + v, load(P, old.wx + b * size.n_in * x + v))
    for v in range(0, blocks * size.strip, 16):
        store(W, new.bias + v, load(P, old.bias + v))


@kernel
def pack_transposed(P: Any, p: int, blocks: int, n: int, m: int, W: Any, w: int) -> None:
    """Writes the transposed blocks (blocks, m, n) of P[p:], (blocks, n, m), to W[w:]; n and m are multiples of 16."""
    for b in range(blocks):
        at = b * n * m
        for i in range(0, n, 16):
            for k in range(0, m, 16):
                transpose_tile(P, p + at + i * m + k, m, W, w + at + k * n + i, n)


@kernel
def spread_features(
    F: Any, steps: int, width: int, start: int, present: Any, zeros: Any, S: Any, s: int, ld: int, batch: int
) -> None:
    """Copies features to the inputs of each step, zeros if the step does not exist.

    Args:
        F: (batch, steps, width) features. start: the first copied step.
        present: (T * batch,) which steps exist, step by step; T of them are copied.
        zeros: (16,).
        S, s, ld: row r of the slab, step by step, has its features at s + r*ld, overwritten.
        batch: number of sequences.
    """
    for t in range(present.shape[0] // batch):
        for b in range(batch):
            row = t * batch + b
            for i in range(0, width, 16):
                if present[row]:
                    copy_part(F, (b * steps + start + t) * width + i, S, s + row * ld + i, min(16, width - i))
                else:
                    copy_part(zeros, 0, S, s + row * ld + i, min(16, width - i))
