"""The replicas that a load needs, and the load that a forecast has within the lead time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from service.config.scale_rules import ScaleRule

if TYPE_CHECKING:
    from numpy.typing import NDArray


def replicas_for(load: float, rule: ScaleRule, factor: float = 1.0) -> int:
    """Returns the replicas for a load: min(most, max(least, ceil(factor * load / capacity))).

    Args:
        load: finite. rule: capacity and bounds.
        factor: of the load: room for more (above 1), or less of it.
    """
    needed = factor * load / rule.capacity
    return max(rule.least, math.ceil(min(needed, float(rule.most))))


def steps_to_lead(lead_ms: int, ahead_ms: NDArray[np.int64]) -> int:
    """Returns how many steps the lead time has, rounded up; 0 where it is longer than the forecast horizon.

    Args:
        lead_ms: at least 1. ahead_ms: (horizon,) time from the forecast origin to each step, increasing.
    """
    steps = int(np.searchsorted(ahead_ms, lead_ms)) + 1
    return steps if steps <= len(ahead_ms) else 0
