"""Starts the daemon, and starts it again where series get other groups by cadence; used by `run`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from service.cli._daemon import Daemon
from service.cli._settled import settled
from service.config.load import load_config
from service.config.sections import Config
from service.discovery.settle_groups import LateGroups, are_automatic
from service.errors import ConfigurationError
from service.monitoring.log_limits import LogLimits
from service.monitoring.run_summary import RunSummary
from service.reload import changes, is_live

_log = structlog.get_logger()


class Starts:
    """The daemon, which is started again where series get other groups by cadence.

    Args:
        config: as configured.
        path, flags: its file and flags.
        on_settings, log_limits: see `Daemon`.

    Attributes:
        daemon: the present one. config: its settings.
    """

    def __init__(
        self,
        config: Config,
        path: Path | None,
        flags: Mapping[str, object],
        on_settings: Callable[[Config], None] = lambda _: None,
        log_limits: LogLimits | None = None,
    ) -> None:
        self._configured, self._path, self._flags = config, path, flags
        self._on_settings, self._log_limits = on_settings, log_limits
        self.daemon = self._made(config)

    def _made(self, config: Config, summary: RunSummary | None = None) -> Daemon:
        """Completes a configuration, and creates its daemon."""
        self.config, self._complete, self._seasons = settled(config, self._path, self._flags)
        # Members of a consumer group would have to have the same groups of series.
        self._late = LateGroups(config) if are_automatic(config) and not config.kafka.topics else None
        return self._daemon(summary)

    def _daemon(self, summary: RunSummary | None) -> Daemon:
        return Daemon(
            self.config,
            source=(self._path, self._complete),
            on_settings=self._on_settings,
            log_limits=self._log_limits,
            wants_groups=self._late,
            summary=summary,
            seasons=self._seasons,
        )

    def run(self, stop: threading.Event) -> None:
        """Runs until the input has ended or `stop` is set."""
        self.daemon.run(stop)
        while self._late is not None and self.daemon.regroups and not stop.is_set():
            if (config := self._present()) is None:
                _log.warning("groups of series by cadence wait for a restart", reason="the configuration has changed")
                self._late = None
                self.daemon = self._daemon(self.daemon.summary)
            else:
                _log.info("groups of series by cadence changed", series=self._late.keep())
                self.daemon = self._made(config, self.daemon.summary)
            self.daemon.run(stop)

    def _present(self) -> Config | None:
        """Reads the configuration again; returns None where it is broken, or has changes that wait for a restart."""
        try:
            config = load_config(self._path, self._flags)
        except ConfigurationError:
            return None
        return config if all(map(is_live, changes(self._configured, config))) else None

    def request_training(self) -> None:
        """Requests a training as soon as possible. May be called in a signal handler."""
        self.daemon.request_training()

    def reload(self) -> None:
        """Reads the configuration files again. May be called in a signal handler."""
        self.daemon.reload()

    @property
    def phase(self) -> str:
        """The phase of the present daemon."""
        return self.daemon.phase
