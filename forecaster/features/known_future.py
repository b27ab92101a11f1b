"""Known-future covariates: values of steps ahead that an event contains (a price, a promotion, a schedule).

An event has, per declared name, the values at the 1st, 2nd, ... step after it. The head has two inputs per name and
horizon h, after the seasonal inputs of a target:

    s((v[h] - level) / scale), or 0 where v[h] is missing;  1 where it is missing

with s as in step_inputs.py; level and scale are the name's own running level and mean absolute deviation in this row,
updated at every event by the nearest step ahead that is known. A missing step has no list: that of the previous event
continues, its value at the step `since + h`; past its end nothing is known.
"""

from __future__ import annotations

import math
from typing import Any

from forecaster.features.step_inputs import follow, inverse_scale, squash
from forecaster.kernels.jit import inlined


@inlined
def follow_future(futures: int, horizon: int, future: Any, at: int, D: Any, d: int, rate: float) -> None:
    """Updates level and scale of every known-future covariate by the nearest step ahead that is known.

    Args:
        futures, horizon: number of known-future covariates and of horizons.
        future, at: the event's lists (futures, horizon), starting at future[at], nan where missing.
        D, d: level and scale of each, starting at D[d], overwritten; a level is initially nan.
        rate: of both.
    """
    for c in range(futures):
        for h in range(horizon):
            v = future[at + c * horizon + h]
            if math.isfinite(v):
                follow(v, D, d + 2 * c, rate)
                break


@inlined
def future_features(
    futures: int, horizon: int, future: Any, at: int, since: int, D: Any, d: int, f: Any, known: int, apart: int
) -> None:
    """Overwrites the last 2 * futures of the head's inputs of every target, except for its date.

    Args:
        futures, horizon: number of known-future covariates and of horizons.
        future, at: as in `follow_future`.
        since: steps since the event with these lists, 0 at the event itself.
        D, d: level and scale of each, starting at D[d].
        f: output. known, apart: input i about the target h steps ahead at f[known + i*apart + h - 1].
    """
    for c in range(futures):
        level = D[d + 2 * c]
        u = inverse_scale(D[d + 2 * c + 1])
        for h in range(horizon):
            v = future[at + c * horizon + since + h] if since + h < horizon else math.nan
            there = math.isfinite(v)
            f[known + 2 * c * apart + h] = squash((v - level) * u) if there else 0.0
            f[known + (2 * c + 1) * apart + h] = 0.0 if there else 1.0
