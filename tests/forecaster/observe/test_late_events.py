"""Late events within the bound give the state of the sorted stream, bit for bit, and bounded memory and damage beyond.

The stream to compare with is the same one with the events of every series sorted by time over the places that the
series has in the stream.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from captures import read_between
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import Batch, CheckpointError, ConfigError, Forecaster, Forecasts, Model, Status
from forecaster.state import laid_over
from forecaster.state.late_words import COUNT

WITHIN, EVENTS, SERIES = 6, 260, 3
ADOPTED_AT = 170
NETWORKS = (cases.STREAMING | cases.POOLED).items()
CHECKED = {
    name: config
    for name, config in NETWORKS
    if name
    in {"gru-1-pool", "gru-1-pool-profile", "elman-1-pool-bare-learnt", "elman-1-two-seasons-calendar-covariate"}
}
checked_networks = pytest.mark.parametrize("name", CHECKED)


def made(model: Model, within: int = WITHIN, **more: Any) -> Forecaster:
    """Returns a forecaster that repairs, with room for the events of these tests."""
    return Forecaster(model, **({"max_series": 8, "history_events": 700} | more), late_within=within)


def in_order(config: Any, events: int = EVENTS, seed: int = 0) -> Batch:
    """Returns a rough stream, whose series have rising times."""
    batch = cases.stream(config, events, SERIES, seed)
    times = np.column_stack((np.unique(batch.series, return_inverse=True)[1], batch.timestamp_ms))
    batch = batch.taken(np.sort(np.unique(times, axis=0, return_index=True)[1]))  # no time twice
    order, names = np.arange(len(batch)), np.array(batch.series)
    for name in set(batch.series):
        places = np.flatnonzero(names == name)
        order[places] = places[np.argsort(batch.timestamp_ms[places], kind="stable")]
    return in_places(batch, order)


def in_places(batch: Batch, order: NDArray[np.int64]) -> Batch:
    """Returns the events in another order, each in a place of its series."""
    taken = batch.taken(order)
    return Batch(batch.series, taken.timestamp_ms, taken.value, taken.covariates, taken.future)


def disordered(
    batch: Batch, rng: np.random.Generator, share: float = 0.3, *, cut: int | None = None, first: int = 0
) -> Batch:
    """Moves events back in their series, behind at most WITHIN newer ones that are near in time.

    None is moved across `cut`, and none of the `first` ones of a series.
    """
    order, names, ts = np.arange(len(batch)), np.array(batch.series), batch.timestamp_ms
    for name in set(batch.series):
        places = np.flatnonzero(names == name)
        mine = list(range(len(places)))
        for event in range(first, len(places)):
            if rng.random() > share:
                continue
            at, behind = mine.index(event), int(rng.integers(1, WITHIN + 1))
            to = min(at + behind, len(mine) - 1)
            moved = [*mine[:at], *mine[at + 1 : to + 1], event, *mine[to + 1 :]]
            crosses = cut is not None and places[at] < cut <= places[to]
            if not crosses and _within(moved, ts[places]):
                mine = moved
        order[places] = places[mine]
    return in_places(batch, order)


def _within(arrived: list[int], ts: NDArray[np.int64]) -> bool:
    """Returns whether every late event has at most WITHIN newer ones before it, the newest by at most WITHIN / 3."""
    newest = -1
    for i, event in enumerate(arrived):
        newer = sum(other > event for other in arrived[:i])
        newest = max(newest, event)
        if newer > WITHIN or ts[newest] - ts[event] > WITHIN * cases.STEP_MS // 3:
            return False
    return True


def play(batch: Batch, forecaster: Forecaster, cuts: list[int], path: Path | None = None) -> tuple[Any, Forecaster]:
    """Observes a stream in batches that end at `cuts`; with a path it saves and loads at each. Adopts at ADOPTED_AT."""
    outs, start = [], 0
    for cut in sorted({*(min(cut, len(batch)) for cut in cuts), ADOPTED_AT, len(batch)}):
        if start < cut:
            outs.append(forecaster.observe(cases.part(batch, start, cut)))
        start = cut
        if path is not None:
            forecaster.save(path)
            forecaster = Forecaster.load(path)
        if cut == ADOPTED_AT:
            forecaster.adopt(cases.rough_model(forecaster.config, 2))
    return joined(outs), forecaster


def joined(outs: list[Forecasts]) -> dict[str, NDArray[Any]]:
    """Returns the columns of several batches."""
    names = ("status", "origin_ms", "interval_ms", "steps", "quantiles", "anomaly", "flagged", "notes", "noted_ms")
    return {name: np.concatenate([getattr(out, name) for out in outs]) for name in names}


def state_of(forecaster: Forecaster) -> dict[str, bytes]:
    """Returns all state as bytes."""
    return {name: array.tobytes() for name, array in forecaster.state().items()}


def last_quantiles(found: dict[str, NDArray[Any]], batch: Batch) -> dict[str, tuple[int, bytes]]:
    """Returns origin and quantiles of the last forecast of every series."""
    return {
        name: (int(found["origin_ms"][i]), found["quantiles"][i].tobytes())
        for i, name in enumerate(batch.series)
        if found["status"][i] not in {Status.LATE, Status.DUPLICATE}
    }


@checked_networks
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, EVENTS), max_size=8), share=st.sampled_from([0.1, 0.5])
)
def test_state_of_the_sorted_stream(name: str, seed: int, cuts: list[int], share: float) -> None:
    """Rows, checkpoints, history, the last and all further forecasts are those of the sorted stream."""
    config = CHECKED[name]
    ordered = in_order(config, seed=seed % 7)
    first = 0 if config.interval_ms else 12  # until the interval is known, the bound is in the median of first gaps
    late = disordered(ordered, np.random.default_rng(seed), share, cut=ADOPTED_AT, first=first)
    model = cases.rough_model(config, 1)
    expected, straight = play(ordered, made(model), [])
    found, repaired = play(late, made(model), cuts)
    assert (found["status"] != Status.LATE).all()
    assert (found["status"] == Status.REPAIRED).any()
    assert state_of(repaired) == state_of(straight)
    assert last_quantiles(found, late) == last_quantiles(expected, ordered)
    further = cases.stream(config, 40, SERIES, 99)
    further.timestamp_ms[:] += int(ordered.timestamp_ms.max()) - int(further.timestamp_ms.min())
    one, other = joined([repaired.observe(further)]), joined([straight.observe(further)])
    assert {key: one[key].tobytes() for key in one} == {key: other[key].tobytes() for key in other}


@checked_networks
@settings(max_examples=10, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(0, EVENTS), max_size=8), seed=st.integers(0, 50))
def test_batches_and_restarts_change_no_bit(
    name: str, cuts: list[int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any batching, and saving and loading between batches, gives the outputs and state of single events.

    The stream has events that are too late, repeated times, jumps, and disorder across new weights.
    """
    config = CHECKED[name]
    batch = disordered(cases.stream(config, EVENTS, SERIES, seed), np.random.default_rng(seed), 0.2)
    batch.timestamp_ms[100::9] -= np.arange(4, 22)[: len(batch.timestamp_ms[100::9])] * cases.STEP_MS
    model = cases.rough_model(config, 1)
    expected, single = play(batch, made(model), list(range(EVENTS)))
    found, batched = play(batch, made(model), cuts)
    loaded, restarted = play(batch, made(model), cuts, tmp_path_factory.mktemp("state") / "f.state")
    assert {Status.REPAIRED, Status.LATE} <= set(expected["status"].tolist())
    for columns, forecaster in ((found, batched), (loaded, restarted)):
        assert {key: columns[key].tobytes() for key in columns} == {key: expected[key].tobytes() for key in expected}
        assert state_of(forecaster) == state_of(single)
        assert forecaster.header() == single.header()


