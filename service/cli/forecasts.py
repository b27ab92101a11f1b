"""`forecaster forecasts`: forecasts that a daemon has stored, with what became of them."""

from __future__ import annotations

import csv
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import orjson

from service.cli._errors import FAILED, Failed
from service.cli._options import OutFile, with_config
from service.cli.exclude import event_time_ms
from service.cli.tail import interval_cells
from service.config.sections import Config
from service.messages.timestamps import LATEST_MS

if TYPE_CHECKING:
    from service.sinks.stored_forecasts import StoredForecast


@click.command(short_help="Show forecasts that a daemon has stored, beside the actuals.")
@click.option("--series", default="*", metavar="GLOB", help="Show only the series whose names match.")
@click.option("--at", metavar="TIME", help="Show what was forecast at this event time, ISO-8601 (UTC without a zone).")
@click.option("--last", type=click.IntRange(1), default=1, show_default=True, help="Forecasts of each series.")
@click.option(
    "--as", "kind", type=click.Choice(["table", "csv", "json", "parquet"]), default="table", show_default=True,
    help="table: median, outermost quantiles and actual; csv, parquet: a row per target; json: an object per forecast.",
)  # fmt: skip
@click.option("--to", "file", type=OutFile(), help="Write to this file instead of standard output.")
@with_config("--data-dir", "--sink", "--output")
def forecasts(config: Config, *, series: str, at: str | None, last: int, kind: str, file: Path | None) -> None:
    """Show forecasts that a daemon has stored, with target times and the actuals that have come since.

    Reads the output, also while a daemon writes it: the newest forecasts of every series, or those of a time.

    Exit status: 0 done, 1 the output cannot be read or has no such forecast, 2 wrong command line or configuration.
    """
    from service.sinks.stored_forecasts import stored_outputs  # noqa: PLC0415 - keeps the help page fast

    stored = stored_outputs(config)
    if kind == "parquet" and file is None:
        msg = "got --as parquet without --to; expected a file to write"
        raise click.UsageError(msg)
    until = LATEST_MS if at is None else event_time_ms(at, "--at")
    with closing(stored):
        found = list(stored.newest(series, until, last))
    if not found:
        msg = f"{stored.place}: has no forecast of a series that matches {series!r}" + (f" up to {at}" if at else "")
        raise Failed(msg, FAILED)
    if kind == "parquet":
        assert file is not None  # noqa: S101 - checked above
        _write_parquet(found, file)
        return
    with click.open_file(str(file or "-"), "w", encoding="utf-8") as stream:
        if kind == "csv":
            writer = csv.writer(stream, lineterminator="\n")
            rows = [*_rows(found)]
            writer.writerow(rows[0])
            writer.writerows([row.values() for row in rows])
        elif kind == "json":
            for one in found:
                stream.write(orjson.dumps(one._asdict()).decode() + "\n")
        else:
            _print_table(found, stream)


def _rows(found: list[StoredForecast]) -> list[dict[str, Any]]:
    """Returns a row per target."""
    levels = sorted({level for one in found for level in one.levels})
    return [
        {
            "series": one.series,
            "origin": one.origin,
            "step": step,
            "target": target,
            "actual": actual,
            "model": one.model,
        }
        | {f"{level:g}": dict(zip(one.levels, row, strict=True)).get(level) for level in levels}
        for one in found
        for step, (target, row, actual) in enumerate(zip(one.targets, one.quantiles, one.actuals, strict=True), 1)
    ]


def _print_table(found: list[StoredForecast], stream: Any) -> None:
    wide = max(len("series"), *(len(one.series) for one in found))
    stream.write(
        f"{'series':{wide}}  {'origin':24}  {'target':24}  {'median':>12}  {'low':>12}  {'high':>12}  {'actual':>12}\n"
    )
    for one in found:
        middle = int(np.argmin(np.abs(np.array(one.levels) - 0.5)))
        for target, row, actual in zip(one.targets, one.quantiles, one.actuals, strict=True):
            numbers, digits = interval_cells(row[middle], row[0], row[-1])
            came = "" if actual is None else f"{actual:.{digits}g}"
            stream.write(f"{one.series:{wide}}  {one.origin:24}  {target or '':24}  {numbers}  {came:>12}\n")


def _write_parquet(found: list[StoredForecast], file: Path) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415 - as above
    except ImportError:
        from forecaster import install_command  # noqa: PLC0415 - compiled kernels

        msg = f"--as parquet: pyarrow is not installed; expected the extra: {install_command('parquet')}"
        raise Failed(msg, FAILED) from None
    parquet.write_table(pa.Table.from_pylist(_rows(found)), file)
