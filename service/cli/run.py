"""`forecaster run`: runs the daemon."""

from __future__ import annotations

import sys
import threading
import time

import click
import structlog

from service.cli._ending import end
from service.cli._http import probes
from service.cli._logging import configure_logging
from service.cli._options import FLAGS, config_source, with_config
from service.cli._starts import Starts
from service.config.sections import EXPECTED_INPUT, Config
from service.errors import ConfigurationError
from service.kernels import use_quick_kernels
from service.lifecycle import Lifecycle, SystemClock
from service.monitoring.log_limits import LogLimits
from service.sources.local import check_files_exist
from service.transport.history import check_bootstrap, fetch_history, lacks_history

_log = structlog.get_logger()

# Checks that must find it compiling before the log says so, and the time between them.
_CHECKS, _CHECK_SECONDS = 4, 0.5


@click.command(short_help="Run the daemon: forecast every event of the inputs.")
@with_config(*FLAGS)
def run(config: Config) -> None:
    """Run the daemon: forecast every event of the inputs.

    Reads the inputs to their end, or for ever with --follow. After a stop or a kill, the next start continues after the
    last event whose forecast was committed. SIGTERM and SIGINT commit, write a snapshot and end; a second signal ends
    at once. SIGUSR1 requests a training, SIGHUP reads configuration files again (as a change of their content does).

    Exit status: 0 the inputs have ended or a signal arrived, 1 failed, or most records could not be used (rejected,
    late or duplicate; also if there are no further records and those of earlier runs were unusable), 2 wrong
    configuration; nothing was changed.
    """
    if not config.has_input:
        msg = f"input.files: got none, expected {EXPECTED_INPUT}"
        raise ConfigurationError(msg)
    check_files_exist(config)
    limits = LogLimits(time.monotonic)
    configure_logging(config.log, sys.stderr, limits)
    _fetch_history(config)
    use_quick_kernels()
    starts = Starts(config, *config_source(), lambda new: configure_logging(new.log, sys.stderr, limits), limits)
    lifecycle = Lifecycle(on_retrain=starts.request_training, on_reload=starts.reload)
    lifecycle.install()
    ended = threading.Event()
    threading.Thread(target=_log_compiling, args=(starts, ended), daemon=True).start()
    try:
        starts.run(lifecycle.stop)
    finally:
        ended.set()
        lifecycle.uninstall()
    end(starts.daemon.summary, starts.config, wanted=lifecycle.stop.is_set())


def _fetch_history(config: Config) -> None:
    """Fetches the history from its server, at the first start; a later start goes on where this one was ended.

    Probes are answered meanwhile: the daemon is healthy, and not ready.
    """
    check_bootstrap(config)
    if lacks_history(config):
        with probes(config, "fetching the history") as health:
            fetch_history(config, SystemClock().wall_ms(), threading.Event(), health.beat)


def _log_compiling(starts: Starts, ended: threading.Event) -> None:
    """Logs that kernels are being compiled, once it takes longer than loading them from the cache."""
    waits = 0
    while waits < _CHECKS and starts.phase in {"starting", "compiling"}:
        if ended.wait(_CHECK_SECONDS):
            return
        waits += starts.phase == "compiling"
    if waits >= _CHECKS:
        _log.info("compiling the network for this processor", duration="up to a minute, at the first start only")
