"""An alert, and the change of one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from service.config.alerts import KINDS, Kind

AlertKey = tuple[str, str, str]
"""Kind, rule and series: of the same key at most one alert lasts in a group of a partition."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that lasts. It does not change from its begin on, except that it ends.

    Attributes:
        kind: what began it.
        rule: name of the `[[alert]]` of a breach, else "".
        series: of it; "" for drift.
        starts_ms: event time at which it began.
        position: of the event that began it; with kind, rule and series its identity in a partition.
        value: of the event; of a breach the quantile that crossed the limit; nan for silence and drift.
        score: anomaly score of an anomaly, else nan.
        expected_ms: of a silence, when the next event was expected; of a breach, the first target beyond the limit.
    """

    kind: Kind
    rule: str
    series: str
    starts_ms: int
    position: int
    value: float
    score: float
    expected_ms: int

    @property
    def key(self) -> AlertKey:
        """See `AlertKey`."""
        return self.kind, self.rule, self.series

    def identity(self, partition: str) -> str:
        """Returns a name that no other alert has, the same after any crash; `partition`: with its run."""
        parts = (partition, *self.key, str(self.starts_ms), str(self.position))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]

    def to_json(self) -> list[Any]:
        """Returns its attributes as JSON values; numbers that JSON does not have as null."""
        value, score = (None if math.isnan(number) else number for number in (self.value, self.score))
        return [self.kind, self.rule, self.series, self.starts_ms, self.position, value, score, self.expected_ms]

    @classmethod
    def from_json(cls, found: list[Any]) -> Alert:
        """Returns the alert of `to_json`.

        Raises:
            ValueError, TypeError: it is none.
        """
        kind, rule, series, starts, position, value, score, expected = found
        if kind not in KINDS:
            msg = f"got an alert of the kind {kind!r}, expected one of {', '.join(KINDS)}"
            raise ValueError(msg)
        value, score = (math.nan if number is None else float(number) for number in (value, score))
        return cls(kind, str(rule), str(series), int(starts), int(position), value, score, int(expected))


class AlertChange(NamedTuple):
    """The begin or the end of an alert.

    Attributes:
        event: index of the event that caused it, among those of the piece.
        alert: which.
        ends_ms: event time at which it is over; 0: it begins.
    """

    event: int
    alert: Alert
    ends_ms: int = 0

    @property
    def at_ms(self) -> int:
        """The event time of the change."""
        return self.ends_ms or self.alert.starts_ms


class AlertNews(NamedTuple):
    """What a committed unit brings.

    Attributes:
        changes: alerts that begin or end with its events.
        lasting: all alerts of the group in the partition that last after it; it changes with the next unit.
    """

    changes: Sequence[AlertChange]
    lasting: Mapping[AlertKey, Alert]


NO_ALERTS: Final = AlertNews((), MappingProxyType({}))
