"""Wires the parts of one daemon together; `run` and `demo` use the same."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from service.config import Config
from service.engine import Engine
from service.health import Health
from service.http import HttpServer, create_app
from service.http.process import process_registry
from service.lifecycle import KillPoints, SystemClock, close_in_order
from service.metrics import Metrics
from service.ports import Unit
from service.registry import Registry
from service.snapshot import SnapshotStore
from service.snapshot_sharing import SharedSnapshots
from service.trainer import Trainer, Trainings
from service.transports.build import check_transport, connector, exchange

_log = structlog.get_logger()


class Daemon:
    """One daemon, not started.

    Args:
        config: checked.
        on_unit: called with every published unit, in the engine's thread.

    Raises:
        ConfigurationError: the settings do not go together; nothing was touched.
        ConfigError: network or training are out of the library's bounds; nothing was touched.
    """

    def __init__(self, config: Config, on_unit: Callable[[Unit], None] | None = None) -> None:
        config.library_model()
        config.library_train()
        check_transport(config)  # opens nothing: what it has to say is said before anything is touched
        clock = SystemClock()
        folder = config.state.data_dir
        metrics = Metrics(process_registry())
        registry = Registry(folder / "models", clock)
        where = exchange(config)
        shared = None if where is None else SharedSnapshots(where, config.kafka.share_snapshots, metrics, clock)
        self._health = Health(clock)
        self._trainer = Trainer(config, metrics, clock)
        self._engine = Engine(
            config,
            connector(config, registry),
            registry,
            SnapshotStore(folder / "snapshots", config.state.snapshots_kept, metrics, shared),
            self._trainer,
            metrics,
            self._health,
            clock,
            kill=KillPoints.from_environment(),
            on_unit=on_unit,
        )
        self._http = HttpServer(
            create_app(metrics, self._health, lambda: self._engine.status), config.http.host, config.http.port
        )

    def run(self, stop: threading.Event) -> None:
        """Serves and runs until the source has ended or `stop` is set; then closes everything.

        Raises:
            ServiceError: the address is taken, or the engine failed; everything is closed.
        """
        try:
            _log.info("metrics", url=f"{self._http.start()}/metrics")
            self._engine.run(stop)
        finally:
            close_in_order([("http", self._http.close)])

    def request_training(self) -> None:
        """Asks for a training as soon as possible. Fit for a signal handler."""
        self._trainer.request()

    @property
    def trainings(self) -> Trainings:
        """The trainings so far."""
        return self._trainer.trainings

    @property
    def phase(self) -> str:
        """What the engine does: starting, compiling, restoring, running, training, blocked or stopping."""
        return self._health.report().phase
