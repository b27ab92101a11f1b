"""One flat parameter buffer with named views: a stack of recurrent layers and the head on top.

`Layout` holds all sizes and offsets: of parameters, of a row's state, of the scratch of a kernel. Kernels take its
numbers as data, see kernels/sizes.py. Parameter offsets are multiples of 16, so that a vector never straddles two
tensors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.anomaly import N_STATE, anomaly_floats
from forecaster.config import ModelConfig
from forecaster.ensemble.combine import EnsembleLayout, EnsembleShape, ensemble_constants, ensemble_shape
from forecaster.features.head_inputs import head_columns, horizon_places, phase_floats, season_fading, target_steps
from forecaster.features.profile import RingShape, ring_shape
from forecaster.features.step_inputs import N_STATISTICS, calendar_columns
from forecaster.kernels.buffers import buffer, padded_width
from forecaster.kernels.sizes import sized
from forecaster.network import gru
from forecaster.network.decoder_head import decoder_floats
from forecaster.network.layer import CELLS, Gates, gates_of
from forecaster.network.quantile_output import HeadLayout, cumulation, place_terms

WARM_STEPS = 64  # steps that a row re-encodes from its own ring under new weights


@sized(layers=8)
class StackLayout(NamedTuple):
    """Sizes of the stack of recurrent layers and offsets of its weights in W.

    Attributes:
        gates: constants of the cell.
        layers: number of layers; 0: the head reads the inputs.
        H: units of a layer.
        n_x: inputs of a step.
        wh0, wx0, bias0: packed weights of layer 0.
        wh1, wx1, bias1: those of layer 1. stride: distance between the weights of consecutive further layers.
    """

    gates: Gates
    layers: int
    H: int
    n_x: int
    wh0: int
    wx0: int
    bias0: int
    wh1: int
    wx1: int
    bias1: int
    stride: int


@sized(seasons=3, calendar=2)
class FeatureLayout(NamedTuple):
    """Inputs of the network, and offsets of the head's inputs in their buffer.

    Attributes:
        seasons: steps of each.
        calendar: 0 = none, 1 = hour and weekday, 2 = hour, weekday and holidays.
        covariates, futures: number of covariates, and of known-future covariates.
        horizon: horizons.
        fading, steps: offsets of `season_fading` and `target_steps` in W.
        target: offset of the inputs of the targets from those of the moment. row: distance between their rows.
        known: offset of known future values. date: offset of dates. past: offset of `phase_floats` of scratch.
        full, width, reach: see `Ring`: steps that are read as values, steps of a bin, steps that can be read.
    """

    seasons: tuple[int, ...]
    calendar: int
    covariates: int
    futures: int
    horizon: int
    fading: int
    steps: int
    target: int
    row: int
    known: int
    date: int
    past: int
    full: int
    width: int
    reach: int


@sized()
class RowLayout(NamedTuple):
    """Offsets and sizes of the parts of a row.

    Attributes:
        state: float32 numbers of one layer's state. states: those of all layers, at the start of a row.
        ring: the newest values. length: how many. bins: means of older ones. held: how many.
        covariates: (WARM_STEPS, C), the newest scaled covariates.
        one_step: quantiles forecast for the next event, followed by the state of anomaly.py.
        slots: replaced values, see outliers.py.
        ensemble: state of the ensemble, see combine.py.
        anchor, future: in the float64 statistics of a row, its anchor and the levels of known-future covariates.
    """

    state: int
    states: int
    ring: int
    length: int
    bins: int
    held: int
    covariates: int
    one_step: int
    slots: int
    ensemble: int
    anchor: int
    future: int


def _vectors(n: int) -> int:
    return -(-n // 16)


@dataclass(frozen=True)
class Layout:
    """All sizes and offsets that follow from a `ModelConfig`.

    Attributes:
        config: the configuration.
        layers: number of recurrent layers (0 for cell "none").
        hidden: units of a layer.
        n_x: inputs of a step. n_top: units that the head reads.
        head_columns: inputs of the head by group, see head_inputs.py. n_f: their number.
        gates: constants of the cell.
        states: vectors of state per unit (1, or 2 for the LSTM).
        z_vectors, q_vectors: sixteen-lane vectors of the head's hidden layer and of the padded quantiles.
        ring: the recent values that a row keeps, and the means of older ones.
        state_floats: float32 numbers of hidden state per row.
        ensemble: layout of the ensemble's state per row.
        tensors: name -> (offset, shape), in the order of the buffer.
        n_params: length of the flat parameter buffer.
    """

    config: ModelConfig
    layers: int
    hidden: int
    n_x: int
    head_columns: tuple[int, int, int, int]
    n_top: int
    gates: Gates
    states: int
    z_vectors: int
    q_vectors: int
    ring: RingShape
    state_floats: int
    ensemble: EnsembleShape
    tensors: dict[str, tuple[int, tuple[int, ...]]]
    n_params: int

    @property
    def ring_floats(self) -> int:
        """Numbers of a row's ring of values and of its bins, which follow."""
        return self.ring.length + self.ring.held

    @property
    def n_f(self) -> int:
        """Number of inputs of the head per horizon."""
        return sum(self.head_columns)

    @property
    def moment_floats(self) -> int:
        """Numbers in a feature buffer before the inputs of the targets."""
        return padded_width(self.head_columns[1])

    @property
    def target_row(self) -> int:
        """Distance between the rows of target inputs in a feature buffer."""
        return padded_width(self.config.horizon)

    @property
    def feature_floats(self) -> int:
        """Length of a buffer for the head's inputs: those of the moment, rows of targets and dates, scratch."""
        rows = self.head_columns[2] + self.head_columns[3]
        return self.moment_floats + rows * self.target_row + phase_floats(self.config.horizon)

    @property
    def z_floats(self) -> int:
        """Length of the scratch for the head's hidden units of one event."""
        if self.config.head == "decoder":
            return decoder_floats(self.config.head_size, sum(self.head_columns[2:]), self.config.horizon)
        return (self.config.horizon + 1) * self.config.head_size

    @property
    def given_floats(self) -> int:
        """Length of the tables of the terms of place and date per horizon, see network/quantile_output.py."""
        return self.config.horizon * 16 * (self.q_vectors + self.z_vectors)

    @property
    def n_q(self) -> int:
        """Number of quantile levels."""
        return len(self.config.quantiles)

    def views(self, flat: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Returns named views of a flat buffer of `n_params` numbers (parameters, gradients, moments)."""
        return {name: flat[at : at + math.prod(shape)].reshape(shape) for name, (at, shape) in self.tensors.items()}


@functools.lru_cache(maxsize=64)
def layout_of(config: ModelConfig) -> Layout:
    """Returns the layout of a configuration."""
    seasons, calendar = len(config.seasons), calendar_columns(calendar_code(config))
    n_x = 4 + seasons + calendar + 2 * len(config.covariates)
    columns = head_columns(seasons, calendar_code(config), len(config.future_covariates))
    n_f = sum(columns)
    cell = CELLS.get(config.cell)
    hidden, layers = (config.hidden_size, config.layers) if cell else (0, 0)
    n_top = hidden if cell else n_x
    z_vectors, q_vectors = config.head_size // 16, _vectors(len(config.quantiles))
    width, padded, blocks = config.head_size, 16 * q_vectors, hidden // 16
    ring = ring_shape(max(config.seasons, default=0), config.profile_steps, config.horizon, WARM_STEPS)

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
        gates=gates_of(config.cell), states=cell.STATES if cell else 1,
        z_vectors=z_vectors, q_vectors=q_vectors, ring=ring,
        state_floats=layers * hidden * (cell.STATES if cell else 1),
        ensemble=ensemble_shape(config.horizon, seasons, len(config.quantiles), config.mixture),
        tensors=tensors, n_params=at,
    )  # fmt: skip


def calendar_code(config: ModelConfig) -> int:
    """Returns the calendar inputs as a number: 0 = none, 1 = hour and weekday, 2 = also holidays."""
    return (2 if config.holidays else 1) if config.calendar else 0


def calendar_rows(layout: Layout) -> tuple[slice, slice, slice, slice]:
    """Returns the calendar's input rows: hour, and weekday with holiday, of a step; then the same of the head."""
    x = 4 + len(layout.config.seasons)
    columns = calendar_columns(calendar_code(layout.config))
    f = sum(layout.head_columns[:3])
    return slice(x, x + 2), slice(x + 2, x + columns), slice(f, f + 4), slice(f + 4, layout.n_f)


def calendar_weights(layout: Layout, *, hour: bool, week: bool) -> NDArray[np.bool_]:
    """Returns a mask of the parameters that multiply the hour of day (or the weekday)."""
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
        if layout.config.head == "decoder":  # the inputs of its cell are those of a target only
            view["head.wx"][:, f.start - sum(layout.head_columns[:2]) : f.stop - sum(layout.head_columns[:2])] = True
        else:
            view["head.B"][f] = True
        view["head.L"][f] = True
    return mask


def head_layout(layout: Layout) -> HeadLayout:
    """Returns the sizes of the head and its offsets in the buffer of `kernel_weights`."""
    width, horizon, decoder = 16 * layout.q_vectors, layout.config.horizon, layout.config.head == "decoder"
    n, square, (n_p, n_m, n_g, n_c) = layout.n_params, width**2, layout.head_columns
    named = {name: layout.tensors[f"head.{name}"][0] for name in "ABcOLd"}
    place = constant_offsets(layout)["fading"] + 2 * padded_width(horizon)
    place_terms = place + padded_width(horizon * n_p)
    cell = {name: layout.tensors[f"head.{name}"][0] if decoder else 0 for name in ("wh", "wx", "bias")}
    return HeadLayout(
        decoder=int(decoder), z_vectors=layout.z_vectors, q_vectors=layout.q_vectors, n_q=layout.n_q, horizon=horizon,
        n_place=n_p, n_moment=n_m, n_target=n_g, n_date=n_c, n_top=layout.n_top,
        tri=n, tri_transposed=n + square, median=n + 2 * square, place=place, Lp=place_terms,
        Bp=0 if decoder else place_terms + horizon * width, **named, **cell,
    )  # fmt: skip


def constant_offsets(layout: Layout) -> dict[str, int]:
    """Returns the ensemble's constants' offsets in the buffer of `kernel_weights`, by their names in `EnsembleLayout`.

    The last entry is "fading": the offset of `season_fading`, which `target_steps` follows.
    """
    width = 16 * layout.q_vectors
    parts = ensemble_constants(layout.ensemble, layout.config.seasons)
    names = ("levels", "mask", "normal", "shares", "later", "cells")
    at, offsets = layout.n_params + 2 * width**2 + width, dict[str, int]()
    for name, size in zip(names, (width, width, width, *(part.size for part in parts)), strict=True):
        offsets[name] = at
        at += size
    return offsets | {"fading": at}


def ensemble_layout(layout: Layout) -> EnsembleLayout:
    """Returns the sizes of the ensemble and its offsets in a row and in the buffer of `kernel_weights`."""
    shape, at = layout.ensemble, constant_offsets(layout)
    del at["fading"]
    return EnsembleLayout(
        shape.members, shape.tracked, layout.q_vectors, layout.n_q, layout.config.quantiles.index(0.5),
        shape.offsets, shape.errors, shape.losses, shape.trend, shape.unit, **at,
    )  # fmt: skip


def feature_layout(layout: Layout) -> FeatureLayout:
    """Returns the inputs of the network and the head, and their offsets in a buffer of `feature_floats`."""
    c, (_, _, n_g, n_c) = layout.config, layout.head_columns
    target, row, futures = layout.moment_floats, layout.target_row, len(c.future_covariates)
    fading, date = constant_offsets(layout)["fading"], target + n_g * row
    return FeatureLayout(
        c.seasons, calendar_code(c), len(c.covariates), futures, c.horizon, fading, fading + row, target, row,
        known=date - 2 * futures * row, date=date, past=date + n_c * row,
        full=layout.ring.full, width=layout.ring.width, reach=layout.ring.reach,
    )  # fmt: skip


def rates(layout: Layout) -> tuple[float, float]:
    """Returns the smallest rates of level and scale: they average over one and two of the longest seasons."""
    longest = max(layout.config.seasons, default=0)
    return 1.0 / max(32, longest), 1.0 / max(128, 2 * longest)


def row_layout(layout: Layout) -> RowLayout:
    """Returns the offsets of the parts of a row of state/table.py."""
    ring, covariates = layout.state_floats, len(layout.config.covariates)
    shape, behind = layout.ring, ring + layout.ring_floats
    one_step = behind + WARM_STEPS * covariates
    future = N_STATISTICS + 2 * covariates
    return RowLayout(
        state=layout.states * layout.hidden, states=layout.state_floats, ring=ring, length=shape.length,
        bins=ring + shape.length, held=shape.held, covariates=behind, one_step=one_step,
        slots=one_step + layout.n_q + N_STATE, ensemble=one_step + anomaly_floats(layout.n_q),
        anchor=future + 2 * len(layout.config.future_covariates), future=future,
    )  # fmt: skip


def stack_layout(layout: Layout) -> StackLayout:
    """Returns the sizes of the recurrent layers and the offsets of their weights in the buffer of `kernel_weights`."""
    at = {
        f"{name}{i}": layout.tensors.get(f"layer{i}.{name}", (0, ()))[0]
        for i in (0, 1)
        for name in ("wh", "wx", "bias")
    }
    stride = 0
    if layout.layers > 1:
        last = layout.tensors.get("layer2.wh", layout.tensors["head.A"])
        stride = last[0] - layout.tensors["layer1.wh"][0]
    return StackLayout(layout.gates, layout.layers, layout.hidden, layout.n_x, **at, stride=stride)


def kernel_weights(layout: Layout, params: NDArray[Any]) -> NDArray[Any]:
    """Returns the buffer that kernels read: parameters, then constants of head and ensemble, of the same dtype."""
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
    looked_up = [part.ravel() for part in ensemble_constants(layout.ensemble, layout.config.seasons)]
    padded = [np.pad(part.ravel(), (0, padded_width(part.size) - part.size)) for part in ahead]
    constants = np.concatenate([tri.ravel(), tri.T.ravel(), median, rows.ravel(), *looked_up, *padded]).astype(
        params.dtype
    )
    view = layout.views(params)
    names = "L" if layout.config.head == "decoder" else "LB"
    parts = [params, constants, *(place_terms(places, view[f"head.{name}"]).ravel() for name in names)]
    return np.concatenate(parts, out=buffer(sum(part.size for part in parts), params.dtype))
