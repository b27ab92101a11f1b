"""`forecaster run`: runs the daemon."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import click
import structlog

from service.cli._daemon import Daemon
from service.cli._ending import end
from service.cli._http import probes
from service.cli._logging import configure_logging
from service.cli._options import FLAGS, config_source, with_config
from service.config.load import load_config
from service.config.sections import Config
from service.discovery.cadence import seasons_of_input
from service.discovery.sample import InputSample
from service.discovery.settle import keep, settle, settle_history
from service.errors import ConfigurationError
from service.lifecycle import Lifecycle, SystemClock
from service.monitoring.log_limits import LogLimits
from service.registry.models import has_models
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
    if not config.input.files and not config.kafka.topics and not config.input.push:
        msg = "input.files: got none, expected at least one; e.g. --input events.csv, or kafka.topics, or --push"
        raise ConfigurationError(msg)
    limits = LogLimits(time.monotonic)
    configure_logging(config.log, sys.stderr, limits)
    _fetch_history(config)
    config, source = _settled(config)
    daemon = Daemon(
        config,
        source=source,
        on_settings=lambda new: configure_logging(new.log, sys.stderr, limits),
        log_limits=limits,
    )
    lifecycle = Lifecycle(on_retrain=daemon.request_training, on_reload=daemon.reload)
    lifecycle.install()
    ended = threading.Event()
    threading.Thread(target=_log_compiling, args=(daemon, ended), daemon=True).start()
    try:
        daemon.run(lifecycle.stop)
    finally:
        ended.set()
        lifecycle.uninstall()
    end(daemon.summary, config, wanted=lifecycle.stop.is_set())


def _fetch_history(config: Config) -> None:
    """Fetches the history from its server, at the first start; a later start goes on where this one was ended.

    Probes are answered meanwhile: the daemon is healthy, and not ready.
    """
    check_bootstrap(config)
    if lacks_history(config):
        with probes(config, "fetching the history") as health:
            fetch_history(config, SystemClock().wall_ms(), threading.Event(), health.beat)


def _settled(config: Config) -> tuple[Config, tuple[Path | None, dict[str, object]]]:
    """Completes the configuration with the fields of the input files and the seasons; logs which ones were chosen."""
    path, flags = config_source()
    found_flags: dict[str, object] = {}
    history, live = settle_history(config), settle(config)
    for found in (history, live):
        if found.settings:
            flags = {**found.settings, **flags}
            config = load_config(path, flags)
            if found.line:
                _log.info("fields of the input chosen", choice=found.line)
            if found.is_new:
                keep(config, found)
    for group in config.group_names:
        found_flags |= _seasons_flag(config, group, history.sample, live.sample)
    if found_flags:
        flags = {**flags, **found_flags}
        config = load_config(path, flags)
    return config, (path, flags)


def _seasons_flag(
    config: Config, group: str, history: InputSample | None, live: InputSample | None
) -> dict[str, object]:
    """Returns the flag that sets the seasons of the network of a group of series; none where they are as configured."""
    wanted, learnt = config.of_group(group).model, has_models(config.state.data_dir / "models", group)
    if not (wanted.seasons_need_interval or (wanted.seasons == "auto" and not learnt)):
        # A group must not inherit what is found for the series of no group.
        return {f"group.{group}.model.seasons": wanted.seasons} if group else {}
    seasons = seasons_of_input(config, group, history, live)
    named = {"group": group} if group else {}
    if seasons and wanted.seasons == "auto":
        chosen = ", ".join(map(str, seasons))
        _log.info("seasons of the network chosen", steps=chosen, by="the first records", **named)
    if seasons is None and not learnt:
        return {}
    key = f"group.{group}.model.seasons" if group else "model.seasons"
    return {key: "auto" if seasons is None else seasons}


def _log_compiling(daemon: Daemon, ended: threading.Event) -> None:
    """Logs that kernels are being compiled, once it takes longer than loading them from the cache."""
    waits = 0
    while waits < _CHECKS and daemon.phase in {"starting", "compiling"}:
        if ended.wait(_CHECK_SECONDS):
            return
        waits += daemon.phase == "compiling"
    if waits >= _CHECKS:
        _log.info("compiling the network for this processor", duration="up to a minute, at the first start only")
