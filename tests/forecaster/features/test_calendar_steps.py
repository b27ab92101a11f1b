"""Steps of months, quarters and years: dates of targets, detection of the cadence, and reproducibility."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forecaster import (
    AnomalyConfig,
    Batch,
    CheckpointError,
    ConfigError,
    Forecaster,
    ModelConfig,
    calendar_name,
    calendar_of,
    rollout,
    step_times,
    steps_between,
    target_times,
)
from forecaster.config import MONTH_MS
from forecaster.features.calendar_steps import (
    DAY_MS,
    MONTH_END,
    cadence_months,
    calendar_code,
    dates,
    target_day,
    usual_day,
)
from forecaster.features.counters import INTERVAL
from forecaster.layout import layout_of
from forecaster.state.calendar_rows import CalendarWatch
from forecaster.state.table import Table

CONFIG = ModelConfig(horizon=6, hidden_size=16, head_size=16, mixture=False, pretrained=False, calendar=False)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
MOMENTS = st.integers(0, 85 * 365 * 86_400).map(lambda at: dt.datetime.fromtimestamp(at, dt.UTC).replace(tzinfo=None))


def ms(times: Any, zone: str = "UTC") -> NDArray[np.int64]:
    """Returns epoch milliseconds of local times."""
    index = pd.DatetimeIndex(times).tz_localize(zone).tz_convert("UTC").tz_localize(None)
    return index.to_numpy().astype("M8[ms]").astype(np.int64)


def observed(config: ModelConfig, times: NDArray[np.int64], **options: Any) -> tuple[Forecaster, Any]:
    """Observes a series at these times in one batch; returns the forecaster and its forecasts."""
    forecaster = Forecaster(config, max_series=4, history_events=0, **options)
    values = 10.0 + np.arange(len(times)) % 3
    return forecaster, forecaster.observe(Batch(["a"] * len(times), times, values))


class TestDates:
    """`step_times` against dateutil, pandas and zoneinfo."""

    @settings(deadline=None, max_examples=60)
    @given(MOMENTS, st.integers(-40, 400), st.sampled_from([1, 2, 3, 4, 6, 12]), st.sampled_from(ZONES))
    def test_months_are_those_of_dateutil(self, origin: dt.datetime, steps: int, months: int, zone: str) -> None:
        """A target keeps the local time of its origin, `months` later per step, at the last day of short months."""
        local = origin.replace(tzinfo=ZoneInfo(zone))
        start = round(local.timestamp() * 1000)
        local = dt.datetime.fromtimestamp(start / 1000, ZoneInfo(zone))  # a skipped local time becomes another

        found = step_times(start, MONTH_MS, calendar_code(months, local.day), steps, zone)

        expected = (local.replace(tzinfo=None) + relativedelta(months=months * steps)).replace(tzinfo=ZoneInfo(zone))
        if steps == 0:
            expected = expected.replace(fold=local.fold)
        if 1970 <= expected.year < 2069 and not (steps == 0 and local.fold):
            assert int(found) == round(expected.timestamp() * 1000)

    @settings(deadline=None, max_examples=60)
    @given(st.dates(dt.date(1970, 1, 1), dt.date(2060, 1, 1)), st.integers(0, 120), st.sampled_from([1, 3, 12]))
    def test_month_ends_are_those_of_pandas(self, day: dt.date, steps: int, months: int) -> None:
        """Targets of a month end are the month ends of pandas."""
        origin = pd.Timestamp(day) + pd.offsets.MonthEnd(0)
        found = step_times(origin.value // 1_000_000, MONTH_MS, calendar_code(months, MONTH_END), steps)
        assert pd.Timestamp(int(found), unit="ms") == origin + pd.offsets.MonthEnd(months * steps)

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 2_000_000_000_000), st.integers(1, 10_000_000_000), st.integers(-1000, 1000))
    def test_other_steps_are_multiples(self, origin: int, interval: int, steps: int) -> None:
        """A code of 0 stands for an interval of fixed length."""
        assert int(step_times(origin, interval, 0, steps)) == origin + interval * steps

    @settings(deadline=None, max_examples=60)
    @given(MOMENTS, st.lists(st.integers(0, 300), min_size=1, max_size=20), st.sampled_from([1, 3, 12]),
           st.integers(-DAY_MS, DAY_MS), st.sampled_from(ZONES))  # fmt: skip
    def test_back_to_steps(self, origin: dt.datetime, steps: list[int], months: int, off: int, zone: str) -> None:
        """`steps_between` inverts `step_times`, also for times up to a day off their steps."""
        start, code = int(origin.replace(tzinfo=dt.UTC).timestamp() * 1000), calendar_code(months, origin.day)
        times = step_times(start, 0, code, np.array(steps), zone) + off
        np.testing.assert_array_equal(steps_between(start, times, 0, code, zone), steps)

    def test_names(self) -> None:
        """Calendar names are those of the configuration."""
        names = [calendar_name(calendar_code(months, 1)) for months in (1, 2, 3, 6, 12)]
        assert names == ["1mo", "2mo", "3mo", "6mo", "1y"]
        assert not calendar_name(0)

    @settings(deadline=None, max_examples=60)
    @given(st.dates(dt.date(1970, 1, 1), dt.date(2060, 1, 1)), st.integers(1, 60), st.sampled_from([1, 3, 12]))
    def test_missing_steps_are_counted_right(self, day: dt.date, steps: int, months: int) -> None:
        """Rounding with the mean month as interval counts every gap of up to sixty steps correctly."""
        interval = months * MONTH_MS
        gap = (day + relativedelta(months=months * steps) - day).days * DAY_MS
        assert (gap + interval // 2) // interval == steps

    @settings(deadline=None, max_examples=60)
    @given(st.dates(dt.date(1970, 1, 1), dt.date(2060, 1, 1)), st.integers(1, 24), st.sampled_from([30, 31]))
    def test_learnt_intervals_count_right(self, day: dt.date, steps: int, days: int) -> None:
        """A month learnt as 30 or 31 days counts gaps of up to two years correctly."""
        gap = (day.replace(day=1) + relativedelta(months=steps) - day.replace(day=1)).days * DAY_MS
        assert (gap + days * DAY_MS // 2) // (days * DAY_MS) == steps

    def test_intervals_that_may_be_months(self) -> None:
        """Intervals of 28 to 31, 59, 89 to 92, 365 and 366 days may be months, no others in between."""
        days = np.array([1, 7, 27, 28, 30, 31, 32, 45, 59, 88, 89, 91, 92, 93, 364, 365, 366, 367])
        expected = [0, 0, 0, 1, 1, 1, 0, 0, 2, 0, 3, 3, 3, 0, 0, 12, 12, 0]
        assert cadence_months(days * DAY_MS).tolist() == expected
        assert cadence_months(np.array([1, 2, 3, 4, 6, 12]) * MONTH_MS).tolist() == [1, 2, 3, 4, 6, 12]


def series(kind: str, count: int) -> pd.DatetimeIndex:
    """Returns the times of a series."""
    if kind.isdigit():
        first = pd.Timestamp("2019-01-01") + pd.Timedelta(days=int(kind) - 1)
        return pd.DatetimeIndex([first + pd.DateOffset(months=i) for i in range(count)])
    return pd.date_range("2019-01-01", periods=count, freq=kind)


class TestFound:
    """The cadence is detected from the events."""

    @pytest.mark.parametrize("kind", ["MS", "ME", "QS", "QE", "YS", "YE", "QE-JAN", "28", "29", "30", "31", "15"])
    def test_targets_meet_the_events_to_come(self, kind: str) -> None:
        """Every target from the second event on is the time of an event, with detected and configured months."""
        times = ms(series(kind, 40))
        months = {"M": 1, "Q": 3, "Y": 12}.get(kind[0], 1)
        for config in (CONFIG, ModelConfig.from_dict(CONFIG.to_dict() | {"interval_months": months})):
            _, out = observed(config, times)
            found, first = target_times(out), 1 - bool(config.interval_months)
            for i in range(first, len(times) - 6):
                np.testing.assert_array_equal(found[i], times[i + 1 : i + 7], err_msg=f"{kind} {i}")
            assert calendar_name(int(out.calendar[-1])) == calendar_name(calendar_code(months, 1))
            if config is CONFIG:
                assert calendar_of(times, int(out.interval_ms[-1])) == out.calendar[-1]

    @pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Melbourne"])
    @pytest.mark.parametrize("kind", ["MS", "ME"])
    def test_local_midnight_stays_local_midnight(self, kind: str, zone: str) -> None:
        """Targets stay at local midnight across daylight saving changes where the zone is configured."""
        times = ms(series(kind, 30), zone)
        _, out = observed(ModelConfig.from_dict(CONFIG.to_dict() | {"timezone": zone}), times)
        for i in range(1, 24):
            np.testing.assert_array_equal(target_times(out)[i], times[i + 1 : i + 7])

    @pytest.mark.parametrize("days", [28, 30, 31, 91, 365.25, 30.4375])
    def test_a_fixed_interval_is_none_of_months(self, days: float) -> None:
        """A fixed number of days on changing days of the month is not detected as months."""
        times = ms(["2025-01-17T08:00"])[0] + (np.arange(40) * days * DAY_MS).astype(np.int64)
        _, out = observed(CONFIG, times)
        if days in {365.25, 31}:  # close to a year, or to months: distinguished only at the end
            assert out.calendar[-1] == 0 or days == 365.25
        else:
            assert not out.calendar[4:].any()

    def test_missing_months(self) -> None:
        """Gaps of one to twelve months count as that many steps, and targets stay on the calendar."""
        months = np.concatenate((np.arange(12), 12 + np.cumsum(np.arange(2, 14))))
        times = ms([pd.Timestamp("2001-01-31") + pd.offsets.MonthEnd(int(m)) for m in months])
        _, out = observed(ModelConfig.from_dict(CONFIG.to_dict() | {"interval_months": 1}), times)
        np.testing.assert_array_equal(np.diff(out.steps), np.diff(months))
        _, out = observed(CONFIG, times)
        np.testing.assert_array_equal(np.diff(out.steps), np.diff(months))
        assert (out.calendar[1:] == calendar_code(1, MONTH_END)).all()

    def test_days_that_vary(self) -> None:
        """First working days of months are detected as months: a step is the same day of the next month."""
        times = ms(pd.date_range("2024-01-01", periods=30, freq="BMS"))
        _, out = observed(CONFIG, times)
        assert (out.calendar[3:] > 0).all()
        assert (dates(target_times(out)[4, :1])[1] == dates(times[4:5])[1]).all()

    def test_an_event_on_another_day_is_forgiven(self) -> None:
        """After one month end a day early, targets are month ends again from the next month of 31 days on."""
        times = ms(series("ME", 30))
        times[8] -= DAY_MS
        _, out = observed(CONFIG, times)
        np.testing.assert_array_equal(target_times(out)[12], times[13:19])

    def test_a_configured_number_of_days_is_kept(self) -> None:
        """A configured interval of 30 days is kept."""
        _, out = observed(ModelConfig.from_dict(CONFIG.to_dict() | {"interval_ms": 30 * DAY_MS}), ms(series("MS", 9)))
        assert not out.calendar.any()

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.integers(1, 31), min_size=1, max_size=12))
    def test_day_of_the_month(self, days: list[int]) -> None:
        """A target lies on the event's own day, on the usual day after a short month, or on month ends."""
        usual = np.zeros(1, np.int64)
        for day in days:
            usual = usual_day(usual, np.array([day]), np.array([day == 31]))
            assert target_day(np.array([day]), np.array([day == 31]), usual)[0] == day
        february = target_day(np.array([28]), np.array([True]), usual)[0]
        assert february == (31 if days[-1] == 31 else max(28, days[-1]))


