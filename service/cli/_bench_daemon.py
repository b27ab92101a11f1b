"""Times the daemon over a generated file, from its first published batch to its last."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from service.cli._daemon import Daemon
from service.cli._logging import configure_logging
from service.config.sections import Config
from service.messages.timestamps import format_times
from service.publication import OnUnit

if TYPE_CHECKING:
    from service.ports import Unit

START_MS, STEP_MS = 1_767_571_200_000, 60_000


def covariate_fields(config: Config) -> dict[str, Any]:
    """Returns the covariate fields of generated events, with the default field names."""
    found: dict[str, Any] = dict.fromkeys(config.input.covariates, 0.5)
    if config.input.future_covariates:
        found["future"] = dict.fromkeys(config.input.future_covariates, [0.5] * config.model.horizon)
    return found


def write_events(
    path: Path, series: int, events: int, side: Mapping[str, Any] | None = None, step_ms: int = STEP_MS
) -> None:
    """Writes JSON lines with the fields `side`, round robin over the series, one step apart, as a scraper does."""
    import numpy as np  # noqa: PLC0415 - keeps the help page fast

    times = format_times(START_MS + step_ms * np.arange(-(-events // series)))
    with path.open("wb") as file:
        for at in range(events):
            step, which = divmod(at, series)
            value = 100 + which % 7 + (step * 37 + which * 11) % 23 / 7
            event = {"series": f"host-{which:05d}.cpu", "timestamp": times[step], "value": value} | dict(side or {})
            file.write(orjson.dumps(event) + b"\n")


def throwaway(config: Config, events_file: Path, series: int, events: int) -> Config:
    """Returns a configuration of the same network and limits for a daemon over one file, with data in its folder.

    It has no trainings, no Kafka, and listens on any free port.
    """
    settings = config.model_dump(mode="json")
    settings["input"] |= {"files": [str(events_file)], "format": "jsonl", "follow": False, "series": [], "fields": {}}
    settings["input"]["max_poll_records"] = min(config.input.max_poll_records, events // 5)  # gives several batches
    settings["kafka"]["topics"] = []
    settings["state"] |= {"data_dir": str(events_file.parent), "max_series": max(series, config.state.max_series)}
    settings["bootstrap"] = {}
    settings["output"] = {"sink": "sqlite", "path": "forecasts.sqlite"}
    settings["http"] = {"port": 0}
    settings["retrain"] |= {"every_events": 0, "every_time": 0, "first_after_events": 0}
    return Config.model_validate(settings)


def seconds_per_event(
    config: Config, series: int, events: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Times the daemon over generated events in a temporary folder, without trainings.

    Returns:
        Seconds per event, without the first batch, which includes compilation.
    """
    with tempfile.TemporaryDirectory(prefix="forecaster-bench-") as folder:
        path = Path(folder) / "events.jsonl"
        write_events(path, series, events, covariate_fields(config))
        seen = timed_units(throwaway(config, path, series, events), clock)
    counted = sum(n for _, n in seen[1:])
    return (seen[-1][0] - seen[0][0]) / max(1, counted)


def timed_units(
    config: Config,
    clock: Callable[[], float] = time.perf_counter,
    count: Callable[[Unit], int] = lambda unit: len(unit.forecasts),
) -> list[tuple[float, int]]:
    """Runs a daemon until its input ends, and returns the time of each published unit and its number of forecasts.

    `count` may count something else.
    """
    seen: list[tuple[float, int]] = []

    def on_unit(unit: Unit) -> None:
        seen.append((clock(), count(unit)))

    configure_logging(config.log.model_copy(update={"level": "error"}), io.StringIO())
    with contextlib.redirect_stderr(io.StringIO()):
        Daemon(config, listeners=[OnUnit(on_unit)]).run(threading.Event())
    return seen
