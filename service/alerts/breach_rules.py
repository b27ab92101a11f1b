"""Compares the forecasts of a batch with the limits of `[[alert]]`, for all its events at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.config.alert_rules import AlertRule
from service.messages.series_patterns import SeriesPatterns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from forecaster import Forecasts


class LimitComparison(NamedTuple):
    """The forecasts that a rule compares.

    Attributes:
        rule: the rule.
        events: (m,) indices of the events of its series that have a forecast.
        beyond: (m,) whether a step is beyond the limit. above_clear: (m,) whether one is beyond `clear`.
        extreme: (m,) the farthest quantile within the horizon of the rule.
        first: (m,) the first step beyond the limit, counted from 1; 0: none.
    """

    rule: AlertRule
    events: NDArray[np.int64]
    beyond: NDArray[np.bool_]
    above_clear: NDArray[np.bool_]
    extreme: NDArray[np.float64]
    first: NDArray[np.int64]


class BreachRules:
    """The rules of a configuration. Used by one thread.

    Args:
        rules: of the configuration.
    """

    def __init__(self, rules: Sequence[AlertRule]) -> None:
        self.rules = tuple(rules)
        self._patterns = [SeriesPatterns(rule.match) for rule in rules]

    def compare(self, series: Sequence[str], forecasts: Forecasts, levels: Sequence[float]) -> list[LimitComparison]:
        """Compares all forecasts with the limits of their series.

        Args:
            series: of every event.
            forecasts: of the events.
            levels: of the quantiles.

        Returns:
            One comparison for each rule whose level is among those of the forecasts.
        """
        if not self.rules:
            return []
        known = ~np.isnan(forecasts.quantiles[:, 0, 0]) & (forecasts.interval_ms > 0)
        return [
            _compared(
                rule, np.flatnonzero(known & (patterns.first(series) > 0)), forecasts, [*levels].index(rule.level)
            )
            for rule, patterns in zip(self.rules, self._patterns, strict=True)
            if rule.level in levels
        ]


def _compared(rule: AlertRule, events: NDArray[np.int64], forecasts: Forecasts, level: int) -> LimitComparison:
    quantiles = rule.sign * forecasts.quantiles[events, :, level]
    horizon = quantiles.shape[1]
    if rule.within:
        steps = np.maximum(1, round(rule.within * 1000) // forecasts.interval_ms[events])
        quantiles[np.arange(horizon) >= steps[:, None]] = -np.inf
    over = quantiles > rule.sign * rule.limit
    beyond: NDArray[np.bool_] = np.any(over, axis=1)
    extreme = quantiles.max(axis=1, initial=-np.inf)
    return LimitComparison(
        rule, events, beyond, extreme > rule.sign * rule.clear_limit, rule.sign * extreme,
        np.where(beyond, over.argmax(axis=1) + 1, 0),
    )  # fmt: skip
