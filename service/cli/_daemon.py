"""Connects the parts of one daemon; used by `run` and `demo`."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from service.cli._http import server_of
from service.config.sections import Config
from service.deliveries import Deliveries
from service.deliveries.alert_routes import alert_routes
from service.deliveries.routes import check_deliveries, routes_of
from service.engine.feedback import feedback_file
from service.engine.loop import Engine
from service.engine.regrouping import Cadences
from service.file_watcher import FileWatcher
from service.http import (
    AlertViews,
    Api,
    Explanations,
    Hub,
    OtlpPush,
    Push,
    ReloadableTls,
    api_routes,
    create_app,
    page_routes,
    status_of,
)
from service.lifecycle import KillPoints, SystemClock, close_in_order
from service.monitoring.collectors import process_registry
from service.monitoring.health import Health
from service.monitoring.log_limits import LogLimits
from service.monitoring.metrics import Metrics
from service.monitoring.run_summary import RunSummary
from service.publication import Listener
from service.recent import AlertLog, IngestLog, RecentStore
from service.registry.feedback import FeedbackStore
from service.registry.models import Registry
from service.reload import ReloadableConfig
from service.schemas.frames import Result, SchemaFrames, frames_of
from service.snapshots.sharing import SharedSnapshots
from service.snapshots.store import SnapshotStore
from service.trainer.supervisor import Trainer, Trainings
from service.transport.build import check_transport, connector, exchange, push_log

_log = structlog.get_logger()

# New objects between two garbage collections. A batch makes tens of thousands of tuples that reference counting frees,
# so that the default of 700 would spend about 10 % of the time on collections.
_GC_THRESHOLD: Final = 100_000


class Daemon:
    """One daemon, not started.

    Args:
        config: the checked configuration.
        listeners: called after every publication, in the engine's thread.
        source: the file and the flags that a reload reads again; empty: no reload.
        on_settings: called in another thread after settings have changed.
        log_limits: the limits of the log, which also count its lines for the metrics.
        wants_groups, summary: see `Engine`.
        seasons: of the first network of each group of series whose configuration leaves them to the daemon.

    Raises:
        ConfigurationError: the settings contradict each other; nothing was changed.
        ConfigError: network or training are out of the library's bounds; nothing was changed.
    """

    def __init__(
        self,
        config: Config,
        listeners: Sequence[Listener] = (),
        source: tuple[Path | None, Mapping[str, object]] = (None, {}),
        on_settings: Callable[[Config], None] = lambda _: None,
        log_limits: LogLimits | None = None,
        wants_groups: Cadences | None = None,
        summary: RunSummary | None = None,
        seasons: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    ) -> None:
        for name in config.group_names:
            config.of_group(name).library_model()
        config.library_train()
        web = ReloadableTls(config.http.web_config)
        check_transport(config)  # opens nothing; fails before anything is changed
        check_deliveries(config)
        clock = SystemClock()
        folder = config.state.data_dir
        metrics = Metrics(process_registry(), config.group_names if config.group else ())
        if log_limits is not None:
            log_limits.count_by(metrics.logged)
        registry = Registry(folder / "models", clock)
        self._pushed = push_log(config)
        seen = RecentStore(config.http.recent_series, config.http.recent_events, metrics.recent_failures.inc)
        where = exchange(config)
        alerts, ingest = AlertLog(seen.expected), IngestLog()
        said = FeedbackStore(folder / "feedback")
        shared = None if where is None else SharedSnapshots(where, config.kafka.share_snapshots, metrics, clock)
        self._health = Health(clock)
        self._trainer = Trainer(config, metrics, clock)
        self._engine = Engine(
            config,
            connector(config, registry, self._pushed),
            registry,
            SnapshotStore(folder / "snapshots", config.state.snapshots_kept, metrics, shared),
            self._trainer,
            metrics,
            self._health,
            clock,
            kill=KillPoints.from_environment(),
            listeners=[
                seen,
                alerts,
                ingest,
                *listeners,
                Deliveries(
                    folder / "deliveries",
                    [*routes_of(config), *alert_routes(config, metrics, clock)],
                    metrics,
                    clock,
                ),
            ],
            wants_groups=wants_groups,
            summary=summary,
        )
        self._engine.begin_with(seasons)
        self._on_settings = on_settings
        live = ReloadableConfig(config, *source, self._apply, lambda keys: metrics.restart_needed.set(len(keys)))
        self._watch = FileWatcher(metrics, clock)
        for name, part in (("config", live), ("web", web)):
            if part.files():
                self._watch.add(name, part.files, part.reload)
        self._hub = Hub(seen, lambda: status_of(self._engine.status, self._health), config.http.stream_clients, metrics)
        api = Api(
            seen, registry, self._health, lambda: self._engine.status, self._hub,
            lambda: live.config.model_dump(mode="json"),
            alerts=AlertViews(alerts, config, lambda partition: said.known(feedback_file(partition))),
            ingest=ingest,
        )  # fmt: skip
        explanations = Explanations(seen, self._engine.situations)
        self._push = push = Push(self._pushed, config.input, metrics, clock, _frames_of(config, metrics))
        app = create_app(
            metrics,
            self._health,
            lambda: self._engine.status,
            routes=[
                *page_routes(),
                *api_routes([*api.endpoints(), *explanations.endpoints(), *push.endpoints()]),
                *OtlpPush(push, config.input).routes(),
            ],
        )
        self._http = server_of(config, app, web, metrics)

    def _apply(self, config: Config) -> None:
        """Applies settings that may change while the daemon runs."""
        self._on_settings(config)
        self._engine.configure(config)

    def reload(self) -> None:
        """Reads the configuration files again. May be called in a signal handler."""
        self._watch.wake()

    def run(self, stop: threading.Event) -> None:
        """Serves and runs until the source has ended or `stop` is set; then closes everything.

        Raises:
            ServiceError: the address is taken, or the engine failed; everything is closed.
        """
        gc.collect()
        gc.freeze()  # modules and settings are never released
        gc.set_threshold(_GC_THRESHOLD)
        try:
            url = self._http.start()
            _log.info("listening", url=f"{url}/metrics", page=f"{url}/")
            if self._pushed is not None:
                _log.info(
                    "accepting events", json_lines=f"{url}/api/v1/events", remote_write=f"{url}/api/v1/write",
                    otlp=f"{url}/v1/metrics",
                )  # fmt: skip
            with self._watch:
                self._engine.run(stop)
        finally:
            close_in_order([("listeners", self._hub.close), ("http", self._http.close), ("push", self._close_push)])

    def _close_push(self) -> None:
        self._push.close()
        if self._pushed is not None:
            self._pushed.close()

    def request_training(self) -> None:
        """Requests a training as soon as possible. May be called in a signal handler."""
        self._trainer.request()

    @property
    def summary(self) -> RunSummary:
        """Counts of the records so far: forecast, rejected, late."""
        return self._engine.summary

    @property
    def regroups(self) -> bool:
        """Whether it has ended to be started again with other groups of series, see `Engine`."""
        return self._engine.regrouping.wanted

    @property
    def trainings(self) -> Trainings:
        """The trainings so far."""
        return self._trainer.trainings

    @property
    def phase(self) -> str:
        """The phase of the engine: starting, compiling, restoring, running, training, blocked or stopping."""
        return self._health.report().phase


def _frames_of(config: Config, metrics: Metrics) -> SchemaFrames | None:
    """Returns what decodes pushed records in the wire format of a schema registry; None without one."""

    def counted(result: Result) -> None:
        metrics.schema_lookups.labels(result).inc()

    return frames_of(config.schema_registry, counted) if config.input.push else None
