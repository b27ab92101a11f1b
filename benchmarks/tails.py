"""Whether scores and intervals hold: how often they are exceeded on public streams, against what they say.

    python benchmarks/tails.py SHARED [--only NAME ...] [--events 200000] [--train]

SHARED/data, or SHARED itself, holds `datasets.json` and its files. The network, the seasons and the anomaly score are
those of the daemon with nothing configured but the interval and the horizon of the data set, from the shipped weights;
with `--train` trainings run as in the daemon. Of a set with more events than `--events` every n-th series is taken,
each one whole.

First table: how often the anomaly score is at least 0.99, 0.999 and 0.9999, divided by what that score says, and the
same in the hour of day (UTC) with the most. The worst hour has its figure only where ten events are expected in it. The
last column is the number of flags per series and 10,000 events.

Second table: coverage of the 80 and 90 % intervals at the first, the middle and the last step of the forecast: of all
targets, of the first fifty forecasts of each series, and the one furthest from its nominal value by hour of the target
and by tercile of the forecast median within its series.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, retrained, start_model
from service.backtest.events import EventTable, read_file
from service.backtest.run import model_config, retrain_positions
from service.config.sections import Config

BATCH = 4096
YOUNG = 50
SCORES = (0.99, 0.999, 0.9999)
HOUR_MS = 3_600_000
EXPECTED = 10.0  # events in an hour of the day, below which its ratio is chance
DEFAULT_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


class Observed(NamedTuple):
    """What the forecaster answered to the events of a set.

    Attributes:
        series, timestamp_ms, value: (n,) of every event.
        anomaly, flagged: (n,) its score and flag.
        bounds: (n, 3, 5) at the first, middle and last step: levels 0.05, 0.1, 0.5, 0.9 and 0.95.
        ahead_ms: (3,) how far ahead these steps are.
    """

    series: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    anomaly: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    bounds: NDArray[np.float64]
    ahead_ms: NDArray[np.int64]


def read(file: Path, config: Config, most: int) -> EventTable:
    """Reads every n-th series of a compressed file, so that there are at most so many events."""
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    names = sorted({line.partition(",")[0] for line in lines[1:]})
    kept = set(names[:: max(1, -(-(len(lines) - 1) // most))])
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.csv"
        part.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.partition(",")[0] in kept)]) + "\n")
        return read_file(part, config)


def observed(events: EventTable, config: Config, *, train: bool) -> Observed:
    """Runs the events through a forecaster, with trainings or without."""
    model = model_config(config, events, len(events), DEFAULT_LEVELS)
    forecaster = Forecaster(start_model(model), max_series=len(events.names), broadcast=config.input.broadcast)
    batch = Batch(events.series_names, events.timestamp_ms, events.value)
    steps = np.array([1, (model.horizon + 1) // 2, model.horizon])
    columns = [model.quantiles.index(level) for level in (0.05, 0.1, 0.5, 0.9, 0.95)]
    n, at = len(events), 0
    anomaly, flagged, bounds = np.empty(n), np.zeros(n, np.bool_), np.empty((n, 3, 5))
    for stop in [*(retrain_positions(config, n) if train else ()), n]:
        while at < stop:
            part = slice(at, min(stop, at + BATCH))
            out = forecaster.observe(batch.taken(part))
            anomaly[part], flagged[part] = out.anomaly, out.flagged
            bounds[part] = out.quantiles[:, steps - 1][:, :, columns]
            at = part.stop
        if at < n:
            forecaster, _ = retrained(forecaster, at, config.library_train())
    return Observed(events.series, events.timestamp_ms, events.value, anomaly, flagged, bounds,
                    steps * model.interval_ms)  # fmt: skip


def score_row(name: str, seen: Observed) -> str:
    """Returns the row of a set in the first table."""
    scored = ~np.isnan(seen.anomaly)
    score, hour = seen.anomaly[scored], seen.timestamp_ms[scored] // HOUR_MS % 24
    cells = [name, f"{len(score):,}"]
    for level in SCORES:
        high = score >= np.float32(level)
        cells.append(f"{high.mean() / (1 - level):.2f}")
        of_hour = np.bincount(hour, minlength=24)
        enough = of_hour * (1 - level) >= EXPECTED
        ratio = np.bincount(hour, high, 24)[enough] / of_hour[enough] / (1 - level)
        cells.append(f"{ratio.max():.2f}" if enough.any() else "-")
    return f"| {' | '.join([*cells, f'{seen.flagged.sum() / len(score) * 1e4:.1f}'])} |"


def targets(seen: Observed) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the value that came at each step, (n, 3), nan where none did; rank and terciles of the origins.

    The rank is the number of earlier events of the series, (n,). The terciles, (n, 3), are those of the median forecast
    among all of its series and step.
    """
    actual = np.full(seen.bounds.shape[:2], np.nan)
    rank = np.zeros(len(seen.series), np.int64)
    tercile = np.zeros(actual.shape, np.int64)
    for one in range(int(seen.series.max()) + 1):
        mine = np.flatnonzero(seen.series == one)
        times = seen.timestamp_ms[mine]
        rank[mine] = np.arange(len(mine))
        for step, ahead in enumerate(seen.ahead_ms):
            place = np.minimum(np.searchsorted(times, times + ahead), len(mine) - 1)
            there = times[place] == times + ahead
            actual[mine[there], step] = seen.value[mine[place[there]]]
            median = seen.bounds[mine, step, 2]
            if not np.isnan(median).all():
                tercile[mine, step] = np.searchsorted(np.nanquantile(median, [1 / 3, 2 / 3]), median)
    return actual, rank, tercile


