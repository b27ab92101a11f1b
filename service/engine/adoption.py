"""Puts the champions of a partition in force, between two pieces of its stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from service.config.groups import shown_group
from service.engine.group_parts import GroupParts
from service.partitions.partition import Partition, Piece
from service.ports import Adoption

_log = structlog.get_logger()


def adopt_champions(
    groups: Mapping[str, GroupParts], beat: Callable[[], None], partition: Partition, piece: Piece
) -> Sequence[Adoption]:
    """Puts the champions in force from the piece on, where they are other models or were never recorded.

    A first adoption is recorded with the first state, of open windows too, because a replay begins there; others, and
    those of other groups, wait for events, because a training is identified by the events before it and the model in
    force.

    Args:
        groups: the parts of every group by its name.
        beat: called while rows are built anew for a network of another shape.
        partition, piece: the piece is the next one of the partition.

    Returns:
        What is published in the unit of the piece.
    """
    found = list[Adoption]()
    for group, share in partition.shares(piece):
        parts = groups[group.group]
        model, current = parts.champion.model, group.forecaster.model.sha256
        first = group is partition and not group.recorded and piece.decoded.changes_state
        if model is None or not (first or len(share.decoded)):
            continue
        if model.sha256 != current:
            group.adopt(model, beat)
            parts.metrics.adoptions.inc()
            named = {"group": shown_group(group.group)} if partition.others else {}
            _log.info("model adopted", partition=partition.name, position=piece.position, model=model.sha256[:12],
                      before=current[:12], **named)  # fmt: skip
        elif group.recorded:
            continue
        found.append(Adoption(piece.position, model.sha256, group.group))
    return found
