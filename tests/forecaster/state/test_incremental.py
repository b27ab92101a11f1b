"""An incremental capture applied to its base gives the current state, bit for bit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest
from captures import assert_same_arrays, batch, read_between
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import AnomalyConfig, CheckpointError, Forecaster, Model
from forecaster.state import capture
from forecaster.state.history import History
from forecaster.state.incremental import COLUMNS, ROWS, Mark, column, fill, laid_over

MODEL = Model.initial(cases.GRU)
State = tuple[dict[str, NDArray[Any]], dict[str, Any]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes blocks of a few rows, so that many events fit between two blocks."""
    monkeypatch.setattr(capture, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(capture, "_NAMES", 7)


def forecaster_of(max_series: int = 64, **more: Any) -> Forecaster:
    """Returns an empty forecaster with a short history."""
    return Forecaster(MODEL, max_series=max_series, history_events=16, **more)


def taken(
    forecaster: Forecaster, since: Mark | None = None, between: Callable[[], object] = lambda: None
) -> tuple[State, Mark]:
    """Returns the state of a capture, with `between` run after every block, and its mark."""
    live = forecaster.capture(threading.Lock(), since)
    return (read_between(live, between), live.header), live.mark


def restored(state: State, max_series: int = 64) -> Forecaster:
    """Returns a forecaster restored from a state."""
    return Forecaster.from_state(*state, MODEL, max_series=max_series, history_events=16)


def assert_same(got: Forecaster, expected: State) -> None:
    """Asserts that all state equals that of a full capture."""
    arrays, header = expected
    assert_same_arrays(got.state(), arrays)
    assert got.header() == header


NAMES = st.lists(st.integers(0, 29), min_size=1, max_size=5)
SCRIPTS = st.lists(st.tuples(st.sampled_from(["events", "whole", "changes"]), NAMES), max_size=14)


@given(SCRIPTS, st.sampled_from([12, 64]))
@settings(max_examples=60, deadline=None)
def test_any_script(script: list[tuple[str, list[int]]], max_series: int) -> None:
    """Base plus changes are the state, for events, new series, evictions, reassigned rows, short and long histories.

    In a table of 12 rows the 30 names evict each other; events observed while changes are read are not in the changes.
    """
    forecaster, step = forecaster_of(max_series), 0
    (base, mark), latest = taken(forecaster), None
    for what, numbers in [*script, ("changes", [1])]:
        names = [f"s{i}" for i in numbers]
        step += 1
        if what == "whole":
            base, mark = taken(forecaster)
        elif what == "changes":
            later = batch(names, step)
            whole, _ = taken(forecaster)
            changes, _ = taken(forecaster, mark, lambda b=later: forecaster.observe(b))  # type: ignore[misc]
            latest = restored(laid_over(*base, *changes), max_series)
            assert_same(latest, whole)
        else:
            forecaster.observe(batch(names, step))
    assert latest is not None
    again = restored(taken(latest)[0], max_series)
    after = batch(["s1", "s2", "new"], step + 9)
    np.testing.assert_array_equal(latest.observe(after).quantiles, again.observe(after).quantiles)


def test_only_what_was_written_is_taken() -> None:
    """Only rows with events are read or copied aside, and only new names are included."""
    forecaster = forecaster_of()
    forecaster.observe(batch([f"s{i}" for i in range(40)], 0))
    _, mark = taken(forecaster)
    forecaster.observe(batch(["s7", "new", "s3", "s7"], 1))
    live = forecaster.capture(threading.Lock(), mark)
    forecaster.observe(batch([f"s{i}" for i in range(0, 40, 2)], 2))
    assert {name: column.count for name, column in live._columns.items()} == dict.fromkeys(COLUMNS, 0)
    forecaster.observe(batch(["s3"], 3))
    assert {name: column.count for name, column in live._columns.items()} == dict.fromkeys(COLUMNS, 1)
    (changes, header), _ = taken(forecaster, mark)
    live.close()
    found = live.arrays()
    assert isinstance(found[ROWS], np.ndarray)
    assert found[ROWS].tolist() == [3, 7, 40]
    assert header["since"]["names"] == 40
    assert changes["names"].tobytes() == b"new"
    assert header["since"]["history_written"] is None  # 25 events since then and a capacity of 16: all that are held
    assert len(changes["history.value"]) == 16


def test_share_of_what_changed() -> None:
    """The share is 0 without events, then in between, then 1; for a mark of another forecaster it is 1."""
    forecaster = forecaster_of()
    forecaster.observe(batch([f"s{i}" for i in range(40)], 0))
    _, mark = taken(forecaster)
    assert forecaster.change_share(mark) == 0.0
    forecaster.observe(batch([f"s{i}" for i in range(10)], 1))
    assert 0.2 < forecaster.change_share(mark) < 0.3
    forecaster.observe(batch([f"s{i}" for i in range(40)], 2))
    assert forecaster.change_share(mark) == 1.0
    other = forecaster_of()
    other.observe(batch(["s0"], 0))
    assert other.change_share(mark) == 1.0
    with pytest.raises(ValueError, match="mark: got one of another forecaster"):
        other.capture(threading.Lock(), mark)


def test_silences_are_changes() -> None:
    """A row changed by silence detection, without an event, is part of the changes."""
    forecaster = forecaster_of(anomaly=AnomalyConfig(silent_after=2))
    for step in range(4):
        forecaster.observe(batch([f"s{i}" for i in range(5)], step))
    base, mark = taken(forecaster)
    forecaster.observe(batch(["s0", "s1"], 20))  # a jump in a single series might be a wrong time
    assert forecaster.observe(batch(["s0"], 21)).silences
    whole, _ = taken(forecaster)
    changes, _ = taken(forecaster, mark)
    assert_same_rows(laid_over(*base, *changes), whole)


def assert_same_rows(got: State, expected: State) -> None:
    """Asserts that all rows are equal, whether from base or changes."""
    for name in COLUMNS:
        out = np.empty_like(expected[0][name])
        fill(got[0], name, out)
        assert out.tobytes() == expected[0][name].tobytes(), name


def test_history_of_base_and_changes() -> None:
    """The history read from base and changes is the forecaster's own, with names and intervals of late series."""
    forecaster = forecaster_of()
    for step in range(3):
        forecaster.observe(batch([f"s{i}" for i in range(4)], step))
    base, mark = taken(forecaster)
    forecaster.observe(batch(["s1", "new"], 4))
    forecaster.observe(batch(["new"], 6))
    changes, _ = taken(forecaster, mark)
    arrays, header = laid_over(*base, *changes)
    found = History.of_state({name: array for name, array in arrays.items() if History.needs(name)}, header, 100)
    expected = forecaster.history()
    assert (found.names, found.intervals) == (expected.names, expected.intervals)
    for name in ("series", "timestamp_ms", "value", "covariates"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def damaged(state: State, **arrays: NDArray[Any]) -> State:
    """Returns the state with some arrays replaced."""
    return state[0] | {name.replace("_", "."): array for name, array in arrays.items()}, state[1]


def test_parts_that_do_not_belong_together() -> None:
    """Changes with missing, duplicate or outside rows, or for another base, are rejected."""
    forecaster = forecaster_of()
    forecaster.observe(batch(["a", "b", "c"], 0))
    base, mark = taken(forecaster)
    forecaster.observe(batch(["b", "d"], 1))
    changes, _ = taken(forecaster, mark)
    assert changes[0][ROWS].tolist() == [1, 3]
    for rows in ([1, 2], [3, 1], [1, 1], [-1, 3], [1, 4], [3]):
        broken = laid_over(*base, *damaged(changes, changed=np.array(rows)))
        with pytest.raises(CheckpointError, match="expected them and all new rows"):
            restored(broken)
    with pytest.raises(CheckpointError, match="the changes do not fit their base"):
        laid_over(base[0], base[1] | {"history_written": 2}, *changes)
    with pytest.raises(CheckpointError, match="holds something else than this release expects"):
        laid_over(*base, changes[0], {"history_capacity": 16})
    with pytest.raises(
        CheckpointError, match=r"history.value: got a base of 2 float64 and changes of float64, expected"
    ):
        laid_over(*damaged(base, history_value=base[0]["history.value"][:2]), *changes)
    for names in (-1, 4):
        since = changes[1] | {"since": changes[1]["since"] | {"names": names}}
        with pytest.raises(CheckpointError, match=f"got names behind the first {names}, it has 3"):
            laid_over(*base, changes[0], since)


def test_parts_of_another_type_or_length_are_refused() -> None:
    """Arrays of another type or length, rows without a series and wrong names are rejected, each with its name."""
    forecaster = forecaster_of()
    forecaster.observe(batch(["a", "b", "c"], 0))
    whole, _ = taken(forecaster)
    empty, doubled = np.zeros(0, np.int64), np.array([0, 1, 1])
    for said, state in (
        ("hidden: got float64", damaged(whole, hidden=whole[0]["hidden"].astype(np.float64))),
        ("history.value: got float32", damaged(whole, history_value=whole[0]["history.value"].astype(np.float32))),
        (r"history.value: got float64 \(1,\)", damaged(whole, history_value=whole[0]["history.value"][:1])),
        ("rows of 3 series and 1 free, expected each of 3 once", damaged(whole, free=np.array([2]))),
        ("rows of 3 series and 0 free", damaged(whole, rows=doubled)),
        ("3 series, 2 of them different", damaged(whole, names=np.frombuffer(b"abb", np.uint8))),
        ("names: got uint8", damaged(whole, names=whole[0]["names"][:2])),
        ("got used -1, expected a number", (whole[0], whole[1] | {"used": -1})),
        ("got events_total", (whole[0], whole[1] | {"events_total": 1 << 63})),
        ("rows of 3 series and 0 free", damaged(whole, free=empty.astype(np.float64))),
    ):
        with pytest.raises(CheckpointError, match=said):
            restored(state)


def test_a_column_of_base_and_changes() -> None:
    """A column's values come from the last write of each row, in any order, also without changes."""
    arrays = {"whole": np.arange(8).reshape(4, 2)}
    rows = np.array([3, 0, 1])
    assert column(arrays, "whole", rows, 1).tolist() == [7, 1, 3]
    arrays |= {ROWS: np.zeros(0, np.int64), f"{ROWS}.whole": np.zeros((0, 2), np.int64)}
    assert column(arrays, "whole", rows, 1).tolist() == [7, 1, 3]
    arrays |= {ROWS: np.array([1, 4]), f"{ROWS}.whole": np.array([[10, 11], [12, 13]])}
    assert column(arrays, "whole", np.array([4, 3, 1]), 1).tolist() == [13, 7, 11]
