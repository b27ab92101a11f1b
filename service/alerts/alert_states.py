"""Which alerts of a group of series last in a partition: a function of its events, part of the snapshots.

    anomaly   begins with a flagged event; over when the series is quiet again (`Note.QUIET`), or begins anew
    silence   begins where a series is announced as silent; over with its next event
    breach    begins after `for_steps` forecasts beyond the limit of an `[[alert]]`; over after as many within `clear`
    drift     begins where the drift test makes a training due; over at its next check below the threshold

In a maintenance window (`anomaly.maintenance`) no alert of a series begins. The alerts of a series are also over with
feedback that acknowledges them, and where the state of the series is removed by a record, with the time of their begin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from forecaster import Note, is_observed
from service.alerts.alert import Alert, AlertChange, AlertKey, AlertNews
from service.alerts.breach_rules import BreachRules, LimitComparison

if TYPE_CHECKING:
    from forecaster import Forecasts
    from service.config.alerts import Kind
    from service.messages.decode import Decoded

MOST_LASTING: Final = 1000
"""Alerts of a group of a partition that last at the same time; beyond, none begins."""

MOST_COUNTED: Final = 10_000
"""Series beyond a limit for less than `for_steps` forecasts that are remembered, the newest ones."""

_NAN: Final = math.nan
_FIRST_STEP: Final = 1


class _Columns(NamedTuple):
    """The columns of a piece as lists, by event."""

    series: Sequence[str]
    positions: Sequence[int]
    value: list[float]
    ms: list[int]
    observed: list[bool]
    flagged: list[int]
    quiet: list[bool]
    score: list[float]
    steps: list[int]
    interval_ms: list[int]
    in_maintenance: Callable[[str, int], bool]


def _columns(decoded: Decoded, forecasts: Forecasts, in_maintenance: Callable[[str, int], bool]) -> _Columns:
    return _Columns(
        decoded.series, decoded.positions, decoded.value.tolist(), forecasts.origin_ms.tolist(),
        is_observed(forecasts.status).tolist(), forecasts.flagged.tolist(),
        ((forecasts.notes & Note.QUIET) != 0).tolist(), forecasts.anomaly.tolist(), forecasts.steps.tolist(),
        forecasts.interval_ms.tolist(), in_maintenance,
    )  # fmt: skip


class AlertStates:
    """The alerts of one group in one partition. Used by one thread.

    Args:
        rules: of breaches.
        kinds: which alerts there are.

    Attributes:
        lasting: the alerts that have begun and are not over.
        changes: those of the last piece of events, in their order.
        unbegun: number of alerts that did not begin because too many last; since the start.
    """

    def __init__(self, rules: BreachRules, kinds: Iterable[Kind]) -> None:
        self._rules, self._kinds = rules, frozenset(kinds)
        self.lasting: dict[AlertKey, Alert] = {}
        self.changes: list[AlertChange] = []
        self.unbegun = 0
        self._acknowledged: list[AlertChange] = []  # over between two events; a change of the next event
        self._counts: dict[AlertKey, int] = {}  # of a breach: forecasts beyond in succession; if it lasts, within

    def observe(
        self,
        decoded: Decoded,
        forecasts: Forecasts,
        levels: Sequence[float],
        in_maintenance: Callable[[str, int], bool],
    ) -> None:
        """Observes the events of a piece; replaces `changes`.

        Args:
            decoded: the events. forecasts: of these, not clipped. levels: of their quantiles.
            in_maintenance: returns whether no alert of a series begins at an event time.
        """
        self.pass_by()
        if not self._kinds:
            return
        if not decoded.series:
            for _, name in decoded.forget:
                self._forget(name, self._acknowledged, 0)
            return
        self.changes, self._acknowledged = self._acknowledged, []
        series, last = decoded.series, len(decoded) - 1
        compared = self._rules.compare(series, forecasts, levels) if "breach" in self._kinds else []
        places = [self._places(one, series) for one in compared]
        affected = {key[2] for key in (*self.lasting, *self._counts)}
        affected |= {series[i] for i in np.flatnonzero(forecasts.flagged).tolist()}
        affected |= {one.series for one in forecasts.silences}
        affected |= {series[at] for found in places for at in found}
        if not affected:
            return
        batch = _columns(decoded, forecasts, in_maintenance)
        silences: dict[int, list[Any]] = {}
        for silence in forecasts.silences:
            silences.setdefault(silence.event, []).append(silence)
        forgotten: dict[int, list[str]] = {}
        for at, name in decoded.forget:
            forgotten.setdefault(at, []).append(name)
        events = {i for i, name in enumerate(series) if name in affected}
        for at in sorted(events | silences.keys() | forgotten.keys()):
            for name in forgotten.get(at, ()):
                self._forget(name, self.changes, min(at, last))
            if at in events and batch.observed[at]:
                self._observe_event(batch, at)
                for one, found in zip(compared, places, strict=True):
                    if at in found:
                        self._observe_forecast(batch, at, one, found[at])
            for silence in silences.get(at, ()):
                alert = Alert("silence", "", silence.series, silence.noticed_ms, batch.positions[at], _NAN, _NAN,
                              silence.expected_ms)  # fmt: skip
                self._begin(batch, at, alert)

    @property
    def news(self) -> AlertNews:
        """What the last piece has brought."""
        return AlertNews(self.changes, self.lasting)

    def pass_by(self) -> None:
        """Notes a piece without events, which has no changes: they are those of the next one with events."""
        self.changes = []

    def _places(self, compared: LimitComparison, series: Sequence[str]) -> dict[int, int]:
        """Returns the events of a comparison that may change something, with their places in it."""
        names = {key[2] for key in (*self.lasting, *self._counts) if key[:2] == ("breach", compared.rule.name)}
        names |= {series[at] for at in compared.events[compared.beyond].tolist()}
        if not names:
            return {}
        return {at: place for place, at in enumerate(compared.events.tolist()) if series[at] in names}

    def _observe_event(self, batch: _Columns, at: int) -> None:
        """Ends what is over with an event of its series, and begins the alert of an anomaly."""
        series, ms = batch.series[at], batch.ms[at]
        self._end(("silence", "", series), at, ms)
        anomaly = "anomaly", "", series
        if batch.quiet[at] or batch.steps[at] == _FIRST_STEP:
            self._end(anomaly, at, ms)
        if batch.flagged[at]:
            self._begin(batch, at, Alert("anomaly", "", series, ms, batch.positions[at], batch.value[at],
                                         batch.score[at], 0))  # fmt: skip

    def _observe_forecast(self, batch: _Columns, at: int, compared: LimitComparison, place: int) -> None:
        """Counts the forecasts of an event beyond or within a limit; begins or ends the alert of its breach."""
        rule, series, ms = compared.rule, batch.series[at], batch.ms[at]
        key = "breach", rule.name, series
        lasts = key in self.lasting
        counts = not compared.above_clear[place] if lasts else bool(compared.beyond[place])
        count = self._counts.pop(key, 0) + 1
        if not counts:
            return
        if count < rule.for_steps:
            self._counts[key] = count
            if len(self._counts) > MOST_COUNTED:
                del self._counts[next(iter(self._counts))]
        elif lasts:
            self._end(key, at, ms)
        else:
            expected = ms + int(compared.first[place]) * batch.interval_ms[at]
            self._begin(batch, at, Alert("breach", rule.name, series, ms, batch.positions[at],
                                         float(compared.extreme[place]), _NAN, expected))  # fmt: skip

    def observe_drift(self, event: int, ms: int, position: int, *, drifts: bool) -> None:
        """Notes a check of the drift test, at the last event of a piece.

        Args:
            event: index of this event. ms: its time. position: its position.
            drifts: whether the test has raised an alarm.
        """
        if not drifts:
            self._end(("drift", "", ""), event, ms)
        elif "drift" in self._kinds and ("drift", "", "") not in self.lasting:
            self._add(event, Alert("drift", "", "", ms, position, _NAN, _NAN, 0))

    def acknowledge(self, series: str, ms: int) -> None:
        """Ends all alerts of a series, between two pieces; `ms`: event time of the end.

        The changes are those of the next piece.
        """
        for key in [key for key in self.lasting if key[2] == series]:
            alert = self.lasting.pop(key)
            self._acknowledged.append(AlertChange(0, alert, max(1, alert.starts_ms, ms)))

    def _begin(self, batch: _Columns, at: int, alert: Alert) -> None:
        begins = alert.kind in self._kinds and alert.key not in self.lasting
        if begins and not batch.in_maintenance(alert.series, alert.starts_ms):
            self._add(at, alert)

    def _add(self, at: int, alert: Alert) -> None:
        if len(self.lasting) >= MOST_LASTING:
            self.unbegun += 1
            return
        self.lasting[alert.key] = alert
        self.changes.append(AlertChange(at, alert))

    def _end(self, key: AlertKey, at: int, ms: int) -> None:
        if (alert := self.lasting.pop(key, None)) is not None:
            self.changes.append(AlertChange(at, alert, max(1, alert.starts_ms, ms)))

    def _forget(self, series: str, changes: list[AlertChange], at: int) -> None:
        """Ends all alerts of a series whose state is removed, and forgets what was counted for it."""
        for key in [key for key in self.lasting if key[2] == series]:
            alert = self.lasting.pop(key)
            changes.append(AlertChange(at, alert, max(1, alert.starts_ms)))
        for key in [key for key in self._counts if key[2] == series]:
            del self._counts[key]

    def state(self) -> dict[str, Any]:
        """Returns all state as JSON values; empty without any."""
        lasting = [alert.to_json() for alert in self.lasting.values()]
        counts = [[*key, count] for key, count in self._counts.items()]
        ended = [[one.alert.to_json(), one.ends_ms] for one in self._acknowledged]
        return {name: part for name, part in (("lasting", lasting), ("counts", counts), ("ended", ended)) if part}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned; what the configuration does not have any more is left out.

        Raises:
            ValueError, TypeError, LookupError: the state is invalid.
        """
        rules = {"", *(rule.name for rule in self._rules.rules)}
        found = [Alert.from_json(one) for one in state.get("lasting", ())]
        self.lasting = {one.key: one for one in found if one.kind in self._kinds and one.rule in rules}
        self._acknowledged = [AlertChange(0, Alert.from_json(one), int(ms)) for one, ms in state.get("ended", ())]
        counts = [
            (str(kind), str(rule), str(series), int(count)) for kind, rule, series, count in state.get("counts", ())
        ]
        self._counts = {(kind, rule, series): count for kind, rule, series, count in counts
                        if rule in rules and "breach" in self._kinds}  # fmt: skip
