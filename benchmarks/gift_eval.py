"""GIFT-Eval's protocol on M4 hourly and ETT hourly: MASE and weighted quantile loss, beside published figures.

    python benchmarks/gift_eval.py SHARED [--only NAME ...] [--set KEY=VALUE ...]

SHARED holds data/ with m4_hourly.csv.gz and ett_hourly.csv.gz; a set without its file is named and left out. Windows of
48 steps lie back to back at the end of every series: one of each of the 414 series of M4, twenty of each of the seven
series of ETTh1 and of ETTh2, which are two data sets. Each window is forecast from the last event before it.

The published models are zero-shot: they were trained on other series and read the series up to the window only. Ours is
not: the table has it as `forecaster`, which also learns on the stream of the data set, from the events before the
window in time, and as `forecaster, never trained`, with the weights that the package ships. Nothing reads the last
window of any series. The row `seasonal naive, here` says how near the protocol and the values are to the published
ones; the last two columns are relative to seasonal naive of the same source.

Aksu et al. 2024, "GIFT-Eval: A Benchmark For General Time Series Forecasting Model Evaluation".
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import at_levels
from service.backtest.events import EventTable, read_file
from service.backtest.run import run
from service.config.load import load_config

LEVELS: Final = tuple(round(0.1 * i, 1) for i in range(1, 10))
HORIZON: Final = 48
SEASON: Final = 24
HOUR_MS: Final = 3_600_000
HEADER: Final = "| data set | method | MASE | WQL | MASE of naive's | WQL of naive's |\n|---|---|--:|--:|--:|--:|"


class Task(NamedTuple):
    """One data set of the benchmark.

    Attributes:
        file: of SHARED/data. prefix: of the names of its series in the file. windows: at the end of each series.
        published: MASE and weighted quantile loss by method.
    """

    file: str
    prefix: str
    windows: int
    published: Mapping[str, tuple[float, float]]


TASKS: Final = {
    "M4 hourly": Task(
        "m4_hourly.csv.gz", "", 1,
        {"seasonal naive": (1.193, 0.038), "TempoPFN": (0.808, 0.032), "TiRex": (0.722, 0.020),
         "Chronos-2": (0.788, 0.023)},
    ),
    "ETTh1": Task(
        "ett_hourly.csv.gz", "ETTh1", 20,
        {"seasonal naive": (0.977, 0.240), "TempoPFN": (0.840, 0.183), "TiRex": (0.817, 0.176),
         "Chronos-2": (0.787, 0.171)},
    ),
    "ETTh2": Task(
        "ett_hourly.csv.gz", "ETTh2", 20,
        {"seasonal naive": (0.923, 0.089), "TempoPFN": (0.744, 0.065), "TiRex": (0.723, 0.064),
         "Chronos-2": (0.736, 0.064)},
    ),
}  # fmt: skip


class Instances(NamedTuple):
    """The windows of a data set.

    Attributes:
        event: (N,) index of the event that each is forecast from. past: the values of its series up to that event.
        actual: (N, horizon) the values to forecast.
    """

    event: NDArray[np.int64]
    past: list[NDArray[np.float64]]
    actual: NDArray[np.float64]


def instances(events: EventTable, windows: int, horizon: int) -> Instances:
    """Returns the windows at the end of each series, the earliest first.

    Raises:
        ValueError: a series has a gap, or no event before its first window.
    """
    event, past, actual = list[int](), list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for number, name in enumerate(events.names):
        at = np.flatnonzero(events.series == number)
        if np.any(np.diff(events.timestamp_ms[at]) != HOUR_MS) or len(at) <= windows * horizon:
            msg = f"{name}: got {len(at)} events, expected more than {windows * horizon}, each an hour after the other"
            raise ValueError(msg)
        values = events.value[at]
        for window in range(windows, 0, -1):
            begin = len(at) - window * horizon
            event.append(int(at[begin - 1]))
            past.append(values[:begin])
            actual.append(values[begin : begin + horizon])
    return Instances(np.array(event), past, np.array(actual))


def scores(found: Instances, quantiles: NDArray[np.floating], season: int = SEASON) -> tuple[float, float]:
    """Returns MASE and mean weighted quantile loss, of quantiles (N, horizon, levels) at `LEVELS`.

    MASE = mean over windows i and steps h of |y_ih - q_ih(0.5)| / s_i, where s_i is the mean of |y_t - y_{t-season}|
    over the past of window i; windows whose s_i is zero are left out. The loss is the mean over levels a of
    sum_ih 2 max(a (y - q), (a - 1) (y - q)) / sum_ih |y|.
    """
    miss = found.actual[:, :, np.newaxis] - quantiles
    scale = np.array([np.abs(past[season:] - past[:-season]).mean() for past in found.past])
    known = scale > 0
    middle = np.abs(miss[:, :, LEVELS.index(0.5)])
    levels = np.array(LEVELS)
    loss = 2.0 * np.maximum(levels * miss, (levels - 1.0) * miss)
    weighted = loss.sum(axis=(0, 1)) / np.abs(found.actual).sum()
    return float((middle[known].mean(axis=1) / scale[known]).mean()), float(weighted.mean())


def seasonal_naive(found: Instances, season: int = SEASON) -> NDArray[np.float64]:
    """Returns (N, horizon, levels): the last season again, normal with the deviation of the past seasonal differences.

    The variance of step h is (1 + (h - 1) // season) times that of one season (Hyndman and Athanasopoulos,
    "Forecasting: Principles and Practice", 5.5).
    """
    horizon = found.actual.shape[1]
    step = np.arange(horizon)
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    rows = []
    for past in found.past:
        difference = past[season:] - past[:-season]
        width = np.sqrt((difference**2).mean() * (1 + step // season))
        rows.append(past[len(past) - season + step % season][:, np.newaxis] + width[:, np.newaxis] * normal)
    return np.array(rows)


def forecasts(events: EventTable, found: Instances, settings: Mapping[str, Any], *, learn: bool) -> NDArray[np.float64]:
    """Returns (N, horizon, levels): ours, given the interval and the horizon only.

    The last window of each series is cut off, so that nothing reads it.
    """
    kept = np.ones(len(events), np.bool_)
    for number in range(len(events.names)):
        at = np.flatnonzero(events.series == number)
        kept[at[-found.actual.shape[1] :]] = False
    wanted = np.zeros(len(events), np.bool_)
    wanted[found.event] = True
    hints = {"model.interval": HOUR_MS // 1000, "model.horizon": found.actual.shape[1]}
    config = load_config(None, hints | dict(settings))
    result = run(config, taken(events, kept), wanted[kept], freeze_after=1.0 if learn else 0.0).result
    place = np.empty(len(events), np.int64)
    place[np.flatnonzero(kept)[result.event]] = np.arange(len(result.event))
    return at_levels(result.quantiles[place[found.event]], result.forecaster.config.quantiles, LEVELS)


def taken(events: EventTable, kept: NDArray[np.bool_]) -> EventTable:
    """Returns some events, without covariates."""
    return replace(
        events, series=events.series[kept], timestamp_ms=events.timestamp_ms[kept], value=events.value[kept],
        covariates=None, future=None,
    )  # fmt: skip


def only(events: EventTable, prefix: str) -> EventTable:
    """Returns the events of the series whose names begin with `prefix`."""
    names = [name for name in events.names if name.startswith(prefix)]
    number = np.array([names.index(name) if name in names else -1 for name in events.names])
    part = taken(events, number[events.series] >= 0)
    return replace(part, names=names, series=number[part.series])


def read(file: Path) -> EventTable:
    """Reads a file of the form series,timestamp,value that gzip has compressed."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / file.name.removesuffix(".gz")
        plain.write_bytes(gzip.decompress(file.read_bytes()))
        return read_file(plain, load_config(None, {}))


