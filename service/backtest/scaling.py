"""Compares scaling policies on a recorded load: reactive, last week's value, and the forecast's quantile.

Every policy requests replicas at every event; `service.scaling.provisioning` says how many of them serve later.

    reactive     for the newest load
    last week    for the largest load that followed one week before, up to the lead time, or for the newest load if that
                 is more: what Mimir ships for its queriers, a second trigger beside the reactive one. The first week is
                 reactive.
    forecast     for the largest quantile up to the lead time, as the daemon

Their costs compare at equal risk only: the loads of the first two policies are multiplied by the smallest factor with
which they are under-provisioned at no more events than the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import Backtest, at_levels
from service.backtest.events import EventTable
from service.backtest.origins import WARM_SHARE
from service.config.durations import format_duration
from service.config.scale_rules import ScaleRule
from service.errors import ConfigurationError
from service.scaling.provisioning import Provisioning
from service.scaling.replicas import replicas_for, steps_to_lead

_WEEK_MS: Final = 7 * 86_400_000
_LARGEST_FACTOR: Final = 64.0
_FACTOR_RATIO: Final = 1.001  # to which a factor is found


class ScaledLoad(NamedTuple):
    """The load of a `[[scale]]` and what each policy expects at its events.

    Attributes:
        rule: the settings.
        time_ms: (n,) int64, increasing. value: (n,) float64, nan where missing.
        interval_ms: of one step.
        expected: by policy, (n,) the load that replicas are requested for; nan: the request stays as it is.
        counted: (n,) which events are counted.
    """

    rule: ScaleRule
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    interval_ms: int
    expected: dict[str, NDArray[np.float64]]
    counted: NDArray[np.bool_]


class PolicyCost(NamedTuple):
    """Cost and risk of a policy.

    Attributes:
        factor: by which its loads were multiplied.
        pod_hours: requested replicas times hours.
        short: counted events at which the load exceeded the capacity of the replicas that served.
    """

    factor: float
    pod_hours: float
    short: int


@dataclass(frozen=True)
class PolicyComparison:
    """The policies on one load.

    Attributes:
        load: the load.
        plain: by policy, without a factor. equal: at the risk of the forecast; None where no factor up to 64 does it.
    """

    load: ScaledLoad
    plain: dict[str, PolicyCost]
    equal: dict[str, PolicyCost | None]

    def to_json(self) -> dict[str, Any]:
        """Returns the comparison as JSON values."""
        rule, events, minutes = self.load.rule, int(self.load.counted.sum()), self.load.interval_ms / 60_000
        policies = {}
        for name, cost in self.plain.items():
            equal = self.equal[name]
            policies[name] = {
                "pod_hours": round(cost.pod_hours, 1),
                "under_provisioned_minutes": round(cost.short * minutes, 3),
                "under_provisioned": round(cost.short / events, 5) if events else None,
                "factor": None if equal is None else round(equal.factor, 3),
                "pod_hours_at_equal_risk": None if equal is None else round(equal.pod_hours, 1),
            }
        return {
            "scale": rule.name, "series": rule.series, "events": events, "interval_ms": self.load.interval_ms,
            "policies": policies,
        }  # fmt: skip


def scaled_events(events: EventTable, rules: Sequence[ScaleRule]) -> NDArray[np.bool_]:
    """Returns which events are loads of the rules, (n,).

    Raises:
        ConfigurationError: a load is not among the series.
    """
    numbers = {name: number for number, name in enumerate(events.names)}
    if absent := [rule.series for rule in rules if rule.series not in numbers]:
        known = ", ".join(events.names[:5]) + (", ..." if len(events.names) > 5 else "")
        msg = f"scale.series: got {absent[0]!r}, expected one of the {len(events.names)} series of the file: {known}"
        raise ConfigurationError(msg)
    wanted: NDArray[np.bool_] = np.isin(events.series, [numbers[rule.series] for rule in rules])
    return wanted


def compare(rule: ScaleRule, events: EventTable, result: Backtest) -> PolicyComparison:
    """Replays the load of a rule with all policies.

    Args:
        rule: the settings.
        events: the events of the file.
        result: their forecasts, of all events of the load.

    Raises:
        ConfigurationError: the lead time is longer than the forecast horizon.
    """
    load = _load_of(rule, events, result)
    plain = {name: _replayed(load, name, 1.0) for name in load.expected}
    ours = plain["forecast"]
    return PolicyComparison(
        load, plain, {name: ours if name == "forecast" else _at_risk(load, name, ours.short) for name in plain}
    )


def table(found: Sequence[PolicyComparison]) -> str:
    """Returns the comparisons as text."""
    lines = list[str]()
    for one in found:
        facts, rule = one.to_json(), one.load.rule
        interval = format_duration(one.load.interval_ms / 1000)
        lines.append(
            f"{rule.name}: {facts['events']} loads of {rule.series} every {interval}, lead "
            f"{format_duration(rule.lead)}, quantile {rule.quantile:g}, capacity {rule.capacity:g}"
        )
        lines.append(
            f"{'':10} {'pod-hours':>11} {'under-provisioned':>24}   at equal risk: {'load x':>7} {'pod-hours':>11}"
        )
        for name, values in facts["policies"].items():
            share = values["under_provisioned"]
            risk = f"{values['under_provisioned_minutes']:,.0f} min" + ("" if share is None else f" ({share:.2%})")
            equal = values["pod_hours_at_equal_risk"]
            right = f"{'-':>7} {'-':>11}" if equal is None else f"{values['factor']:>7.3f} {equal:>11,.1f}"
            lines.append(f"{name:10} {values['pod_hours']:>11,.1f} {risk:>24} {'':17}{right}")
        ours = one.plain["forecast"].pod_hours
        shares = {
            name: 1 - ours / cost.pod_hours
            for name, cost in one.equal.items()
            if name != "forecast" and cost is not None and cost.pod_hours
        }
        if shares:
            than = [f"{abs(part):.1%} {'fewer' if part >= 0 else 'more'} than {name}" for name, part in shares.items()]
            lines.append(f"pod-hours of the forecast at equal risk: {', '.join(than)}")
    return "\n".join(lines)


def _load_of(rule: ScaleRule, events: EventTable, result: Backtest) -> ScaledLoad:
    rows = np.flatnonzero(events.series[result.event] == events.names.index(rule.series))
    time_ms = events.timestamp_ms[result.event[rows]]
    rows, time_ms = rows[distinct := np.diff(time_ms, prepend=-1) > 0], time_ms[distinct]
    value = events.value[result.event[rows]]
    known = result.interval_ms[rows] > 0
    if not known.any():
        msg = f"scale.series: got one event of {rule.series!r}, expected several"
        raise ConfigurationError(msg)
    interval = int(np.median(result.interval_ms[rows][known]))
    ahead_ms = (result.targets_ms(events.timestamp_ms[result.event])[rows][known] - time_ms[known, None])[-1]
    steps = steps_to_lead(rule.lead_ms, ahead_ms)
    if not steps:
        horizon, longest = len(ahead_ms), format_duration(int(ahead_ms[-1]) / 1000)
        msg = (
            f'scale.lead: got "{format_duration(rule.lead)}" for {rule.name}, expected at most "{longest}" '
            f"(model.horizon = {horizon} steps); set model.horizon or lead"
        )
        raise ConfigurationError(msg)
    level = at_levels(result.quantiles[rows, :steps], result.forecaster.config.quantiles, (rule.quantile,))
    forecast = np.where(known, level[:, :, 0].max(axis=1), np.nan)
    reactive = _filled(value)
    expected = {
        "reactive": reactive,
        "last week": np.fmax(reactive, _week_before(time_ms, reactive, int(ahead_ms[steps - 1]))),
        "forecast": forecast,
    }
    first = int(np.argmax(np.isfinite(forecast)))  # no policy is counted before the forecast can be
    counted = np.isfinite(value) & (np.arange(len(value)) >= WARM_SHARE * len(value))
    return ScaledLoad(rule, time_ms, value, interval, expected, counted & (time_ms - rule.lead_ms >= time_ms[first]))


def _filled(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the values with the last known one in the place of a missing one; nan before the first known one."""
    return value[np.maximum.accumulate(np.where(np.isfinite(value), np.arange(len(value)), 0))]


