"""Forward and backward pass of a chunk of a batch of sequences, for each task.

Arrays here have the step as the first axis, (T, B, ...). The loss of a chunk is the mean over its targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.buffers import buffer
from forecaster.sequences import outputs
from forecaster.sequences.batch import Sequences
from forecaster.sequences.dense import dense, dense_backward
from forecaster.sequences.layout import SequenceLayout
from forecaster.sequences.stack import Stack


def initial_state(layout: SequenceLayout, params: NDArray[Any], batch: int) -> NDArray[Any]:
    """Returns the state before the first step, (layers, B, states*H): zeros, or the learnt parameters."""
    layers, width = layout.state_shape
    if "encoder.initial" not in layout.tensors:
        return np.zeros((layers, batch, width), params.dtype)
    learnt = layout.views(params)["encoder.initial"]
    return np.repeat(learnt[:, None, :], batch, axis=1)


@dataclass(frozen=True)
class UnrollSpan:
    """Description of a chunk.

    Attributes:
        start, stop: its steps. loss_from: the first of them that has a loss (task "each" and "last").
        carry: the state before this step is passed to the next chunk.
        fresh: whether the sequences begin here (a learnt initial state then gets a gradient).
        decode: whether the decoder runs after it.
        dropped: dropout factors for the steps, and for the decoder; None: no dropout.
        forced: (B,) for which sequences the decoder receives the actuals (teacher forcing).
    """

    start: int
    stop: int
    loss_from: int
    carry: int
    fresh: bool = False
    decode: bool = False
    dropped: tuple[NDArray[Any] | None, NDArray[Any] | None] = (None, None)
    forced: NDArray[np.bool_] | None = None


class Network:
    """The network with buffers for a batch and a chunk, allocated once; `gradient` is that of the last `run`."""

    def __init__(self, layout: SequenceLayout, batch: int, steps: int, dtype: Any = np.float32) -> None:
        self.layout, self.dtype = layout, dtype
        self.encoder = Stack(layout, "encoder", batch, steps, dtype)
        decodes = layout.config.task == "decode"
        self.decoder = Stack(layout, "decoder", batch, layout.config.horizon, dtype) if decodes else None
        self.gradient: NDArray[Any] = buffer(layout.n_params, dtype)
        rows = 0 if decodes else batch * steps  # of tops that the head processes at once
        self._raw, self._draw, self._dtops = (
            buffer(rows * n, dtype).reshape(rows, n) for n in (layout.n_out, layout.n_out, layout.n_top)
        )

    def head(
        self, params: NDArray[Any], top: NDArray[Any], raw: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns raw outputs of tops (N, n_top), in `raw` if given, and the hidden layer (the tops without one)."""
        at, c = self.layout.at, self.layout.config
        z = top
        if c.head_size:
            z = np.maximum(dense(params, at("head.A"), at("head.c"), c.head_size, c.head_size, top), 0.0)
        return dense(params, at("head.O"), at("head.d"), self.layout.n_out, self.layout.n_raw, z, raw), z

    def head_backward(
        self, params: NDArray[Any], top: NDArray[Any], z: NDArray[Any], draw: NDArray[Any],
        dtop: NDArray[Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """Returns the gradient of the tops, in `dtop` if given; adds those of the head's weights to `gradient`."""
        at, c, used = self.layout.at, self.layout.config, self.layout.n_raw
        if not c.head_size:
            return dense_backward(params, self.gradient, at("head.O"), at("head.d"), used, z, draw, dtop)
        dz = dense_backward(params, self.gradient, at("head.O"), at("head.d"), used, z, draw)
        dz = np.where(z > 0, dz, 0)
        return dense_backward(params, self.gradient, at("head.A"), at("head.c"), c.head_size, top, dz, dtop)

    def encode(
        self, params: NDArray[Any], data: Sequences, state: NDArray[Any], piece: UnrollSpan,
        raw: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:  # fmt: skip
        """Returns tops (T, B, n_top) of the piece's steps, the state to carry, and the state after the last step.

        `raw` (T, B, n_out), if given, is overwritten with the outputs of the head: only if `encoder.heads`.
        """
        self.encoder.begin(params, state, data.present[:, piece.start : piece.stop].T, piece.dropped[0])
        middle, length = piece.carry - piece.start, piece.stop - piece.start
        self.encoder.read(params, data, piece.start, piece.stop)
        parts, carried = [], None
        for start, stop in ((0, middle), (middle, length)):
            if start < stop:
                parts.append(self.encoder.forward(params, start, stop, None if raw is None else raw[start:stop]))
            carried = self.encoder.state(stop) if carried is None else carried
        assert carried is not None
        final = carried if middle == length else self.encoder.state(length)
        return parts[0] if len(parts) == 1 else np.concatenate(parts), carried, final

    def run(
        self, params: NDArray[Any], data: Sequences, state: NDArray[Any], piece: UnrollSpan
    ) -> tuple[float, int, NDArray[Any]]:
        """Runs a chunk forward and backward.

        Args:
            params: (n_params,) in the dtype of the buffers.
            data: the batch, with targets.
            state: (layers, B, states*H) before the chunk; a constant, except for a learnt initial one.
            piece: the chunk.

        Returns:
            Mean loss (0 without a target), number of targets, the state to carry. The gradient is in `gradient`.
        """
        self.gradient[...] = 0.0
        raw = self._raw_rows(data, piece)
        tops, carried, final = self.encode(params, data, state, piece, raw if self.encoder.heads else None)
        assert data.targets is not None
        if self.layout.config.task == "decode":
            total, count, dstate = self._decode(params, data, final, piece) if piece.decode else (0.0, 0, None)
            dtops = np.zeros_like(tops)
        else:
            total, count, dtops = self._score(params, data, tops, piece, raw)
            dstate = None
        if count:
            self.encoder.begin_backward(params, dstate)
            self._encoder_backward(params, data, dtops, piece, heads=raw is not None and self.encoder.heads)
        return total / max(1, count), count, carried

    def score(self, params: NDArray[Any], data: Sequences, state: NDArray[Any]) -> tuple[float, int]:
        """Returns the mean loss over whole sequences and the number of targets, without gradient; decoders run free."""
        c, steps = self.layout.config, data.steps
        piece = UnrollSpan(0, steps, 0, steps, fresh=True, decode=True)
        tops, _, final = self.encode(params, data, state, piece)
        assert data.targets is not None
        if c.task == "decode":
            raw = np.stack(self.decode(params, data, final, None)[1], axis=1)
            there = outputs.known(c, data.targets)
            raw, target = raw[there], data.targets[there]
        else:
            t, b, target = self._rows(data, piece)
            raw = self.head(params, tops[t, b])[0]
        return outputs.loss(c, raw, target, 1, np.zeros_like(raw)) / max(1, len(raw)), len(raw)

    def _rows(self, data: Sequences, piece: UnrollSpan) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Returns steps, sequences and targets of the outputs that the piece scores."""
        c, present = self.layout.config, data.present
        assert data.targets is not None
        if c.task == "each":
            wanted = present[:, piece.loss_from : piece.stop].copy()
            wanted &= outputs.known(c, data.targets[:, piece.loss_from : piece.stop])
            t, b = np.nonzero(wanted.T)
            t = t + piece.loss_from
            return t, b, data.targets[b, t]
        last = present.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
        wanted = present.any(axis=1) & (last >= piece.loss_from) & (last < piece.stop)
        b = np.flatnonzero(wanted & outputs.known(c, data.targets))
        return last[b], b, data.targets[b]

    def _raw_rows(self, data: Sequences, piece: UnrollSpan) -> NDArray[Any] | None:
        """Returns a buffer (T, B, n_out) for the head's outputs if all scored steps and targets exist, else None."""
        c, scored = self.layout.config, slice(piece.loss_from, piece.stop)
        if c.task != "each" or data.targets is None:
            return None
        if not data.complete and not (
            data.present[:, scored].all() and outputs.known(c, data.targets[:, scored]).all()
        ):
            return None
        steps = piece.stop - piece.start
        return self._raw[: steps * len(data)].reshape(steps, len(data), -1)

    def _score(
        self, params: NDArray[Any], data: Sequences, tops: NDArray[Any], piece: UnrollSpan, raw: NDArray[Any] | None
    ) -> tuple[float, int, NDArray[Any]]:
        """Returns sum and number of losses, and the gradient of the tops, or of `raw` if the encoder wrote it."""
        c, targets = self.layout.config, data.targets
        assert targets is not None
        if raw is not None:  # all steps and targets exist: no selection is needed
            skipped, whole = piece.loss_from - piece.start, len(tops) * len(data)
            before, target = skipped * len(data), targets[:, piece.loss_from : piece.stop].swapaxes(0, 1)
            rows, out = tops[skipped:].reshape(whole - before, -1), raw.reshape(whole, -1)[before:]
            z = rows
            if not self.encoder.heads:
                out, z = self.head(params, rows, out)
            draw = self._draw[:whole]
            draw[:before] = 0.0
            total = outputs.loss(c, out, target.reshape(-1, *target.shape[2:]), len(out), draw[before:])
            if self.encoder.heads:
                return total, len(out), draw.reshape(raw.shape)
            self._dtops[:before] = 0.0
            self.head_backward(params, rows, z, draw[before:], self._dtops[before:whole])
            return total, len(out), self._dtops[:whole].reshape(tops.shape)
        t, b, target = self._rows(data, piece)
        t = t - piece.start
        dtops = np.zeros_like(tops)
        if not len(t):
            return 0.0, 0, dtops
        rows = tops[t, b]
        raw, z = self.head(params, rows)
        draw = np.zeros_like(raw)
        total = outputs.loss(c, raw, target, len(t), draw)
        dtops[t, b] = self.head_backward(params, rows, z, draw)
        return total, len(t), dtops

    def _encoder_backward(
        self, params: NDArray[Any], data: Sequences, dtops: NDArray[Any], piece: UnrollSpan, *, heads: bool
    ) -> None:
        """Propagates back through the encoder; with `heads`, `dtops` is the gradient of the head's outputs."""
        c = self.layout.config
        middle, length = piece.carry - piece.start, piece.stop - piece.start
        inputs, parts = data.symbols is not None, []
        for start, stop in ((middle, length), (0, middle)):
            if start < stop:
                part = dtops[start:stop]
                parts.append(
                    self.encoder.backward(params, self.gradient, part, start, stop, inputs=inputs, heads=heads)
                )
        if data.symbols is not None:
            dx = np.concatenate(parts[::-1])
            present = data.present[:, piece.start : piece.stop].T
            symbols = data.symbols[:, piece.start : piece.stop].T[present]
            np.add.at(self.layout.views(self.gradient)["embedding"], symbols, dx[present][:, : c.embedding])
        if piece.fresh and c.initial == "learnt" and self.layout.layers:
            self.layout.views(self.gradient)["encoder.initial"][...] = self.encoder.dstate().sum(axis=1)

    def decode(
        self, params: NDArray[Any], data: Sequences, state: NDArray[Any], piece: UnrollSpan | None
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]], list[Any]]:
        """Runs the decoder over its horizon from `state`; returns tops, raw outputs (B, n_out) and inputs, per step.

        Sequences in `piece.forced` receive the previous actual if it exists; all others receive their own output.
        """
        c, n, decoder = self.layout.config, len(data), self.decoder
        assert decoder is not None
        dropped = piece.dropped[1] if piece else None
        decoder.begin(params, state, np.ones((c.horizon, n), np.bool_), dropped)
        tops: list[NDArray[Any]] = []
        raws: list[NDArray[Any]] = []
        feeds: list[Any] = []
        for h in range(c.horizon):
            own = outputs.fed(c, raws[-1]) if h else self._nothing(n)
            mine = np.ones(n, np.bool_)
            if h and piece is not None and piece.forced is not None and data.targets is not None:
                truth = data.targets[:, h - 1]
                mine = ~(piece.forced & outputs.known(c, truth))
                truth = truth[:, None] if own.ndim > truth.ndim else truth
                own = np.where(mine if own.ndim == 1 else mine[:, None], own, truth).astype(own.dtype)
            x, width = decoder.inputs(h, h + 1)[0], self.layout.n_fed
            x[:, :width] = self.layout.views(params)["decoder.embedding"][own] if own.ndim == 1 else own
            if data.future is not None:
                x[:, width:] = data.future[:, h]
            top = decoder.forward(params, h, h + 1)[0]
            tops.append(top)
            raws.append(self.head(params, top)[0])
            feeds.append((own, mine))
        return tops, raws, feeds

    def _nothing(self, n: int) -> NDArray[Any]:
        """Returns the decoder's input at the first step."""
        if self.layout.config.output == "classes":
            return np.full(n, self.layout.config.outputs)
        return np.zeros((n, self.layout.n_fed), self.dtype)

    def _decode(
        self, params: NDArray[Any], data: Sequences, state: NDArray[Any], piece: UnrollSpan
    ) -> tuple[float, int, NDArray[Any]]:
        c, decoder, targets = self.layout.config, self.decoder, data.targets
        assert decoder is not None
        assert targets is not None
        tops, raws, feeds = self.decode(params, data, state, piece)
        there = outputs.known(c, targets)
        count, total = int(there.sum()), 0.0
        view = self.layout.views(self.gradient)
        decoder.begin_backward(params)
        dfed = np.zeros((len(data), self.layout.n_fed), self.dtype)
        for h in reversed(range(c.horizon)):
            draw = np.zeros_like(raws[h])
            here = there[:, h]
            part = draw[here]
            total += outputs.loss(c, raws[h][here], targets[here, h], count, part)
            draw[here] = part
            if h + 1 < c.horizon and c.output != "classes":  # the next step's input was this step's output
                draw[:, : self.layout.n_fed] += dfed * feeds[h + 1][1][:, None]
            _, z = self.head(params, tops[h])
            dtop = self.head_backward(params, tops[h], z, draw)
            dfed = decoder.backward(params, self.gradient, dtop[None], h, h + 1)[0, :, : self.layout.n_fed]
            if c.output == "classes":
                np.add.at(view["decoder.embedding"], feeds[h][0], dfed)
        return total, count, decoder.dstate()
