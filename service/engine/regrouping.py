"""Finds at certain events whether series need a group by cadence, with which the next start of the daemon begins.

The loop ends there, as at a stop, with a snapshot at exactly this position: whoever has started it stores the groups
and starts it again. If the process is killed meanwhile, its next start finds the same at the same position, before it
reads another event. A replay that passes such a position found nothing there before.
"""

from __future__ import annotations

from collections.abc import Callable

from forecaster import History
from service.errors import TransportError
from service.partitions.partition import Partition


class Regrouping:
    """Used in the loop's thread.

    Args:
        wants_groups: returns whether series of a history need another group than theirs; a function of the history.
            None: nobody asks.

    Attributes:
        wanted: whether the loop is to end, or has ended, because of it.
    """

    def __init__(self, wants_groups: Callable[[History], bool] | None) -> None:
        self._wants_groups, self.wanted = wants_groups, False

    @property
    def is_on(self) -> bool:
        """Whether anybody asks."""
        return self._wants_groups is not None

    def check(self, partition: Partition) -> None:
        """Looks at the history of the group "" of a partition, if it is at such an event."""
        if self._wants_groups is not None and partition.at_group_check:
            self.wanted = self.wanted or self._wants_groups(partition.forecaster.history())

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
