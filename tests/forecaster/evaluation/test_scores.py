"""Scores of quantile forecasts, and quantiles at other levels."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster import at_levels, geometric_positions, score

LEVELS = (0.1, 0.5, 0.9)


def test_scores_by_hand() -> None:
    """MASE, sCRPS and coverage of two forecasts equal hand-computed values; a missing target is not scored."""
    q = np.array([[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]], [[0.0, 0.0, 0.0]]])
    y = np.array([[2.5], [4.0], [np.nan]])

    scores = score(q, y, LEVELS, scale=2.0)

    assert scores.targets == 2
    assert scores.mase == pytest.approx((0.5 + 2.0) / 2 / 2.0)
    pinball = (0.1 * 1.5 + 0.5 * 0.5 + 0.1 * 0.5 + 0.1 * 3.0 + 0.5 * 2.0 + 0.9 * 1.0) / 6
    assert scores.scrps == pytest.approx(2 * pinball / 2.0)
    assert scores.coverage == {0.8: 0.5}


def test_nothing_to_score() -> None:
    """A forecast without targets has the score nan and raises no warning."""
    assert np.isnan(score(np.zeros((1, 2, 3)), np.full((1, 2), np.nan), LEVELS, 1.0).mase)


def test_other_levels() -> None:
    """Levels in between are interpolated linearly, given levels are unchanged, outer levels equal the outermost."""
    q = np.array([[1.0, 2.0, 4.0]])

    assert at_levels(q, LEVELS, (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95))[0] == pytest.approx([1, 1, 1.5, 2, 3, 4, 4])
    assert at_levels(q, LEVELS, LEVELS).tolist() == q.tolist()
    assert at_levels(np.array([[7.0]]), (0.5,), LEVELS).tolist() == [[7.0, 7.0, 7.0]]


def test_positions_grow() -> None:
    """Distances between retrainings grow, and all positions lie before the end of the stream."""
    assert geometric_positions(1000, 100, 2.0) == [100, 200, 400, 800]
    assert geometric_positions(100, 100, 2.0) == []