def furthest(inside: NDArray[np.bool_], group: NDArray[np.int64], nominal: float) -> str:
    """Returns the coverage, in percent, of the group that is furthest from the nominal one."""
    counts = np.bincount(group)
    shares = np.bincount(group, inside)[counts > 0] / counts[counts > 0]
    return f"{100 * shares[np.abs(shares - nominal).argmax()]:.1f}"


def coverage_row(name: str, seen: Observed) -> str:
    """Returns the row of a set in the second table."""
    actual, rank, tercile = targets(seen)
    known = ~np.isnan(actual) & ~np.isnan(seen.bounds[:, :, 2])
    young = np.broadcast_to(rank[:, None] < YOUNG, known.shape)[known]
    hour = ((seen.timestamp_ms[:, None] + seen.ahead_ms) // HOUR_MS % 24)[known]
    cells = [name, f"{known.sum():,}"]
    for nominal, low, high in ((0.8, 1, 3), (0.9, 0, 4)):
        inside = ((actual >= seen.bounds[:, :, low]) & (actual <= seen.bounds[:, :, high]))[known]
        cells += [f"{100 * inside.mean():.1f}", f"{100 * inside[young].mean():.1f}"]
        cells += [furthest(inside, hour, nominal), furthest(inside, tercile[known], nominal)]
    return f"| {' | '.join(cells)} |"


def tables(data: Path, only: Sequence[str], most: int, *, train: bool) -> tuple[str, str]:
    """Returns both tables of a folder of data sets, or of some of its sets."""
    sets: dict[str, dict[str, Any]] = json.loads((data / "datasets.json").read_text())
    titles = " | ".join(f"{score} | worst hour" for score in SCORES)
    first = [f"| data set | events | {titles} | flags |", "|---|" + "--:|" * 8]
    titles = " | ".join(f"{nominal} % | first {YOUNG} | hour | tercile" for nominal in (80, 90))
    second = [f"| data set | targets | {titles} |", "|---|" + "--:|" * 9]
    for name, meta in sets.items():
        if only and name not in only:
            continue
        model = {"interval": f"{meta['freq_s']}s", "horizon": meta["horizon"]}
        config = Config.model_validate({"model": model})
        seen = observed(read(data / meta["file"], config, most), config, train=train)
        first.append(score_row(name, seen))
        second.append(coverage_row(name, seen))
    return "\n".join(first), "\n".join(second)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--events", type=int, default=200_000, help="of a set, at most")
    parser.add_argument("--train", action="store_true", help="train as the daemon does")
    given = parser.parse_args(arguments)
    data = given.shared / "data" if (given.shared / "data").is_dir() else given.shared
    print("\n\n".join(tables(data, given.only, given.events, train=given.train)))


if __name__ == "__main__":
    main()
