"""Forgetting series: rows are cleared and freed, later events start anew, independently of batching."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
from captures import assert_same_arrays, read_between
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import AnomalyConfig, Batch, Forecaster
from forecaster.state.incremental import laid_over

MODEL = cases.rough_model(cases.GRU, 1)
EVENTS = 120
WHEN = st.lists(st.tuples(st.integers(0, EVENTS), st.integers(0, 9)), max_size=12)


def events(count: int = EVENTS, series: int = 8) -> Batch:
    """Returns events of some series in random order."""
    which = np.random.RandomState(1).randint(0, series, count)
    ts = cases.T0 + np.arange(count) * cases.STEP_MS
    return Batch([f"s{s}" for s in which], ts, np.sin(np.arange(count)) * 3 + which)


def frozen(forecaster: Forecaster) -> dict[str, np.ndarray]:
    """Returns a copy of all state."""
    return {name: np.array(array) for name, array in forecaster.state().items()}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(when=WHEN, cuts=st.lists(st.integers(0, EVENTS), max_size=6), room=st.sampled_from([4, 20]))
def test_does_not_depend_on_batching(when: list[tuple[int, int]], cuts: list[int], room: int) -> None:
    """Forgetting within a batch, between batches and after a restore gives the same forecasts and state."""
    batch = events()
    forget = [(at, f"s{series}") for at, series in sorted(when, key=lambda one: one[0])]
    whole = Forecaster(MODEL, max_series=room, history_events=50, anomaly=AnomalyConfig(silent_after=3))
    expected = whole.observe(batch, forget)
    pieces = Forecaster(MODEL, max_series=room, history_events=50, anomaly=AnomalyConfig(silent_after=3))
    found, ends = [], sorted({*cuts, *(at for at, _ in forget), EVENTS})
    for start, end in zip([0, *ends], ends, strict=False):
        pieces.forget(series for at, series in forget if at == start < end)
        found.append(pieces.observe(cases.part(batch, start, end)).quantiles)
        pieces = Forecaster.from_state(
            frozen(pieces), pieces.header(), MODEL, max_series=room, history_events=50, anomaly=pieces.anomaly
        )
    pieces.forget(series for at, series in forget if at == EVENTS)
    assert np.concatenate(found).tobytes() == expected.quantiles.tobytes()
    assert pieces.series == whole.series
    assert_same_arrays(frozen(pieces), frozen(whole))


def test_begins_anew() -> None:
    """Events after forgetting are forecast like a new series; all others as with one more series."""
    batch, at = events(), 70
    found = Forecaster(MODEL, history_events=0).observe(batch, [(at, "s3")])
    names = [f"{name} again" if i >= at and name == "s3" else name for i, name in enumerate(batch.series)]
    expected = Forecaster(MODEL, history_events=0).observe(Batch(names, batch.timestamp_ms, batch.value))
    assert found.quantiles.tobytes() == expected.quantiles.tobytes()
    behind = np.array([name.endswith("again") for name in names])
    assert found.steps[behind][0] == 1


def test_frees_the_row() -> None:
    """A forgotten row is cleared and given to the next new series, without eviction."""
    forecaster = Forecaster(MODEL, max_series=3)
    forecaster.observe(Batch(["a", "b", "c"], cases.T0 + np.arange(3), np.array([7.25, 8.5, 9.75])))
    row = forecaster.row_of("b")
    assert forecaster.forget(["b", "nobody"]) == 1
    assert forecaster.series == ["a", "c"]
    assert all(not array[row].any() for array in forecaster._table.arrays[:2])
    forecaster.observe(Batch(["d"], np.array([cases.T0 + 5]), np.ones(1)))
    assert forecaster.row_of("d") == row
    assert forecaster.evicted_total == 0


def test_in_snapshots() -> None:
    """A capture being read keeps forgotten series; a later incremental capture restores the current state."""
    forecaster = Forecaster(MODEL, max_series=20, history_events=50)
    forecaster.observe(events())
    first, before = forecaster.capture(threading.Lock()), frozen(forecaster)
    base = read_between(first, lambda: forecaster.forget(["s2"]))
    assert_same_arrays(base, before)
    forecaster.observe(Batch(["s2", "new"], np.full(2, cases.T0 + 999 * cases.STEP_MS), np.ones(2)))
    forecaster.forget(["new"])
    changes = forecaster.capture(threading.Lock(), first.mark)
    found, header = laid_over(base, first.header, read_between(changes, lambda: None), changes.header)
    again = Forecaster.from_state(found, header, MODEL, max_series=20, history_events=50)
    assert again.series == forecaster.series
    assert_same_arrays(frozen(again), frozen(forecaster))


def test_behind_a_broadcast(tmp_path: Path) -> None:
    """Indices count all events of the batch, broadcasts included; a saved forecaster has forgotten too."""
    model = cases.rough_model(replace(cases.GRU, covariates=("warm",)), 1)
    names = ["a", "all", "b", "all", "a"]
    batch = Batch(
        names, cases.T0 + np.arange(5) * cases.STEP_MS, np.arange(5.0), np.arange(5, dtype=np.float32)[:, None]
    )
    forecaster = Forecaster(model, broadcast="all")
    found = forecaster.observe(batch, [(3, "a"), (5, "b")])
    assert found.steps[4] == 1
    assert forecaster.series == ["a"]
    forecaster.save(tmp_path / "saved")
    assert Forecaster.load(tmp_path / "saved").series == ["a"]