class TestReplay:
    """The calendar counters are part of the state."""

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.integers(1, 9), max_size=20), st.integers(0, 60), st.booleans())
    def test_batches_and_restarts_change_nothing(self, sizes: list[int], stop: int, configured: bool) -> None:
        """Calendar codes do not depend on batching, nor on where the state is saved and restored."""
        config = ModelConfig.from_dict(CONFIG.to_dict() | ({"interval_months": 1} if configured else {}))
        kinds = {"a": "MS", "b": "ME", "c": "W", "d": "30"}
        rows = sorted((int(t), name) for name, kind in kinds.items() for t in ms(series(kind, 16)))
        batch = Batch([name for _, name in rows], np.array([t for t, _ in rows]), np.ones(len(rows)))
        expected = Forecaster(config, max_series=2, history_events=0).observe(batch)

        forecaster, codes, at = Forecaster(config, max_series=2, history_events=0), [], 0
        for size in [*sizes, len(rows)]:
            if at <= stop < at + size:
                arrays = {name: array.copy() for name, array in forecaster.state().items()}
                forecaster = Forecaster.from_state(
                    arrays, forecaster.header(), forecaster.model, max_series=2, history_events=0
                )
            codes.append(forecaster.observe(batch.taken(slice(at, at + size))).calendar)
            at += size
        np.testing.assert_array_equal(np.concatenate(codes), expected.calendar)

    def test_files(self, tmp_path: Path) -> None:
        """Calendar codes survive saving and loading; an array of wrong content, shape or type is rejected."""
        times = ms(series("ME", 14))
        forecaster, _ = observed(CONFIG, times[:-1])
        forecaster.save(tmp_path / "state")
        again = Forecaster.load(tmp_path / "state")
        after = [each.observe(Batch(["a"], times[-1:], np.ones(1))).calendar[0] for each in (forecaster, again)]
        assert after == [calendar_code(1, MONTH_END)] * 2

        arrays, header = forecaster.state(), forecaster.header()
        assert arrays["calendar"].shape == (1, 4)
        for bad in (arrays["calendar"] + 10_000, arrays["calendar"][:, :3], arrays["calendar"].astype(np.float64)):
            with pytest.raises(CheckpointError, match="calendar: got"):
                Forecaster.from_state(arrays | {"calendar": bad}, header, forecaster.model, max_series=4)

    def test_short_intervals_are_not_followed(self) -> None:
        """The state holds no calendar rows for series with short intervals."""
        forecaster, out = observed(CONFIG, np.arange(1, 40) * 3_600_000)
        assert not out.calendar.any()
        assert forecaster.state()["calendar"].shape == (0, 4)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.booleans()), min_size=1, max_size=40),
           st.lists(st.integers(1, 5), min_size=1, max_size=40))  # fmt: skip
    def test_events_of_one_step(self, events: list[tuple[int, int, bool]], sizes: list[int]) -> None:
        """An event of an existing step changes no state and has that step's code, in any batches."""
        table = Table(layout_of(CONFIG), 3)
        rows = np.array([table.add(name) for name in "abc"])[[row for row, _, _ in events]]
        ts = DAY_MS * np.cumsum([days for _, days, _ in events])
        same = np.array([same for _, _, same in events])
        steps = np.array([1 + (rows[: i + 1] == row).sum() for i, row in enumerate(rows)])
        table.counters[:, INTERVAL] = 30 * DAY_MS
        columns = ts, np.zeros(len(ts), np.uint8), np.full(len(ts), 30 * DAY_MS), steps

        watch, alone = CalendarWatch(table, CONFIG), CalendarWatch(table, CONFIG)
        found, at = np.zeros(len(ts), np.int16), 0
        for size in [*sizes, len(ts)]:
            part = slice(at, at + size)
            watch.after(rows[part], *(column[part] for column in columns), found[part], same[part])
            at += size
        expected = np.zeros(len(ts), np.int16)
        for i in range(len(ts)):
            if not same[i]:
                alone.after(rows[i : i + 1], *(column[i : i + 1] for column in columns), expected[i : i + 1])
            else:
                expected[i] = next((expected[j] for j in range(i - 1, -1, -1) if rows[j] == rows[i]), 0)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(watch.state()["calendar"], alone.state()["calendar"])


