"""The fused per-event kernel: all processing of an event, one compiled call per batch.

    for every event, in order:
        1 rows      a second event of a series that is in the tile: first finish the tile
        2 time      step of the event                                  features/interval.py
                    duplicate or late: no step.  New weights: re-encode the row's own ring.
                    A gap: missing steps, or a reset of the hidden state.  Another event of the newest step: its
                    value replaces that of the step, and the state of the network is unchanged
        3 features  its value is scored                                anomaly.py
                    outliers are replaced, anchor, statistics, ring    features/outliers.py, features/anchor.py
                    forecasts whose target it is are scored            ensemble/update.py
                    inputs of the network                              features/step_inputs.py
        4 network   a tile of events at once, each of another series   network/layer.py
        5 head      its inputs, quantiles of all horizons              features/head_inputs.py, network/
        6 ensemble  network and experts, weighted and calibrated       ensemble/combine.py
        7 out       anchor + ref + scale * quantiles, finite           ensemble/prior.py where there is no scale

Stages 2 and 3 are in stages.py, 4 to 7 in forecast.py, their arguments in buffers.py. The kernel allocates nothing: the
caller passes scratch and outputs. Its forms see kernels/forms.py: one is compiled for a cell, a kind and size of the
head, and a number of vectors of quantiles, and serves any other configuration; one is compiled for all sizes; one is
the first of these, hardly optimised, for the first start on a machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from forecaster.config import ModelConfig
from forecaster.features.counters import EVENT, INTERVAL, STEPS
from forecaster.features.head_inputs import date_features
from forecaster.features.interval import DUPLICATE, SAME, is_near
from forecaster.features.profile import close_bin
from forecaster.kernels.forms import Forms
from forecaster.kernels.jit import TILE, kernel
from forecaster.kernels.operands import Block, Rows
from forecaster.kernels.simd import load, store
from forecaster.kernels.sizes import bind
from forecaster.layout import Layout, layout_of
from forecaster.network.direct_head import direct_shared
from forecaster.network.quantile_output import write_date_terms
from forecaster.observe.buffers import (
    MACRO_TILE,
    EventOutputs,
    Events,
    ObserveLayout,
    Scratch,
    TableRows,
    observe_layout,
    ring_of,
)
from forecaster.observe.forecast import LARGEST, forecast, mix, network, write_forecast
from forecaster.observe.stages import (
    determine_step,
    prefetch_row,
    record_missing_step,
    replace_newest,
    reset_if_stale,
    store_prior_unit,
    update_by_value,
    update_covariates,
    update_members,
    write_step_inputs,
)

OK, IS_MISSING = 0, 1  # batch.Status, as literals


def observe_kernel(layout: Layout) -> Forms[ObserveLayout]:
    """Returns the kernel for a layout, in its forms; see `observe` inside for its arguments.

    Layouts of the same cell, kind and size of the head, and vectors of quantiles share a general kernel.
    """
    return _forms(observe_layout(layout))


def kernel_form(config: ModelConfig) -> str:
    """Returns the form in which events of a network are observed in this process.

    Args:
        config: of the network.

    Returns:
        "general", "literal" or "quick"; "" before its first event, and from a call of `use_kernels` to the next event.
    """
    return observe_kernel(layout_of(config)).form


@functools.lru_cache(maxsize=32)
def _forms(sizes: ObserveLayout) -> Forms[ObserveLayout]:
    return Forms(_build, sizes)


@functools.lru_cache(maxsize=64)
def _build(variant: ObserveLayout) -> Callable[..., None]:
    tile, prefetch_distance = MACRO_TILE, TILE

    @kernel
    def observe(
        numbers: Any, W: Any, scratch: Any, table: Any, events: Any, outputs: Any, rule: Any, prior: Any,
        calendar_table: Any, first_event: int, model: int,
    ) -> None:  # fmt: skip
        """Updates the row of every event and writes its forecast.

        Groups are passed as plain tuples, see kernels/operands.py.

        Args:
            numbers: sizes and offsets, see kernels/sizes.py.
            W: parameters and constants, see `kernel_weights`.
            scratch: `Scratch`, overwritten.
            table: `TableRows`, overwritten.
            events: `Events`.
            outputs: `EventOutputs`, overwritten.
            rule: rules of the anomaly flags, see anomaly.py; after them the lower and the upper limit of quantiles, and
                the rules of further series, see row_rules.py.
            prior: (3,) of prior.py, overwritten.
            calendar_table: local time and holidays.
            first_event: number of the first event in the stream, counted from 1.
            model: tag of the weights; rows with another one are re-encoded.
        """
        buffers, table_rows, batch, out = Scratch(*scratch), TableRows(*table), Events(*events), EventOutputs(*outputs)
        sizes = bind(variant, numbers)
        features, stack, head, scratch_at = sizes.features, sizes.stack, sizes.head, sizes.scratch
        layers, H, state, n_x = stack.layers, stack.H, sizes.row.state, stack.n_x
        members, calendar = sizes.ensemble.members, features.calendar
        date_at = scratch_at.f + features.date
        S, tile_rows, tile_events, tile_units = buffers.floats, buffers.rows, buffers.events, buffers.units
        rows, ts, value, status = batch.rows, batch.ts, batch.value, out.status
        counters, counters_row = table_rows.counters, table_rows.counters_row
        n = rows.shape[0]
        # not literals, with which stages would be compiled once more
        i: Any = np.int64(0)
        none: Any = np.int64(0)
        one: Any = np.int64(1)
        dated = False  # whether the tables of place and date are valid for the time and interval below
        date_ts = date_interval = 0
        while i < n:
            filled: Any = np.int64(0)
            alone = False
            while i < n and filled < tile:
                # 1 rows: all rows of a tile differ; later ones are prefetched meanwhile
                row = rows[i]
                if i + prefetch_distance < n:
                    prefetch_row(table_rows, rows[i + prefetch_distance])
                same_series = False
                for t in range(filled):
                    same_series = same_series or tile_rows[t] == row
                if same_series:
                    break
                w = row * counters_row
                if filled > 0 and counters[w + STEPS] > 0 and is_near(counters, w, ts[i]):
                    break  # it may belong to the newest step, and is then no new step: it needs a tile of its own
                counters[w + EVENT] = first_event + i
                out.anomaly[i] = np.nan
                out.flagged[i] = 0

                # 2 time: kind of the event, steps to re-encode, then missing steps up to this event
                kind, missing, gap, step_ts = determine_step(sizes, table_rows, batch, out, i, row)
                if kind >= DUPLICATE:
                    i += 1
                    continue
                steps, missing, before = reset_if_stale(sizes, table_rows, row, kind, missing, model)
                tile_rows[filled] = row
                is_missing = not abs(value[i]) <= LARGEST  # nan, infinite, or more than float32 holds
                status[i] = IS_MISSING if is_missing else OK
                if kind == SAME:
                    replace_newest(sizes, table_rows, out, i, row, steps, value[i])
                for k in range(before + missing):
                    step = steps - before + k
                    if k >= before:
                        record_missing_step(sizes, table_rows, row, step)
                    write_step_inputs(sizes, S, table_rows, calendar_table, row, step,
                                      step_ts + (step - steps + 1) * counters[w + INTERVAL], 1.0, filled)  # fmt: skip
                    network(sizes, one, W, S, table_rows, tile_rows, filled)
                steps += missing
                if kind == SAME:  # the state already includes the step; the head reads it unchanged
                    alone = True  # and the first of the tile, ensured by `is_near` above
                    if layers == 0:  # there is no state: stage 4 passes the inputs on
                        write_step_inputs(sizes, S, table_rows, calendar_table, row, steps - 1, ts[i], 1.0, filled)
                    else:
                        top = row * table_rows.hidden_row + (layers - 1) * state
                        for v in range(0, H, 16):
                            store(S, scratch_at.top + v, load(table_rows.hidden, top + v))
                    store_prior_unit(sizes, table_rows, out, prior, tile_units, i, row, filled)
                    out.steps[i] = steps
                    tile_events[0] = i
                    filled = 1
                    i += 1
                    break

                # 3 features of the event's own step
                learns_from = False
                close_bin(ring_of(sizes, table_rows, row, steps))
                if is_missing:
                    place = row * table_rows.hidden_row + sizes.row.ring + steps % sizes.row.length
                    table_rows.hidden[place] = np.nan
                    out.robust[i] = np.nan
                else:
                    learns_from = update_by_value(
                        sizes, W, S, table_rows, out, rule, prior, i, row, value[i], ts[i], steps
                    )
                update_covariates(sizes, table_rows, batch, i, row, steps)
                write_step_inputs(sizes, S, table_rows, calendar_table, row, steps, ts[i], gap, filled)
                if members > 0 and learns_from:
                    update_members(sizes, W, S, table_rows, row, steps)
                counters[w + STEPS] = steps + 1
                store_prior_unit(sizes, table_rows, out, prior, tile_units, i, row, filled)
                out.steps[i] = steps + 1
                tile_events[filled] = i
                filled += 1
                i += 1

            # 4 network: h' of all events of the tile
            if not alone or layers == 0:
                network(sizes, filled, W, S, table_rows, tile_rows, none)

            # 5 head: A t + c of all of them, then the quantiles of one after the other
            n_top = H if layers > 0 else n_x
            direct_shared(head, filled, W, Rows(S, scratch_at.top, n_top), Block(S, scratch_at.shared))
            for t in range(filled):
                event, row = tile_events[t], tile_rows[t]
                interval = counters[row * counters_row + INTERVAL]
                if not dated or (calendar > 0 and (ts[event] != date_ts or interval != date_interval)):
                    dated, date_ts, date_interval = True, ts[event], interval
                    date_features(calendar, calendar_table, date_ts, date_interval, features.horizon, W, features.steps,
                                  S, date_at, features.row)  # fmt: skip
                    write_date_terms(head, W, Block(S, scratch_at.given), S, date_at, features.row)
                forecast(sizes, W, S, table_rows, batch, event, row, t)

                # 6 ensemble
                if members > 0:
                    mix(sizes, W, S, table_rows, row)

                # 7 out
                write_forecast(sizes, W, S, table_rows, out.quantiles, rule, event, row, tile_units[t])

    return observe
