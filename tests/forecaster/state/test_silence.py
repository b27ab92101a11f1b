"""Silences: detected by event time and reported once, independently of batches and restarts, also with evictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import AnomalyConfig, Batch, Forecaster, Silence
from forecaster.state.silence import KNOWN_STEPS

MODEL = cases.rough_model(cases.GRU, 1)
WATCH = AnomalyConfig(silent_after=3)
MINUTE = cases.STEP_MS
Event = tuple[str, int]


def batch(events: list[Event]) -> Batch:
    """Returns a batch of events (series, minute)."""
    ts = cases.T0 + np.array([minute for _, minute in events], np.int64) * MINUTE
    return Batch([name for name, _ in events], ts, np.arange(len(events)) % 5.0)


def play(
    events: list[Event], cuts: list[int], rules: AnomalyConfig = WATCH, reload: Path | None = None, room: int = 50
) -> list[Silence]:
    """Returns the silences for batches that end at `cuts`; the forecaster is saved and loaded at each, if requested."""
    forecaster, start, found = Forecaster(MODEL, max_series=room, anomaly=rules), 0, []
    for end in sorted({*cuts, len(events)}):
        if end > start:
            here = forecaster.observe(batch(events[start:end])).silences
            found += [replace(one, event=one.event + start) for one in here]
            start = end
        if reload:
            forecaster.save(reload)
            forecaster = Forecaster.load(reload)
    return found


def naive(events: list[Event], after: int) -> list[Silence]:
    """Returns the silences from the definition, event by event."""
    last, steps, seen, clock, found = {}, {}, {}, -(1 << 62), []
    ahead: list[Event] = []
    for i, (name, minute) in enumerate(events):
        if name in last and minute <= last[name]:
            continue
        known = steps.get(name, 0) + (minute - last[name] if name in last else 1)
        far = minute > clock + (after if known >= KNOWN_STEPS else 0)
        ahead = [*ahead, (name, minute)] if far else []
        if not far:
            clock = max(clock, minute)
        elif len(ahead) >= (3 if len({one for one, _ in ahead}) > 1 else 16):
            clock, ahead = min(at for _, at in ahead[-3:]), []
        due = [n for n in seen if n != name and steps[n] >= KNOWN_STEPS and clock >= seen[n] + after]
        for other in sorted(due, key=list(last).index):
            times = (cases.T0 + at * MINUTE for at in (last[other], last[other] + 1, clock))
            found.append(Silence(other, i, *times))
            del seen[other]
        steps[name], last[name], seen[name] = known, minute, minute if far else clock
    return found


def regular(names: str, minutes: range) -> list[Event]:
    """Returns one event per series and minute."""
    return [(name, minute) for minute in minutes for name in names]


def test_announced_once() -> None:
    """A series that stops is reported once, when others have advanced by three intervals."""
    events = regular("ab", range(10)) + regular("a", range(10, 60))
    (one,) = play(events, [])
    assert (one.series, one.event) == ("b", 22)  # b's last event is in minute 9; minute 12 starts at the 23rd event
    assert one.last_ms == cases.T0 + 9 * MINUTE
    assert one.expected_ms == cases.T0 + 10 * MINUTE
    assert one.noticed_ms == cases.T0 + 12 * MINUTE


def test_armed_again() -> None:
    """A series that returns and stops again is reported again."""
    events = regular("ab", range(10)) + regular("a", range(10, 30))
    events += regular("ab", range(30, 34)) + regular("a", range(34, 50))
    assert [one.series for one in play(events, [])] == ["b", "b"]


def test_switched_off() -> None:
    """No silence is reported without the setting."""
    assert play(regular("ab", range(10)) + regular("a", range(10, 60)), [], AnomalyConfig()) == []


def test_a_clock_that_lags() -> None:
    """A series whose clock is an hour late is not silent while its events arrive."""
    events = [event for minute in range(20) for event in (("a", minute + 60), ("b", minute))]
    assert play(events, []) == []


@pytest.mark.parametrize("at", [0, 1, 7, 12])
@pytest.mark.parametrize("several", [False, True])
def test_a_time_from_the_far_future_is_no_clock(at: int, several: bool, tmp_path: Path) -> None:
    """One event from the future, of a known or new series, at any position, leaves the reported silences the same."""
    events = regular("abc", range(10)) + regular("ac", range(10, 40))
    wrong = 10**9, 5000, 200
    for minute in wrong:
        changed = [*events[:at], ("d" if several else "c", minute), *events[at:]]
        found = play(changed, [])
        assert [one.series for one in found] == ["b"]
        assert found[0].noticed_ms == cases.T0 + 12 * MINUTE
        assert found == play(changed, [3, at, at + 1, 20, 41], reload=tmp_path / "f")


def test_a_stream_that_paused_goes_on() -> None:
    """After a pause of the whole stream, returning series set the time, and a series that does not is reported."""
    events = regular("abc", range(10)) + regular("ab", range(2000, 2010))
    (one,) = play(events, [])
    assert (one.series, one.event) == ("c", 32)
    alone = regular("ab", range(10)) + regular("a", range(2000, 2030))
    (one,) = play(alone, [])
    assert one.series == "b"


def test_room_for_few(tmp_path: Path) -> None:
    """Silences with evictions do not depend on batches, saving and loading."""
    rng = np.random.RandomState(0)
    events = [(f"s{rng.geometric(0.2)}", i // 3) for i in range(300)]
    one, two = play(events, [], room=5), play(events, list(range(0, 300, 7)), room=5)
    assert one == two == play(events, [50, 51, 199], reload=tmp_path / "f", room=5)
    assert len(one) > 3


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 5)), max_size=80),
    st.lists(st.integers(0, 80), max_size=6),
    st.integers(1, 4),
)
def test_equals_the_definition(jumps: list[tuple[str, int]], cuts: list[int], after: int) -> None:
    """Silences of any events, late and repeated ones included, in any batches equal the definition, in order."""
    minute, events = 0, []
    for name, jump in jumps:
        minute = max(0, minute + jump)
        events.append((name, minute))
    assert play(events, [cut for cut in cuts if cut < len(events)], AnomalyConfig(silent_after=after)) == naive(
        events, after
    )


def test_switched_on_later(tmp_path: Path) -> None:
    """A state restored with silence detection switched on reports only series with events since then."""
    first = Forecaster(MODEL, max_series=5)
    first.observe(batch(regular("abc", range(10))))
    state = {key: array.copy() for key, array in first.state().items()}
    later = Forecaster.from_state(state, first.header(), MODEL, max_series=5, anomaly=WATCH)
    events = regular("ab", range(10, 15)) + regular("a", range(15, 30))
    assert [one.series for one in later.observe(batch(events)).silences] == ["b"]


@pytest.mark.parametrize("wrong", [-1, 0.5])
def test_bounds(wrong: float) -> None:
    """Values of `silent_after` other than whole numbers from 0 are rejected."""
    with pytest.raises(ValueError, match="silent_after"):
        AnomalyConfig(silent_after=wrong)  # type: ignore[arg-type]
