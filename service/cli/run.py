"""`forecaster run`: the daemon."""

from __future__ import annotations

import sys
import threading
import time

import click
import structlog

from service.cli._daemon import Daemon
from service.cli._errors import Failed
from service.cli._logging import configure_logging
from service.cli._options import FLAGS, config_source, with_config
from service.config import Config
from service.errors import ConfigurationError
from service.lifecycle import Lifecycle
from service.log_limits import LogLimits
from service.tally import Tally

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

    Exit status: 0 the inputs have ended or a signal came, 1 it failed or no record could be used, 2 wrong
    configuration; nothing was touched.
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
    _say(daemon.tally, config, wanted=lifecycle.stop.is_set())


def _tell_of_compiling(daemon: Daemon, ended: threading.Event) -> None:
    """Says why nothing happens, once it has gone on for longer than kernels take that are found in the cache."""
    waits = 0
    while waits < _LOOKS and daemon.phase in {"starting", "compiling"}:
        if ended.wait(_LOOK_SECONDS):
            return
        waits += daemon.phase == "compiling"
    if waits >= _LOOKS:
        _log.info("compiling the network for this processor: its first time only, up to a minute")


def _say(tally: Tally, config: Config, *, wanted: bool) -> None:
    """What became of the input, as the last line.

    Args:
        tally: of the run.
        config: of the run.
        wanted: whether a signal ended it, and not the end of the input.

    Raises:
        Failed: nothing of the input could be used.
    """
    rejected, kafka = tally.rejects.total(), config.kafka
    output = f"topic {kafka.forecasts}" if kafka.topics else str(config.output_path)
    if rejected and not tally.events and not wanted:
        raise Failed(_nothing_used(tally, f"topic {kafka.rejects}" if kafka.topics else f"table rejects of {output}"))
    tell = _log.warning if rejected or tally.late else _log.info
    tell("ended", events=tally.events, set_aside=rejected, late=tally.late, duplicates=tally.duplicates, output=output)
    if tally.late > tally.events:
        _log.warning("most events were late", expected="the oldest event of each series first, see input.late")


def _nothing_used(tally: Tally, where: str) -> str:
    """Why, where the records are, and what to do."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in tally.rejects.most_common())
    names = ""
    if "missing_field" in tally.rejects:
        names = "Fields that have other names: --set input.fields.value=NAME, also series and timestamp. "
    return (
        f"none of the {tally.rejects.total()} records could be used ({reasons}); the first: {tally.first}. {names}They "
        f"stand in the {where}; they were read, so try again with another state.data_dir (or kafka.app)"
    )
