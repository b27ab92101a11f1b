"""Converts partitions to snapshots and back: forecaster, drift test, shadow model, open windows and overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from numpy.typing import NDArray

from forecaster import ForecasterError, Model, Shadow
from forecaster.state import Mark, checked
from service.errors import ServiceError
from service.partitions.history_overlap import HistoryOverlap
from service.partitions.partition import Partition
from service.snapshots.file import Base, Snapshot, take
from service.snapshots.store import SnapshotStore

_log = structlog.get_logger()

_WINDOWS: Final = "windows"  # in the header and in the names of arrays


def snapshots_of(partitions: Iterable[Partition], store: SnapshotStore) -> list[Snapshot]:
    """Captures all states that may be written: of partitions whose rows are exactly at their committed position.

    `store` decides which of them are full or incremental; it has to write them.
    """
    return [_snapshot(partition, store) for partition in partitions if partition.recorded and not partition.ahead]


def _snapshot(partition: Partition, store: SnapshotStore) -> Snapshot:
    """Captures the states of all groups, and the overlap and open windows as further arrays."""
    name, position = partition.name, partition.position
    others = {group.group: group.forecaster for group in partition.others}
    since = store.base(name, position, partition.forecaster, others)
    marks = {} if since is None else store.marks_of(name)
    found, *groups = (
        _captured(group, None if since is None else (since[0], marks[group.group])) for group in partition.groups
    )
    output = store.output()
    found = dataclasses.replace(
        found, output=output.name, start=output.start, settings=store.settings,
        groups=dict(zip(others, groups, strict=True)),
    )  # fmt: skip
    if partition.overlap is not None:
        found.arrays.update({f"seam.{name}": array for name, array in partition.overlap.arrays().items()})
    if partition.aggregator is not None:
        arrays, streamed = partition.aggregator.capture()
        found.arrays.update({f"{_WINDOWS}.{name}": array for name, array in arrays.items()})
        found = dataclasses.replace(found, streamed={f"{_WINDOWS}.{name}": array for name, array in streamed.items()})
        found.library[_WINDOWS] = {"settings": partition.aggregator.settings, "open": len(partition.aggregator)}
    return found


def _captured(group: Partition, since: tuple[Base, Mark] | None) -> Snapshot:
    """Captures the forecaster of a group, and drift test and shadow model as further arrays."""
    found = take(group.name, group.position, group.forecaster, group.progress, since, group.run)
    found.library["anomaly"] = group.flags.settings.model_dump(mode="json")
    found.library["flags_of_periods"] = group.flags.state()
    found.library["feedback"] = group.feedback
    if alerts := group.alerts.state():
        found.library["alerts"] = alerts
    if group.drift is not None:
        found.arrays.update({f"drift.{name}": array for name, array in group.drift.state().items()})
    if group.shadow is not None:
        found.arrays.update({f"shadow.{name}": array for name, array in group.shadow.state().items()})
        model = {"model": group.shadow.model.sha256, "guard": group.guard}
        found.library["shadow"] = group.shadow.header() | model
    return found


def restore_windows(partition: Partition, snapshot: Snapshot) -> None:
    """Restores the open windows of a snapshot. Windows of other settings are dropped, with a line in the log.

    Raises:
        CheckpointError: the state of the windows is invalid.
    """
    header = snapshot.library.get(_WINDOWS)
    if header is None:  # made without windows, which begin here
        return
    with checked("the state of open windows"):
        settings, count = dict(header["settings"]), int(header["open"])
    if partition.aggregator is None or partition.aggregator.settings != settings:
        if count:
            _log.warning("open windows dropped, their settings have changed", partition=partition.name,
                         position=snapshot.position, windows=count)  # fmt: skip
        return
    start = f"{_WINDOWS}."
    partition.aggregator.restore(
        {name.removeprefix(start): array for name, array in snapshot.arrays.items() if name.startswith(start)}
    )


def restore_overlap(partition: Partition, snapshot: Snapshot) -> None:
    """Restores the overlap of a snapshot, as far as it has one.

    Raises:
        CheckpointError: it is invalid, so that its decisions could not be repeated.
    """
    found = {
        name: snapshot.arrays[f"seam.{name}"] for name in HistoryOverlap.ARRAYS if f"seam.{name}" in snapshot.arrays
    }
    if found:
        partition.overlap = partition.overlap or HistoryOverlap(0)
        partition.overlap.restore(found)


def restore_tests(partition: Partition, snapshot: Snapshot, load: Callable[[str], Model]) -> None:
    """Restores the drift test and the shadow model of a snapshot, as far as it has them.

    Raises:
        CheckpointError: the state of the drift test is invalid, so that its decisions could not be repeated.
    """
    parts: dict[str, dict[str, NDArray[Any]]] = {"drift": {}, "shadow": {}}
    for name, array in snapshot.arrays.items():
        kind, _, rest = name.partition(".")
        if kind in parts:
            parts[kind][rest] = array
    if partition.drift is not None and parts["drift"]:
        partition.drift.restore(parts["drift"])
    header = snapshot.library.get("shadow")
    if header is None or not partition.rules.shadow:
        return
    try:
        with checked("the state of a trial"):
            shadow, guard = Shadow.from_state(parts["shadow"], header, load(header["model"])), bool(header["guard"])
            if (control := shadow.control.model.sha256) != (in_force := partition.forecaster.model.sha256):
                msg = f"got model {control[:12]} as the control, expected the model in force, {in_force[:12]}"
                raise ValueError(msg)
        partition.shadow, partition.guard = shadow, guard
    except (ForecasterError, ServiceError) as error:
        _log.warning("trial not restored, restarting it", partition=partition.name, error=str(error))
