"""The operator for stream processors: the state of a key as bytes, equal to that of a forecaster of all keys."""

from __future__ import annotations

import itertools
import pickle  # what stream processors send to their workers
from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Batch, BatchError, CheckpointError, ConfigError, Forecaster, Forecasts, Model
from forecaster.features.outliers import YOUNG_VALUES
from forecaster.interop import KeyedForecaster

MODELS = {
    "gru": cases.rough_model(cases.GRU, 1),
    "lstm, learnt": cases.rough_model(cases.STREAMING["lstm-2-bare-learnt"], 1),
    "pool": cases.rough_model(cases.POOLED["gru-1-pool"], 1),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
each_bound = pytest.mark.parametrize("late_within", [0, 3])
COLUMNS = ("status", "origin_ms", "interval_ms", "steps", "quantiles", "anomaly", "flagged", "notes", "noted_ms")
EVENT = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from([1, 1, 1, 1, 1, 1, 2, 5, 0, -1, -2]),  # steps after the newest event of the key
    st.integers(-2000, 2000).map(lambda n: n / 16) | st.just(np.nan) | st.just(7.0),
)
STREAMS = st.lists(EVENT, min_size=1, max_size=90)


def events_of(stream: list[tuple[str, int, float]]) -> Batch:
    """Returns the events of a stream; some of a key are missing, late or duplicates."""
    newest, times = dict[str, int](), []
    for name, steps, _ in stream:
        times.append(newest.get(name, 0) + steps)
        newest[name] = max(newest.get(name, 0), times[-1])
    return Batch(
        [name for name, _, _ in stream],
        cases.T0 + np.array(times, np.int64) * cases.STEP_MS,
        np.array([value for _, _, value in stream], np.float64),
    )


def equal(one: Forecasts, other: Forecasts, columns: tuple[str, ...] = COLUMNS) -> bool:
    """Returns whether forecasts have the same bits."""
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in columns)


def row_of(forecasts: Forecasts, at: Any, columns: tuple[str, ...] = COLUMNS) -> tuple[bytes, ...]:
    """Returns the bits of some forecasts."""
    return tuple(getattr(forecasts, name)[at].tobytes() for name in columns)


class TestLaw:
    """One forecaster per key equals one of all keys."""

    @each_model
    @each_bound
    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(stream=STREAMS, cuts=st.lists(st.integers(0, 90), max_size=6))
    def test_equals_a_forecaster_of_the_key(
        self, model: Model, late_within: int, stream: list[tuple[str, int, float]], cuts: list[int]
    ) -> None:
        """However the events are cut, forecasts and bytes are those of one call, and of a forecaster of that series."""
        batch, keyed = events_of(stream), KeyedForecaster(model, late_within=late_within)
        for name in set(batch.series):
            part = batch.taken(np.flatnonzero(np.array(batch.series) == name))
            alone = Forecaster(model, max_series=2, history_events=10, late_within=late_within).observe(part)
            state, once = keyed.observe(None, part.timestamp_ms, part.value)
            assert equal(once, alone)
            resumed, places = None, [0, *sorted(cut for cut in cuts if cut <= len(part)), len(part)]
            for start, end in itertools.pairwise(places):
                resumed, some = keyed.observe(resumed, part.timestamp_ms[start:end], part.value[start:end])
                assert row_of(some, slice(None)) == row_of(alone, slice(start, end))
            assert resumed == state
            assert len(state) == keyed.state_bytes

    @each_model
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(stream=STREAMS)
    def test_equals_a_forecaster_of_all_keys(self, model: Model, stream: list[tuple[str, int, float]]) -> None:
        """From the second different value of a key on, its forecasts are those among other keys."""
        batch, keyed = events_of(stream), KeyedForecaster(model)
        together, states, known = Forecaster(model).observe(batch), dict[str, bytes](), dict[str, list[float]]()
        for at, name in enumerate(batch.series):
            states[name], one = keyed.observe(
                states.get(name), batch.timestamp_ms[at : at + 1], batch.value[at : at + 1]
            )
            columns = ("status", "origin_ms", "interval_ms", "steps", "notes", "noted_ms")
            assert row_of(one, 0, columns) == row_of(together, at, columns)
            values = known.setdefault(name, [])
            if together.status[at] == 0:
                values.append(float(batch.value[at]))
            if len(set(values)) > 1 or len(values) >= YOUNG_VALUES:
                assert row_of(one, 0, ("quantiles",)) == row_of(together, at, ("quantiles",))

    @each_model
    def test_continues_a_series_of_a_forecaster(self, model: Model) -> None:
        """The state of a series continues bit for bit in a key, and is the one that the key would have."""
        names, rng = ["a", "b", "c"], np.random.default_rng(3)
        times = cases.T0 + np.repeat(np.arange(80), 3) * cases.STEP_MS
        batch = Batch(names * 80, times, rng.normal(50, 5, 240))
        together, keyed = Forecaster(model), KeyedForecaster(model)
        together.observe(batch.taken(slice(0, 180)))
        states = {name: keyed.state_of(together, name) for name in names}
        rest = batch.taken(slice(180, 240))
        expected = together.observe(rest)
        for name in names:
            mine = np.flatnonzero(np.array(rest.series) == name)
            state, found = keyed.observe(states[name], rest.timestamp_ms[mine], rest.value[mine])
            assert row_of(found, slice(None)) == row_of(expected, mine)
            its = np.flatnonzero(np.array(batch.series) == name)
            assert keyed.observe(None, batch.timestamp_ms[its], batch.value[its])[0] == state
        assert keyed.state_of(together, "unknown") is None

    @each_model
    def test_takes_another_network(self, model: Model) -> None:
        """A state continues under other weights as a forecaster that adopts them does."""
        other = cases.rough_model(model.config, 2)
        times, values = cases.T0 + np.arange(60) * cases.STEP_MS, np.random.default_rng(1).normal(9, 2, 60)
        forecaster = Forecaster(model)
        forecaster.observe(Batch(["a"] * 30, times[:30], values[:30]))
        forecaster.adopt(other)
        expected = forecaster.observe(Batch(["a"] * 30, times[30:], values[30:]))
        state, _ = KeyedForecaster(model).observe(None, times[:30], values[:30])
        assert equal(KeyedForecaster(other).observe(state, times[30:], values[30:])[1], expected)

    def test_months(self) -> None:
        """A key whose steps are months forecasts months, and another one beside it does not."""
        model = Model.initial(replace(cases.GRU, interval_ms=0, calendar=False, seasons=()))
        keyed, months = KeyedForecaster(model), np.arange("2020-01", "2023-01", dtype="datetime64[M]")
        times = months.astype("datetime64[ms]").astype(np.int64)
        days = times[0] + np.arange(36) * 30 * 86_400_000
        values = np.arange(36.0)
        alone = Forecaster(model).observe(Batch(["a"] * 36, times, values))
        assert alone.calendar[-1]
        states: list[bytes | None] = [None, None]
        for at in range(36):
            states[0], found = keyed.observe(states[0], times[at : at + 1], values[at : at + 1])
            assert found.calendar[0] == alone.calendar[at]
            states[1], other = keyed.observe(states[1], days[at : at + 1], values[at : at + 1])
            assert other.calendar[0] == 0


