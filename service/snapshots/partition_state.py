"""Converts partitions to snapshots and back: forecaster, drift test and shadow model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from numpy.typing import NDArray

from forecaster import ForecasterError, Model, Shadow
from forecaster.state import checked
from service.errors import ServiceError
from service.partition import Partition
from service.snapshots.file import Snapshot, take
from service.snapshots.store import SnapshotStore

_log = structlog.get_logger()


def snapshots_of(partitions: Iterable[Partition], store: SnapshotStore) -> list[Snapshot]:
    """Captures all states that may be written: of partitions whose rows are exactly at their committed position.

    `store` decides which of them are full or incremental; it has to write them.
    """
    return [_snapshot(partition, store) for partition in partitions if partition.recorded and not partition.ahead]


def _snapshot(partition: Partition, store: SnapshotStore) -> Snapshot:
    """Captures the forecaster, and drift test and shadow model as further arrays."""
    name, position, forecaster = partition.name, partition.position, partition.forecaster
    base = store.base(name, position, forecaster)
    found = take(name, position, forecaster, partition.progress, base, partition.run)
    output = store.output()
    found = dataclasses.replace(found, output=output.name, start=output.start, settings=store.settings)
    found.library["anomaly"] = forecaster.anomaly.to_dict()
    if partition.drift is not None:
        found.arrays.update({f"drift.{name}": array for name, array in partition.drift.state().items()})
    if partition.shadow is not None:
        found.arrays.update({f"shadow.{name}": array for name, array in partition.shadow.state().items()})
        model = {"model": partition.shadow.model.sha256, "guard": partition.guard}
        found.library["shadow"] = partition.shadow.header() | model
    return found


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
