"""A network of another shape: rows built from what the former ones hold equal those of a forecaster that saw the same.

The naive twin reads the held events in plain loops and observes them one by one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecaster import AnomalyConfig, Batch, ConfigError, Forecaster, Model, ModelConfig
from forecaster.anomaly import ALARM, COUNT, DAY
from forecaster.features.counters import EVENT, INTERVAL, LAST_TS, SEEN, SERIAL, STEP_TS, STEPS
from forecaster.observe import rebuilt_rows

MINUTE = 60_000
SMALL = {"hidden_size": 16, "head_size": 16, "pretrained": False, "calendar": False}
SHAPES = (
    Model.initial(ModelConfig(horizon=4, quantiles=(0.1, 0.5, 0.9), **SMALL)),
    Model.initial(ModelConfig(horizon=6, quantiles=(0.2, 0.5, 0.8, 0.9), seasons=(6,), head="decoder", **SMALL)),
    Model.initial(
        ModelConfig(
            cell="lstm", layers=2, horizon=3, quantiles=(0.5,), seasons=(3, 6), covariates=("a", "b"),
            future_covariates=("b",), **SMALL,
        )
    ),
)  # fmt: skip
KEPT = (EVENT, SERIAL, SEEN)  # identity and silences are the former ones
FLAGS = np.array([ALARM, DAY, COUNT])  # in the anomaly state of a row


def batch_of(config: ModelConfig, events: list[tuple[str, int, float]]) -> Batch:
    """A batch of events with covariates that follow from their times."""
    ts = np.array([at for _, at, _ in events], np.int64)
    numbers = (ts[:, None] // MINUTE % np.array([7, 5]) - 2).astype(np.float32)
    futures = (ts[:, None, None] // MINUTE + np.arange(config.horizon)) % 4
    return Batch(
        [name for name, _, _ in events], ts, np.array([value for _, _, value in events]),
        numbers[:, : len(config.covariates)] if config.covariates else None,
        futures.astype(np.float32) if config.future_covariates else None,
    )  # fmt: skip


def held_events(forecaster: Forecaster) -> list[tuple[str, int, float, int]]:
    """Series, time and value of every held event, and its number in the history, -1 for steps of rings."""
    state, layout, history = forecaster.state(), forecaster.model.layout, forecaster.history()
    found, table = list[tuple[str, int, float, int]](), forecaster._table
    ring = layout.ring
    for back in reversed(range(ring.reach)):
        for name in forecaster.series:
            row = forecaster.row_of(name)
            steps, interval, step_ts, last, serial = (
                int(state["whole"][row, column]) for column in (STEPS, INTERVAL, STEP_TS, LAST_TS, SERIAL)
            )
            mine = history.timestamp_ms[history.series == serial]
            if back >= steps:
                continue
            step = steps - 1 - back
            slot = step % ring.length if back < ring.length else ring.length + step // ring.width % ring.held
            value = float(state["hidden"][row, table.ring_at + slot])
            value += float(state["stats"][row, table.anchor_at])
            if back == 0 and not len(mine):
                found.append((name, last, value, -1))
            elif (
                math.isfinite(value)
                and interval
                and (not len(mine) or step_ts - back * interval < mine.min() - interval // 2)
            ):
                found.append((name, step_ts - back * interval, value, -1))
    found += [
        (history.names[serial], int(ts), float(value), i)
        for i, (serial, ts, value) in enumerate(
            zip(history.series.tolist(), history.timestamp_ms, history.value, strict=True)
        )
        if serial in history.names
    ]
    return found


def twin_of(forecaster: Forecaster, model: Model, rules: AnomalyConfig) -> Forecaster:
    """A new forecaster that has observed the held events, one by one, in rows in the order of the index."""
    twin = Forecaster(
        model, max_series=forecaster.max_series, history_events=forecaster.history_events, anomaly=rules,
        late_within=forecaster.late_within,
    )  # fmt: skip
    for name in forecaster.series:
        twin._table.add(name)
    for name, ts, value, number in held_events(forecaster):
        batch = batch_of(model.config, [(name, ts, value)])
        missing = set(model.config.covariates) - set(forecaster.config.covariates)
        if batch.covariates is not None and (number < 0 or missing):
            batch.covariates[...] = np.nan
        if batch.future is not None and (number < 0 or not forecaster.config.future_covariates):
            batch.future[...] = np.nan
        twin.observe(batch)
    return twin


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, int, float]]:
    """Events of a few series, with gaps, missing values, outliers, duplicates, late events and a wrong time."""
    count, found = draw(st.integers(1, 4)), list[tuple[str, int, float]]()
    steps, seed = draw(st.integers(1, 90)), draw(st.integers(0, 2**20))
    rng, level = np.random.default_rng(seed), draw(st.sampled_from([0.0, 1e9]))
    for step in range(steps):
        for i in range(count):
            value, ts = level + math.sin(step) + rng.normal() * 0.1, step * MINUTE + i
            kind = rng.integers(40)
            if kind == 0:
                continue
            if kind == 1:
                value = math.nan
            elif kind == 2:
                value += 50.0
            elif kind == 3:
                ts -= int(rng.integers(3)) * MINUTE
            elif kind == 4 and step == steps // 2:
                ts += 1000 * MINUTE
            found.append((f"s{i}", ts, value))
            if kind == 5:
                found.append((f"s{i}", ts, value))
    return found


def rows_of(forecaster: Forecaster) -> dict[str, np.ndarray]:
    """The state of all rows in the order of the index, without what is kept unchanged."""
    state = forecaster.state()
    rows = state["rows"]
    found = {name: np.array(state[name][rows]) for name in ("hidden", "stats", "whole", "late") if name in state}
    found["whole"][:, KEPT] = 0
    table = forecaster._table
    found["hidden"][:, table.anomaly_at + table.layout.n_q + FLAGS] = 0
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    streams(), st.sampled_from([(0, 1), (1, 0), (0, 2), (2, 0), (1, 2)]), st.sampled_from([0, 2, 40, 1000]),
    st.sampled_from([0, 3]), st.integers(1, 40), st.sampled_from([1, 7, 1 << 22]),
)  # fmt: skip
def test_equals_a_forecaster_that_saw_the_held_events(
    stream: list[tuple[str, int, float]], shapes: tuple[int, int], capacity: int, late: int, size: int, block: int
) -> None:
    """Rows equal those of the twin, bit for bit; the history, identities and silences are the former ones."""
    first, second = (SHAPES[i] for i in shapes)
    rules = AnomalyConfig(silent_after=4, threshold=0.9, clear=0.5)
    one = Forecaster(first, max_series=8, history_events=capacity, anomaly=rules, late_within=late)
    for start in range(0, len(stream), size):
        one.observe(batch_of(first.config, stream[start : start + size]))
    if not stream:
        return
    twin, before, old = twin_of(one, second, rules), one.history(), one.state()
    kept, header = old["whole"][old["rows"]][:, KEPT].copy(), one.header()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilt_rows, "_BLOCK_NUMBERS", block)
        one.adopt(second)
    mine, expected = rows_of(one), rows_of(twin)
    at = None if "late" not in mine else one._table.late.layout
    for name, array in mine.items():
        if name == "late" and at is not None:  # places in the history, see below
            array[:, at.slots : at.numbers] = expected[name][:, at.slots : at.numbers] = 0
        np.testing.assert_array_equal(array, expected[name], name)
    after, new = one.history(), one.state()
    for column in ("series", "timestamp_ms", "value", "robust"):
        np.testing.assert_array_equal(getattr(before, column), getattr(after, column))
    assert (after.names, one.series) == (before.names, list(before.names.values()))
    np.testing.assert_array_equal(new["whole"][new["rows"]][:, KEPT], kept)
    same = ("events_total", "watermark_ms", "watermark_ahead", "prior", "added_total", "evicted_total",
            "history_written")  # fmt: skip
    assert {name: one.header()[name] for name in same} == {name: header[name] for name in same}


PROFILES = tuple(
    Model.initial(replace(SHAPES[0].config, horizon=3, seasons=(4, 70), profile_steps=width)) for width in (1, 5, 9)
)


@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("gap", [1, 60])
def test_rows_with_means_of_bins(before: int, after: int, gap: int) -> None:
    """A row that holds means gives them to each of their steps: a row of another width equals one that saw the same."""
    rng, step = np.random.default_rng(3), np.arange(260)
    step[130:] += gap - 1
    events = [("s0", int(at) * MINUTE, math.sin(at) + 0.1 * rng.normal()) for at in step if at % 11]
    one = Forecaster(PROFILES[before], max_series=2, history_events=20)
    one.observe(batch_of(one.config, events))
    held = held_events(one)
    assert held[0][1] < events[-110][1], "bins are among them"
    twin = twin_of(one, PROFILES[after], AnomalyConfig())
    one.adopt(PROFILES[after])
    for name, array in rows_of(twin).items():
        np.testing.assert_array_equal(rows_of(one)[name], array, name)


def test_late_events_are_put_in_their_place_afterwards() -> None:
    """An event that is late behind an adoption, by events before it, gives rows and history of the stream in order."""
    first, second = SHAPES[:2]
    events = [("s0", step * MINUTE, math.sin(step)) for step in range(120)]
    late = [*events[:115], *events[116:118], events[115], *events[118:]]
    found = []
    for order, adopted in ((events, 118), (late, 117)):
        one = Forecaster(first, history_events=20, late_within=3)
        one.observe(batch_of(first.config, order[:adopted]))
        one.adopt(second)
        one.observe(batch_of(second.config, order[adopted:]))
        found.append((rows_of(one), one.history()))
    (rows, history), (others, other) = found
    np.testing.assert_array_equal(history.timestamp_ms, other.timestamp_ms)
    np.testing.assert_array_equal(history.value, other.value)
    for name in ("hidden", "stats", "whole"):
        np.testing.assert_array_equal(rows[name], others[name], name)


def test_continues_after_a_snapshot(tmp_path) -> None:
    """Saved and loaded before or after the adoption, it forecasts the same bits."""
    first, second = SHAPES[:2]
    events = [(f"s{i}", step * MINUTE + i, math.sin(step) + i) for step in range(50) for i in range(3)]
    found = []
    for when in (0, 1, 2):
        one = Forecaster(first, max_series=8, history_events=40)
        one.observe(batch_of(first.config, events[:120]))
        for step in (1, 2):
            if when == step:
                one.save(tmp_path / "state")
                one = Forecaster.load(tmp_path / "state")
            if step == 1:
                one.adopt(second)
        found.append(one.observe(batch_of(second.config, events[120:])).quantiles)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_forgotten_series_get_no_row() -> None:
    """A forgotten series has no row afterwards, and its events stay in the history."""
    first, second = SHAPES[:2]
    one = Forecaster(first, max_series=8, history_events=100)
    one.observe(batch_of(first.config, [(f"s{i}", step * MINUTE, 1.0 * step) for step in range(9) for i in range(3)]))
    one.forget(["s1"])
    one.adopt(second)
    assert (one.series, len(one.history())) == (["s0", "s2"], 27)


def test_flags_are_kept() -> None:
    """A series in an alarm stays in it, and its flags of the day stay counted."""
    first, second = SHAPES[:2]
    one = Forecaster(first, max_series=8, history_events=1000)
    one.observe(batch_of(first.config, [("s0", step * MINUTE, math.sin(step)) for step in range(60)]))
    found = []
    for value in (None, (3.0, 77.0, 5.0)):
        columns = one._table.anomaly_at + one._table.layout.n_q + FLAGS
        if value is not None:
            one._table.hidden[0, columns] = value
            one.adopt(second)
        found.append(one._table.hidden[0, one._table.anomaly_at + one._table.layout.n_q + FLAGS].tolist())
    assert found[1] == [3.0, 77.0, 5.0] != found[0]


def test_broadcast_values_are_kept_by_name() -> None:
    """Values that a broadcast series has set hold under the next network; those of new names are not known."""
    shapes = [
        Model.initial(
            ModelConfig(horizon=h, covariates=names, future_covariates=names, interval_ms=MINUTE, **SMALL)
        )
        for h, names in ((2, ("a", "b")), (3, ("c", "b")))
    ]  # fmt: skip
    one = Forecaster(shapes[0], broadcast="all")
    one.observe(
        Batch(["all"], np.array([MINUTE]), np.array([0.0]), np.array([[1, 2]], np.float32),
              np.array([[[1, 2], [3, 4]]], np.float32))
    )  # fmt: skip
    one.adopt(shapes[1])
    header = one.header()
    assert header["broadcast"] == [None, 2.0]
    assert header["broadcast_future"] == [[0, [None] * 3], [MINUTE, [3.0, 4.0, None]]]
    bare = Model.initial(ModelConfig(horizon=2, covariates=("b",), future_covariates=("b",), **SMALL))
    with pytest.raises(ConfigError, match="interval_ms"):
        one.adopt(bare)
    assert one.model is shapes[1]


def test_few_values_of_each_ring_where_there_are_many_series(monkeypatch) -> None:
    """At most `MOST_RING_EVENTS` values of rings are observed: the newest of each."""
    first, second = SHAPES[:2]
    one = Forecaster(first, max_series=8, history_events=0)
    one.observe(batch_of(first.config, [(f"s{i}", step * MINUTE, 1.0 * step) for step in range(40) for i in range(4)]))
    monkeypatch.setattr(rebuilt_rows, "MOST_RING_EVENTS", 40)
    beats = []
    one.adopt(second, lambda: beats.append(1))
    assert one.observe(batch_of(second.config, [("s0", 40 * MINUTE, 1.0)])).steps.tolist() == [11]
    assert beats