class TestAround:
    """Other functions that count steps from an origin."""

    def test_rollout(self) -> None:
        """The path of a monthly series lies on the calendar: no step is missing or late."""
        forecaster, out = observed(CONFIG, ms(series("ME", 20)))
        assert np.isfinite(rollout(forecaster, "a", out, 12, paths=3)).all()

    def test_silence(self) -> None:
        """The expected time of a silent series of month ends lies on the calendar, at the end of February."""
        forecaster, _ = observed(CONFIG, ms(series("ME", 13)), anomaly=AnomalyConfig(silent_after=1))
        day = ms(["2020-02-01"])[0]
        found = []
        for i in range(60):
            found += forecaster.observe(Batch(["b"], np.array([day + i * DAY_MS]), np.ones(1))).silences
        (silence,) = [one for one in found if one.series == "a"]
        assert silence.expected_ms == ms(["2020-02-29"])[0]

    def test_config(self) -> None:
        """The mean month is the interval, another interval is rejected, and files without months omit the setting."""
        config = ModelConfig(interval_months=3)
        assert config.interval_ms == 3 * MONTH_MS
        assert ModelConfig.from_dict(config.to_dict()) == config
        assert "interval_months" not in ModelConfig().to_dict()
        with pytest.raises(ConfigError, match="interval_ms: got 1000, expected 2629746000, or 0, beside"):
            ModelConfig(interval_months=1, interval_ms=1000)
        with pytest.raises(ConfigError, match="interval_months: got 13"):
            ModelConfig(interval_months=13)
