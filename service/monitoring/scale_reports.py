"""Metrics of `[[scale]]`: desired replicas, the load that they are for, and how often the real load exceeded them.

The forecasts are those of new events; neither a replay nor a history changes the metrics, and a forecast that a late
event corrects counts with the next event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog

from forecaster import is_observed
from service.config.durations import format_duration
from service.config.scale_rules import ScaleRule
from service.monitoring.metrics import Metrics
from service.publication import Listener, Publication
from service.scaling.provisioning import Provisioning
from service.scaling.replicas import replicas_for, steps_to_lead

if TYPE_CHECKING:
    from forecaster import Forecaster, Forecasts

_log = structlog.get_logger()


class ScaleReports(Listener):
    """The reports. Used in the engine's thread.

    Args:
        rules: of the configuration.
        metrics: the metrics to update.
    """

    def __init__(self, rules: Sequence[ScaleRule], metrics: Metrics) -> None:
        self._metrics = metrics
        self._rules: dict[str, list[ScaleRule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.series, []).append(rule)
            metrics.scale_events.labels(rule.name)
            metrics.scale_under_provisioned.labels(rule.name)
        self._states: dict[str, tuple[str, Provisioning]] = {}  # by name of the rule: partition and state
        self._reported = set[str]()

    def on_publication(self, publication: Publication) -> None:
        """Counts the loads of one unit against the replicas before them, and requests those of their forecasts."""
        if not self._rules or publication.unit.of_history:
            return
        series = publication.decoded.series
        places = [at for at, name in enumerate(series) if name in self._rules]
        if places:
            batch, forecasts = publication.decoded.batch, publication.forecasts
            levels = publication.forecaster.config.quantiles
            for at in np.array(places)[is_observed(forecasts.status[places])].tolist():
                for rule in self._rules[series[at]]:
                    self._event(rule, publication.partition, at, float(batch.value[at]), forecasts, levels)
        for name in publication.forgotten:
            for rule in self._rules.get(name, ()):
                self._drop(rule.name)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:  # noqa: ARG002 - of the interface
        """Removes the values of partitions that another process reads now."""
        for name in [name for name, (partition, _) in self._states.items() if partition not in assigned]:
            self._drop(name)

    def _event(
        self, rule: ScaleRule, partition: str, at: int, value: float, forecasts: Forecasts, levels: Sequence[float]
    ) -> None:
        time_ms = int(forecasts.origin_ms[at])
        before, state = self._states.get(rule.name, ("", None))
        if state is None or before != partition:  # a series that has moved begins anew
            self._states.pop(rule.name, None)
            state = Provisioning(rule)
        short = None if np.isnan(value) else state.falls_short(time_ms, value)
        if short is not None:
            self._metrics.scale_events.labels(rule.name).inc()
            self._metrics.scale_under_provisioned.labels(rule.name).inc(short)
        load = self._load(rule, at, forecasts, levels)
        if load is None:
            return
        self._states[rule.name] = partition, state
        self._metrics.scale_load_forecast.labels(rule.name).set(load)
        self._metrics.desired_replicas.labels(rule.name).set(state.request(time_ms, replicas_for(load, rule)))

    def _load(self, rule: ScaleRule, at: int, forecasts: Forecasts, levels: Sequence[float]) -> float | None:
        """Returns the largest load forecast up to the lead time; None where there is none, which is logged once."""
        from forecaster import step_times  # noqa: PLC0415 - compiled; slow to import

        quantiles, interval = forecasts.quantiles[at], int(forecasts.interval_ms[at])
        if not interval or np.isnan(quantiles).any():
            return None
        origin = int(forecasts.origin_ms[at])
        ahead = np.arange(1, len(quantiles) + 1)
        ahead_ms = step_times(origin, interval, int(forecasts.calendar[at]), ahead, forecasts.timezone) - origin
        steps = steps_to_lead(rule.lead_ms, ahead_ms)
        if steps and rule.quantile in levels:
            return float(quantiles[:steps, [*levels].index(rule.quantile)].max())
        if rule.name not in self._reported:
            self._reported.add(rule.name)
            _log.warning(
                "no replicas for this lead time and quantile", scale=rule.name, series=rule.series,
                lead=format_duration(rule.lead), longest_lead=format_duration(int(ahead_ms[-1]) / 1000.0),
                quantile=rule.quantile, quantiles=", ".join(f"{level:g}" for level in levels),
            )  # fmt: skip
        return None

    def _drop(self, name: str) -> None:
        """Removes the gauges of a rule, so that an autoscaler does not read a stale value here."""
        if self._states.pop(name, None) is not None:
            self._metrics.desired_replicas.remove(name)
            self._metrics.scale_load_forecast.remove(name)
