"""Rows of a network of another shape: they observe again what the rows of the former network and the history hold.

    of every series   the values in the ring of its row that are older than its first event in the history, at the times
                      of their steps and without covariates; where the row has only the mean of a bin (features/
                      profile.py), that mean at each of its steps; of a series without such an event its newest step too
    then              the events of the history in the order of the stream, with their covariates by name

**Law.** The rows, checkpoints and rings for late events are those of new rows that observe exactly these events, in
blocks of series and in this order, so that they are a function of the former state. Kept unchanged are the history, the
identity of series (serial numbers, order of the index, numbers of their newest events), silences, the prior of young
series, and of the anomaly score that a series is in an alarm and how many flags its day has had. What the former rows
knew beyond these events (ensemble weights, offsets, older seasons) is learnt from them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.anomaly import ALARM, COUNT, DAY
from forecaster.batch import Columns
from forecaster.config import AnomalyConfig, ModelConfig
from forecaster.features.broadcast import Broadcast
from forecaster.features.calendar_steps import step_times
from forecaster.features.counters import EVENT, INTERVAL, LAST_TS, SEEN, SERIAL, STEP_TS, STEPS
from forecaster.model import Model
from forecaster.observe.observed_rows import ObservedRows
from forecaster.state.history import HistoryRing

_BLOCK_ROWS: Final = 4096  # series whose rings are read together
_BLOCK_NUMBERS: Final = 1 << 22  # forecast quantiles that are computed, and dropped, together
MOST_RING_EVENTS: Final = 1 << 23  # values of all rings, at most: the newest of each


class HeldEvents(NamedTuple):
    """Events that a former state holds: places of their series in its index, and columns as `columns` returns them."""

    places: NDArray[np.int64]
    columns: Columns


def rebuilt(
    former: ObservedRows, model: Model, anomaly: AnomalyConfig, places: NDArray[np.int64] | None = None,
    *, max_series: int | None = None, beat: Callable[[], None] = lambda: None,
) -> ObservedRows:  # fmt: skip
    """Returns the rows of another network.

    Args:
        former: the state, not changed.
        model: of any shape.
        anomaly: settings of the state.
        places: of the series that get a row, in the index; without history. None: all series, with it.
        max_series: rows; None: as many as before.
        beat: called between blocks of events.
    """
    table, history = former.table, former.history
    capacity = history.capacity if places is None else 0
    late = 0 if table.late is None or places is not None else table.late.within
    found = ObservedRows(model, max_series or table.max_series, capacity, replace(anomaly, silent_after=0), late)
    index = list(table.index.items())
    chosen = np.arange(len(index)) if places is None else places
    rows = np.array([row for _, row in index], np.int64)[chosen]
    for place, row in zip(chosen.tolist(), rows.tolist(), strict=True):
        found.table.counters[found.table.add(index[place][0]), SERIAL] = table.counters[row, SERIAL]
    for events in held_events(former, rows, model.config):
        found.observe_rows(events.places, events.columns)
        beat()
    _keep(former, found, rows, anomaly)
    found.history.restore(
        _columns_for(history, former.model.config, model.config) if capacity else found.history.view(),
        history.written if capacity else 0, capacity,
    )  # fmt: skip
    if found.table.late is not None and capacity:
        _number_late(found, history)
    return found


def _keep(former: ObservedRows, found: ObservedRows, rows: NDArray[np.int64], anomaly: AnomalyConfig) -> None:
    """Copies what does not depend on the shape of the network; `rows`: the former ones of the new rows."""
    table, new = former.table, found.table
    new.counters[: len(rows), EVENT] = table.counters[rows, EVENT]
    for column in (ALARM, DAY, COUNT):
        source, target = (rows_of.anomaly_at + rows_of.layout.n_q + column for rows_of in (table, new))
        new.hidden[: len(rows), target] = table.hidden[rows, source]
    found.judge_by(anomaly)
    found.row_rules.take_over(former.row_rules, found.table.index)
    found.silences.restore(former.silences.header())
    new.counters[: len(rows), SEEN] = table.counters[rows, SEEN]
    new.added_total, new.evicted_total = table.added_total, table.evicted_total
    found.events_total = former.events_total
    found.prior[...] = former.prior


def held_events(former: ObservedRows, rows: NDArray[np.int64], config: ModelConfig) -> Iterator[HeldEvents]:
    """Yields the events that a state holds of some rows, see the module, for a network with a configuration.

    The place of a series is that of its row in `rows`.
    """
    table, history = former.table, former.history
    serials = table.counters[rows, SERIAL]
    order = np.argsort(serials)
    columns = history.ordered()
    at = np.minimum(np.searchsorted(serials[order], columns["series"]), max(0, len(rows) - 1))
    places = order[at] if len(rows) else np.zeros(0, np.int64)
    kept = np.flatnonzero(serials[places] == columns["series"]) if len(rows) else places
    places = places[kept]
    first = np.full(len(rows), np.iinfo(np.int64).max)
    np.minimum.at(first, places, columns["timestamp_ms"][kept])
    most = max(1, MOST_RING_EVENTS // max(1, len(rows)))
    numbers = config.horizon * len(config.quantiles)
    block = max(256, _BLOCK_NUMBERS // numbers)
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        where, ts, value = _of_rings(former, rows[part], first[part], most)
        for begin in range(0, len(where), block):
            piece = slice(begin, begin + block)
            yield HeldEvents(start + where[piece], (ts[piece], value[piece], *_missing(len(where[piece]), config)))
    for begin in range(0, len(kept), block):
        picked = kept[begin : begin + block]
        given = {name: column[picked] for name, column in columns.items()}
        renamed = _renamed(given, former.model.config, config)
        covariates = renamed["covariates"].reshape(-1) if config.covariates else _NO_NUMBERS
        future = renamed["future"].reshape(-1) if config.future_covariates else _NO_NUMBERS
        yield HeldEvents(places[begin : begin + block], (given["timestamp_ms"], given["value"], covariates, future))


def _of_rings(
    former: ObservedRows, rows: NDArray[np.int64], first: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns places, times and values of the steps in the rings of rows that are older than their first events.

    They are ordered by their distance from the newest step, and then by row.
    """
    table, layout = former.table, former.table.layout
    counters = table.counters[rows]
    steps, interval = counters[:, STEPS], counters[:, INTERVAL]
    ring = layout.ring
    back = np.arange(min(ring.reach, most) - 1, -1, -1)[:, None]  # of a step behind the newest one
    step = steps - 1 - back
    slots = table.ring_at + step % ring.length
    if ring.held:
        slots = np.where(back < ring.length, slots, table.ring_at + ring.length + step // ring.width % ring.held)
    value = table.hidden[rows, slots].astype(np.float64) + table.stats[rows, table.anchor_at]
    held = (back < steps) & np.isfinite(value) & ((interval > 0) | (back == 0))
    codes = former.calendars.codes(rows)
    ts = step_times(counters[:, STEP_TS], interval, codes, -back, layout.config.timezone)
    held &= ts < first - interval // 2
    newest = (first == np.iinfo(np.int64).max) & (steps > 0)
    held[-1] = newest  # even if its value is missing: later events are judged by its time
    ts[-1] = np.where(newest, counters[:, LAST_TS], ts[-1])
    _, where = np.nonzero(held)
    return where, ts[held], value[held]


def _missing(count: int, config: ModelConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns covariates and known future values of events that have none."""
    sizes = len(config.covariates), len(config.future_covariates) * config.horizon
    covariates, future = (np.full(count * size, np.nan, np.float32) if size else _NO_NUMBERS for size in sizes)
    return covariates, future


def _columns_for(history: HistoryRing, before: ModelConfig, after: ModelConfig) -> dict[str, NDArray[Any]]:
    """Returns the columns of a history, in the order of its ring, for a network with another configuration."""
    return _renamed(history.view(), before, after)


def _renamed(columns: dict[str, NDArray[Any]], before: ModelConfig, after: ModelConfig) -> dict[str, NDArray[Any]]:
    """Returns columns of events whose covariates and known future values are those of another configuration.

    Names that were not there, and steps ahead that were not, are missing.
    """
    found = {name: column for name, column in columns.items() if name != "future"}
    found["covariates"] = named_values(columns["covariates"], before.covariates, after.covariates)
    if after.future_covariates:
        count = len(columns["series"])
        empty = np.zeros((count, 0, before.horizon), np.float32)
        found["future"] = future_values(columns.get("future", empty), before, after)
    return found


def named_values(values: NDArray[Any], before: tuple[str, ...], after: tuple[str, ...]) -> NDArray[Any]:
    """Returns values (n, names, ...) in the order of other names; nan, or 0 of whole numbers, where a name is new."""
    missing = np.nan if values.dtype.kind == "f" else 0
    found = np.full((len(values), len(after), *values.shape[2:]), missing, values.dtype)
    for place, name in enumerate(after):
        if name in before:
            found[:, place] = values[:, before.index(name)]
    return found


def future_values(values: NDArray[np.float32], before: ModelConfig, after: ModelConfig) -> NDArray[np.float32]:
    """Returns known future values (n, names, steps) for the names and the horizon of another configuration."""
    named = named_values(values, before.future_covariates, after.future_covariates)
    found = np.full((*named.shape[:2], after.horizon), np.nan, np.float32)
    steps = min(before.horizon, after.horizon)
    found[:, :, :steps] = named[:, :, :steps]
    return found


def carried(before: Broadcast, config: ModelConfig, after: Broadcast, other: ModelConfig) -> Broadcast:
    """Puts the values that were broadcast under a configuration in force under another one; returns `after`."""
    given = named_values(before.given_ms[None], config.future_covariates, other.future_covariates)[0]
    after.carry(
        named_values(before.values[None], config.covariates, other.covariates)[0],
        future_values(before.future[None], config, other)[0],
        given,
    )
    return after


def _number_late(found: ObservedRows, history: HistoryRing) -> None:
    """Writes the places in the history of the events in the rings for late events, which are the newest of a series."""
    late, table = found.table.late, found.table
    assert late is not None  # noqa: S101 - checked by the caller
    columns, used = history.ordered(), min(history.written, history.capacity)
    order = np.argsort(columns["series"], kind="stable")
    series, ts = columns["series"][order], columns["timestamp_ms"][order]
    numbers = history.written - used + order
    for row in range(table.used):
        begin, end = np.searchsorted(series, [table.counters[row, SERIAL], table.counters[row, SERIAL] + 1])
        late.number(row, ts[begin:end], numbers[begin:end])


_NO_NUMBERS = np.zeros(1, np.float32)  # placeholder where there are no covariates
