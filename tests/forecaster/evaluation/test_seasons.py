"""Seasons are detected in series generated with seasons, and not in series generated without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import calendar_seasons, detect_seasons, on_grid

HOUR, DAY = 3_600_000, 86_400_000


LONG = 8 * 168  # hours: enough to rule out a week


def stream(steps: int, *seasons: int, noise: float = 1.0, seed: int = 0) -> np.ndarray:
    """Returns the sum of sine cycles of amplitude 3 and of noise."""
    t = np.arange(steps)
    waves = sum((3 * np.sin(2 * np.pi * t / s) for s in seasons), np.zeros(steps))
    return waves + noise * np.random.default_rng(seed).normal(size=steps)


def test_a_day_and_a_week_are_found() -> None:
    """Exactly the generated cycles of hourly data are detected: the day, the week, or both."""
    assert detect_seasons([stream(LONG, 24, 168)], HOUR) == (24, 168)
    assert detect_seasons([stream(LONG, 24)], HOUR) == (24,)
    assert detect_seasons([stream(LONG, 168)], HOUR) == (168,)


@pytest.mark.parametrize("seed", range(4))
def test_noise_random_walks_and_smooth_series_have_no_season(seed: int) -> None:
    """No season is detected in noise, a random walk, an integrated slow autoregression or a staircase."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=2000)
    slow = np.zeros(2000)
    for t in range(1, 2000):
        slow[t] = 0.98 * slow[t - 1] + noise[t]
    stair = np.repeat(rng.normal(size=20) * 50, 100) + noise
    found = [detect_seasons([y], HOUR) for y in (noise, noise.cumsum(), slow.cumsum(), stair)]
    assert found == [()] * 4


@pytest.mark.parametrize("minutes", [20, 30])
@pytest.mark.parametrize("seed", range(4))
def test_noise_and_wrong_values_are_no_season_of_two_or_three_steps(minutes: int, seed: int) -> None:
    """A smooth series with noise, or with single wrong values, has no season of an hour at 20 and 30 minutes.

    One that alternates within the hour has it.
    """
    interval, hour, day = minutes * 60_000, 60 // minutes, 24 * 60 // minutes
    rng = np.random.default_rng(seed)
    smooth = stream(9 * 7 * day, day, noise=0.05, seed=seed)
    wrong = np.where(rng.random(len(smooth)) < 0.01, rng.choice([-60.0, 60.0], len(smooth)), 0.0)
    noisy = smooth + rng.normal(size=len(smooth))
    within = smooth + np.resize([2.0, -1.0, -1.0] if hour == 3 else [1.0, -1.0], len(smooth))
    assert [hour in detect_seasons([y], interval) for y in (smooth, noisy, smooth + wrong)] == [False] * 3
    assert [hour in detect_seasons([within + extra], interval) for extra in (0.0, wrong)] == [True] * 2


@pytest.mark.parametrize(("minutes", "size"), [(20, 0.35), (30, 0.5)])
def test_days_of_steep_hours_with_noise_have_no_season_of_an_hour(minutes: int, size: float) -> None:
    """Chance decides which of two nearly equal correlations is larger: it must not decide for a season."""
    interval, hour, day = minutes * 60_000, 60 // minutes, 24 * 60 // minutes
    hours = np.arange(8 * 7 * day) % day / day * 24
    open_hours = 1 / (1 + np.exp(2 * (10 - hours))) / (1 + np.exp(2 * (hours - 17)))
    usual = 4 + 18 * np.exp(-0.5 * ((hours - 20) / 2.5) ** 2) + 9 * open_hours
    noise = [np.random.default_rng(seed).normal(size=len(hours)) for seed in range(40)]
    found = [hour in detect_seasons([usual + size * np.sqrt(usual) * each], interval) for each in noise]
    assert not any(found)


