"""Sizes, arguments and scratch of the observe kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.ensemble.combine import EnsembleLayout, mix_floats
from forecaster.ensemble.update import learn_floats
from forecaster.features.first_values import YOUNG_FLOATS
from forecaster.kernels.buffers import buffer, padded_width
from forecaster.kernels.jit import TILE, inlined
from forecaster.kernels.operands import Ring
from forecaster.kernels.sizes import sized
from forecaster.layout import (
    FeatureLayout,
    Layout,
    RowLayout,
    StackLayout,
    ensemble_layout,
    feature_layout,
    head_layout,
    rates,
    row_layout,
    stack_layout,
)
from forecaster.network.quantile_output import HeadLayout

MACRO_TILE = 4 * TILE  # events that pass the network together: its weights evict all other data from the L1 cache


@sized()
class ScratchLayout(NamedTuple):
    """Offsets of the parts of the float scratch.

    Attributes:
        slab0, slab1: rows of the tile, states and inputs of layer 0, and of a layer above it.
        strips: activations of the tile. new: its new hidden states.
        top: (MACRO_TILE, n_top) top hidden states, or inputs where there is no layer.
        f: inputs of the head. given: contribution of place and date to every horizon.
        shared: (MACRO_TILE, Z) A t + c. z: hidden units of the head.
        s, q: (horizon, 16*QV) slots and quantiles.
        mix, learn, young: scratch of `combine_members`, `score_members`, `screen_young`.
        ahead: (32,) output of `trend_ahead`.
        floats: length of the scratch.
    """

    slab0: int
    slab1: int
    strips: int
    new: int
    top: int
    f: int
    given: int
    shared: int
    z: int
    s: int
    q: int
    mix: int
    learn: int
    young: int
    ahead: int
    floats: int


@sized()
class ObserveLayout(NamedTuple):
    """All sizes of the observe kernel.

    Attributes:
        features, stack, head, ensemble, row, scratch: see their classes.
        max_gap: number of missing steps beyond which the hidden state is reset.
        learns: 1 where the interval is learnt.
        level_rate, scale_rate: smallest learning rates of level and scale.
    """

    features: FeatureLayout
    stack: StackLayout
    head: HeadLayout
    ensemble: EnsembleLayout
    row: RowLayout
    scratch: ScratchLayout
    max_gap: int
    learns: int
    level_rate: float
    scale_rate: float


class Scratch(NamedTuple):
    """Scratch of the kernel, overwritten.

    Attributes:
        floats: float32, see `ScratchLayout`.
        rows, events: (MACRO_TILE,) int64, row and event of every place of the tile.
        units: (MACRO_TILE,) float64, see `young_unit`.
    """

    floats: Any
    rows: Any
    events: Any
    units: Any


class TableRows(NamedTuple):
    """The table, flat, overwritten; see state/table.py.

    Attributes:
        hidden: float32. stats: float64. counters: int64.
        rules: (rows,) int64, offset of the anomaly rules of every row, only read; see observe/row_rules.py.
        hidden_row, stats_row, counters_row: distance of two rows.
    """

    hidden: Any
    stats: Any
    counters: Any
    rules: Any
    hidden_row: int
    stats_row: int
    counters_row: int


class Events(NamedTuple):
    """A batch of n events, only read.

    Attributes:
        rows: (n,) int64. ts: (n,) int64 epoch milliseconds.
        value: (n,) float64; one that float32 cannot hold is missing.
        cov: (n * C,) float32 covariates, or one number where C = 0.
        known: (n * F * horizon,) float32 known future values of every event, or one number where F = 0.
    """

    rows: Any
    ts: Any
    value: Any
    cov: Any
    known: Any


class EventOutputs(NamedTuple):
    """Outputs of the kernel for every event, all overwritten.

    Attributes:
        status: (n,) uint8. interval, steps: (n,) int64.
        quantiles: (n * horizon * Q,), nan for duplicate and late events.
        anomaly, flagged: (n,), nan and 0 where there is no score and no flag.
        robust: (n,) float64, the value after replacement of outliers; nan where it is missing.
        notes, noted: (n,), see `place_event`; notes also `score_anomaly`.
    """

    status: Any
    interval: Any
    steps: Any
    quantiles: Any
    anomaly: Any
    flagged: Any
    robust: Any
    notes: Any
    noted: Any


@inlined
def ring_of(sizes: ObserveLayout, table: TableRows, row: int, newest: int) -> Ring:
    """Returns the ring of a row whose newest step is `newest`."""
    part, at = sizes.row, row * table.hidden_row
    return Ring(table.hidden, at + part.ring, part.length, newest, sizes.features.full, sizes.features.width,
                at + part.bins, part.held, sizes.features.reach)  # fmt: skip


def scratch_layout(layout: Layout) -> ScratchLayout:
    """Returns the offsets of the parts of the scratch, each of them a whole number of vectors long."""
    state, q, horizon = layout.states * layout.hidden, 16 * layout.q_vectors, layout.config.horizon
    sizes = {
        "slab0": MACRO_TILE * (state + layout.n_x),
        "slab1": MACRO_TILE * (state + layout.hidden),
        "strips": MACRO_TILE * layout.gates.strip * 16,
        "new": MACRO_TILE * layout.hidden,
        "top": MACRO_TILE * max(layout.n_top, 1),
        "f": layout.feature_floats,
        "given": layout.given_floats,
        "shared": MACRO_TILE * layout.config.head_size,
        "z": layout.z_floats,
        "s": horizon * q,
        "q": horizon * q,
        "mix": mix_floats(layout.ensemble, q),
        "learn": learn_floats(layout.ensemble, q),
        "young": YOUNG_FLOATS,
        "ahead": 32,
    }
    at, offsets = 0, dict[str, int]()
    for name, size in sizes.items():
        offsets[name] = at
        at += padded_width(size)
    return ScratchLayout(**offsets, floats=at)


def observe_layout(layout: Layout) -> ObserveLayout:
    """Returns the sizes of the kernel of a layout."""
    c = layout.config
    return ObserveLayout(
        feature_layout(layout), stack_layout(layout), head_layout(layout), ensemble_layout(layout), row_layout(layout),
        scratch_layout(layout), c.max_gap, int(c.interval_ms == 0), *rates(layout),
    )  # fmt: skip


def make_scratch(
    layout: Layout,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns a new `Scratch` of the observe kernel, as the plain tuple that the kernel takes."""
    rows, events = np.zeros(MACRO_TILE, np.int64), np.zeros(MACRO_TILE, np.int64)
    return buffer(scratch_layout(layout).floats, np.float32), rows, events, np.zeros(MACRO_TILE)
