"""`forecaster run`: the daemon."""

from __future__ import annotations

import sys
import time

import click

from service.cli._daemon import Daemon
from service.cli._logging import configure_logging
from service.cli._options import FLAGS, config_source, with_config
from service.config import Config
from service.errors import ConfigurationError
from service.lifecycle import Lifecycle
from service.log_limits import LogLimits


@click.command(short_help="Run the daemon: events in, forecasts out.")
@with_config(*FLAGS)
def run(config: Config) -> None:
    """Run the daemon: events in, forecasts out.

    Reads the inputs to their end, or for ever with --follow. Stopped or killed, it goes on after the last event whose
    forecast was committed. SIGTERM and SIGINT commit, write a snapshot and end; a second one ends at once. SIGUSR1
    asks for a training, SIGHUP reads configuration files again (as a change of their content does).

    Exit status: 0 the inputs have ended or a signal came, 1 it failed, 2 wrong configuration; nothing was touched.
    """
    if not config.input.files and not config.kafka.topics and not config.input.push:
        msg = "input.files: got none, expected at least one; e.g. --input events.csv, or kafka.topics, or --push"
        raise ConfigurationError(msg)
    if (config.input.files or config.input.push) and config.kafka.topics:
        got = "input.files" if config.input.files else "input.push"
        msg = f"got {got} and kafka.topics, expected one of them"
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
    try:
        daemon.run(lifecycle.stop)
    finally:
        lifecycle.uninstall()