class TestState:
    """What the bytes of a key hold, and which bytes are refused."""

    def test_is_a_row(self) -> None:
        """The bytes are as many as the row of a series has, with a head, and without the weights."""
        for model in MODELS.values():
            keyed, row = KeyedForecaster(model), Forecaster(model).bytes_per_series
            assert row <= keyed.state_bytes <= row + 64
            late = KeyedForecaster(model, late_within=3)
            assert late.state_bytes > 3 * row

    def test_every_damaged_byte_is_found(self) -> None:
        """A changed byte anywhere, and any other length, is refused with a reason; the operator continues."""
        keyed = KeyedForecaster(MODELS["gru"])
        state, expected = keyed.observe(None, [cases.T0], [3.0])
        for at in range(0, len(state), 7):
            bad = state[:at] + bytes([state[at] ^ 1]) + state[at + 1 :]
            with pytest.raises(CheckpointError, match=r"damaged|another shape|expected the state of a key"):
                keyed.observe(bad, [cases.T0], [3.0])
        for bad in (b"", b"text", state[:-1], state + b"\0"):
            with pytest.raises(CheckpointError):
                keyed.observe(bad, [cases.T0], [3.0])
        assert keyed.observe(None, [cases.T0], [3.0])[0] == state
        assert equal(keyed.observe(None, [cases.T0], [3.0])[1], expected)

    def test_shapes_are_told_apart(self) -> None:
        """A state of another shape or another bound for late events is refused, and a setting out of bounds."""
        model = MODELS["gru"]
        state, _ = KeyedForecaster(model).observe(None, [cases.T0], [3.0])
        for other in (KeyedForecaster(model, late_within=3), KeyedForecaster(MODELS["lstm, learnt"])):
            with pytest.raises(CheckpointError, match="another shape"):
                other.observe(state, [cases.T0], [3.0])
        with pytest.raises(CheckpointError, match="another shape"):
            KeyedForecaster(model).state_of(Forecaster(MODELS["lstm, learnt"]), "a")
        with pytest.raises(ConfigError, match="late_within"):
            KeyedForecaster(model, late_within=-1)
        with pytest.raises(BatchError, match="expected one of each per event"):
            KeyedForecaster(model).observe(None, [cases.T0], [3.0, 4.0])

    def test_is_sent_to_workers(self) -> None:
        """A copy made from what a stream processor sends is small, and continues with the same bits."""
        keyed = KeyedForecaster(MODELS["gru"], late_within=3)
        sent = pickle.dumps(keyed)
        assert len(sent) < keyed.model.params.nbytes + 8_000
        copy = pickle.loads(sent)  # noqa: S301 - as above
        state, _ = keyed.observe(None, [cases.T0], [3.0])
        one, other = (each.observe(state, [cases.T0 + cases.STEP_MS], [4.0]) for each in (keyed, copy))
        assert one[0] == other[0]
        assert equal(one[1], other[1])
