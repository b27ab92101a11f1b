"""Maintenance windows and budgets of flags: a function of the events in their order."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forecaster import Forecasts, Note
from service.config.library import AnomalySettings
from service.config.maintenance import MaintenanceWindow
from service.partitions.flag_filter import PERIODS, FlagFilter

HOUR = 3_600_000


def flags(ms: list[int]) -> Forecasts:
    """Returns forecasts of flagged events at these times."""
    n = len(ms)
    return Forecasts(
        np.zeros(n, np.uint8), np.array(ms, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64),
        np.zeros((n, 1, 1)), np.ones(n, np.float32), np.ones(n, np.uint8), notes=np.zeros(n, np.uint8),
    )  # fmt: skip


def at(text: str) -> int:
    """Returns a UTC time as epoch milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@given(st.lists(st.integers(0, 20 * HOUR), max_size=60), st.integers(1, 4), st.integers(0, 60))
def test_budget(ms: list[int], budget: int, cut: int) -> None:
    """At most `budget` events per hour stay flagged, the first ones, whatever the batches and the order of times."""
    settings = AnomalySettings.model_validate({"budget": budget})
    seen: dict[int, int] = {}
    expected = []
    for time in ms:
        seen[time // HOUR] = seen.get(time // HOUR, 0) + 1
        expected.append(seen[time // HOUR] <= budget)
    one, parts = FlagFilter(settings), []
    for part in (ms[:cut], ms[cut:]):
        forecasts = flags(part)
        one.apply(["a"] * len(part), forecasts)
        parts += forecasts.flagged.tolist()
        assert ((forecasts.notes == Note.OVER_BUDGET) != forecasts.flagged.astype(bool)).all()
        one = FlagFilter(settings, one.state())
    assert parts == expected


def test_periods_are_bounded() -> None:
    """Wrong times use periods of their own; only so many periods are kept."""
    one = FlagFilter(AnomalySettings.model_validate({"budget": 1, "budget_period": "1h"}))
    times = [HOUR, *(10**15 + i * HOUR for i in range(PERIODS - 1)), HOUR + 1]
    forecasts = flags(times)
    one.apply(["a"] * len(times), forecasts)
    assert forecasts.flagged.tolist() == [1] * PERIODS + [0]
    one.apply(["a"] * 300, flags([i * HOUR for i in range(300)]))
    assert len(one.state()) == PERIODS


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ({"start": "02:00", "end": "04:00"}, ["2026-03-01T02:00", "2026-03-02T03:59:59"],
         ["2026-03-01T04:00", "2026-03-01T01:59"]),
        ({"start": "22:00", "end": "02:00", "days": ["sat"]}, ["2026-03-07T22:00", "2026-03-08T01:59"],
         ["2026-03-07T01:00", "2026-03-08T22:30", "2026-03-08T02:00"]),
        # Two o'clock in Berlin is 01:00 UTC in winter and 00:00 UTC in summer.
        ({"start": "02:00", "end": "03:00", "timezone": "Europe/Berlin"}, ["2026-02-01T01:30", "2026-07-01T00:30"],
         ["2026-02-01T00:30", "2026-07-01T01:30"]),
        ({"start": "2026-12-24T18:00:00+01:00", "end": "2026-12-25T18:00:00Z"},
         ["2026-12-24T17:00", "2026-12-25T17:59"], ["2026-12-24T16:59", "2026-12-25T18:00"]),
    ],
)  # fmt: skip
def test_windows(window: dict[str, object], inside: list[str], outside: list[str]) -> None:
    """A window includes its begin and not its end, in the local time of its zone, on the days on which it begins."""
    found = MaintenanceWindow.model_validate(window)
    assert [found.has(at(time)) for time in inside + outside] == [True] * len(inside) + [False] * len(outside)
    assert not found.has(10**18)


@pytest.mark.parametrize(
    "window",
    [
        {"start": "02:00", "end": "02:00"},
        {"start": "02:00", "end": "2026-12-25T18:00Z"},
        {"start": "24:00", "end": "02:00"},
        {"start": "2026-12-25T18:00Z", "end": "2026-12-25T17:00Z"},
        {"start": "2026-12-25T18:00Z", "end": "2026-12-26T17:00Z", "days": ["mon"]},
        {"start": "02:00", "end": "03:00", "timezone": "Mars"},
        {"start": "02:00", "end": "03:00", "days": ["monday"]},
    ],
)
def test_invalid_windows(window: dict[str, object]) -> None:
    """A window without any time, or of two forms, is refused."""
    with pytest.raises(ValidationError):
        MaintenanceWindow.model_validate(window)


def test_maintenance_spares_the_budget() -> None:
    """Only the series of the window are in maintenance, and their flags do not count in the budget."""
    settings = {"budget": 1, "maintenance": [{"series": "db.*", "start": "00:00", "end": "12:00"}]}
    one, forecasts = FlagFilter(AnomalySettings.model_validate(settings)), flags([HOUR] * 3)
    one.apply(["db.1", "a", "b"], forecasts)
    assert forecasts.flagged.tolist() == [0, 1, 0]
    assert forecasts.notes.tolist() == [Note.MAINTENANCE, 0, Note.OVER_BUDGET]
    assert one.in_maintenance("db.1", HOUR)
    assert not one.in_maintenance("db.1", 13 * HOUR)


@pytest.mark.parametrize(("period", "left"), [("1h", [0, 0]), ("2h", [1, 0])])
def test_other_rules_go_on_with_the_counts(period: str, left: list[int]) -> None:
    """Unless they have other periods; the filter before them is not changed and can be put back."""
    before = FlagFilter(AnomalySettings.model_validate({"budget": 1, "budget_period": "1h"}))
    before.apply(["a"], flags([5 * HOUR]))
    counts = before.state()
    after = before.with_settings(AnomalySettings.model_validate({"budget": 1, "budget_period": period}))

    forecasts = flags([5 * HOUR, 5 * HOUR + 1])
    after.apply(["a", "a"], forecasts)

    assert forecasts.flagged.tolist() == left
    assert before.state() == counts
