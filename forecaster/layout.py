"""One flat parameter buffer with named views: a stack of recurrent layers and the head on top.

`Layout` says where everything lies: parameters, a row's state, the scratch of a kernel. Its numbers are the literals
that kernels are compiled with. Parameter offsets are multiples of 16, so that a vector never straddles two tensors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig
from forecaster.ensemble.combine import PoolLayout, pool_constants, pool_layout
from forecaster.features.head_inputs import head_columns, horizon_places, phase_floats, season_fading, target_steps
from forecaster.features.step_inputs import calendar_columns
from forecaster.kernels.buffers import buffer, padded_width
from forecaster.network import gru
from forecaster.network.decoder_head import decoder_floats
from forecaster.network.layer import CELLS, CODES
from forecaster.network.quantile_output import cumulation, placed

WARM_STEPS = 64  # steps that a row re-encodes from its own ring under new weights


def _vectors(n: int) -> int:
    return -(-n // 16)


@dataclass(frozen=True)
class Layout:
    """All sizes and offsets that follow from a `ModelConfig`.

    Attributes:
        config: what it follows from.
        layers: number of recurrent layers (0 for cell "none").
        hidden: units of a layer.
        n_x: inputs of a step. n_top: units that the head sees.
        head_columns: inputs of the head by group, see head_inputs.py. n_f: their number.
        strip, h_first, h_vectors, x_first, x_vectors: constants of the cell.
        states: vectors of state per unit (1, or 2 for the LSTM).
        z_vectors, q_vectors: sixteen-lane vectors of the head's hidden layer and of the padded quantiles.
        ring: how many recent values a row keeps.
        state_floats: float32 numbers of hidden state per row.
        pool: layout of the pool's state per row.
        tensors: name -> (offset, shape), in the order of the buffer.
        n_params: length of the flat parameter buffer.
    """

    config: ModelConfig
    layers: int
    hidden: int
    n_x: int
    head_columns: tuple[int, int, int, int]
    n_top: int
    strip: int
    h_first: int
    h_vectors: int
    x_first: int
    x_vectors: int
    states: int
    z_vectors: int
    q_vectors: int
    ring: int
    state_floats: int
    pool: PoolLayout
    tensors: dict[str, tuple[int, tuple[int, ...]]]
    n_params: int

    @property
    def n_f(self) -> int:
        """Number of inputs of the head per horizon."""
        return sum(self.head_columns)

    @property
    def moment_floats(self) -> int:
        """Numbers in a buffer before the inputs of the targets."""
        return padded_width(self.head_columns[1])

    @property
    def target_row(self) -> int:
        """How far apart the inputs of the targets lie in a buffer."""
        return padded_width(self.config.horizon)

    @property
    def feature_floats(self) -> int:
        """Length of a buffer for the head's inputs: of the moment, rows of those of targets and dates, scratch."""
        rows = self.head_columns[2] + self.head_columns[3]
        return self.moment_floats + rows * self.target_row + phase_floats(self.config.horizon)

    @property
    def z_floats(self) -> int:
        """Scratch for the head's hidden units, of one event."""
        if self.config.head == "decoder":
            return decoder_floats(self.config.head_size, sum(self.head_columns[2:]), self.config.horizon)
        return (self.config.horizon + 1) * self.config.head_size

    @property
    def given_floats(self) -> int:
        """Length of the tables of what place and date add to every horizon, see heads/output.py."""
        return self.config.horizon * 16 * (self.q_vectors + self.z_vectors)

    @property
    def n_q(self) -> int:
        """Number of quantile levels."""
        return len(self.config.quantiles)

    def views(self, flat: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Named views of a flat buffer of `n_params` numbers (parameters, gradients, moments)."""
        return {name: flat[at : at + math.prod(shape)].reshape(shape) for name, (at, shape) in self.tensors.items()}


@functools.lru_cache(maxsize=64)
def layout_of(config: ModelConfig) -> Layout:
    """The shape that follows from a configuration."""
    seasons, calendar = len(config.seasons), calendar_columns(calendar_code(config))
    n_x = 4 + seasons + calendar + 2 * len(config.covariates)
    columns = head_columns(seasons, calendar_code(config), len(config.future_covariates))
    n_f = sum(columns)
    cell = CELLS.get(config.cell)
    hidden, layers = (config.hidden_size, config.layers) if cell else (0, 0)
    n_top = hidden if cell else n_x
    z_vectors, q_vectors = config.head_size // 16, _vectors(len(config.quantiles))
    width, padded, blocks = config.head_size, 16 * q_vectors, hidden // 16
    longest = max(config.seasons, default=0)
    ring = max(2 * longest, WARM_STEPS + longest) + 1

    wanted: dict[str, tuple[int, ...]] = {}
    for i in range(layers):
        assert cell is not None
        n_in = n_x if i == 0 else hidden
        wanted[f"layer{i}.wh"] = (blocks, hidden, 16 * cell.H_VECTORS)
        wanted[f"layer{i}.wx"] = (blocks, n_in, 16 * cell.X_VECTORS)
        wanted[f"layer{i}.bias"] = (blocks, 16 * cell.STRIP)
    decoder, (_, moment, target, date) = config.head == "decoder", columns
    wanted |= {
        "head.A": (n_top, width), "head.B": (moment if decoder else n_f, width), "head.c": (width,),
        "head.O": (width, padded), "head.L": (n_f, padded), "head.d": (padded,),
    }  # fmt: skip
    if decoder:
        wanted["head.wh"] = (z_vectors, width, 16 * gru.H_VECTORS)
        wanted["head.wx"] = (z_vectors, target + date, 16 * gru.X_VECTORS)
        wanted["head.bias"] = (z_vectors, 16 * gru.STRIP)
    tensors, at = {}, 0
    for name, size in wanted.items():
        tensors[name] = (at, size)
        at += math.prod(size)
    return Layout(
        config=config, layers=layers, hidden=hidden, n_x=n_x, head_columns=columns, n_top=n_top,
        strip=cell.STRIP if cell else 1, h_first=cell.H_FIRST if cell else 0, h_vectors=cell.H_VECTORS if cell else 1,
        x_first=cell.X_FIRST if cell else 0, x_vectors=cell.X_VECTORS if cell else 1, states=cell.STATES if cell else 1,
        z_vectors=z_vectors, q_vectors=q_vectors, ring=ring,
        state_floats=layers * hidden * (cell.STATES if cell else 1),
        pool=pool_layout(config.horizon, seasons, len(config.quantiles), config.mixture), tensors=tensors, n_params=at,
    )  # fmt: skip


def calendar_code(config: ModelConfig) -> int:
    """The literal by which kernels know what the calendar holds."""
    return (2 if config.holidays else 1) if config.calendar else 0


def cell_code(config: ModelConfig) -> int:
    """The literal by which kernels know the cell."""
    return CODES[config.cell]


def calendar_rows(layout: Layout) -> tuple[slice, slice, slice, slice]:
    """Rows of the calendar: hour and weekday (with the holiday) among the inputs of a step, and among the head's."""
    x = 4 + len(layout.config.seasons)
    columns = calendar_columns(calendar_code(layout.config))
    f = sum(layout.head_columns[:3])
    return slice(x, x + 2), slice(x + 2, x + columns), slice(f, f + 4), slice(f + 4, layout.n_f)


def calendar_weights(layout: Layout, *, hour: bool, week: bool) -> NDArray[np.bool_]:
    """Mask over the parameters: those that the hour of day (or the weekday) goes through."""
    mask = np.zeros(layout.n_params, np.bool_)
    if not layout.config.calendar:
        return mask
    view = layout.views(mask)
    hour_x, week_x, hour_f, week_f = calendar_rows(layout)
    wanted = [(hour_x, hour_f)] * hour + [(week_x, week_f)] * week
    for x, f in wanted:
        if layout.layers:
            view["layer0.wx"][:, x] = True
        else:
            view["head.A"][x] = True
        if layout.config.head == "decoder":  # its cell sees the inputs of a target alone
            view["head.wx"][:, f.start - sum(layout.head_columns[:2]) : f.stop - sum(layout.head_columns[:2])] = True
        else:
            view["head.B"][f] = True
        view["head.L"][f] = True
    return mask


def head_offsets(layout: Layout) -> tuple[int, ...]:
    """Offsets in the buffer of `kernel_weights`: A, B, c, O, L, d, tri, tri transposed, median mask, p, L p.

    Behind them of the direct head B p, of the decoder Wh, Wx and bias.
    """
    width, horizon = 16 * layout.q_vectors, layout.config.horizon
    n, square = layout.n_params, width**2
    named = [layout.tensors[f"head.{name}"][0] for name in "ABcOLd"]
    place = fading_offset(layout) + 2 * padded_width(horizon)
    Lp = place + padded_width(horizon * layout.head_columns[0])
    own = [Lp + horizon * width]
    if layout.config.head == "decoder":
        own = [layout.tensors[f"head.{name}"][0] for name in ("wh", "wx", "bias")]
    return (*named, n, n + square, n + 2 * square, place, Lp, *own)


def pool_offsets(layout: Layout) -> tuple[int, ...]:
    """Offsets (levels, mask, normal quantiles, shares, later, cells) in the buffer of `kernel_weights`."""
    width = 16 * layout.q_vectors
    at, offsets = layout.n_params + 2 * width**2 + width, list[int]()
    for size in (width, width, width, *(part.size for part in pool_constants(layout.pool, layout.config.seasons))):
        offsets.append(at)
        at += size
    return tuple(offsets)


def fading_offset(layout: Layout) -> int:
    """Offset of `season_fading` in the buffer of `kernel_weights`; `target_steps` stand behind it."""
    return pool_offsets(layout)[-1] + pool_constants(layout.pool, layout.config.seasons)[-1].size


def layer_offsets(layout: Layout) -> tuple[int, int, int, int, int, int]:
    """Offsets of layer 0 (wh, wx, bias), of layer 1 (wh, wx, bias); further layers follow at layer 1's stride."""
    if layout.layers == 0:
        return (0,) * 6
    first = [layout.tensors[f"layer0.{name}"][0] for name in ("wh", "wx", "bias")]
    second = [layout.tensors.get(f"layer1.{name}", (0, ()))[0] for name in ("wh", "wx", "bias")]
    return (first[0], first[1], first[2], second[0], second[1], second[2])


def layer_stride(layout: Layout) -> int:
    """Distance of the parameters of layer i + 1 from those of layer i, for i >= 1."""
    if layout.layers < 2:
        return 0
    last = layout.tensors.get("layer2.wh", layout.tensors["head.A"])
    return last[0] - layout.tensors["layer1.wh"][0]


def kernel_weights(layout: Layout, params: NDArray[Any]) -> NDArray[Any]:
    """Parameters followed by the constants of head and pool, in the type of the parameters: what kernels read."""
    quantiles, width = layout.config.quantiles, 16 * layout.q_vectors
    tri = cumulation(quantiles, width)
    median = np.zeros(width)
    median[0] = 1.0  # slot 0
    rows = np.zeros((3, width))  # levels, mask, quantiles of a normal distribution whose mean absolute error is 1
    rows[0, : len(quantiles)] = quantiles
    rows[1, : len(quantiles)] = 1.0
    rows[2, : len(quantiles)] = [math.sqrt(math.pi / 2) * NormalDist().inv_cdf(a) for a in quantiles]
    horizon = layout.config.horizon
    places = horizon_places(horizon)
    ahead = (season_fading(horizon), target_steps(horizon), places)
    pool = [part.ravel() for part in pool_constants(layout.pool, layout.config.seasons)]
    padded = [np.pad(part.ravel(), (0, padded_width(part.size) - part.size)) for part in ahead]
    constants = np.concatenate([tri.ravel(), tri.T.ravel(), median, rows.ravel(), *pool, *padded]).astype(params.dtype)
    view = layout.views(params)
    names = "L" if layout.config.head == "decoder" else "LB"
    parts = [params, constants, *(placed(places, view[f"head.{name}"]).ravel() for name in names)]
    return np.concatenate(parts, out=buffer(sum(part.size for part in parts), params.dtype))