MINUTE = cases.STEP_MS
CONFIG = cases.POOLED["gru-1-pool"]


def minutes(*at: float, series: str = "a") -> Batch:
    """Returns one event of a series per time in minutes; its value follows from its time."""
    ts = cases.T0 + np.round(np.array(at) * MINUTE).astype(np.int64)
    return Batch([series] * len(at), ts, 10.0 + np.sin(np.array(at)) + np.array(at) % 3)


def after(*at: float, within: int = WITHIN, **more: Any) -> tuple[Forecasts, Forecaster]:
    """Returns forecasts and forecaster after these events."""
    forecaster = made(cases.rough_model(CONFIG, 1), within, **more)
    return forecaster.observe(minutes(*at)), forecaster


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (14, Status.REPAIRED),  # 6 steps late, with 5 newer events
        (13.9, Status.LATE),  # more than 6 steps late
        (19, Status.DUPLICATE),
        (18.9, Status.REPAIRED),  # within the step of an event
    ],
)
def test_bound_in_steps(at: float, status: Status) -> None:
    """An event is repaired up to exactly `late_within` steps; a known time within them is a duplicate."""
    times = (*range(1, 14), *range(15, 21))
    found, forecaster = after(*times, at)
    assert found.status[-1] == status
    assert (found.origin_ms[-1] - cases.T0) // MINUTE == (20 if status == Status.REPAIRED else int(at))
    if status == Status.DUPLICATE:
        assert state_of(forecaster) == state_of(after(*times)[1]) | {"whole": state_of(forecaster)["whole"]}
    elif status == Status.LATE:
        assert found.noted_ms[-1] == round((20 - at) * MINUTE)


