"""Moves series to the groups that they belong to since the groups have changed; their rows begin with their history."""

from __future__ import annotations

from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from forecaster import Batch, History
from service.config.groups import shown_group
from service.partitions.grouping import Grouping
from service.partitions.partition import Partition

_log = structlog.get_logger()

_EVENTS: Final = 16_384  # observed at once


def move_series(partition: Partition, grouping: Grouping) -> None:
    """Forgets the rows of series in groups that they do not belong to, and takes their history into those that they do.

    The history is what `state.history_events` kept of the group that they leave. If that is all that they had, their
    rows are those that they would have if they had always been where they belong, with its model.

    It is a function of the state and the groups, so that a replay from the same snapshot repeats it.

    Args:
        partition: restored, at the position of its snapshot; its groups are changed.
        grouping: the present groups.
    """
    parts = list[History]()
    for number, group in enumerate(partition.groups):
        series = group.forecaster.series
        moved = [series[at] for at in np.flatnonzero(grouping.of(series) != number).tolist()]
        if moved:
            parts.append(_history_of(group, frozenset(moved)))
            for name in moved:  # feedback belongs to the series
                if strictness := group.forecaster.strictness.get(name, 0):
                    group.forecaster.adjust_threshold(name, -strictness)
                    partition.groups[int(grouping.of([name])[0])].forecaster.adjust_threshold(name, strictness)
            group.forecaster.forget(moved)
            _log.info("series belong to another group now", partition=partition.name, count=len(moved),
                      before=shown_group(group.group))  # fmt: skip
    for history in parts:
        names = [history.names[serial] for serial in history.series.tolist()]
        numbers = grouping.of(names)
        for number, group in enumerate(partition.groups):
            at = np.flatnonzero(numbers == number)
            for begin in range(0, len(at), _EVENTS):
                _take_in(group, history, names, at[begin : begin + _EVENTS])


def _history_of(group: Partition, series: frozenset[str]) -> History:
    """Returns the events of some series that a group keeps."""
    history = group.forecaster.history()
    serials = [serial for serial, name in history.names.items() if name in series]
    at = np.flatnonzero(np.isin(history.series, np.array(serials, np.int64)))
    return History(
        history.series[at],
        history.timestamp_ms[at],
        history.value[at],
        history.covariates[at],
        names={serial: history.names[serial] for serial in serials},
        future=None if history.future is None else history.future[at],
    )


def _take_in(group: Partition, history: History, names: list[str], at: NDArray[np.int64]) -> None:
    """Observes events in a group, and counts them; no training becomes due."""
    config = group.forecaster.config
    future = None
    if history.future is not None:  # of the horizon of the group that they leave
        known = history.future[at, :, : config.horizon]
        missing = config.horizon - known.shape[2]
        future = np.pad(known, ((0, 0), (0, 0), (0, missing)), constant_values=np.nan)
    batch = Batch(
        [names[i] for i in at.tolist()],
        history.timestamp_ms[at],
        history.value[at],
        history.covariates[at] if config.covariates else None,
        future,
    )
    group.forecaster.observe(batch)
    group.schedule.advance(group.progress, batch.timestamp_ms, due=False)
