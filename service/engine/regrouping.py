"""Finds at certain events the seasons of a first network, and whether series need a group by cadence.

With groups the next start of the daemon begins. The loop ends there, as at a stop, with a snapshot at exactly this
position: whoever has started it stores the groups and starts it again. If the process is killed meanwhile, its next
start finds the same at the same position, before it reads another event. A replay that passes such a position found
nothing there before.

Seasons come into force at once, with a network that becomes champion at exactly this position.
"""

from __future__ import annotations

from typing import Protocol

from forecaster import History
from service.engine.champion import Champion
from service.errors import TransportError
from service.partitions.partition import Partition


class Cadences(Protocol):
    """Reads the cadences of series in a history; both are functions of it and of the groups so far."""

    def __call__(self, history: History, /) -> bool:
        """Returns whether series need another group than theirs."""

    def seasons(self, history: History, /) -> tuple[int, ...]:
        """Returns the seasons of the first network of the series that have no other group; none if unknown."""


class Regrouping:
    """Used in the loop's thread.

    Args:
        wants_groups: finds them; None: nobody asks.

    Attributes:
        wanted: whether the loop is to end, or has ended, because of it.
    """

    def __init__(self, wants_groups: Cadences | None) -> None:
        self._wants_groups, self.wanted = wants_groups, False

    @property
    def is_on(self) -> bool:
        """Whether anybody asks."""
        return self._wants_groups is not None

    def check(self, partition: Partition, champion: Champion) -> None:
        """Looks at the history of the group "" of a partition, if it is at such an event.

        Args:
            partition: all of its events are published.
            champion: of the group; gets a network with seasons where it has none and has learnt nothing.
        """
        if self._wants_groups is None or not partition.at_group_check:
            return
        history = partition.forecaster.history()
        if champion.awaits_seasons and (seasons := self._wants_groups.seasons(history)):
            champion.begin_with(seasons)
        self.wanted = self.wanted or self._wants_groups(history)

    def finish(self, *, complete: bool) -> None:
        """Ends a run of the loop.

        Args:
            complete: whether the snapshots were written, without which a restart could not begin with other groups.

        Raises:
            TransportError: they were not; the start is repeated.
        """
        if self.wanted and not complete:
            self.wanted = False
            msg = "the snapshots at which groups of series begin could not be written"
            raise TransportError(msg)
