"""Streams that nothing was chosen by: scores of one half of them, beside seasonal naive and LightGBM refitted.

    python benchmarks/unseen_streams.py choose --packages FOLDER [--only NAME ...] [--never-trained] [--set KEY=VALUE]
    python benchmarks/unseen_streams.py report --packages FOLDER

`stream_sources.py` lists the streams and says how FOLDER is filled; a stream whose package is not there is named and
left out. A change is measured on the half `choose`, as often as need be, and once, when it is done, on `report`.

Forecasts of some 1,000 origins in the last 70 % of each stream: ours by the backtest, given interval, season and
horizon; the simple methods of `service.backtest.baselines`; and, with lightgbm and scipy in FOLDER, quantile models on
lags, same-phase values, rolling means and extremes and the calendar, fitted at 30, 53 and 77 % of each series. Scores
are sCRPS, relative to the mean absolute seasonal difference of the first 30 % of each series.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stream_sources import HALVES, STREAMS, Stream, events_of

from forecaster import at_levels
from service.backtest.baselines import baseline, methods
from service.backtest.events import EventTable
from service.backtest.grids import Grid, grids
from service.backtest.local_time import hours_and_weekdays
from service.backtest.origins import LEVELS, WARM_SHARE
from service.backtest.results import Scored, scored
from service.backtest.run import run
from service.config.load import load_config

ORIGINS: Final = 1000
FITTED: Final = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""Quantile levels of LightGBM; those between are interpolated."""
REFITS: Final = (0.3, 0.53, 0.77)
ROWS: Final = 20_000
"""Training rows of a fit at most, drawn at random."""
HEADER: Final = (
    "| stream | events | naive | seasonal naive | LightGBM | forecaster | of the simple | of LightGBM | cov80 |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)

Predict = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Fit = Callable[[NDArray[np.float64], NDArray[np.float64], float], Predict]
"""Fits a quantile: (rows, features), targets (rows,), level; returns the model."""


class StreamScores(NamedTuple):
    """The scores of a stream by method, and its number of events; `forecaster` is ours."""

    events: int
    methods: dict[str, Scored]

    @property
    def simple(self) -> float:
        """The score of the best simple method."""
        others = (score.scrps for name, score in self.methods.items() if name not in {"forecaster", "LightGBM"})
        return min(score for score in others if math.isfinite(score))


def origins(events: EventTable, horizon: int) -> NDArray[np.bool_]:
    """Returns (n,) whether an event is an origin: about `ORIGINS` equally spaced ones after the first 30 %."""
    wanted = np.zeros(len(events), np.bool_)
    step = max(1, round((1.0 - WARM_SHARE) * len(events) / ORIGINS))
    for number in range(len(events.names)):
        at = np.flatnonzero(events.series == number)
        wanted[at[int(WARM_SHARE * len(at)) + number * step // len(events.names) : -horizon : step]] = True
    return wanted


def score(
    events: EventTable, stream: Stream, settings: Mapping[str, Any], fit: Fit | None, *, learn: bool = True
) -> StreamScores:
    """Returns the scores of a stream; LightGBM's only with `fit`."""
    hints: dict[str, Any] = {"model.interval": stream.step_s, "model.horizon": stream.horizon}
    hints["model.seasons"] = [stream.season] if stream.season > 1 else []
    config = load_config(None, hints | dict(settings))
    wanted = origins(events, stream.horizon)
    known = int(WARM_SHARE * len(events))
    result = run(config, events, wanted, freeze_after=1.0 if learn else 0.0, known=known).result
    quantiles = at_levels(result.quantiles, result.forecaster.config.quantiles, LEVELS)
    seasons = (stream.season,)
    series = grids(events, result.event, result.interval_ms, seasons)
    found = {"forecaster": scored(series, lambda grid: quantiles[grid.at], stream.horizon)}
    for name, (kind, season) in methods(seasons if stream.season > 1 else ()).items():
        simple = partial(baseline, kind=kind, season=season, horizon=stream.horizon)
        found[name] = scored(series, simple, stream.horizon)
    if fit:
        boosted = boosted_forecasts(series, stream.horizon, stream.season, fit)
        found["LightGBM"] = scored(series, lambda grid: boosted[grid.name], stream.horizon)
    return StreamScores(len(events), found)


def features(grid: Grid, origin: NDArray[np.int64], ahead: NDArray[np.int64], season: int) -> NDArray[np.float64]:
    """Returns (n, features) of pairs of an origin and a step ahead; values relative to the origin's, in scales.

    Lags, differences, same-phase values of three seasons and their mean, means, least and greatest values of three
    windows, the size of recent differences, the step ahead, and hour and weekday of the target.
    """
    y = grid.y
    newest = np.maximum.accumulate(np.where(np.isfinite(y), np.arange(len(y)), 0))
    y = y[newest]
    level = y[origin]

    def before(step: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where(step >= 0, y[np.maximum(step, 0)] - level, np.nan)

    columns = [before(origin - lag) for lag in (1, 2, 3, 5, 8)]
    phase = origin + ahead - season * ((ahead + season - 1) // season)
    same = [before(phase - season * back) for back in range(3)]
    columns += [*same, np.where(np.isfinite(same[1]), (same[0] + same[1]) / 2, same[0])]
    columns += [
        before(np.minimum(phase + 1, origin)),
        before(phase - 1),
        before(origin - season),
        before(origin - 7 * season),
    ]
    total = np.concatenate([[0.0], np.cumsum(y)])
    moves = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(y, prepend=y[0])))])
    for window in (6, 24, 168):
        start = np.maximum(origin + 1 - window, 0)
        width = origin + 1 - start
        columns += [(total[origin + 1] - total[start]) / width - level, (moves[origin + 1] - moves[start]) / width]
        wide = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(window - 1, y[0]), y]), window)
        columns += [wide.min(axis=1)[origin] - level, wide.max(axis=1)[origin] - level]
    hour, weekday = hours_and_weekdays(grid.start_ms + (origin + ahead) * grid.interval_ms, grid.timezone)
    scaled = np.stack(columns, axis=1) / grid.scale
    return np.column_stack([scaled, level / grid.scale, ahead, hour, weekday])


