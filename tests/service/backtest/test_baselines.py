"""Baselines of the report: points by hand, intervals from verified errors only, scores equal to the library's."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster import score
from service.backtest.baselines import baseline
from service.backtest.grids import Grid
from service.backtest.origins import LEVELS
from service.backtest.results import scored

H = 3


def grid(y: list[float], origins: list[int]) -> Grid:
    """Returns a series with forecasts at these steps."""
    at = np.arange(len(origins))
    return Grid("a", np.array(y, np.float64), 0, 1000, np.array(origins), at, 2.0)


def test_points() -> None:
    """On a periodic series seasonal medians are exact, and naive ones are the last value plus the median error."""
    y = [1.0, 5.0, 2.0, 7.0] * 6
    one = grid(y, [15])
    assert baseline(one, "naive", 1, H)[0, :, 9] == pytest.approx(
        [7.0 + np.median(_errors(y, 15, h)) for h in (1, 2, 3)]
    )
    for kind in ("seasonal", "adjusted"):
        assert baseline(one, kind, 4, H)[0] == pytest.approx(np.array([[1.0] * 19, [5.0] * 19, [2.0] * 19]), abs=6)
        assert baseline(one, kind, 4, H)[0, :, 9] == pytest.approx([1.0, 5.0, 2.0])


def _errors(y: list[float], origin: int, h: int) -> list[float]:
    return [y[t + h] - y[t] for t in range(origin - h + 1)]


def test_the_future_is_not_used() -> None:
    """Values after an origin change none of its quantiles."""
    rng = np.random.RandomState(0)
    y = rng.normal(size=60).tolist()
    for kind, season in (("naive", 1), ("seasonal", 7), ("adjusted", 7)):
        one = baseline(grid(y, [20, 30]), kind, season, H)
        two = baseline(grid(y[:31] + [99.0] * 29, [20, 30]), kind, season, H)
        assert one.tobytes() == two.tobytes()
        assert (np.diff(one, axis=2) >= 0).all()


def test_scores_equal_the_librarys() -> None:
    """MASE, sCRPS and coverage equal those of `forecaster.score`, without missing actuals."""
    rng = np.random.RandomState(1)
    y = rng.normal(size=80)
    y[[33, 50]] = np.nan
    one = grid(y.tolist(), list(range(20, 79, 4)))
    q = np.sort(rng.normal(size=(len(one.origin), H, 19)), axis=2)

    mine, theirs = scored([one], lambda _: q, H), score(q, one.targets(H), LEVELS, 2.0)

    assert (mine.mase, mine.scrps) == pytest.approx((theirs.mase, theirs.scrps))
    assert (mine.coverage_80, mine.coverage_90) == pytest.approx((theirs.coverage[0.8], theirs.coverage[0.9]))
    assert mine.targets == theirs.targets
    assert mine.pit.sum() == pytest.approx(1.0)
    assert np.isnan(scored([], lambda _: q, H).mase)
