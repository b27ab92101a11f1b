"""`forecaster tail`: shows forecasts of a series as they are published, from any sink that keeps them."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import click
import orjson

from service.cli._options import with_config
from service.config.sections import Config

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24
POLL_SECONDS = 0.25
"""Between two reads of stored forecasts."""


@click.command(short_help="Show forecasts as they are published.")
@click.option("--topic", default="", help="Read this topic. [default with output.sink = kafka: <kafka.app>.forecasts]")
@click.option("--series", default="", help="Show only this series.")
@click.option("--from-start", is_flag=True, help="Start with the oldest forecast instead of the next one.")
@click.option("--count", type=click.IntRange(1), help="End after this many forecasts.")
@click.option("--for", "seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time.")
@click.option("--json", "as_json", is_flag=True, help="Print the forecasts unchanged, one JSON object per line.")
@with_config("--data-dir", "--sink", "--output")
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
    """Show forecasts as they are published: the next value, with its prediction interval.

    Follows what output.sink names: the stored forecasts, or the topic. A daemon may be running, or start later. Only
    committed forecasts are shown, each of them once.

    Exit status: 0 ended by count, time or Ctrl-C, 1 the output cannot be read.
    """
    left = count
    ends = None if seconds is None else time.monotonic() + seconds
    with closing(_published(config, topic, series, from_start=from_start)) as published:
        for forecast in published:
            if ends is not None and time.monotonic() > ends:
                return
            if forecast is None:
                continue
            click.echo(orjson.dumps(forecast) if as_json else as_line(forecast))
            if left is not None:
                left -= 1
                if left == 0:
                    return


def _published(
    config: Config, topic: str, series: str, *, from_start: bool
) -> Generator[dict[str, Any] | None, None, None]:
    """Yields published forecasts and silences; periodically None, so that a caller can stop."""
    if topic or config.sink == "kafka":
        from service.kafka.tools.tail import tail as forecasts  # noqa: PLC0415 - keeps the help page fast
        from service.schemas.forecast_reader import ForecastReader  # noqa: PLC0415 - as above

        reader = ForecastReader(config.schema_registry)
        return forecasts(config.kafka, topic or config.kafka.forecasts, reader, series, from_start=from_start)
    from service.sinks.stored_forecasts import follow, stored_outputs  # noqa: PLC0415 - as above

    stored = stored_outputs(config)
    if stored.end() is None:
        click.echo(f"{stored.place}: no daemon has written it yet; waiting", err=True)
    return follow(stored, lambda: time.sleep(POLL_SECONDS), series, from_start=from_start)


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
