"""Simple forecasters beside the network, per series, O(1) per event; all but the trend store nothing but the ring.

    1            naive                         y[t]
    2            trend                         y[t] and what of the trend's line came true so far, see trend.py
    per season   seasonal naive                y[t+h-season]
                 level-adjusted                y[t+h-season] + (y[t] - y[t-season])
                 two seasons, level-adjusted   mean of y[t+h-season] and y[t+h-2 season], plus half of the shift

Points are in units of the series' scale around its last value, like the network's quantiles. Number 0 of the pool is
the network itself.
"""

from __future__ import annotations

import math
from typing import Any

from forecaster._jit import inlined
from forecaster._simd import load, splat
from forecaster.features import lag_value
from forecaster.targets import SEASONAL

TREND, SEASONAL_FROM = 2, 3  # numbers in the pool
PER_SEASON = 3


def pool_size(seasons: int) -> int:
    """Members of the pool: the network, naive, the trend, and three per season."""
    return SEASONAL_FROM + PER_SEASON * seasons


@inlined
def expert_points(i: int, f: Any, moment: int, target: int, apart: int) -> Any:
    """Point forecasts of expert `i`, which is not the trend, for sixteen horizons.

    Args:
        i: number in the pool.
        f, moment, target, apart: inputs of the head (see `horizon_features`), those of the sixteen targets from
            f[target] on.
    """
    if i == 1:
        return splat(f, 0.0)
    one = target + SEASONAL * ((i - SEASONAL_FROM) // PER_SEASON) * apart
    shift = f[moment + 1 + (i - SEASONAL_FROM) // PER_SEASON]
    kind = (i - SEASONAL_FROM) % PER_SEASON
    if kind == 0:
        return load(f, one)
    if kind == 1:
        return load(f, one) + shift
    return (load(f, one) + load(f, one + apart) + shift) * 0.5


@inlined
def season_past(
    season: int, k: int, origin: float, Y: Any, y: int, R: int, newest: int, value: float, out: Any, at: int
) -> None:
    """Overwrites out[at : at + PER_SEASON] by what a season's experts forecast `k` steps ago, minus `value`.

    For step `newest`, in units of the data; nan where it cannot be known. `origin` is the value of the step `k` steps
    ago, naive's forecast.
    """
    back = season
    while back < k:  # a season that had been seen at the origin
        back += season
    one, two = lag_value(Y, y, R, newest, back), lag_value(Y, y, R, newest, back + season)
    shift = origin - lag_value(Y, y, R, newest, k + season)
    out[at] = one - value
    out[at + 1] = one + shift - value
    out[at + 2] = 0.5 * (one + (one if math.isnan(two) else two) + shift) - value
