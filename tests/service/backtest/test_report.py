"""The report of a backtest: what its charts and tables say, and how large they may become."""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import Retraining
from service.backtest import report
from service.backtest.grids import Grid
from service.backtest.local_time import hours_and_weekdays
from service.backtest.origins import LEVELS
from service.backtest.plots import _styles, by_time
from service.backtest.results import Scored, scored

HORIZON, STEPS, HOUR = 4, 200, 3_600_000
MONDAY = 1_767_571_200_000  # 2026-01-05, midnight UTC
FACTS = {
    "forecasts": 10, "events": STEPS, "series": 1, "interval_ms": HOUR, "interval_months": 0, "seasons": [24, 168],
    "timezone": "UTC", "seconds": 1.0, "training_seconds": 0.5, "events_per_second": 100.0,
}  # fmt: skip


def grid(name: str, scale: float = 1.0, timezone: str = "UTC", interval_ms: int = HOUR) -> Grid:
    """Returns a series of the values 0 to 23 by the hour, with a forecast at every fifth step."""
    origin = np.arange(100, 190, 5)
    y = (np.arange(STEPS) % 24).astype(float)
    return Grid(name, y, MONDAY, interval_ms, origin, np.arange(len(origin)), scale, 0, timezone)


def wrong_at(hour: int) -> dict[str, Scored]:
    """Returns scores of a method that errs by 1 at the targets of one hour, and of one that errs by 2 everywhere."""

    def own(one: Grid) -> np.ndarray:
        return exact(one) + (exact(one) == hour)

    series = [grid("a"), grid("b", 2.0)]
    return {"forecaster": scored(series, own, HORIZON), "naive": scored(series, lambda g: exact(g, 2.0), HORIZON)}


def exact(one: Grid, error: float = 0.0) -> np.ndarray:
    """Returns quantiles that are all the actual and an error."""
    return np.repeat(one.targets(HORIZON)[..., None] + error, len(LEVELS), 2)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report in the time of Berlin, with two trainings."""
    path = tmp_path_factory.mktemp("report") / "r.html"
    series = [grid("a", timezone="Europe/Berlin")]
    quantiles = np.sort(np.random.RandomState(1).normal(size=(len(series[0].at), HORIZON, len(LEVELS))), axis=2)
    decisions = [Retraining(50, True, "better", 2.0, 1.5, 3.0, 60, (24,)), Retraining(100, False, "no data")]
    facts, times = FACTS | {"timezone": "Europe/Berlin"}, MONDAY + HOUR * np.arange(STEPS)
    report.write_report(path, "x", facts, wrong_at(7), decisions, series, quantiles, times)
    return path.read_text()


def test_by_hour_and_step() -> None:
    """Errors are at the hour of their targets, in units of each series' scale, and coverage is by steps ahead."""
    own = wrong_at(7)["forecaster"]
    assert own.by_hour[7] == pytest.approx(2 * (1.0 + 0.5) / 2 * np.mean(1 - np.array(LEVELS)))
    assert np.nansum(own.by_hour) == own.by_hour[7]
    assert own.coverage_by_step.shape == (2, HORIZON)
    assert (own.coverage_by_step < 1).any()
    assert own.per_series["a"].mase == pytest.approx(2 * own.per_series["b"].mase)


@given(start=st.integers(0, 4_000_000_000), zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]))
def test_hours_of_a_zone(start: int, zone: str) -> None:
    """Hours and weekdays are those of the clocks of the zone, as Python's own dates say."""
    times = np.array([[start * 1000, start * 1000 + 5 * HOUR]])
    hours, weekdays = hours_and_weekdays(times, zone)
    moments = [dt.datetime.fromtimestamp(at / 1000, ZoneInfo(zone)) for at in times[0].tolist()]
    assert hours.tolist() == [[moment.hour for moment in moments]]
    assert weekdays.tolist() == [[moment.weekday() for moment in moments]]


def test_dates_and_legends(page: str) -> None:
    """Charts name the interval, the dates in the zone, and every line and band; nothing is loaded."""
    assert not re.findall(r"(?:src|href)=\"(?!#)", page)
    assert len(page) < 250_000
    assert "between 2026-01-05 01:00 and 2026-01-13 08:00 (Europe/Berlin)" in page
    assert "with seasons of 24 and 168 steps" in page
    assert "steps ahead (one step: 1h)" in page
    assert "hour of the target (Europe/Berlin)" in page
    assert re.search(r"from 2026-01-\d\d \d\d:00, 4 steps of 1h \(Europe/Berlin\)", page)
    for name in ("50 %", "80 %", "90 %", "median", "actual", "origin"):
        assert page.count(f">{name}</text>") == 6, name


def test_methods_are_told_apart() -> None:
    """Every method has a colour and a pattern of its own."""
    one = wrong_at(7)["naive"]
    styles = _styles({"forecaster": one} | {f"m{i}": one for i in range(7)})
    looks = {(style["color"], str(style.get("linestyle", "-"))) for style in styles.values()}
    assert len(looks) == 8
    assert len({style["color"] for style in list(styles.values())[:7]}) == 7


def test_trainings(page: str) -> None:
    """A training says when it was, what it brought on data that it held out, and the seasons afterwards."""
    assert "<td>2026-01-07 02:00</td><td>50</td><td>+25.0%</td><td>promoted</td><td>better</td>" in page
    assert "<td>2026-01-09 04:00</td><td>100</td><td></td><td>not promoted</td><td>no data</td>" in page


def test_the_ranking_is_bounded() -> None:
    """Of many series the hardest and the easiest are listed, with names as text, and the table stays small."""
    rng = np.random.RandomState(2)
    series = [grid(f"<store> {i}", scale) for i, scale in enumerate(rng.uniform(1, 9, 3000))]
    own = scored(series, lambda one: exact(one, 1.0), HORIZON)
    text, table = report._ranking({"forecaster": own, "naive": own})
    found = re.findall(r"<tr><td>&lt;store&gt; (\d+)</td><td>(\d+)</td><td>([\d.]+)</td>", table)
    listed = [*range(1, report.HARDEST + 1), *range(3001 - report.EASIEST, 3001)]
    assert [int(rank) for _, rank, _ in found] == listed
    errors = [float(error) for *_, error in found]
    assert errors == sorted(errors, reverse=True)
    assert "3,000 series by sCRPS, the hardest first; the 400 hardest and the 100 easiest of them" in text
    assert "<store>" not in table
    assert len(table) < 100_000


@pytest.mark.parametrize(("days", "words"), [(1, ["weekday of the target (UTC)"]), (7, [])])
def test_daily_data_has_no_hours(days: int, words: list[str]) -> None:
    """Where all targets are at one hour, the chart has weekdays only; where they are on one weekday too, none."""
    own = scored([grid("a", interval_ms=HOUR * 24 * days)], exact, HORIZON)
    assert re.findall(r">([^<]* of the target \(UTC\))<", by_time({"forecaster": own}, "UTC")) == words


def test_words() -> None:
    """Intervals and seasons read as sentences do."""
    assert report.step_name(FACTS) == "1h"
    assert report.step_name(FACTS | {"interval_months": 1}) == "1mo"
    assert report.step_name(FACTS | {"interval_ms": 0}) == "one of each series"
    assert report.season_names({"seasons": []}) == "no season"
    assert report.season_names({"seasons": [24]}) == "a season of 24 steps"
    assert report.season_names({"seasons": [24, 168, 8766]}) == "seasons of 24, 168 and 8766 steps"
