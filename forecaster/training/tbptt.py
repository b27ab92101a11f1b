r"""Truncated back-propagation through time (Williams and Peng 1990), one chunk of a batch of streams at a time.

A chunk has k2 steps. The forward pass starts from the carried hidden state; the loss is that of the last k1 steps (of
all but the first few, where the stream has just started); gradients flow back through all k2 steps; the state after k1
steps is carried on. Scaling, lags and references are constants. The loss of a step is, for every horizon whose target
was observed,

    mean over quantile levels a of  max(a e, (a - 1) e),   e = (y - ref) / scale - q_a       (pinball loss)

averaged over all (stream, step, horizon) of the chunk that have a target. The kernel works in the float type of its
buffers: float32 for training, float64 for checks against finite differences.
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
    """Returns transposed weights for the backward pass: per layer Wh and (from layer 1) Wx, then A, O, Wh of head."""
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
        gradient: (n_params,) gradient of the last `run` with `learn`.
        carried: (layers, batch, states*H) initial hidden state of the next chunk.
        slots: (horizon * 16*QV,) of the last step that was forecast from, see network/quantile_output.py.
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
        self._kernel, self._sizes = chunk_kernel(layout)
        self._nothing: NDArray[Any] = np.zeros(1, dtype)

    def run(
        self, params: NDArray[Any], data: Dataset, windows: Windows, k1: int, *, learn: bool
    ) -> tuple[float, float, int]:
        """Runs a chunk from `carried`.

        Args:
            params: (n_params,) in the type of the buffers.
            data: the data set that the windows point into.
            windows: one per stream, at most `batch`.
            k1: number of steps after which the state is carried on.
            learn: whether to run the backward pass and write `gradient`.

        Returns:
            Mean loss, mean pinball loss of the naive forecast that repeats the last value, and the number of
            (stream, step, horizon) with a target; both losses are 0 where there is none.
        """
        layout = self.layout
        weights = kernel_weights(layout, params)
        back = transposed(layout, params) if learn else self._nothing
        if learn:
            self.gradient[...] = 0
        length = int(windows.steps.max(initial=0))
        span = ChunkSpan(len(windows.first), length, k1, int(learn), self.batch, self.steps, self._sizes)
        self._kernel(
            weights, back, self.gradient, _columns(data),
            ChunkWindows(windows.first, windows.steps, windows.loss_from, windows.limit), span,
            self.carried.reshape(-1), self._layers, self._heads, self._levels, self._totals,
            calendar_table(layout.config.timezone, layout.config.holidays),
        )  # fmt: skip
        loss, naive, count = self._totals
        return float(loss), float(naive), int(count)


def _columns(data: Dataset) -> ChunkData:
    """Returns the data set in the form that the kernel takes."""
    return ChunkData(
        data.x.reshape(-1), data.y, data.lags, data.ts, data.stats.reshape(-1), data.start, data.interval,
        data.future, data.future_at, data.since, data.future_stats.reshape(-1),
    )  # fmt: skip
