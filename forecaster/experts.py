"""Simple forecasters beside the network, per series, O(1) per event; they store nothing but what the ring holds.

    1            naive                         y[t]
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
from forecaster.features import SEASONAL, lag_value

PER_SEASON = 3


def pool_size(seasons: int) -> int:
    """Members of the pool: the network, naive, and three per season."""
    return 2 + PER_SEASON * seasons


@inlined
def expert_point(i: int, f: Any, moment: int, target: int, apart: int) -> float:
    """Point forecast of expert `i` >= 1 for one horizon.

    Args:
        i: number in the pool.
        f, moment, target, apart: inputs of the head (see `horizon_features`), those of the horizon's target from
            f[target] on.
    """
    if i == 1:
        return 0.0
    season, kind = (i - 2) // PER_SEASON, (i - 2) % PER_SEASON
    one = target + SEASONAL * season * apart
    shift = moment + 1 + season
    if kind == 0:
        return f[one]  # type: ignore[no-any-return]
    if kind == 1:
        return f[one] + f[shift]  # type: ignore[no-any-return]
    return 0.5 * (f[one] + f[one + apart] + f[shift])  # type: ignore[no-any-return]


@inlined
def expert_past(i: int, season: int, k: int, Y: Any, y: int, R: int, newest: int) -> float:
    """What expert `i` forecast `k` steps ago for step `newest`, in units of the data; nan where it cannot be known."""
    origin = lag_value(Y, y, R, newest, k)
    if i == 1:
        return origin
    kind = (i - 2) % PER_SEASON
    back = season * ((k + season - 1) // season)  # a season that had been seen at the origin
    one = lag_value(Y, y, R, newest, back)
    if kind == 0:
        return one
    shift = origin - lag_value(Y, y, R, newest, k + season)
    if kind == 1:
        return one + shift
    two = lag_value(Y, y, R, newest, back + season)
    if math.isnan(two):
        two = one
    return 0.5 * (one + two + shift)