def rows(
    name: str, task: Task, events: EventTable, settings: Mapping[str, Any], horizon: int = HORIZON
) -> Iterator[str]:
    """Yields the rows of a data set, each as soon as it is known; the last columns are relative to seasonal naive.

    Published scores are relative to the published ones of seasonal naive, the others to those here.
    """
    base = task.published["seasonal naive"]
    yield from (line(name, method, score, base) for method, score in task.published.items())
    events = only(events, task.prefix)
    found = instances(events, task.windows, horizon)
    naive = scores(found, seasonal_naive(found))
    yield line(name, "seasonal naive, here", naive, naive)
    for method, learn in (("forecaster, never trained", False), ("forecaster", True)):
        yield line(name, method, scores(found, forecasts(events, found, settings, learn=learn)), naive)


def line(name: str, method: str, score: tuple[float, float], base: tuple[float, float]) -> str:
    """Returns a row of the table: two scores, and both relative to `base`."""
    cells = [f"{score[0]:.3f}", f"{score[1]:.3f}", f"{score[0] / base[0]:.3f}", f"{score[1] / base[1]:.3f}"]
    return f"| {name} | {method} | " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", nargs="+", default=list(TASKS), choices=TASKS, metavar="NAME")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all runs")
    given = parser.parse_args(arguments)
    settings = dict(one.split("=", 1) for one in given.set)
    print(HEADER, flush=True)
    for name in given.only:
        task = TASKS[name]
        file = given.shared / "data" / task.file
        if not file.exists():
            print(f"{name}: {file} is not there; the set is left out", flush=True)
            continue
        for row in rows(name, task, read(file), settings):
            print(row, flush=True)


if __name__ == "__main__":
    main()
