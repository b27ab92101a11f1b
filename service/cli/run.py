"""`forecaster run`: the daemon."""

from __future__ import annotations

import sys
import threading
import time

import click
import structlog

from service.cli._daemon import Daemon
from service.cli._ending import end
from service.cli._logging import configure_logging
from service.cli._options import FLAGS, config_source, with_config
from service.config.sections import Config
from service.errors import ConfigurationError
from service.lifecycle import Lifecycle
from service.monitoring.log_limits import LogLimits

_log = structlog.get_logger()

# So many looks find it compiling before that is told.
_LOOKS, _LOOK_SECONDS = 4, 0.5


@click.command(short_help="Run the daemon: events in, forecasts out.")
@with_config(*FLAGS)
def run(config: Config) -> None:
    """Run the daemon: events in, forecasts out.

    Reads the inputs to their end, or for ever with --follow. Stopped or killed, it goes on after the last event whose
    forecast was committed. SIGTERM and SIGINT commit, write a snapshot and end; a second one ends at once. SIGUSR1
    asks for a training, SIGHUP reads configuration files again (as a change of their content does).

    Exit status: 0 the inputs have ended or a signal came, 1 it failed or most records could not be used (rejected,
    late or twice; also where it finds no further records and those read before were such), 2 wrong configuration;
    nothing was touched.
    """
    if not config.input.files and not config.kafka.topics and not config.input.push:
        msg = "input.files: got none, expected at least one; e.g. --input events.csv, or kafka.topics, or --push"
        raise ConfigurationError(msg)
    limits = LogLimits(time.monotonic)
    configure_logging(config.log, sys.stderr, limits)
    daemon = Daemon(
        config,
        source=config_source(),
        on_settings=lambda new: configure_logging(new.log, sys.stderr, limits),
        log_limits=limits,
    )
    lifecycle = Lifecycle(on_retrain=daemon.request_training, on_reload=daemon.reload)
    lifecycle.install()
    ended = threading.Event()
    threading.Thread(target=_tell_of_compiling, args=(daemon, ended), daemon=True).start()
    try:
        daemon.run(lifecycle.stop)
    finally:
        ended.set()
        lifecycle.uninstall()
    end(daemon.summary, config, wanted=lifecycle.stop.is_set())


def _tell_of_compiling(daemon: Daemon, ended: threading.Event) -> None:
    """Says why nothing happens, once it has gone on for longer than kernels take that are found in the cache."""
    waits = 0
    while waits < _LOOKS and daemon.phase in {"starting", "compiling"}:
        if ended.wait(_LOOK_SECONDS):
            return
        waits += daemon.phase == "compiling"
    if waits >= _LOOKS:
        _log.info("compiling the network for this processor: its first time only, up to a minute")
