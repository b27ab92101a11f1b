"""`forecaster forecast`: what follows in a file, for every series, without a daemon."""

from __future__ import annotations

import csv
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import orjson

from service.cli._errors import FAILED, Failed
from service.cli._options import with_config, without_groups
from service.cli.tail import interval_cells
from service.config.sections import Config
from service.messages.digits import plain
from service.messages.timestamps import LATEST_MS, format_times
from service.notebook.progress import events_bar

if TYPE_CHECKING:
    from service.backtest.latest import Latest

_LISTED = 5  # series in a message


@click.command(short_help="Forecast what follows in a file, once, for every series.")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--series", default="*", metavar="GLOB", help="Show only the series whose names match.")
@click.option(
    "--as", "kind", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True,
    help="table: median and outermost quantiles; csv: a row per target; json: an object per series and line.",
)  # fmt: skip
@with_config("--format", "--interval", "--horizon", "--season", "--retrain-every")
def forecast(config: Config, data: Path, *, series: str, kind: str) -> None:
    """Forecast what follows in a file, once, for every series.

    DATA is a file in any form that `forecaster inspect` understands, with all series in any order. Observes its events
    in time order as a daemon does, trains once near the end where there are 2,000 events, and prints the forecasts from
    the newest event of every series. It keeps nothing; `forecaster run` continues with every new event.

    Exit status: 0 done, 1 the file cannot be read or no series has a forecast, 2 wrong command line or configuration.
    """
    config = without_groups(config)
    from service.backtest.events import read_file  # noqa: PLC0415 - keeps the help page fast
    from service.backtest.latest import latest  # noqa: PLC0415 - as above

    events = read_file(data, config)
    if events.example is not None:
        click.echo(f"{data}: {events.rejects} records rejected, the first: {events.example.detail}", err=True)
    with events_bar(show=sys.stderr.isatty()) as progress:
        found = latest(config, events, progress)
    if found.without:
        names = ", ".join(found.without[:_LISTED]) + (", ..." if len(found.without) > _LISTED else "")
        click.echo(f"{data}: {len(found.without)} series with too few values for a forecast: {names}", err=True)
    chosen = [at for at, name in enumerate(found.names) if fnmatchcase(name, series)]
    if not chosen:
        msg = f"{data}: no series has a forecast" + (f" and a name that matches {series!r}" if found.names else "")
        raise Failed(msg, FAILED)
    if kind == "csv":
        _print_csv(found, chosen)
    elif kind == "json":
        _print_json(found, chosen)
    else:
        _print_table(found, chosen)


def _print_table(found: Latest, chosen: list[int]) -> None:
    """Prints a row per target: time, median, outermost quantiles."""
    low, high = found.levels[0], found.levels[-1]
    middle = int(np.argmin(np.abs(np.array(found.levels) - 0.5)))
    wide = max(len("series"), *(len(found.names[at]) for at in chosen))
    click.echo(f"{'series':{wide}}  {'time':24}  {found.levels[middle]:>12g}  {low:>12g}  {high:>12g}")
    for at in chosen:
        for time, row in zip(_times(found, at), found.quantiles[at].tolist(), strict=True):
            numbers, _ = interval_cells(row[middle], row[0], row[-1])
            click.echo(f"{found.names[at]:{wide}}  {time:24}  {numbers}")


def _print_csv(found: Latest, chosen: list[int]) -> None:
    """Prints a row per target, with a column per quantile level."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["series", "time", *found.levels])
    for at in chosen:
        for time, row in zip(_times(found, at), plain(found.quantiles[at]), strict=True):
            writer.writerow([found.names[at], time, *row])


def _print_json(found: Latest, chosen: list[int]) -> None:
    """Prints an object per series, with the fields of the daemon's forecasts."""
    for at in chosen:
        facts = {
            "series": found.names[at],
            "origin": format_times(found.origin_ms[at : at + 1])[0],
            "levels": found.levels,
            "targets": _times(found, at),
            "quantiles": plain(found.quantiles[at]),
        }
        click.echo(orjson.dumps(facts))


def _times(found: Latest, at: int) -> list[str]:
    return format_times(np.minimum(found.targets_ms[at], LATEST_MS))