def test_bound_in_events() -> None:
    """More than `late_within` newer events of a series, as several of one step, are too many, whatever their times."""
    times = (*range(1, 14), *(20 + k / 100 for k in range(7)))
    assert after(*times[:-1], 19)[0].status[-1] == Status.REPAIRED
    assert after(*times, 19)[0].status[-1] == Status.LATE


def test_new_weights() -> None:
    """No event is put before the first one of its series under new weights; later ones are."""
    _, forecaster = after(*range(1, 15))
    forecaster.adopt(cases.rough_model(CONFIG, 2))
    found = forecaster.observe(minutes(13.5, 16, 13.5, 15, 20, 18, 17))
    late, new, repaired = Status.LATE, Status.OK, Status.REPAIRED
    assert found.status.tolist() == [late, new, late, repaired, new, repaired, repaired]
    _, straight = after(*range(1, 15))
    straight.adopt(cases.rough_model(CONFIG, 2))
    straight.observe(minutes(13.5, 13.5, 15, 16, 17, 18, 20))
    assert state_of(forecaster) == state_of(straight)


def test_wrong_time() -> None:
    """A time of the year 9999 is found to be wrong as without repairs; the series continues, and repairs again."""
    wrong = 4_000_000_000
    found, forecaster = after(*range(1, 15), wrong, 15, 16, 17, 18, 20, 19)
    without, _ = after(*range(1, 15), wrong, 15, 16, 17, 18, 20, 19, within=0)
    assert found.status[:-1].tolist() == without.status[:-1].tolist()
    assert found.status[-3:].tolist() == [Status.OK, Status.OK, Status.REPAIRED]
    assert forecaster.observe(minutes(21)).status[0] == Status.OK


def test_training_history() -> None:
    """The history has late values in their place, each once, among the places of their series."""
    _, forecaster = after(1, 2, 5, 3, 6, 4, 9, 7)
    forecaster.observe(minutes(1, 3, 2, series="b"))
    forecaster.observe(minutes(8))
    history = forecaster.history()
    minute = (history.timestamp_ms - cases.T0) // MINUTE
    assert minute[history.series == 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert minute.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 9]
    np.testing.assert_array_equal(history.value, minutes(*minute.tolist()).value)


