"""Simple forecasters of a series, O(1) per event; all but the trend have no state besides the ring.

    1            trend                         y[t] plus the damped change that the trend's line forecasts; y[t] where
                                               there is no trend, see trend.py
    per season   seasonal naive                y[t+h-season]
                 level-adjusted                y[t+h-season] + (y[t] - y[t-season])
                 two seasons, level-adjusted   mean of y[t+h-season] and y[t+h-2 season], plus half of the shift

Point forecasts are in units of the series' scale around its last value, like the network's quantiles. Member 0 of the
ensemble is the network.
"""

from __future__ import annotations

import math
from typing import Any

from forecaster.features.head_inputs import SEASONAL
from forecaster.features.profile import lag_value
from forecaster.kernels.jit import inlined
from forecaster.kernels.operands import Ring
from forecaster.kernels.simd import load

TREND, SEASONAL_FROM = 1, 2  # member numbers
PER_SEASON = 3


def member_count(seasons: int) -> int:
    """Returns the number of members: the network, the trend, and three per season."""
    return SEASONAL_FROM + PER_SEASON * seasons


def first_scored(member: int, k: int, seasons: tuple[int, ...]) -> int:
    """Returns the first step, counted from 0, at which a forecast of a member `k` steps ahead can be scored."""
    if member < SEASONAL_FROM:
        return k
    season, kind = seasons[(member - SEASONAL_FROM) // PER_SEASON], (member - SEASONAL_FROM) % PER_SEASON
    return -(-k // season) * season if kind == 0 else k + season


@inlined
def expert_points(i: int, f: Any, moment: int, target: int, apart: int) -> Any:
    """Returns the point forecasts of seasonal expert `i` for sixteen horizons.

    Args:
        i: number in the ensemble.
        f, moment, target, apart: inputs of the head (see `horizon_features`); those of the sixteen targets start at
            f[target].
    """
    one = target + SEASONAL * ((i - SEASONAL_FROM) // PER_SEASON) * apart
    shift = f[moment + 1 + (i - SEASONAL_FROM) // PER_SEASON]
    kind = (i - SEASONAL_FROM) % PER_SEASON
    if kind == 0:
        return load(f, one)
    if kind == 1:
        return load(f, one) + shift
    return (load(f, one) + load(f, one + apart) + shift) * 0.5


@inlined
def season_past(season: int, k: int, origin: float, ring: Ring, value: float, out: Any, at: int) -> None:
    """Overwrites out[at : at + PER_SEASON] by the forecasts of a season's experts made `k` steps ago, minus `value`.

    The forecasts are for the newest step of the ring, in units of the data; nan where they cannot be computed. `origin`
    is the value of the step `k` steps ago.
    """
    back = season
    while back < k:  # the newest value of this phase that was observed at the origin
        back += season
    one, two = lag_value(ring, back), lag_value(ring, back + season)
    shift = origin - lag_value(ring, k + season)
    out[at] = one - value
    out[at + 1] = one + shift - value
    out[at + 2] = 0.5 * (one + (one if math.isnan(two) else two) + shift) - value
