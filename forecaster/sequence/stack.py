"""Recurrent layers on each other over the steps of a chunk, forward and backward.

    u_0 = x        v_i = h_i (+ u_i for i > 0: residual)        u_{i+1} = dropout(norm(v_i))        top = u_L

with no dropout behind the last layer. Any range of steps may be run at a time, in order: a decoder goes step by step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.sequence.dense import normalise, normalise_backward
from forecaster.sequence.layout import Layout
from forecaster.sequence.unroll import unroll_kernels


class Stack:
    """Buffers for up to `steps` steps of up to `batch` sequences, allocated once.

    Args:
        layout: of the network.
        name: "encoder" or "decoder": which parameters.
        batch, steps: room.
        dtype: float32 to work, float64 to be checked.
    """

    def __init__(self, layout: Layout, name: str, batch: int, steps: int, dtype: Any) -> None:
        self.layout, self.name, self.room, self.dtype = layout, name, (batch, steps), dtype
        c, self.batch = layout.config, 0
        H, state = c.hidden_size, layout.states * c.hidden_size
        first = layout.n_in if name == "encoder" else layout.n_decoder
        self._widths = [H if i else first for i in range(layout.layers)]
        self._slabs = [np.zeros((steps + 1) * batch * (state + n), dtype) for n in self._widths]
        self._kernels = unroll_kernels(c.cell) if layout.layers else None
        strips = [layout.tensors[f"{name}.layer{i}.bias"][1] for i in range(layout.layers)]
        self._strips = [np.zeros(steps * batch * blocks * wide, dtype) for blocks, wide in strips]
        self._G = np.zeros((max(1, layout.layers), batch * H), dtype)
        self._C, self._keep = np.zeros_like(self._G), np.zeros(2 * batch * H, dtype)
        self._kept: dict[tuple[int, int, int], Any] = {}
        self._dropped: NDArray[Any] | None = None

    def begin(self, state: NDArray[Any], present: NDArray[np.bool_], dropped: NDArray[Any] | None = None) -> None:
        """Starts a chunk.

        Args:
            state: (layers, B, states*H) before the first step.
            present: (T, B) which steps exist.
            dropped: (layers - 1, T, B, H) factors of the outputs between layers, 0 or 1 / (1 - p); None: all one.
        """
        self.batch, self._dropped = present.shape[1], dropped
        self._present = np.ascontiguousarray(present).reshape(-1)
        self._kept.clear()
        for i in range(self.layout.layers):
            self._slab(i)[0, :, : state.shape[2]] = state[i]

    def _slab(self, i: int) -> NDArray[Any]:
        ld = self.layout.state_shape[1] + self._widths[i]
        steps = len(self._present) // self.batch
        return self._slabs[i][: (steps + 1) * self.batch * ld].reshape(steps + 1, self.batch, ld)

    def _at(self, i: int, *kinds: str) -> list[int]:
        return [self.layout.at(f"{self.name}.layer{i}.{kind}") for kind in kinds]

    def forward(self, params: NDArray[Any], x: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        """Steps start..stop-1 on inputs x (stop - start, B, n) -> top (stop - start, B, n_top)."""
        c, H, state = self.layout.config, self.layout.config.hidden_size, self.layout.state_shape[1]
        u = x
        for i in range(self.layout.layers):
            assert self._kernels is not None
            slab = self._slab(i)
            slab[start:stop, :, state:] = u
            self._kernels.forward(params, *self._at(i, "wh", "wx", "bias"), H, self._widths[i], self._slabs[i],
                                  self._strips[i], self._present, start, stop, self.batch)  # fmt: skip
            v = slab[start + 1 : stop + 1, :, :H]
            if c.residual and i:
                v = v + u
            if c.layer_norm:
                v, self._kept[i, start, stop] = normalise(params, self._at(i, "gain", "shift"), v)
            if self._dropped is not None and i < self.layout.layers - 1:
                v = v * self._dropped[i, start:stop]
            u = v
        return np.ascontiguousarray(u)

    def state(self, step: int) -> NDArray[Any]:
        """(layers, B, states*H) before step `step`; to be asked before that step is run, which overwrites it."""
        layers, width = self.layout.state_shape
        out = np.zeros((layers, self.batch, width), self.dtype)
        for i in range(layers):
            out[i] = self._slab(i)[step, :, :width]
        return out

    def begin_backward(self, dstate: NDArray[Any] | None = None) -> None:
        """Sets the gradient of the state behind the last step, (layers, B, states*H); zero where there is none."""
        self._G[...], self._C[...] = 0.0, 0.0
        if dstate is not None:
            n, H = self.batch * self.layout.config.hidden_size, self.layout.config.hidden_size
            self._G[:, :n] = dstate[:, :, :H].reshape(self.layout.layers, n)
            if self.layout.states == 2:
                self._C[:, :n] = dstate[:, :, H:].reshape(self.layout.layers, n)

    def dstate(self) -> NDArray[Any]:
        """(layers, B, states*H) gradient of the state before the step that `backward` came to last."""
        layers, n = self.layout.layers, self.batch * self.layout.config.hidden_size
        parts = [self._G, self._C][: self.layout.states]
        return np.concatenate([p[:layers, :n].reshape(layers, self.batch, -1) for p in parts], axis=2)

    def backward(
        self, params: NDArray[Any], gradient: NDArray[Any], dtop: NDArray[Any], start: int, stop: int,
        *, inputs: bool = True,
    ) -> NDArray[Any]:  # fmt: skip
        """Steps stop-1..start, a range that was run forward, the later ones first.

        Args:
            params: as forward.
            gradient: (n_params,) added to.
            dtop: (stop - start, B, n_top) gradient of the top.
            start, stop: the range.
            inputs: whether the gradient of the inputs is wanted.

        Returns:
            (stop - start, B, n) gradient of the inputs, empty where it is not wanted.
        """
        c, H, B = self.layout.config, self.layout.config.hidden_size, self.batch
        view, d = self.layout.views(params), dtop
        for i in reversed(range(self.layout.layers)):
            assert self._kernels is not None
            if self._dropped is not None and i < self.layout.layers - 1:
                d = d * self._dropped[i, start:stop]
            if c.layer_norm:
                kept = self._kept[i, start, stop]
                d = normalise_backward(params, gradient, self._at(i, "gain", "shift"), kept, d)
            wh, wx = (view[f"{self.name}.layer{i}.{kind}"].transpose(0, 2, 1) for kind in ("wh", "wx"))
            back, n_in = np.concatenate([wh.ravel(), wx.ravel()]), self._widths[i]
            rows, with_x = stop * B, inputs or i > 0
            dx = np.zeros(rows * n_in if with_x else 0, self.dtype)
            if start:
                full = np.zeros(rows * H, self.dtype)
                full[start * B * H :] = d.reshape(-1)
            else:
                full = np.ascontiguousarray(d).reshape(-1)
            self._kernels.backward(back, 0, wh.size, H, n_in, self._slabs[i], self._strips[i], self._present, full,
                                   self._G[i], self._C[i], self._keep, dx, int(with_x), start, stop, B)  # fmt: skip
            self._kernels.gradients(gradient, *self._at(i, "wh", "wx", "bias"), H, n_in, self._slabs[i],
                                    self._strips[i], start, stop, B)  # fmt: skip
            if not with_x:
                return dx
            below = dx[start * B * n_in :].reshape(stop - start, B, n_in)
            d = below + d if c.residual and i else below
        return d
