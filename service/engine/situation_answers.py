"""Answers questions about the situation of a series, between two batches; see `service.recent.situations`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.engine.group_parts import GroupParts
from service.partitions.partition import Partition
from service.recent import BoundedSituation, NoAnswerError, Situations


class SituationAnswers:
    """Used in the loop's thread.

    Args:
        groups: the groups of series, with their limits.

    Attributes:
        situations: the questions; other threads ask there.
    """

    def __init__(self, groups: Sequence[GroupParts]) -> None:
        self.situations = Situations()
        self._limits = {group.name: group.limits for group in groups}

    def run(self, served: Mapping[str, Partition]) -> None:
        """Answers what waits, from the partitions that are served."""

        def take(partition: str, series: str) -> BoundedSituation:
            for group in served[partition].groups if partition in served else ():
                if group.forecaster.row_of(series) is not None:
                    return BoundedSituation(
                        group.forecaster.situation(series), self._limits[group.group].bounds_of(series)
                    )
            msg = f"partition {partition!r} is not served at present, or its series {series[:80]!r} has no state"
            raise NoAnswerError(msg)

        self.situations.answer(take)