def boosted_forecasts(series: Sequence[Grid], horizon: int, season: int, fit: Fit) -> dict[str, NDArray[np.float64]]:
    """Returns the quantiles (n, horizon, 19) by series of one model per level for all series, refitted at `REFITS`."""
    rng = np.random.default_rng(0)
    series = [grid for grid in series if grid.scale > 0]
    out = {grid.name: np.empty((len(grid.origin), horizon, len(LEVELS))) for grid in series}
    ahead = np.arange(1, horizon + 1)
    for begin, end in zip(REFITS, (*REFITS[1:], 1.01), strict=True):
        rows, targets = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
        for grid in series:
            past = int(begin * len(grid.y))
            origin, step = (part.ravel() for part in np.meshgrid(np.arange(past), ahead, indexing="ij"))
            usable = np.flatnonzero(origin + step < past)
            usable = usable[np.isfinite(grid.y[(origin + step)[usable]]) & np.isfinite(grid.y[origin[usable]])]
            drawn = rng.permutation(usable)[: ROWS // len(series)]
            origin, step = origin[drawn], step[drawn]
            rows.append(features(grid, origin, step, season))
            targets.append((grid.y[origin + step] - grid.y[origin]) / grid.scale)
        models = [fit(np.concatenate(rows), np.concatenate(targets), level) for level in FITTED]
        for grid in series:
            place = np.flatnonzero((grid.origin >= begin * len(grid.y) - 1) & (grid.origin < end * len(grid.y) - 1))
            if not len(place):
                continue
            origin, step = np.repeat(grid.origin[place], horizon), np.tile(ahead, len(place))
            asked = features(grid, origin, step, season)
            found = np.sort(np.stack([model(asked) for model in models], axis=1), axis=1) * grid.scale
            between = at_levels(found[:, np.newaxis], FITTED, LEVELS)[:, 0] + grid.y[origin][:, np.newaxis]
            out[grid.name][place] = between.reshape(len(place), horizon, len(LEVELS))
    return out


def lightgbm_fit() -> Fit | None:
    """Returns the fit of LightGBM, None where it is not installed."""
    if find_spec("lightgbm") is None:
        return None
    lightgbm = importlib.import_module("lightgbm")

    def fit(rows: NDArray[np.float64], targets: NDArray[np.float64], level: float) -> Predict:
        options = {
            "objective": "quantile", "alpha": level, "learning_rate": 0.06, "num_leaves": 31, "min_data_in_leaf": 30,
            "feature_fraction": 0.8, "num_threads": 1, "verbose": -1, "seed": 0,
        }  # fmt: skip
        model = lightgbm.train(options, lightgbm.Dataset(rows, targets), num_boost_round=200)
        return lambda asked: np.asarray(model.predict(asked, num_threads=1))

    return fit


def line(name: str, found: StreamScores) -> str:
    """Returns a row of the table."""
    ours = found.methods["forecaster"]
    seasonal = [score.scrps for method, score in found.methods.items() if method.startswith("seasonal naive")]
    boosted = found.methods["LightGBM"].scrps if "LightGBM" in found.methods else math.nan
    cells = [found.methods["naive"].scrps, seasonal[0] if seasonal else math.nan, boosted, ours.scrps]
    cells += [ours.scrps / found.simple, ours.scrps / boosted, ours.coverage_80]
    return (
        f"| {name} | {found.events:,} | "
        + " | ".join("" if math.isnan(cell) else f"{cell:.3f}" for cell in cells)
        + " |"
    )


def means(found: Sequence[StreamScores]) -> str:
    """Returns the last row: the geometric means of the ratios."""
    ours = [one.methods["forecaster"].scrps for one in found]
    simple = [math.log(mine / one.simple) for mine, one in zip(ours, found, strict=True)]
    boosted = [
        math.log(mine / one.methods["LightGBM"].scrps)
        for mine, one in zip(ours, found, strict=True)
        if "LightGBM" in one.methods
    ]
    cells = [f"{math.exp(sum(logs) / len(logs)):.3f}" if logs else "" for logs in (simple, boosted)]
    return f"| geometric mean | | | | | | {cells[0]} | {cells[1]} | |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", choices=HALVES)
    parser.add_argument("--packages", type=Path, default=Path(), help="folder with the packages")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--never-trained", action="store_true")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all runs")
    given = parser.parse_args(arguments)
    sys.path.append(str(given.packages))  # last: nothing that is installed is replaced
    settings = dict(one.split("=", 1) for one in given.set)
    fit, found = lightgbm_fit(), list[StreamScores]()
    print(HEADER, flush=True)
    for name in HALVES[given.half]:
        if given.only and name not in given.only:
            continue
        try:
            events = events_of(STREAMS[name], given.packages)
        except FileNotFoundError as error:
            print(f"{name}: {error.filename} is not there; the stream is left out", flush=True)
            continue
        found.append(score(events, STREAMS[name], settings, fit, learn=not given.never_trained))
        print(line(name, found[-1]), flush=True)
    if found:
        print(means(found))


if __name__ == "__main__":
    main()
