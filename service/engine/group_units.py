"""Puts the forecasts of several groups of series into one unit, in the order of the events, and tells them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecaster import Forecasts
from service.partitions.partition import Partition, Piece
from service.ports import Encoded, Outcomes, Unit
from service.publication import Publication


def in_order(parts: Sequence[Encoded], places: Sequence[Sequence[int]], shares: Sequence[Piece]) -> Encoded:
    """Returns the outgoing records of all groups in the order of the events of their piece.

    Args:
        parts: the records of each group, in the order of its events.
        places: index of the event of each record, among the events of its group.
        shares: the shares of the groups.
    """
    events = [share.places[np.array(own, np.int64)] for share, own in zip(shares, places, strict=True)]
    order = np.argsort(np.concatenate(events), kind="stable").tolist()
    series = [one for part in parts for one in part.series]
    forecasts = [one for part in parts for one in part.forecasts]
    positions = [one for part in parts for one in part.positions]
    return Encoded([series[i] for i in order], [forecasts[i] for i in order], [positions[i] for i in order])


def total_of(outcomes: Sequence[Outcomes]) -> Outcomes:
    """Returns the sum of the counts of the groups."""
    if len(outcomes) == 1:
        return outcomes[0]
    return Outcomes(
        sum(one.events for one in outcomes), sum(one.late for one in outcomes), sum(one.duplicates for one in outcomes)
    )


def units_of_groups(unit: Unit, parts: Sequence[Encoded], outcomes: Sequence[Outcomes]) -> list[Unit]:
    """Returns the share of each group in a unit; what is not of an event is in that of the first group only."""
    found = [
        replace(unit, series=part.series, forecasts=part.forecasts, positions=part.positions, outcomes=made)
        for part, made in zip(parts, outcomes, strict=True)
    ]
    others = [replace(one, rejects=(), adoption=None, mark=None, group_adoptions=()) for one in found[1:]]
    return [found[0], *others]


def publications_of(
    partition: Partition,
    piece: Piece,
    units: Sequence[Unit],
    forecasts: Sequence[Forecasts],
    seconds: Mapping[str, float],
) -> Iterator[Publication]:
    """Yields what listeners learn of a committed unit: with groups, the share of each group that has one.

    Args:
        partition, piece: of the unit.
        units: as returned by `Publisher.unit`.
        forecasts: as published, of each share.
        seconds: of each stage; with groups, each share counts with its part of the events.
    """
    shares = partition.shares(piece)
    if len(shares) == 1:
        one = partition
        yield Publication(units[0], piece.decoded, forecasts[0], one.forecaster, seconds, alerts=one.alerts.news)
        return
    total = max(1, len(piece.decoded))
    for number, ((group, share), unit, found) in enumerate(zip(shares, units[1:], forecasts, strict=True)):
        own = share.decoded
        if not number or len(own) or own.forget or group.alerts.changes:
            part = {name: taken * len(own) / total for name, taken in seconds.items()}
            yield Publication(unit, own, found, group.forecaster, part, group.group, group.alerts.news)
