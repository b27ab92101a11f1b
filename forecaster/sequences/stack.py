"""Stacked recurrent layers over the steps of a chunk, forward and backward.

    u_0 = x        v_i = h_i (+ u_i for i > 0: residual)        u_{i+1} = dropout(norm(v_i))        top = u_L

without dropout after the last layer. Any range of steps may be run at a time, in order: a decoder runs step by step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.buffers import buffer
from forecaster.sequences.batch import Sequences
from forecaster.sequences.dense import normalise, normalise_backward
from forecaster.sequences.layout import SequenceLayout
from forecaster.sequences.narrow_head import MAX_NARROW
from forecaster.sequences.packing import pack_transposed, pack_weights, spread_features
from forecaster.sequences.unroll_kernels import unroll_kernels


class Stack:
    """A stack of layers with buffers for up to `steps` steps of up to `batch` sequences, allocated once.

    Args:
        layout: of the network.
        name: "encoder" or "decoder", which selects the parameters.
        batch, steps: capacity.
        dtype: float32 for use, float64 for gradient checks.
    """

    def __init__(self, layout: SequenceLayout, name: str, batch: int, steps: int, dtype: Any) -> None:
        self.layout, self.name, self.room, self.dtype = layout, name, (batch, steps), dtype
        c, self.batch = layout.config, 0
        H, state = c.hidden_size, layout.states * c.hidden_size
        used, first = layout.inputs(name)
        self._used = [H if i else used for i in range(layout.layers)]
        self._widths = [H if i else first for i in range(layout.layers)]
        self._slabs = [buffer((steps + 1) * batch * (state + n), dtype) for n in self._widths]
        self._x = buffer(0 if layout.layers else steps * batch * first, dtype)  # with layers: in the first slab
        self._kernels = unroll_kernels(c.cell) if layout.layers else None
        self._weights = [self._packed(i) for i in range(layout.layers)]
        strips = [layout.tensors[f"{name}.layer{i}.bias"][1] for i in range(layout.layers)]
        self._strips = [buffer(steps * batch * blocks * wide, dtype) for blocks, wide in strips]
        self._G = buffer(max(1, layout.layers) * batch * H, dtype).reshape(-1, batch * H)
        self._C, self._keep = np.zeros_like(self._G), np.zeros(2 * batch * H, dtype)
        self._zeros = buffer(16, dtype)
        self._head_weights = [buffer(MAX_NARROW * H, dtype) for _ in range(2)]  # transposed, and their gradient
        self._below = buffer(steps * batch * H if layout.layers > 1 else 0, dtype)
        self._kept: dict[tuple[int, int, int], Any] = {}
        self._dropped: NDArray[Any] | None = None

    def _packed(self, i: int) -> tuple[NDArray[Any], list[int]]:
        """Returns a buffer for the packed weights of a layer, and the offsets of its parts.

        The parts are wh, wx without padding, bias, wh and wx transposed.
        """
        (blocks, H, h), (_, n_in, x), bias = self._shapes(i)
        sizes = [blocks * H * h, blocks * self._used[i] * x, math.prod(bias), blocks * h * H, blocks * x * n_in]
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        return buffer(sum(sizes), self.dtype), starts

    def _shapes(self, i: int) -> list[tuple[int, ...]]:
        return [self.layout.tensors[f"{self.name}.layer{i}.{kind}"][1] for kind in ("wh", "wx", "bias")]

    def begin(
        self, params: NDArray[Any], state: NDArray[Any], present: NDArray[np.bool_], dropped: NDArray[Any] | None = None
    ) -> None:
        """Starts a chunk.

        Args:
            params: of the network; the weights of this stack are copied.
            state: (layers, B, states*H) before the first step.
            present: (T, B) which steps exist.
            dropped: (layers - 1, T, B, H) dropout factors of the outputs between layers, 0 or 1 / (1 - p); None: 1.
        """
        self.batch, self._dropped = present.shape[1], dropped
        self._present = np.ascontiguousarray(present).reshape(-1)
        self._kept.clear()
        for i, (weights, at) in enumerate(self._weights):
            (blocks, H, h), (_, n_in, x), (_, strip) = self._shapes(i)
            wh, wx, bias = self._at(i, "wh", "wx", "bias")
            pack_weights((params, wh, wx, bias), (weights, *at[:3]), (blocks, H, n_in, self._used[i], h, x, strip))
        for i in range(self.layout.layers):
            self._slab(i)[0, :, : state.shape[2]] = state[i]

    def inputs(self, start: int, stop: int) -> NDArray[Any]:
        """Returns a view (stop - start, B, n) of the inputs of these steps, to write after `begin`; n unpadded."""
        return self._inputs(start, stop)[..., : self.layout.inputs(self.name)[0]]

    def read(self, params: NDArray[Any], data: Sequences, start: int, stop: int) -> None:
        """Writes embeddings of symbols and features of these steps to the inputs of an encoder, after `begin`.

        The inputs of a step that does not exist are zero.
        """
        c = self.layout.config
        if data.symbols is not None:
            present, symbols = data.present[:, start:stop].T, data.symbols[:, start:stop].T
            x = self.inputs(0, stop - start)[..., : c.embedding]
            x[...] = 0.0
            x[present] = self.layout.views(params)["embedding"][symbols[present]]
        if data.features is not None:
            before, (_, first) = self.layout.state_shape[1] if self.layout.layers else 0, self.layout.inputs(self.name)
            features, column = np.ascontiguousarray(data.features, self.dtype), c.embedding if c.symbols else 0
            slab = self._slabs[0] if self.layout.layers else self._x
            spread_features(features.reshape(-1), data.steps, c.features, start, self._present, self._zeros,
                            slab, before + column, before + first, self.batch)  # fmt: skip

    def _inputs(self, start: int, stop: int) -> NDArray[Any]:
        first, B = self.layout.inputs(self.name)[1], self.batch
        if self.layout.layers:
            return self._slab(0)[start:stop, :, -first:]
        return self._x[start * B * first : stop * B * first].reshape(-1, B, first)

    def _slab(self, i: int) -> NDArray[Any]:
        ld = self.layout.state_shape[1] + self._widths[i]
        steps = len(self._present) // self.batch
        return self._slabs[i][: (steps + 1) * self.batch * ld].reshape(steps + 1, self.batch, ld)

    def _at(self, i: int, *kinds: str) -> list[int]:
        return [self.layout.at(f"{self.name}.layer{i}.{kind}") for kind in kinds]

    def forward(self, params: NDArray[Any], start: int, stop: int, raw: NDArray[Any] | None = None) -> NDArray[Any]:
        """Runs steps start..stop-1, whose inputs are written; returns the top (stop - start, B, n_top), maybe a view.

        `raw` (stop - start, B, 16), if given, is overwritten with the outputs of the head, see `heads`.
        """
        c, H, state = self.layout.config, self.layout.config.hidden_size, self.layout.state_shape[1]
        u = self._inputs(start, stop)
        for i in range(self.layout.layers):
            assert self._kernels is not None
            slab = self._slab(i)
            if i:
                slab[start:stop, :, state:] = u
            weights, at = self._weights[i]
            self._kernels.forward((weights, *at[:3]), self._sizes(i), self._unrolled(i), (start, stop, self.batch),
                                  self._head(params, i, wanted=raw is not None),
                                  weights[:0] if raw is None else raw.reshape(-1))  # fmt: skip
            v = slab[start + 1 : stop + 1, :, :H]
            if c.residual and i:
                v = v + u
            if c.layer_norm:
                v, self._kept[i, start, stop] = normalise(params, self._at(i, "gain", "shift"), v)
            if self._dropped is not None and i < self.layout.layers - 1:
                v = v * self._dropped[i, start:stop]
            u = v
        return u

    @property
    def heads(self) -> bool:
        """Returns whether the kernels can apply the head: it is linear, has few outputs and reads the bare states."""
        c = self.layout.config
        bare = not c.layer_norm and not (c.residual and self.layout.layers > 1)
        return self.layout.layers > 0 and bare and not c.head_size and self.layout.n_raw <= MAX_NARROW

    def _sizes(self, i: int) -> tuple[int, int, int]:
        """Returns `UnrollSizes` of layer i as a plain tuple, as kernels require, see kernels/operands.py."""
        return self.layout.config.hidden_size, self._widths[i], self._used[i]

    def _unrolled(self, i: int) -> tuple[NDArray[Any], int, NDArray[Any], NDArray[np.bool_]]:
        """Returns `Unrolled` of layer i as a plain tuple."""
        return self._slabs[i], self.layout.state_shape[1] + self._widths[i], self._strips[i], self._present

    def _head(self, params: NDArray[Any], i: int, *, wanted: bool) -> tuple[NDArray[Any], int, int, int, NDArray[Any]]:
        """Returns `LinearHead` of layer i: without outputs if it is not the top layer or none are wanted."""
        if not wanted or i + 1 < self.layout.layers:
            return params, 0, 0, 0, self._head_weights[0]
        return params, self.layout.at("head.O"), self.layout.at("head.d"), self.layout.n_raw, self._head_weights[0]

    def state(self, step: int) -> NDArray[Any]:
        """Returns the state before step `step`, (layers, B, states*H); call it before that step overwrites it."""
        layers, width = self.layout.state_shape
        out = np.zeros((layers, self.batch, width), self.dtype)
        for i in range(layers):
            out[i] = self._slab(i)[step, :, :width]
        return out

    def begin_backward(self, params: NDArray[Any], dstate: NDArray[Any] | None = None) -> None:
        """Sets the gradient of the state after the last step, (layers, B, states*H); zero if not given."""
        for i, (weights, starts) in enumerate(self._weights):
            for (blocks, n, m), at, to in zip(self._shapes(i), self._at(i, "wh", "wx"), starts[3:], strict=False):
                pack_transposed(params, at, blocks, n, m, weights, to)
        self._G[...], self._C[...] = 0.0, 0.0
        if dstate is not None:
            n, H = self.batch * self.layout.config.hidden_size, self.layout.config.hidden_size
            self._G[:, :n] = dstate[:, :, :H].reshape(self.layout.layers, n)
            if self.layout.states == 2:
                self._C[:, :n] = dstate[:, :, H:].reshape(self.layout.layers, n)

    def dstate(self) -> NDArray[Any]:
        """Returns the gradient of the state before the first step processed by `backward`, (layers, B, states*H)."""
        layers, n = self.layout.layers, self.batch * self.layout.config.hidden_size
        parts = [self._G, self._C][: self.layout.states]
        return np.concatenate([p[:layers, :n].reshape(layers, self.batch, -1) for p in parts], axis=2)

    def backward(
        self, params: NDArray[Any], gradient: NDArray[Any], dtop: NDArray[Any], start: int, stop: int,
        *, inputs: bool = True, heads: bool = False,
    ) -> NDArray[Any]:  # fmt: skip
        """Propagates gradients back through steps stop-1..start, a range of a forward call; later ranges first.

        Args:
            params: as passed to `begin`.
            gradient: (n_params,) added to.
            dtop: (stop - start, B, n_top) gradient of the top.
            start, stop: the range.
            inputs: whether the gradient of the inputs is needed.
            heads: whether `forward` wrote outputs of the head; dtop (stop - start, B, 16) is then their gradient.

        Returns:
            (stop - start, B, n) gradient of the inputs, empty if it is not needed.
        """
        c, B = self.layout.config, self.batch
        rows, d = (stop - start) * B, dtop
        for i in reversed(range(self.layout.layers)):
            assert self._kernels is not None
            if self._dropped is not None and i < self.layout.layers - 1:
                d = d * self._dropped[i, start:stop]
            if c.layer_norm:
                kept = self._kept[i, start, stop]
                d = normalise_backward(params, gradient, self._at(i, "gain", "shift"), kept, d)
            weights, at = self._weights[i]
            n_in, with_x, of_state = self._widths[i], inputs or i > 0, (self._G[i], self._C[i], self._keep)
            dx = self._below[: rows * n_in] if i else np.empty(rows * n_in if with_x else 0, self.dtype)
            dx[...] = 0.0
            self._kernels.backward((weights, *at[3:]), self._sizes(i), self._unrolled(i),
                                   np.ascontiguousarray(d).reshape(-1), of_state, dx, int(with_x),
                                   (gradient, *self._at(i, "wh", "wx", "bias")), (start, stop, B),
                                   self._head(params, i, wanted=heads), self._head_weights[1])  # fmt: skip
            if not with_x:
                return dx
            below = dx.reshape(stop - start, B, n_in)
            d = below + d if c.residual and i else below
        return d
