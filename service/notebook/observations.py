"""The observations of any table, with forecasts and plots: what `forecaster.read` returns in a notebook.

A table is read as `forecaster inspect` shows it, and forecast as by `forecaster forecast`: the same fields, the same
seasons, one training near the end where there are enough events.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from forecaster import Batch, BatchError, Explanation
from forecaster.interop import plot
from forecaster.interop.frames import CUTOFF, ID, TIME, VALUE, level_columns
from forecaster.interop.optional import optional
from service.backtest.events import EventTable, joined, read_events
from service.backtest.latest import Latest, latest
from service.config.input import InputConfig
from service.config.load import load_config
from service.discovery.choice import KNOWN, choice_for, is_named, with_choice
from service.discovery.sample import InputSample, sample_of_file
from service.errors import ServiceError
from service.notebook.progress import events_bar
from service.notebook.tables import as_files, kind_of_frame
from service.sources.catalog import Catalog

Progress = Callable[[int, int, str], None]
_LISTED: Final = 5


class Observations:
    """The observations of all series of a table, in time order.

    Attributes:
        events: the events as columns.
        reasons: which fields make the events, and why, by part: format, time, values, series.
        rejects: number of rows that are no events; example: why the first of them is none, "" without any.
    """

    def __init__(self, events: EventTable, reasons: Mapping[str, str], kind: str, show: bool | Progress) -> None:  # noqa: FBT001 - as given by the user
        self.events, self.reasons = events, reasons
        self.rejects, self.example = events.rejects, "" if events.example is None else events.example.detail
        self._kind, self._show = kind, show
        self._latest: tuple[Any, Latest] | None = None

    @property
    def series(self) -> list[str]:
        """The names of the series, sorted."""
        return self.events.names

    @property
    def batch(self) -> Batch:
        """The events for `Forecaster.observe`."""
        found = self.events
        return Batch(found.series_names, found.timestamp_ms, found.value, found.covariates, found.future)

    def __len__(self) -> int:
        """Returns the number of events."""
        return len(self.events)

    def __repr__(self) -> str:
        """Returns what was read, and why, in lines for people."""
        names = ", ".join(self.series[:_LISTED]) + (", ..." if len(self.series) > _LISTED else "")
        lines = [f"{len(self)} observations of {len(self.series)} series: {names}"]
        lines += [f"{part + ':':8} {reason}" for part, reason in self.reasons.items()]
        if self.rejects:
            lines.append(f"rejects: {self.rejects} rows are no events; the first: {self.example}")
        return "\n".join(lines)

    def frame(self) -> Any:
        """Returns the observations as a frame of unique_id, ds, y, in the kind that was read, else pandas."""
        found = self.events
        times = found.timestamp_ms.astype("datetime64[ms]")
        return self._framed({ID: found.series_names, TIME: times, VALUE: found.value})

    def forecast(self, horizon: int | None = None, **settings: Any) -> Any:
        """Forecasts what follows, for every series, as `forecaster forecast` does.

        Args:
            horizon: steps ahead; None: 24, or that of the last call.
            settings: keys of the configuration with two underscores for the dot, such as `model__seasons=[24]`.

        Returns:
            A frame as `forecaster.interop.forecast_frame` returns, in the kind that was read, else pandas; empty where
            no series has a forecast.

        Raises:
            ConfigurationError: a setting is out of its bounds.
        """
        found = self._forecast(horizon, settings)
        steps = found.targets_ms.shape[1]
        columns = {
            ID: [name for name in found.names for _ in range(steps)],
            CUTOFF: np.repeat(found.origin_ms, steps).astype("datetime64[ms]"),
            TIME: found.targets_ms.ravel().astype("datetime64[ms]"),
        }
        quantiles = found.quantiles.reshape(len(found.names) * steps, -1)
        return self._framed(columns | {name: quantiles[:, at] for name, at in level_columns(found.levels)})

    def plot(self, series: str | None = None, *, last: int = 200, ax: Any = None) -> Any:
        """Plots recent observations of a series, and the last forecast with its intervals; see `interop.plot`.

        Args:
            series: its name; None: the first one.
            last: number of observations.
            ax: matplotlib axes; None: new ones.

        Raises:
            BatchError: the series has no forecast.
        """
        ahead = self.forecast()
        name = series if series is not None else self._forecast(None, {}).names[0]
        number = self.series.index(name) if name in self.series else -1
        mine = np.flatnonzero(self.events.series == number)[-last:]
        past = {ID: [name] * len(mine), VALUE: self.events.value[mine]}
        past[TIME] = self.events.timestamp_ms[mine].astype("datetime64[ms]")
        return plot(self._framed(past), ahead, name, last=last, ax=ax)

    def explain(self, series: str | None = None) -> Explanation:
        """Explains the last forecast of a series; `.in_words()` of the result says it in a paragraph.

        Args:
            series: its name; None: the first one.

        Raises:
            BatchError: the series has no forecast.
        """
        found = self._forecast(None, {})
        return found.forecaster.explain(found.names[0] if series is None and found.names else series or "")

    def _forecast(self, horizon: int | None, settings: Mapping[str, Any]) -> Latest:
        """Returns the newest forecasts; those of the last call again where nothing else is asked for."""
        if self._latest is not None and not settings and horizon in {None, self._latest[0]}:
            return self._latest[1]
        keys = {name.replace("__", "."): value for name, value in settings.items()}
        config = load_config(None, keys | {"model.horizon": horizon})
        with _bar(self._show) as progress:
            found = latest(config, self.events, progress)
        self._latest = config.model.horizon, found
        return found

    def _framed(self, columns: dict[str, Any]) -> Any:
        return optional(self._kind or "pandas", "frames").DataFrame(columns)


def read_source(source: Any, *, progress: bool | Progress = False, **fields: Any) -> Observations:
    """Reads a table; see `forecaster.read`, whose entry point this is."""
    form = {"format": fields.pop("format")} if "format" in fields else {}
    settings = load_config(None, {f"input.fields.{name}": value for name, value in fields.items()} | {
        f"input.{name}": value for name, value in form.items()
    }).input  # fmt: skip
    entry, table = "", None
    try:
        with as_files(source) as (entry, table), _bar(progress) as report:
            sample = sample_of_file(entry, settings)
            _check_names(sample, settings, table)
            choice = choice_for(sample, settings)
            chosen = settings if is_named(settings.fields) else with_choice(settings, choice)
            _check_names(sample, chosen, table)
            events = joined([read_events(path, chosen, progress=report) for path in _files(entry)])
    except ServiceError as error:
        text = re.sub(r"--set input\.fields\.(\w+)=NAME", r'read(..., \1="NAME")', str(error))
        raise BatchError(text if table is None else text.replace(entry, "the table")) from error
    reasons = dict(choice.reasons)
    if table is not None:
        reasons["format"] = f"{kind_of_frame(source) or 'Arrow'}, {table.num_rows} rows"
    return Observations(events, reasons, kind_of_frame(source), progress)


def _files(entry: str) -> list[Path]:
    """Returns the files of a path or glob, in the order of the daemon."""
    catalog = Catalog(entry)
    catalog.find()
    return [Path(stretch.path) for stretch in catalog.pending(now=True)]


def _check_names(sample: InputSample, settings: InputConfig, table: Any) -> None:
    """Refuses rows without the name of their series, of which the choice would take another field, or reject them."""
    named = settings.fields.series if "series" in settings.fields.model_fields_set else ()
    fields = {named} if isinstance(named, str) else {*named}
    fields = fields or {path for path in sample.paths if path.rpartition(".")[2].lower() in KNOWN["series"]}
    for field in sorted(fields & set(sample.paths)):
        cells = [row.get(field) for row in sample.rows] if table is None else table[field].to_pylist()
        absent = [at for at, cell in enumerate(cells) if cell is None or cell == ""]
        if absent and len(absent) < len(cells):
            msg = (
                f"got {len(absent)} of {len(cells)} rows without a {field}, the first of them row {absent[0]}; "
                "expected the name of its series in every row: leave such rows out, or name the series by other fields"
            )
            raise BatchError(msg)


def _bar(show: bool | Progress) -> Any:  # noqa: FBT001 - as given by the user
    """Returns a context of the function to report to."""
    return events_bar(show=show) if isinstance(show, bool) else contextlib.nullcontext(show)
