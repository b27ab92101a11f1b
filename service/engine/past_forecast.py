"""Computes a past forecast again, from the newest snapshot before it and the source, beside a running daemon.

    stored forecast -> partition and position of its event
    bookkeeping     -> a temporary folder, with links to the snapshots up to there; the output is opened to read only
    restore         -> the state behind that event, as a start that had committed it would have it

Nothing of the data folder is written, and no lock is taken. What is not in the output cannot be found: the forecasts
must be in SQLite. The input must be files, which can be read again beside a daemon.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import Model, Situation, start_model
from forecaster.packed import NO_DIGITS, pack_quantiles
from service.config.sections import Config
from service.engine.clip import Limits
from service.engine.partition_factory import PartitionFactory
from service.engine.replay_settings import replay_settings
from service.engine.restore import Restorer
from service.engine.schema_lookups import SchemaLookups
from service.errors import ServiceError
from service.lifecycle import SystemClock
from service.messages.digits import plain
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
from service.partitions.schedule import Schedule
from service.registry.models import Registry
from service.sinks.sqlite_forecasts import SqliteForecasts, StoredOrigin
from service.sinks.sqlite_sink import SqliteSink
from service.snapshots.file import folder_of, newest_first, position_of
from service.snapshots.store import SnapshotStore
from service.sources.local import LocalSource, local_source
from service.transport.history import decoder_of
from service.transport.pair import Pair

_COPIED = ("settings", "rules", "feedback")  # of the data folder; small


class PastForecastError(ServiceError):
    """A past forecast cannot be computed again."""


class PastForecast(NamedTuple):
    """A past forecast, computed again.

    Attributes:
        situation: of its series, at its event.
        bounds: that its quantiles were clipped to.
        stored: the stored forecast, equal bit for bit.
        snapshot: position of the snapshot that the state was restored from; None: from the beginning.
    """

    situation: Situation
    bounds: tuple[float, float]
    stored: StoredOrigin
    snapshot: int | None


class _CommittedThere(Pair):
    """A pair whose partitions are committed up to the event of a past forecast."""

    def __init__(self, source: LocalSource, sink: SqliteSink, target: int) -> None:
        super().__init__(source, sink)
        self._target = target

    def committed(self, partition: str) -> int | None:  # noqa: ARG002 - a method of `Transport`
        """Returns the position behind the event."""
        return self._target


def past_forecast(
    config: Config, series: str, at_ms: int, forecast_of: Callable[[Situation], NDArray[np.float64]],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> PastForecast:  # fmt: skip
    """Computes the newest forecast of a series up to a time again.

    Args:
        config: that of the daemon, with the fields and groups of its data folder.
        series: its identifier.
        at_ms: event time.
        forecast_of: computes the forecast of a situation, (horizon, levels).
        progress: called with the position reached, and the one to reach.

    Raises:
        PastForecastError: there is no such forecast; or it cannot be computed again here; or the result differs from
            the stored one.
        ServiceError: output, source, snapshots or models cannot be read, as at a start.
        CheckpointError: a model is missing or damaged.
    """
    if not config.input.files and not config.kafka.topics:
        msg = "input.files: got none; expected the files of the daemon: give its configuration with --config"
        raise PastForecastError(msg)
    if config.sink != "sqlite" or not config.input.files or config.kafka.topics or config.bootstrap.is_set:
        msg = (
            f'output.sink: got "{config.sink}"; expected "sqlite", with input.files and without [bootstrap]: only such '
            "an input can be read again beside a daemon"
        )
        raise PastForecastError(msg)
    stored = SqliteForecasts(config.output_path).made_up_to(series, at_ms)
    if stored is None:
        msg = f"{config.output_path}: has no forecast of series {series[:80]!r} up to that time"
        raise PastForecastError(msg)
    sink, source = SqliteSink(config.positions_path), local_source(config)
    try:
        sink.open_to_read()
        source.open_to_replay(sink)
        with tempfile.TemporaryDirectory() as folder:
            transport = _CommittedThere(source, sink, _behind(source, sink, stored))
            snapshot, partition = _restored(config, transport, stored, Path(folder), progress)
    finally:
        source.close()
        sink.close()
    group = next((one for one in partition.groups if one.forecaster.row_of(series) is not None), None)
    if group is None:
        msg = f"series {series[:80]!r} has no state behind its forecast at position {stored.position}"
        raise PastForecastError(msg)
    situation = group.forecaster.situation(series)
    if situation.origin_ms != stored.origin_ms:
        msg = (
            f"series {series[:80]!r}: got several events in one record, or one behind a time mark; expected the newest "
            "event of a record"
        )
        raise PastForecastError(msg)
    bounds = Limits(config.of_group(group.group).output.limits).bounds_of(series)
    if not is_equal(np.clip(forecast_of(situation), *bounds), stored):
        msg = (
            f"the forecast of series {series[:80]!r} at position {stored.position} differs from the stored one, "
            "expected equal bits: it was made by another program version, or on another machine"
        )
        raise PastForecastError(msg)
    return PastForecast(situation, bounds, stored, snapshot)


def is_equal(quantiles: NDArray[np.float64], stored: StoredOrigin) -> bool:
    """Returns whether quantiles (horizon, levels) are stored as these bits."""
    if stored.codes is None:
        return bool(plain(quantiles) == stored.quantiles)
    packed = pack_quantiles(quantiles[None])
    digits = None if packed.digits[0] == NO_DIGITS else int(packed.digits[0])
    mine = packed.codes[0].tobytes(), float(packed.least[0]), float(packed.greatest[0]), digits
    return bool(packed.usable[0]) and mine == stored.codes


def _behind(source: LocalSource, sink: SqliteSink, stored: StoredOrigin) -> int:
    """Returns the position behind the record of the event of a stored forecast."""
    committed = sink.committed(stored.partition)
    for records in source.replay(stored.partition, stored.position, committed or 0, 1):
        return records.next_position
    msg = f"partition {stored.partition!r}: has no record at position {stored.position}, where the forecast was made"
    raise PastForecastError(msg)


def _restored(
    config: Config, transport: _CommittedThere, stored: StoredOrigin, folder: Path,
    progress: Callable[[int, int], None],
) -> tuple[int | None, Partition]:  # fmt: skip
    """Restores the partition behind the event; returns the position of the snapshot, and the partition."""
    name, target = stored.partition, transport.committed(stored.partition) or 0
    data = config.state.data_dir
    linked = _copy_bookkeeping(data, folder, name, target)
    own = config.model_copy(update={"state": config.state.model_copy(update={"data_dir": folder})})
    metrics, health = Metrics(), Health(SystemClock())
    registry = Registry(data / "models", SystemClock())
    store = SnapshotStore(folder / "snapshots", config.state.snapshots_kept, metrics)
    store.output, store.settings = lambda: transport.identity, replay_settings(config)
    adoptions = {one.group: one.model_sha256 for one in reversed(transport.adoptions(name))}
    models: dict[str, Model] = {
        group: registry.load(adoptions[group])
        if group in adoptions
        else start_model(config.of_group(group).library_model())
        for group in config.group_names
    }
    schemas = SchemaLookups(config, metrics, health)
    restorer = Restorer(
        own, transport, PartitionFactory(own, transport, registry, models), store,
        decoder_of(config, schemas.frames), metrics, health.beat, lambda _: None, schemas,
    )  # fmt: skip
    everywhere = sorted(transport.all_partitions())
    schedules = {
        group: Schedule.of(config.of_group(group).retrain, config.state.history_events, everywhere.index(name),
                           len(everywhere))
        for group in config.group_names
    }  # fmt: skip
    steps = restorer.restore(name, schedules)
    with _progress(progress, target) as report:
        while True:
            try:
                report(next(steps))
            except StopIteration as done:
                partition: Partition = done.value
                break
    return max(linked, default=None), partition


@contextmanager
def _progress(progress: Callable[[int, int], None], target: int) -> Iterator[Callable[[int], None]]:
    yield lambda position: progress(position, target)
    progress(target, target)


def _copy_bookkeeping(data: Path, folder: Path, partition: str, target: int) -> Sequence[int]:
    """Copies what a restore reads and may change, and links the snapshots up to a position; returns their positions."""
    for name in _COPIED:
        if (data / name).is_dir():
            shutil.copytree(data / name, folder / name)
    snapshots = folder_of(data / "snapshots", partition)
    into = folder_of(folder / "snapshots", partition)
    into.mkdir(parents=True)
    found = [path for path in newest_first(snapshots) if position_of(path) <= target]
    for path in found:
        (into / path.name).symlink_to(path.absolute())
    return [position_of(path) for path in found]
