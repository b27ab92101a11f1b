r"""Truncated back-propagation through time (Williams and Peng 1990), one chunk of a batch of streams at a time.

A chunk is k2 steps: forward with the carried hidden state, the loss of its last k1 steps (of all but the first few,
where the stream just started), gradients back through all k2 steps, the state after k1 steps carried on. Scaling,
lags and references are constants. Loss of a step: for every horizon whose target was observed,

    mean over quantile levels a of  max(a e, (a - 1) e),   e = (y - ref) / scale - q_a       (pinball loss)

averaged over all (stream, step, horizon) of the chunk that have a target. The kernel works in the float type of its
buffers: float32 to train, float64 to be checked against finite differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.features.calendar import calendar_table
from forecaster.kernels.buffers import buffer, padded_width
from forecaster.layout import Layout, kernel_weights
from forecaster.training.chunk_kernel import ChunkData, HeadBuffers, chunk_kernel
from forecaster.training.chunk_layers import ChunkSpan, ChunkWindows, LayerBuffers
from forecaster.training.dataset import Dataset, Windows


def transposed(layout: Layout, params: NDArray[Any]) -> NDArray[Any]:
    """Transposed weights for the way back: of every layer Wh and (from layer 1 on) Wx, then A, O, Wh of the head."""
    view, parts = layout.views(params), []
    for i in range(layout.layers):
        parts.append(view[f"layer{i}.wh"].transpose(0, 2, 1).ravel())
        if i:
            parts.append(view[f"layer{i}.wx"].transpose(0, 2, 1).ravel())
    parts += [view["head.A"].T.ravel(), view["head.O"].T.ravel()]
    if layout.config.head == "decoder":
        parts.append(view["head.wh"].transpose(0, 2, 1).ravel())
    return np.concatenate(parts)


class Chunk:
    """Buffers and kernel for chunks of up to `steps` steps of up to `batch` streams, allocated once.

    Attributes:
        gradient: (n_params,) gradient of the last `run` that learnt.
        carried: (layers, batch, states*H) hidden state that the next chunk starts from.
        slots: (horizon * 16*QV,) of the step forecast from last, see network/quantile_output.py.
    """

    def __init__(self, layout: Layout, batch: int, steps: int, dtype: type = np.float32) -> None:
        self.layout, self.batch, self.steps, self.dtype = layout, batch, steps, dtype
        state, H = layout.states * layout.hidden, layout.hidden
        rows, layers = batch * steps, max(1, layout.layers)
        strips = H // 16 * layout.gates.strip * 16

        def floats(n: int) -> NDArray[Any]:
            return buffer(max(16, n), dtype)

        self._layers = LayerBuffers(
            slab0=floats((rows + batch) * (state + padded_width(layout.n_x))),
            slab1=floats(max(0, layers - 1) * (rows + batch) * (state + H)),
            strips=floats(layers * rows * strips),
            dtop=floats(layers * rows * H),
            G=floats(batch * H),
            C=floats(batch * H),
        )
        horizon, z, q = layout.config.horizon, 16 * layout.z_vectors, 16 * layout.q_vectors
        self._heads = HeadBuffers(
            f=floats(layout.feature_floats), given=floats(layout.given_floats), z=floats(layout.z_floats),
            s=floats(horizon * q), q=floats(horizon * q), ds=floats(horizon * q), dz=floats(horizon * z),
            dt=floats(rows * z),
        )  # fmt: skip
        self.slots = self._heads.s
        self._levels: NDArray[Any] = np.array(layout.config.quantiles, dtype)
        self.gradient: NDArray[Any] = buffer(layout.n_params, dtype)
        self.carried: NDArray[Any] = np.zeros((layers, batch, max(1, state)), dtype)
        self._totals = np.zeros(3)
        self._kernel = chunk_kernel(layout)
        self._nothing: NDArray[Any] = np.zeros(1, dtype)

    def run(
        self, params: NDArray[Any], data: Dataset, windows: Windows, k1: int, *, learn: bool
    ) -> tuple[float, float, int]:
        """Runs a chunk from `carried`.

        Args:
            params: (n_params,) in the type of the buffers.
            data: the data set that the windows point into.
            windows: one per stream, at most `batch`.
            k1: state after that many steps is carried on.
            learn: whether to go back and leave the gradient in `gradient`.

        Returns:
            Mean loss, mean loss of the forecast "the last value stays" under the same pinball loss, and the number
            of (stream, step, horizon) that had a target; both losses are 0 where there was none.
        """
        layout = self.layout
        weights = kernel_weights(layout, params)
        back = transposed(layout, params) if learn else self._nothing
        if learn:
            self.gradient[...] = 0
        span = ChunkSpan(len(windows.first), int(windows.steps.max(initial=0)), k1, int(learn), self.batch, self.steps)
        self._kernel(
            weights, back, self.gradient, _columns(data),
            ChunkWindows(windows.first, windows.steps, windows.loss_from, windows.limit), span,
            self.carried.reshape(-1), self._layers, self._heads, self._levels, self._totals,
            calendar_table(layout.config.timezone, layout.config.holidays),
        )  # fmt: skip
        loss, naive, count = self._totals
        return float(loss), float(naive), int(count)


def _columns(data: Dataset) -> ChunkData:
    """The data set as the kernel takes it."""
    return ChunkData(
        data.x.reshape(-1), data.y, data.lags, data.ts, data.stats.reshape(-1), data.start, data.interval,
        data.future, data.future_at, data.since, data.future_stats.reshape(-1),
    )  # fmt: skip
