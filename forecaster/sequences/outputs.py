r"""Kinds of outputs of the head, and their losses.

    values      o                                             sum of (o - y)^2 / n over the n values
    quantiles   slots as in network/direct_head.py: the median, then upwards and downwards by squareplus(o) > 0
                                                              mean over levels a of max(a e, (a - 1) e), e = y - q_a
    classes     p = softmax(o) = exp(o - max o) / sum         -log p[y]    (cross-entropy)

Outputs are rows (N, n_out), of which the first n_raw columns are used; the rest is padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.jit import kernel
from forecaster.network.quantile_output import cumulation, slot_levels
from forecaster.sequences.config import SequenceConfig
from forecaster.sequences.layout import sequence_layout_of


def _slots(raw: NDArray[Any]) -> NDArray[Any]:
    """Converts raw outputs to the median and the positive steps away from it."""
    slots: NDArray[Any] = (raw + np.sqrt(raw * raw + 4.0)) * 0.5
    slots[:, 0] = raw[:, 0]
    return slots


def read(config: SequenceConfig, raw: NDArray[Any]) -> NDArray[Any]:
    """Converts raw outputs of the head (N, n_out) to values, quantiles or probabilities (N, n_raw)."""
    raw = raw[:, : sequence_layout_of(config).n_raw]
    if config.output == "values":
        return raw.copy()
    if config.output == "classes":
        # float64, as the float32 exponential's bits depend on the position within a vector
        e = np.exp(raw.astype(np.float64) - raw.max(axis=1, keepdims=True))
        probabilities: NDArray[Any] = (e / e.sum(axis=1, keepdims=True)).astype(raw.dtype)
        return probabilities
    slots, m = _slots(raw), config.quantiles.index(0.5)
    out = np.empty_like(slots)
    for slot, level in enumerate(slot_levels(config.quantiles)):
        if slot == 0:
            out[:, level] = slots[:, 0]
        elif level > m:
            out[:, level] = out[:, level - 1] + slots[:, slot]
        else:
            out[:, level] = out[:, level + 1] - slots[:, slot]
    return out


def fed(config: SequenceConfig, raw: NDArray[Any]) -> NDArray[Any]:
    """Returns the next input of a free-running decoder from raw outputs: classes (N,), or values (N, n_fed)."""
    if config.output == "classes":
        return np.asarray(raw[:, : config.outputs].argmax(axis=1))
    return raw[:, : config.outputs if config.output == "values" else 1].copy()


def known(config: SequenceConfig, target: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns where a target exists, (N,)."""
    if config.output == "classes":
        return np.asarray(target >= 0)
    finite: NDArray[np.bool_] = np.isfinite(target)
    return np.asarray(finite.all(axis=-1)) if config.output == "values" else finite


@kernel
def _squares(raw: Any, target: Any, n: int, row: int, two: Any, whole: Any, draw: Any) -> Any:
    total = 0.0
    for r in range(target.shape[0] // n):
        for j in range(n):
            error = raw[r * row + j] - target[r * n + j]
            draw[r * row + j] = error * two / whole
            total += np.float64(error) * np.float64(error)
    return total


def loss(config: SequenceConfig, raw: NDArray[Any], target: NDArray[Any], count: int, draw: NDArray[Any]) -> float:
    """Returns the sum of the losses of N outputs, all of which have a target.

    Overwrites `draw` with the gradient of the sum / count by `raw` (N, n_out), except its padding. Both contiguous.
    """
    n = sequence_layout_of(config).n_raw
    if not len(raw):
        return 0.0
    if config.output == "values":
        two, whole = raw.dtype.type(2), raw.dtype.type(n * count)
        goal = np.ascontiguousarray(target).reshape(-1)
        return float(_squares(raw.reshape(-1), goal, n, raw.shape[1], two, whole, draw.reshape(-1))) / n
    draw = draw[:, :n]
    if config.output == "classes":
        rows, best = np.arange(len(raw)), raw[:, :n].max(axis=1, keepdims=True)
        e = np.exp(raw[:, :n] - best)
        whole = e.sum(axis=1, keepdims=True)
        np.divide(e, whole, out=draw)
        draw[rows, target] -= 1.0
        draw /= np.asarray(count, raw.dtype)
        return float((np.log(whole) + best).sum() - raw[rows, target].sum())
    levels: NDArray[Any] = np.array(config.quantiles, raw.dtype)
    error = target[:, None] - read(config, raw)
    below = error < 0
    dq = np.where(below, 1.0 - levels, -levels) / (n * count)
    slots = _slots(raw[:, :n])
    slope = slots * slots / (slots * slots + 1.0)
    slope[:, 0] = 1.0
    np.multiply(dq @ cumulation(config.quantiles, n).T.astype(raw.dtype), slope, out=draw)
    return float(np.where(below, (levels - 1.0) * error, levels * error).sum() / n)
