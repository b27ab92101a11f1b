"""Alerts begin and end as a function of the events: the same in any batches and after a restore, as a naive twin."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import Forecasts, Note, Silence, Status
from service.alerts.alert import Alert
from service.alerts.alert_states import MOST_LASTING, AlertStates
from service.alerts.breach_rules import BreachRules
from service.config.alert_rules import AlertRule
from service.config.alerts import KINDS
from service.messages.controls import Tombstone
from service.messages.decode import Decoded

LEVELS = (0.1, 0.5, 0.9)
MINUTE = 60_000
FULL = AlertRule(name="Full", match=("a", "b"), above=10.0, level=0.9, within=120.0, for_steps=2, clear=8.0)
EMPTY = AlertRule(name="Empty", match=("*",), below=1.0)


@dataclass(frozen=True)
class One:
    """What one event brings: the quantiles of each step are the forecast less 1, the forecast, and it plus 1."""

    series: str = "a"
    forecast: tuple[float, float, float] = (5.0, 5.0, 5.0)
    flagged: bool = False
    quiet: bool = False
    silent: str = ""
    status: Status = Status.OK


events = st.lists(
    st.builds(
        One, st.sampled_from("abc"), st.tuples(*[st.sampled_from([0.5, 5.0, 8.0, 12.0])] * 3), st.booleans(),
        st.booleans(), st.sampled_from(["", "", "a", "b"]),
        st.sampled_from([Status.OK, Status.OK, Status.LATE, Status.UNKNOWN]),
    ),
    max_size=40,
)  # fmt: skip


def piece(ones: list[One], first: int) -> tuple[Decoded, Forecasts]:
    """Returns events, the first of which has the position `first`, with their forecasts."""
    n = len(ones)
    times = (np.arange(n) + first + 100) * MINUTE
    forecast = np.array([one.forecast for one in ones]).reshape(n, 3)
    quantiles = forecast[:, :, None] + np.array([-1.0, 0.0, 1.0])
    status = np.array([one.status for one in ones], np.uint8)
    quantiles[status > Status.MISSING] = np.nan
    quiet = np.array([one.quiet and not one.flagged for one in ones], np.uint8)
    taken = status != Status.LATE
    forecasts = Forecasts(
        status, times, np.full(n, MINUTE), np.full(n, 50), quantiles, np.full(n, 0.9995, np.float32),
        np.array([one.flagged for one in ones], np.uint8) * taken,
        [Silence(one.silent, i, 0, int(times[i]) - 5, int(times[i])) for i, one in enumerate(ones) if one.silent],
        notes=quiet * np.uint8(Note.QUIET) * taken,
    )  # fmt: skip
    decoded = Decoded([one.series for one in ones], times, np.full(n, 7.0), None, [*range(first, first + n)],
                      [*range(n)], [], 0)  # fmt: skip
    return decoded, forecasts


def states(*rules: AlertRule) -> AlertStates:
    """Returns the state of alerts before any event."""
    return AlertStates(BreachRules(rules), KINDS)


def never(series: str, ms: int) -> bool:
    """No maintenance."""
    return not (series or ms)


def changes(ones: list[One], cuts: list[int], *, restored: bool = False) -> tuple[list[Any], dict[str, Any]]:
    """Returns all changes of a stream that is cut into pieces, and the state at its end."""
    found: list[Any] = []
    one = states(FULL, EMPTY)
    for start, end in pairwise([0, *sorted(min(cut, len(ones)) for cut in cuts), len(ones)]):
        one.observe(*piece(ones[start:end], start), LEVELS, never)
        found += [(start + change.event, change.alert.to_json(), change.ends_ms) for change in one.changes]
        if restored:
            kept = json.loads(json.dumps(one.state()))
            one = states(FULL, EMPTY)
            one.restore(kept)
    return found, one.state()


@given(events, st.lists(st.integers(0, 40), max_size=5))
def test_any_batches(ones: list[One], cuts: list[int]) -> None:
    """The changes do not depend on the batches, nor on a restore between two of them."""
    assert changes(ones, []) == changes(ones, cuts) == changes(ones, cuts, restored=True)


def naive(ones: list[One]) -> list[tuple[int, str, str, str, bool]]:
    """Returns event, kind, rule and series of every change, and whether an alert begins: one event after the other."""
    found: list[tuple[int, str, str, str, bool]] = []
    lasting: set[tuple[str, str, str]] = set()
    counts: dict[tuple[str, str], int] = {}

    def change(i: int, key: tuple[str, str, str], *, begins: bool) -> None:
        if begins != (key in lasting):
            (lasting.add if begins else lasting.remove)(key)
            found.append((i, *key, begins))

    for i, one in enumerate(ones):
        if one.status != Status.LATE:
            change(i, ("silence", "", one.series), begins=False)
            if one.quiet and not one.flagged:
                change(i, ("anomaly", "", one.series), begins=False)
            if one.flagged:
                change(i, ("anomaly", "", one.series), begins=True)
            for rule in (FULL, EMPTY) if one.status == Status.OK else ():
                if one.series not in rule.match and "*" not in rule.match:
                    continue
                key = "breach", rule.name, one.series
                steps = one.forecast[:2] if rule is FULL else one.forecast
                if rule is FULL:
                    beyond, within = max(steps) + 1 > 10, max(steps) + 1 <= 8
                else:
                    beyond, within = min(steps) < 1, min(steps) >= 1
                wanted = within if key in lasting else beyond
                counts[key[1:]] = counts.get(key[1:], 0) + 1 if wanted else 0
                if counts[key[1:]] == rule.for_steps:
                    counts[key[1:]] = 0
                    change(i, key, begins=key not in lasting)
        if one.silent:
            change(i, ("silence", "", one.silent), begins=True)
    return found


@given(events)
def test_as_the_naive_twin(ones: list[One]) -> None:
    """Begins and ends are those of plain loops over the events."""
    found, _ = changes(ones, [])
    assert [(at, alert[0], alert[1], alert[2], not ends) for at, alert, ends in found] == naive(ones)


def test_a_breach() -> None:
    """An early warning has the farthest quantile and the time of the first target beyond the limit."""
    one = states(FULL)
    one.observe(*piece([One(forecast=(5.0, 11.0, 99.0))] * 2, 0), LEVELS, never)
    (change,) = one.changes
    assert change.ends_ms == 0
    assert change.alert == Alert("breach", "Full", "a", 101 * MINUTE, 1, 12.0, change.alert.score, 103 * MINUTE)


def test_maintenance() -> None:
    """In maintenance no alert begins, and one that lasts may end."""
    one = states(EMPTY)
    one.observe(*piece([One(flagged=True)], 0), LEVELS, never)
    one.observe(*piece([One("b", flagged=True), One("c", (0.5, 5, 5)), One(quiet=True)], 1), LEVELS, lambda *_: True)
    assert [(change.alert.series, bool(change.ends_ms)) for change in one.changes] == [("a", True)]


def test_acknowledged_and_forgotten() -> None:
    """Feedback ends the alerts of a series, reported with the next piece; so does a record that removes its state."""
    one = states()
    one.observe(*piece([One(flagged=True), One("b", flagged=True)], 0), LEVELS, never)
    one.acknowledge("a", 5 * MINUTE)
    kept = one.state()
    one = states()
    one.restore(kept)
    one.pass_by()
    assert one.changes == []
    nothing, of_nothing = piece([], 2)
    nothing.tombstones.append(Tombstone(2, 0, "b"))
    one.observe(nothing, of_nothing, LEVELS, never)
    assert one.changes == []
    one.observe(*piece([One("c")], 3), LEVELS, never)
    ended = [("a", 100 * MINUTE), ("b", 101 * MINUTE)]
    assert [(change.alert.series, change.ends_ms) for change in one.changes] == ended


@pytest.mark.parametrize("at", [0, 1])
def test_forgotten_among_events(at: int) -> None:
    """A record that removes a series before or behind an event ends its alerts."""
    one = states()
    one.observe(*piece([One(flagged=True)], 0), LEVELS, never)
    decoded, forecasts = piece([One("c")], 2)
    decoded.tombstones.append(Tombstone(2, at, "a"))
    one.observe(decoded, forecasts, LEVELS, never)
    assert [(change.event, change.alert.series) for change in one.changes] == [(0, "a")]


def test_drift() -> None:
    """An alarm begins an alert, further ones do not, and the next check below the threshold ends it."""
    one = states()
    found = []
    for drifts in (False, True, True, False, False):
        one.pass_by()
        one.observe_drift(0, 5, 7, drifts=drifts)
        found.append([bool(change.ends_ms) for change in one.changes])
    assert found == [[], [False], [], [True], []]


def test_bound() -> None:
    """Beyond the bound no alert begins, which is counted; the identity of every alert differs."""
    one = states()
    one.observe(*piece([One(f"s{i}", flagged=True) for i in range(MOST_LASTING + 5)], 0), LEVELS, never)
    assert (len(one.lasting), one.unbegun) == (MOST_LASTING, 5)
    assert len({alert.identity("0") for alert in one.lasting.values()}) == MOST_LASTING


def test_other_rules() -> None:
    """A restore leaves out what the configuration does not have any more; an invalid state is refused."""
    one = states(FULL, EMPTY)
    one.observe(*piece([One(forecast=(0.5, 5, 5)), One("b", (12, 12, 12))], 0), LEVELS, never)
    kept = one.state()
    other = states(FULL)
    other.restore(kept)
    assert [*other.state()] == ["counts"]
    with pytest.raises(ValueError, match="kind 'wonder'"):
        other.restore({"lasting": [["wonder", "", "a", 1, 2, None, None, 0]]})