def with_wrong_values(y: np.ndarray, size: float, seed: int) -> np.ndarray:
    """Returns the series with one value of a hundred replaced by plus or minus `size`."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(y)) < 0.01, rng.choice([-size, size], len(y)), y)


@given(st.integers(0, 10**6), st.floats(10.0, 1e300), st.sampled_from([(24,), (168,), (24, 168)]))
def test_wrong_values_hide_no_season(seed: int, size: float, seasons: tuple[int, ...]) -> None:
    """The seasons are found with one wrong value of any size in a hundred."""
    y = stream(2 * LONG, *seasons, noise=0.3, seed=seed)
    assert set(seasons) <= set(detect_seasons([with_wrong_values(y, size, seed)], HOUR))


@pytest.mark.parametrize("size", [0.0, 30.0, 1e4, 1e12])
def test_wrong_values_make_no_season(size: float) -> None:
    """A week is found in at most one of fifty series that have only a day, with wrong values or without."""
    days = [stream(2 * LONG, 24, noise=0.3, seed=seed) for seed in range(50)]
    series = [with_wrong_values(y, size, seed) if size else y for seed, y in enumerate(days)]
    assert sum(168 in detect_seasons([y], HOUR) for y in series) <= 1


def test_a_trend_is_no_season() -> None:
    """No season is found in a trend with noise, however steep."""
    trends = [stream(LONG, seed=seed) + slope * np.arange(LONG) for seed in range(10) for slope in (0.05, 1.0, -30.0)]
    assert sum(detect_seasons([y], HOUR) != () for y in trends) <= 1


@pytest.mark.parametrize("jitter", [0, 1])
def test_a_far_value_that_recurs_is_a_season(jitter: int) -> None:
    """A peak of one step every day is a season, also where it is a step early or late."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=LONG)
    at = np.arange(5, LONG - 1, 24)
    y[at + rng.integers(0, jitter + 1, len(at))] += 500.0
    assert 24 in detect_seasons([y], HOUR)


def test_seasons_survive_gaps_outliers_shifts_and_trends() -> None:
    """A season is detected despite missing values, bursts, a level shift and a drift."""
    rng = np.random.default_rng(1)
    y = stream(1500, 24) + 0.05 * np.arange(1500)
    y[700:] += 200
    y[rng.integers(1500, size=20)] *= 100
    y[rng.random(1500) < 0.1] = np.nan
    y[300:400] = np.nan
    assert detect_seasons([y], HOUR) == (24,)


def test_a_season_of_some_series_counts_and_constant_ones_say_nothing() -> None:
    """A season shown by a quarter of the series is found, by a tenth not; constant and empty series are not counted."""
    walks = [np.random.default_rng(i).normal(size=LONG).cumsum() for i in range(9)]
    silent = [np.full(LONG, 5.0), np.full(LONG, np.nan), np.zeros(0)] * 5
    assert detect_seasons([stream(LONG, 24, 168)], HOUR) == (24, 168)
    assert detect_seasons([*walks[:3], stream(LONG, 168), *silent], HOUR) == (168,)
    assert detect_seasons([*walks, stream(LONG, 168), *silent], HOUR) == ()


def test_what_a_short_history_cannot_rule_out_is_assumed() -> None:
    """The day is assumed before seven days, the week before seven weeks; later, noise rules both out."""
    assert detect_seasons([], HOUR) == (24, 168)
    assert detect_seasons([stream(60)], HOUR) == (24, 168)
    assert detect_seasons([stream(400)], HOUR) == (168,)
    assert detect_seasons([stream(LONG)], HOUR) == ()


def test_the_most_common_seasons_stay_within_the_limit() -> None:
    """At most `limit` seasons are returned, those that most series show."""
    both, week = stream(LONG, 24, 168), stream(LONG, 168)
    assert detect_seasons([both, week, week], HOUR, limit=1) == (168,)


@pytest.mark.parametrize(
    ("interval_ms", "expected"),
    [
        (300_000, (12, 288, 2016)),
        (HOUR, (24, 168)),
        (DAY, (7,)),
        (7 * DAY, (52,)),
        (30 * DAY, (12,)),
        (91 * DAY, (4,)),
        (30_000, (2880,)),
        (10_000, (360,)),
        (60_000, (60, 1440)),
        (1_000, (60,)),
        (7_000_000, ()),
        (11 * 60_000, ()),
        (31 * DAY, (12,)),
        (92 * DAY, (4,)),
        (400 * DAY, ()),
        (30 * 60_000, (48, 336)),
        (0, ()),
    ],
)
def test_the_calendar_without_history(interval_ms: int, expected: tuple[int, ...]) -> None:
    """Without history, the seasons are day and week if they fit interval and memory, else the longest that fits."""
    assert calendar_seasons(interval_ms) == expected


def test_events_are_put_on_their_grid() -> None:
    """Events with jitter go to the nearest step, a gap is nan, and the newest event ends the grid."""
    grid = on_grid(np.array([0, 61_000, 119_000, 300_000]), np.array([1.0, 2.0, 3.0, 4.0]), 60_000)
    np.testing.assert_array_equal(grid, [1, 2, 3, np.nan, np.nan, 4])


def test_a_wrong_time_is_on_no_grid() -> None:
    """An event that is newer than the events after it is left out."""
    grid = on_grid(np.array([0, 60_000, 10**15, 120_000]), np.array([1.0, 2.0, 9.0, 3.0]), 60_000)
    np.testing.assert_array_equal(grid, [1, 2, 3])