@pytest.mark.parametrize("capacity", [0, 3, 9, 400])
def test_another_history(capacity: int, tmp_path: Path) -> None:
    """A state continues with another number of events in its history, and repairs what it still has of them."""
    _, forecaster = after(*range(1, 20), 21, 22, history_events=11)
    arrays = {name: array.copy() for name, array in forecaster.state().items()}
    loaded = Forecaster.from_state(arrays, forecaster.header(), forecaster.model, history_events=capacity,
                                   max_series=8, late_within=WITHIN)  # fmt: skip
    loaded.observe(minutes(23, 20))
    found = ((loaded.history().timestamp_ms - cases.T0) // MINUTE).tolist()
    assert found == [*range(11, 24)][max(0, 13 - capacity) :]


@pytest.mark.parametrize("history_events", [40, 700, 3000])
def test_incremental_states(history_events: int) -> None:
    """An incremental state over its base is the full state, also where late events replaced events before the base."""
    config, rng = CONFIG, np.random.default_rng(1)
    batch = disordered(in_order(config, 900), rng, 0.2)
    forecaster, base = made(cases.rough_model(config, 1), history_events=history_events), None
    for start in range(0, 900, 60):
        forecaster.observe(cases.part(batch, start, start + 60))
        with_mark = forecaster.capture(threading.Lock(), None if base is None else base[2])
        arrays, header = read_between(with_mark, lambda: None), with_mark.header
        if base is not None:
            arrays, header = laid_over(base[0], base[1], arrays, header)
            loaded = Forecaster.from_state(arrays, header, forecaster.model, history_events=history_events,
                                           max_series=8, late_within=WITHIN)  # fmt: skip
            assert state_of(loaded) == state_of(forecaster)
            assert loaded.header() == forecaster.header()
        if base is None or start % 180 == 0:
            full = forecaster.capture(threading.Lock())
            base = read_between(full, lambda: None), full.header, full.mark


def test_captures_while_late_events_follow() -> None:
    """A capture that is read while late events change rows and rings holds the state at its time."""
    batch = disordered(in_order(CONFIG, 400), np.random.default_rng(2), 0.3)
    forecaster = made(cases.rough_model(CONFIG, 1))
    forecaster.observe(cases.part(batch, 0, 300))
    expected, at = state_of(forecaster), iter(range(300, 400, 5))

    def more() -> None:
        if (start := next(at, None)) is not None:
            forecaster.observe(cases.part(batch, start, start + 5))

    taken = forecaster.capture(threading.Lock())
    more()
    assert {name: array.tobytes() for name, array in read_between(taken, more).items()} == expected


def test_forgotten_and_evicted_series() -> None:
    """A series that starts anew has no events from before."""
    _, forecaster = after(*range(1, 20), max_series=1)
    assert forecaster.observe(minutes(30, 29.4)).status.tolist() == [Status.OK, Status.REPAIRED]
    forecaster.forget(["a"])
    assert forecaster.observe(minutes(30, 29)).status[1] == Status.REPAIRED
    assert forecaster.observe(minutes(40, series="b")).steps[0] == 1  # evicts "a"
    assert forecaster.observe(minutes(30, 29)).steps.tolist() == [1, 2]


def test_other_bound() -> None:
    """A state of another bound, or of none, continues; events observed so far stay where they are."""
    for before in (0, 3):
        _, forecaster = after(*range(1, 15), 16, within=before)
        arrays = {name: array.copy() for name, array in forecaster.state().items()}
        loaded = Forecaster.from_state(arrays, forecaster.header(), forecaster.model, max_series=8, history_events=700,
                                       late_within=WITHIN)  # fmt: skip
        found = loaded.observe(minutes(15, 18, 17, 15))
        assert found.status.tolist() == [Status.LATE, Status.OK, Status.REPAIRED, Status.LATE]


def test_damaged_states() -> None:
    """Numbers that no row can have are refused, because kernels do not check them."""
    _, forecaster = after(*range(1, 15))
    for column, number in ((COUNT, -1), (COUNT, 2 * WITHIN), (1, 2)):
        arrays = {name: array.copy() for name, array in forecaster.state().items()}
        arrays["late"][0, column] = number
        with pytest.raises(CheckpointError, match="late"):
            Forecaster.from_state(arrays, forecaster.header(), forecaster.model, max_series=8, history_events=700,
                                  late_within=WITHIN)  # fmt: skip


def test_bound_is_checked() -> None:
    """A bound below 0 or of more steps than memory should be spent on is refused."""
    for within in (-1, 10_001):
        with pytest.raises(ConfigError, match="late_within"):
            made(cases.rough_model(CONFIG, 1), within)


def test_memory() -> None:
    """Without a bound there is no memory for it; with one there are two copies of a row and its events."""
    model = cases.rough_model(CONFIG, 1)
    plain, bounded = Forecaster(model, max_series=1), made(model)
    assert Forecaster(model, max_series=1).bytes_per_series == plain.bytes_per_series
    events = 2 * WITHIN * 3 * 8
    assert bounded.bytes_per_series == 3 * plain.bytes_per_series + events + 2 * 4 * 8 + 4 * 8
