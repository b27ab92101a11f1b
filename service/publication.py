"""What was published, and those who learn of it: counters, single series, recent events, the summary of the run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forecaster import Forecaster, Forecasts
    from service.messages.decode import Decoded
    from service.ports import Unit


SeriesKey = tuple[str, str]
"""Partition and series."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One committed unit of output.

    Attributes:
        unit: as it was published.
        decoded: its events.
        forecasts: of these events, `output.limits` applied.
        forecaster: the state and the model behind them. It changes with the next batch.
        seconds: that each stage took, by its name: decode, observe, encode, publish.
    """

    unit: Unit
    decoded: Decoded
    forecasts: Forecasts
    forecaster: Forecaster
    seconds: Mapping[str, float]

    @property
    def partition(self) -> str:
        """The partition that the events came from."""
        return self.unit.partition

    @property
    def forgotten(self) -> list[str]:
        """Series that a record asked to forget and that have no event behind it in the unit."""
        return [name for at, name in self.decoded.forget if name not in self.decoded.series[at:]]


class Listener:
    """Learns of every publication, in the engine's thread, after the commit. It must be quick and must not raise."""

    def on_publication(self, publication: Publication) -> None:
        """A unit was committed."""

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Forecaster]) -> None:
        """The partitions of this process have changed.

        Args:
            assigned: all that this process is to serve.
            restored: the states of those that it serves already.
        """


class OnUnit(Listener):
    """Hands every unit to a function.

    Args:
        function: as of `Listener`.
    """

    def __init__(self, function: Callable[[Unit], None]) -> None:
        self._function = function

    def on_publication(self, publication: Publication) -> None:
        """Calls the function."""
        self._function(publication.unit)
