"""Passes the units of a replay to the deliveries, like the publications that they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forecaster import Forecasts
from service.deliveries import Deliveries
from service.engine.group_parts import GroupParts
from service.engine.group_units import publications_of
from service.partitions.partition import Partition, Piece
from service.ports import Unit, name_of_run


class ReplayedUnits:
    """Used in the loop's thread.

    Args:
        deliveries: get the units.
        groups: have the limits of forecasts.
    """

    def __init__(self, deliveries: Deliveries, groups: Mapping[str, GroupParts]) -> None:
        self._deliveries, self._groups = deliveries, groups

    def begin(self, name: str, run: int, since: int) -> None:
        """Called before a partition begins or is replayed, see `Deliveries.on_restore`."""
        self._deliveries.on_restore(name_of_run(name, run), since)

    def add(self, partition: Partition, piece: Piece, forecasts: Sequence[Forecasts]) -> None:
        """Passes a unit on; the partition stands at its end."""
        shares = partition.shares(piece)
        shown = [
            self._groups[group.group].limits.applied(share.decoded.series, found)
            for (group, share), found in zip(shares, forecasts, strict=True)
        ]
        unit = Unit(partition.name, piece.position, piece.next_position, (), (), run=partition.run, mark=piece.mark)
        for publication in publications_of(partition, piece, [unit] * (1 + len(shares)), shown, {}):
            self._deliveries.on_replayed(publication)
