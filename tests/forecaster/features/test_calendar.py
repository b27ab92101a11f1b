"""Local time and holidays equal the tz database and the holidays package, live and in training."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Batch, ConfigError, Forecaster, Model, ModelConfig
from forecaster.features.calendar import calendar_table, is_holiday, local_time
from forecaster.training.dataset import dataset

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000
# The head alone, so that only the small kernel with holidays is compiled.
CONFIG = ModelConfig(
    cell="none", head_size=16, horizon=6, quantiles=(0.1, 0.5, 0.8, 0.95), interval_ms=HOUR, max_gap=6, mixture=False,
    timezone="Europe/Berlin", holidays="DE",
)  # fmt: skip
HOLIDAY_X, HOLIDAY_F = 8, 18  # the columns after hour and weekday, which the head reads twice


def ms(*moment: int) -> int:
    """Returns epoch milliseconds of a moment in UTC."""
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1000)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3_155_673_600), st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/New_York", "UTC"]))
def test_local_time(seconds: int, zone: str) -> None:
    """Local time equals the tz database for any second from 1970 to 2069."""
    offset = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    local = local_time.py_func(calendar_table(zone, ""), seconds * 1000)
    assert timedelta(milliseconds=int(local) - seconds * 1000) == offset


def test_holidays_are_local_days() -> None:
    """The first of May begins and ends at local midnight, two hours before midnight in UTC."""
    days = calendar_table("Europe/Berlin", "DE")
    found = [is_holiday.py_func(days, local_time.py_func(days, ms(2025, 4, 30, 21) + h * HOUR)) for h in range(28)]
    assert found == [0.0] + [1.0] * 24 + [0.0] * 3
    assert is_holiday.py_func(days, ms(2300, 1, 1)) == 0.0


def test_targets_have_their_own_calendar() -> None:
    """Training inputs carry each step's own local hour across a daylight saving change."""
    first = ms(2025, 3, 30, 0) - 40 * HOUR
    forecaster = Forecaster(Model.initial(CONFIG), max_series=1)
    n = 42
    forecaster.observe(Batch(["a"] * n, first + np.arange(n) * HOUR, np.arange(n) % 5.0))
    data = dataset(forecaster.history(), forecaster.model.layout, 0.2)
    hours = np.arctan2(data.x[:, 4], data.x[:, 5]) / (2 * np.pi) * 24 % 24
    local = [datetime.fromtimestamp(t / 1000, BERLIN).hour for t in (first + np.arange(n) * HOUR).tolist()]
    assert np.abs((hours - local + 12) % 24 - 12).max() < 0.1
    assert local[-1] - local[-3] == 3  # the clocks went forward in between


def test_holiday_moves_the_forecast() -> None:
    """A weight on the holiday of the target changes the forecasts of targets on holidays, and no others."""
    plain = Model.initial(CONFIG)
    params = plain.params.copy()
    plain.layout.views(params)["head.L"][HOLIDAY_F] = 5.0
    moved = Model(CONFIG, params)
    first = ms(2025, 4, 30, 20) - 30 * HOUR  # the last origin is 22:00 local; targets from the second on are in May
    ts = first + np.arange(31) * HOUR
    values = np.sin(np.arange(31.0))
    one, two = (
        Forecaster(m, max_series=1).observe(Batch(["a"] * 31, ts, values)).quantiles[-1] for m in (plain, moved)
    )
    assert (one != two).any(axis=1).tolist() == [False] + [True] * 5


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", 3])
def test_unknown_zones(zone: object) -> None:
    """A zone that is not in the tz database is rejected by name."""
    with pytest.raises(ConfigError, match="timezone"):
        ModelConfig(timezone=zone)  # type: ignore[arg-type]


def test_unknown_holidays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown holidays, or holidays without a calendar or the package, are rejected; the error states the remedy."""
    with pytest.raises(ConfigError, match="AU-VIC"):
        calendar_table("UTC", "Atlantis")
    with pytest.raises(ConfigError, match="calendar"):
        ModelConfig(holidays="DE", calendar=False)
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "holidays":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"forecaster-daemon\[holidays\]"):
        calendar_table("UTC", "FR")


def test_utc_is_as_before() -> None:
    """A zone without offset gives the bits of UTC."""
    batch = cases.stream(cases.GRU, 60)
    there = ModelConfig.from_dict(cases.GRU.to_dict() | {"timezone": "Etc/GMT"})
    one, two = (Forecaster(Model.initial(c)).observe(batch).quantiles for c in (cases.GRU, there))
    assert one.tobytes() == two.tobytes()
