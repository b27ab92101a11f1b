"""Publications and their listeners: counters, exported series, recent events, the summary of the run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecaster import is_observed
from service.alerts.alert import NO_ALERTS, Alert, AlertKey, AlertNews
from service.messages.encode import revisions

if TYPE_CHECKING:
    from forecaster import Forecaster, Forecasts
    from service.messages.decode import Decoded
    from service.ports import Unit


SeriesKey = tuple[str, str]
"""Partition and series."""


def newest_corrections(series: Sequence[str], forecasts: Forecasts) -> dict[str, int]:
    """Returns the index of the last revision of every series of which no newer event follows.

    Args:
        series: of the events of a batch. forecasts: of these events.
    """
    found: dict[str, int] = {}
    if not len(revised := revisions(forecasts)):
        return found
    observed = is_observed(forecasts.status).tolist()
    for at in range(min(revised), len(series)):
        if at in revised:
            found[series[at]] = at
        elif observed[at]:
            found.pop(series[at], None)
    return found


@dataclass(frozen=True, slots=True)
class Publication:
    """One committed unit of output, or with groups of series (`[[group]]`) the share of one group in it.

    What is not of an event (rejects, adoptions, control records) is in the share of group "" only.

    Attributes:
        unit: the committed unit, or the share.
        decoded: its events.
        forecasts: of these events, clipped to `output.limits`.
        forecaster: the state and the model that made them. It changes with the next batch.
        seconds: seconds of each stage by name: decode, observe, encode, publish.
        group: the group of the series.
        alerts: which alerts begin and end with the events, and which last.
    """

    unit: Unit
    decoded: Decoded
    forecasts: Forecasts
    forecaster: Forecaster
    seconds: Mapping[str, float]
    group: str = ""
    alerts: AlertNews = NO_ALERTS

    @property
    def partition(self) -> str:
        """The partition of the events."""
        return self.unit.partition

    @property
    def forgotten(self) -> list[str]:
        """Series whose state is removed by a record, without a later event in the unit."""
        return [name for at, name in self.decoded.forget if name not in self.decoded.series[at:]]


@dataclass(frozen=True, slots=True)
class ServedAlerts:
    """The alerts that last in a group of series of a partition.

    Attributes:
        partition, run, group: of the alerts.
        newest_ms: greatest event time so far; 0 before the first event.
        lasting: the alerts; they change with the next unit.
        of_history: whether the partition has not reached its live records yet.
    """

    partition: str
    run: int
    group: str
    newest_ms: int
    lasting: Mapping[AlertKey, Alert]
    of_history: bool = False


class Listener:
    """Called after every commit, in the engine's thread. It must be fast and must not raise."""

    def on_publication(self, publication: Publication) -> None:
        """Called after a unit was committed."""

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:
        """Called when the partitions of this process have changed.

        Args:
            assigned: all partitions assigned to this process.
            restored: the states of those that it serves already, by partition and group of series.
        """

    def on_served(self, served: ServedAlerts) -> None:
        """Called when a partition is served from now on, restored or taken over, for each of its groups of series.

        Called after `on_partitions`, and before its next unit.
        """


class OnUnit(Listener):
    """Passes every unit to a function.

    Args:
        function: called in the engine's thread; must be fast and must not raise.
    """

    def __init__(self, function: Callable[[Unit], None]) -> None:
        self._function = function

    def on_publication(self, publication: Publication) -> None:
        """Calls the function."""
        self._function(publication.unit)
