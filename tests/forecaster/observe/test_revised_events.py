"""Revised events give the state of the stream that had the last values from the beginning, bit for bit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_late_events import (
    ADOPTED_AT,
    CHECKED,
    CONFIG,
    EVENTS,
    SERIES,
    WITHIN,
    after,
    checked_networks,
    disordered,
    in_order,
    joined,
    last_quantiles,
    made,
    minutes,
    state_of,
)

from forecaster import Batch, BatchError, Forecaster, Forecasts, Status
from forecaster.features.counters import EVENT, SEEN


def revised(batch: Batch, rng: np.random.Generator, share: float) -> Batch:
    """Returns a stream with wrong values, each revised behind at most WITHIN - 1 newer events of its series.

    Late events are revised events that had no value before.
    """
    names, ts, value = np.array(batch.series), batch.timestamp_ms, batch.value.copy()
    newest = {name: np.maximum.accumulate(np.where(names == name, ts, -1)) for name in set(batch.series)}
    flags, values = [False] * len(batch), value.tolist()
    extra: list[tuple[int, int]] = []
    for i, name in enumerate(batch.series):
        flags[i] = i > 0 and bool(ts[i] < newest[name][i - 1])
        if rng.random() > share:
            continue
        newer = [j for j in range(len(batch)) if names[j] == name and ts[j] > ts[i]]
        allowed = [j for j in range(i, len(batch)) if sum(other <= j for other in newer) < WITHIN]
        extra += [(int(rng.choice(allowed)), i) for _ in range(int(rng.integers(1, 3)))]
    last = {i: max(at for at, other in extra if other == i) for _, i in extra}
    found: list[tuple[int, bool, float]] = []
    for at in range(len(batch)):
        first = values[at] if at not in last else values[at] + float(rng.normal())
        found.append((at, flags[at], first))
        mine = [i for other, i in extra if other == at]
        for count, i in enumerate(mine):
            is_last = last[i] == at and i not in mine[count + 1 :]
            found.append((i, True, values[i] if is_last else float(rng.normal())))
    picked = batch.taken(np.array([i for i, _, _ in found]))
    return Batch(
        picked.series, picked.timestamp_ms, np.array([one for *_, one in found]), picked.covariates, picked.future,
        np.array([flag for _, flag, _ in found]),
    )  # fmt: skip


def without_arrival(forecaster: Forecaster) -> dict[str, bytes]:
    """Returns the state without the numbers of the newest events, which count revised ones."""
    arrays = {name: array.copy() for name, array in forecaster.state().items()}
    arrays["whole"][:, [EVENT, SEEN]] = 0
    return {name: array.tobytes() for name, array in arrays.items()}


@checked_networks
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, EVENTS), max_size=8), share=st.sampled_from([0.1, 0.4]),
    is_late=st.booleans(),
)  # fmt: skip
def test_state_of_the_last_values(name: str, seed: int, cuts: list[int], share: float, is_late: bool) -> None:
    """Rows, checkpoints, history, the last and all further forecasts are those of the last values in order."""
    config, rng = CHECKED[name], np.random.default_rng(seed)
    ordered = in_order(config, seed=seed % 7).taken(slice(0, ADOPTED_AT))
    first = 0 if config.interval_ms else 12
    arrived = disordered(ordered, rng, 0.2, first=first) if is_late else ordered
    stream = revised(arrived, rng, share)
    model = cases.rough_model(config, 1)
    straight, forecaster = made(model), made(model)
    expected = joined([straight.observe(ordered)])
    ends = sorted({*(min(cut, len(stream)) for cut in cuts), len(stream)})
    found = joined([forecaster.observe(stream.taken(slice(a, b))) for a, b in pairwise([0, *ends]) if a < b])
    assert not np.isin(found["status"], (Status.LATE, Status.DUPLICATE)).any()
    assert without_arrival(forecaster) == without_arrival(straight)
    assert last_quantiles(found, stream) == last_quantiles(expected, ordered)
    further = cases.stream(config, 40, SERIES, 99)
    further.timestamp_ms[:] += int(ordered.timestamp_ms.max()) - int(further.timestamp_ms.min())
    one, other = joined([forecaster.observe(further)]), joined([straight.observe(further)])
    assert {key: one[key].tobytes() for key in one} == {key: other[key].tobytes() for key in other}


def revise(forecaster: Forecaster, *at: float, value: float = 50.0) -> Forecasts:
    """Revises the events at some minutes."""
    batch = minutes(*at)
    return forecaster.observe(
        Batch(batch.series, batch.timestamp_ms, np.full(len(at), value), revises=np.ones(len(at), np.bool_))
    )


@pytest.mark.parametrize("events", [7, 14, 19, 23])
def test_bound(events: int) -> None:
    """At least the newest `late_within` events of a series can be revised, and none that has more newer ones."""
    for behind in range(events):
        _, forecaster = after(*range(1, events + 1))
        before = state_of(forecaster)
        found = revise(forecaster, events - behind)
        assert found.status[0] == Status.REPAIRED or behind >= WITHIN
        assert found.status[0] == Status.LATE or behind <= WITHIN
        assert (found.noted_ms[0], found.anomaly[0]) == (behind * 60_000, pytest.approx(np.nan, nan_ok=True))
        if found.status[0] == Status.LATE:
            assert np.isnan(found.quantiles).all()
            assert state_of(forecaster) | {"whole": before["whole"]} == before


def test_newer_events_are_in_order() -> None:
    """A revised event that is newer than all others is an event like any other."""
    _, forecaster = after(*range(1, 10))
    _, other = after(*range(1, 10))
    assert revise(forecaster, 10, value=3.0).status.tolist() == [Status.OK]
    other.observe(Batch(["a"], minutes(10).timestamp_ms, np.array([3.0])))
    assert state_of(forecaster) == state_of(other)


def test_new_weights() -> None:
    """No event from before new weights is revised, also where it is the newest one; later ones are."""
    _, forecaster = after(*range(1, 15))
    forecaster.adopt(cases.rough_model(CONFIG, 2))
    assert revise(forecaster, 14, 13).status.tolist() == [Status.LATE] * 2
    forecaster.observe(minutes(15, 16))
    assert revise(forecaster, 15, 16, 14).status.tolist() == [Status.REPAIRED, Status.REPAIRED, Status.LATE]


def test_without_repairs() -> None:
    """Where late events are ignored, revised ones are as well."""
    _, forecaster = after(*range(1, 10), within=0)
    assert revise(forecaster, 9, 8).status.tolist() == [Status.DUPLICATE, Status.LATE]


def test_restarts(tmp_path: Path) -> None:
    """A loaded forecaster revises the same events to the same bits."""
    _, forecaster = after(*range(1, 20))
    forecaster.save(tmp_path / "f.state")
    loaded = Forecaster.load(tmp_path / "f.state")
    found = [revise(one, 17, 19, 15).quantiles.tobytes() for one in (forecaster, loaded)]
    assert found[0] == found[1]
    assert state_of(loaded) == state_of(forecaster)


def test_the_history_has_the_revised_value() -> None:
    """A training learns from the last value of an event."""
    _, forecaster = after(*range(1, 10))
    revise(forecaster, 7, value=11.5)
    history = forecaster.history()
    assert history.value.tolist()[6] == np.float32(11.5)
    assert len(history.value) == 9


def test_shape_is_checked() -> None:
    """There is a mark per event."""
    _, forecaster = after(1)
    with pytest.raises(BatchError, match="revises"):
        forecaster.observe(Batch(["a"], minutes(2).timestamp_ms, np.ones(1), revises=np.ones(2, np.bool_)))
