"""`forecaster tail`: shows forecasts of a series as they arrive."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import click
import orjson

from service.cli._options import with_config
from service.config.sections import Config

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24


@click.command(short_help="Show forecasts from a Kafka topic as they arrive.")
@click.option("--topic", default="", help="The topic of forecasts. [default: <kafka.app>.forecasts]")
@click.option("--series", default="", help="Show only this series.")
@click.option("--from-start", is_flag=True, help="Start with the oldest forecast instead of the next one.")
@click.option("--count", type=click.IntRange(1), help="End after this many forecasts.")
@click.option("--for", "seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time.")
@click.option("--json", "as_json", is_flag=True, help="Print the forecasts unchanged, one JSON object per line.")
@with_config()
def tail(
    config: Config,
    *,
    topic: str,
    series: str,
    from_start: bool,
    count: int | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Show forecasts from a Kafka topic as they arrive: the next value, with its prediction interval.

    Only committed forecasts are shown, each of them once.

    Exit status: 0 ended by count, time or Ctrl-C, 1 the topic cannot be read.
    """
    from service.kafka.tools.tail import tail as forecasts  # noqa: PLC0415 - keeps the help page fast
    from service.schemas.forecast_reader import ForecastReader  # noqa: PLC0415 - as above

    left = count
    ends = None if seconds is None else time.monotonic() + seconds
    reader = ForecastReader(config.schema_registry)
    for forecast in forecasts(config.kafka, topic or config.kafka.forecasts, reader, series, from_start=from_start):
        if ends is not None and time.monotonic() > ends:
            return
        if forecast is None:
            continue
        click.echo(orjson.dumps(forecast) if as_json else as_line(forecast))
        if left is not None:
            left -= 1
            if left == 0:
                return


def as_line(forecast: dict[str, Any]) -> str:
    """Formats a forecast: time, series, next value with its outermost quantiles, course and end of the horizon.

    A silence is formatted as its time, its series and since when it is silent.
    """
    if forecast.get("kind") == "silence":
        return f"{forecast['noticed']}  {forecast['series']}  silent since {forecast['last']}"
    head = f"{forecast['origin']}  {forecast['series']}"
    levels, rows = forecast["levels"], forecast["quantiles"]
    if rows is None:
        return f"{head}  no forecast yet"
    middle = levels.index(0.5)

    def span(row: list[float]) -> str:
        digits = significant(row[0], row[-1])
        return f"{row[middle]:.{digits}g} [{row[0]:.{digits}g}, {row[-1]:.{digits}g}]"

    course = sparkline([row[middle] for row in rows])
    return f"{head}  next {span(rows[0])}  {course}  +{len(rows)} {span(rows[-1])}"


def interval_cells(middle: float, low: float, high: float) -> tuple[str, int]:
    """Formats median and outermost quantiles of a target as cells of a table; returns these and their digits."""
    digits = significant(low, high)
    return "  ".join(f"{number:>12.{digits}g}" for number in (middle, low, high)), digits


def significant(low: float, high: float) -> int:
    """Returns the digits that resolve a hundredth of the width of an interval, from 4 to 17; 10 without a width."""
    size, width = max(abs(low), abs(high)), high - low
    if not (math.isfinite(size) and width > 0.0):
        return 10
    return min(17, max(4, 3 + math.ceil(math.log10(size / width))))


def sparkline(values: Sequence[float]) -> str:
    """Draws values as one row of blocks, from their minimum to their maximum; at most 24 wide."""
    step = max(1, -(-len(values) // SPARK_WIDTH))
    means = [sum(values[at : at + step]) / len(values[at : at + step]) for at in range(0, len(values), step)]
    low, high = min(means), max(means)
    if high <= low:
        return SPARKS[3] * len(means)
    return "".join(SPARKS[round((mean - low) / (high - low) * (len(SPARKS) - 1))] for mean in means)