def _week_before(time_ms: NDArray[np.int64], value: NDArray[np.float64], ahead_ms: int) -> NDArray[np.float64]:
    """Returns the largest value from one week before each event until `ahead_ms` after that; nan without one."""
    begin = np.searchsorted(time_ms, time_ms - _WEEK_MS, "left")
    end = np.searchsorted(time_ms, time_ms - _WEEK_MS + ahead_ms, "right")
    found = np.full(len(value), np.nan)
    for at in np.flatnonzero(end > begin).tolist():
        found[at] = np.fmax.reduce(value[begin[at] : end[at]])
    return found


def _replayed(load: ScaledLoad, policy: str, factor: float) -> PolicyCost:
    """Replays a load with a policy; an event stands for one interval before it."""
    rule, provisioning = load.rule, Provisioning(load.rule)
    pods = short = 0
    rows = (load.time_ms, load.value, load.expected[policy], load.counted)
    for time_ms, value, expected, counted in zip(*(one.tolist() for one in rows), strict=True):
        if counted:
            short += bool(provisioning.falls_short(time_ms, value))
            pods += provisioning.requested or 0
        if expected == expected:  # not nan  # noqa: PLR0124
            provisioning.request(time_ms, replicas_for(expected, rule, factor))
    return PolicyCost(factor, pods * load.interval_ms / 3_600_000, short)


def _at_risk(load: ScaledLoad, policy: str, short: int) -> PolicyCost | None:
    """Returns a policy with the smallest factor at which no more than `short` events are under-provisioned.

    More load never makes fewer replicas, so bisection finds it.
    """
    low, best = 1.0 / _LARGEST_FACTOR, _replayed(load, policy, _LARGEST_FACTOR)
    if best.short > short:
        return None
    while best.factor > low * _FACTOR_RATIO:
        middle = _replayed(load, policy, (low * best.factor) ** 0.5)
        if middle.short > short:
            low = middle.factor
        else:
            best = middle
    return best
