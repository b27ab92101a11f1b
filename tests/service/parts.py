"""Parts that the engine's tests share: a configuration, a script of events, an engine over a log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from forecaster import Forecaster
from service.config.sections import Config
from service.engine.loop import Engine
from service.engine.regrouping import Cadences
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.partitions.partition import Partition
from service.publication import Listener, Publication
from service.recent import RecentStore
from service.registry.models import Registry
from service.snapshots.store import SnapshotStore
from service.trainer.supervisor import Trainer
from service.transport.memory import MemoryLog, MemoryTransport

MODEL = {"hidden_size": 16, "head_size": 16, "horizon": 3, "quantiles": [0.1, 0.5, 0.9]}


@dataclass
class TurnedClock:
    """A clock that moves only when a test sets it, or on a sleep."""

    now: float = 1000.0

    def monotonic(self) -> float:
        """Returns seconds."""
        return self.now

    def wall_ms(self) -> int:
        """Returns milliseconds."""
        return int(self.now * 1000)

    def sleep(self, seconds: float) -> None:
        """Advances the clock."""
        self.now += seconds


def event(step: int, series: str = "a", value: float | None = None) -> bytes:
    """Returns an event of a wave that depends on the step only."""
    number = (step % 7) + 0.25 * (step % 3) if value is None else value
    return orjson.dumps({"series": series, "timestamp": 1_700_000_000_000 + step * 60_000, "value": number})


def config_of(folder: Path, **sections: Any) -> Config:
    """Returns a configuration with a tiny network; its forecasts are JSON, which tests read, whatever the sink."""
    merged: dict[str, Any] = {
        "model": dict(MODEL), "state": {"data_dir": str(folder)}, "output": {"format": "json"}
    }  # fmt: skip
    for name, values in sections.items():
        merged[name] = values if name in {"group", "alert", "scale"} else merged.get(name, {}) | values
    return Config.model_validate(merged)


@dataclass
class Bench(Listener):
    """An engine with all its parts over a `MemoryLog`, built anew for every start, as in a new process."""

    folder: Path
    log: MemoryLog
    sections: dict[str, Any] = field(default_factory=dict)
    clock: TurnedClock = field(default_factory=TurnedClock)
    command: tuple[str, ...] | None = None
    wants_groups: Cadences | None = None

    def __post_init__(self) -> None:
        """Builds the parts."""
        self.config = config_of(self.folder, **self.sections)
        self.metrics = Metrics(CollectorRegistry(), self.config.group_names if self.config.group else ())
        self.health = Health(self.clock)
        self.registry = Registry(self.folder / "models", self.clock)
        self.store = SnapshotStore(self.folder / "snapshots", 3, self.metrics)
        extra = {} if self.command is None else {"command": self.command}
        self.trainer = Trainer(self.config, self.metrics, self.clock, **extra)
        self.units: list[Any] = []
        self.on_unit: Callable[[Any], object] = self.units.append
        self.recent = RecentStore(0, 1)
        self.stop = threading.Event()
        self.engine = Engine(
            self.config,
            lambda: MemoryTransport(self.log),
            self.registry,
            self.store,
            self.trainer,
            self.metrics,
            self.health,
            self.clock,
            listeners=[self],
            wants_groups=self.wants_groups,
        )

    def on_publication(self, publication: Publication) -> None:
        """Passes the unit to `on_unit`, and the publication to `recent`."""
        self.recent.on_publication(publication)
        self.on_unit(publication.unit)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:
        """Passes the partitions to `recent`."""
        self.recent.on_partitions(assigned, restored)

    def run(self) -> None:
        """Runs to the end of the log."""
        self.engine.run(self.stop)

    def sample(self, name: str, **labels: str) -> float:
        """Returns a metric's value."""
        value = self.metrics.registry.get_sample_value(f"forecaster_{name}", labels)
        assert value is not None, name
        return value


def due_of(bench: Bench) -> list[tuple[int, int]]:
    """Runs an engine, and returns the position and the events of each training that becomes due; none takes place."""
    found: list[tuple[int, int]] = []

    def noted(partition: Partition, *_: Any) -> None:
        found.append((partition.position, partition.progress.events))

    bench.engine._groups[""].training.on_training_due = noted  # type: ignore[method-assign] # instead of a training
    bench.run()
    return found
