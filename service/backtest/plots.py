"""The charts of the report, as SVG text. Needs matplotlib, the extra `plots`."""

from __future__ import annotations

import datetime as dt
import html
import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from forecaster import step_times
from service.backtest.origins import LEVELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from forecaster import Retraining
    from service.backtest.grids import Grid
    from service.backtest.results import Scored

INK, SOFT = "#1f2933", "#94a3b8"
# Okabe and Ito's colours, which stay apart for colour-blind people; the daemon's is the first. Patterns of lines tell
# methods apart without any colour.
OWN = "#0072b2"
OTHERS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
PATTERNS = ("--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
INTERVALS = ((9, 0.15, "90 %"), (8, 0.22, "80 %"), (5, 0.34, "50 %"))  # distance from the median, in twentieths


def _figure(columns: int = 1, width: float = 7.0, height: float = 3.2) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, needed for the report only

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Figure, label: str) -> str:
    """Formats the figure as an SVG element with a label for screen readers; the bytes are reproducible."""
    from matplotlib import rc_context  # noqa: PLC0415 - as above

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "forecaster", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return f'<svg role="img" aria-label="{html.escape(label)}"' + text[text.index("<svg") + len("<svg") :]


def _styles(methods: Mapping[str, Scored]) -> dict[str, dict[str, Any]]:
    """Returns name -> colour, pattern and width of the line of each method; the first is the daemon's."""
    others = zip(cycle(OTHERS), cycle(PATTERNS))
    own: dict[str, Any] = {"color": OWN, "linewidth": 2.4, "zorder": 3}
    styles = {name: {"color": color, "linestyle": pattern, "linewidth": 1.3}
              for name, (color, pattern) in zip(list(methods)[1:], others, strict=False)}  # fmt: skip
    return {next(iter(methods)): own} | styles


def _ahead(scores: Scored, step: str) -> tuple[NDArray[np.int64], str]:
    return np.arange(1, len(scores.by_step) + 1), f"steps ahead (one step: {step})"


def by_step(methods: Mapping[str, Scored], step: str) -> str:
    """Plots sCRPS by steps ahead, one line per method; `step` names the interval."""
    figure, (axis,) = _figure()
    for (name, scores), style in zip(methods.items(), _styles(methods).values(), strict=True):
        steps, xlabel = _ahead(scores, step)
        axis.plot(steps, scores.by_step, label=name, marker="o" if len(steps) == 1 else "", **style)
    axis.set(xlabel=xlabel, ylabel="sCRPS", ylim=(0, None))
    axis.xaxis.get_major_locator().set_params(integer=True)
    _legend_below(figure, axis)
    return svg(figure, "Error by steps ahead, for each method")


def coverage_by_step(scores: Scored, step: str) -> str:
    """Plots the share of actuals within the 80 % and the 90 % interval by steps ahead."""
    figure, (axis,) = _figure(height=2.8)
    steps, xlabel = _ahead(scores, step)
    for share, nominal, color, pattern in zip(
        scores.coverage_by_step, (80, 90), (OWN, OTHERS[0]), ("-", "--"), strict=True
    ):
        axis.plot(steps, 100 * share, color=color, linestyle=pattern, label=f"within the {nominal} % interval",
                  marker="o" if len(steps) == 1 else "")  # fmt: skip
        axis.axhline(nominal, color=color, linewidth=0.8, alpha=0.6)
    axis.set(xlabel=xlabel, ylabel="% of the actuals")
    axis.set_ylim(min(70.0, axis.get_ylim()[0]), 100.0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    _legend_below(figure, axis)
    return svg(figure, "Coverage of the 80 % and the 90 % interval by steps ahead")


def by_time(methods: Mapping[str, Scored], timezone: str) -> str:
    """Plots sCRPS by the hour of the day and by the weekday of the target, one line per method.

    Returns:
        "" where all targets are at one hour of one weekday.
    """
    own = next(iter(methods.values()))
    hours, days = (int(np.isfinite(values).sum()) > 1 for values in (own.by_hour, own.by_weekday))
    if not (hours or days):
        return ""
    figure, axes = _figure(hours + days)
    for name, style in _styles(methods).items():
        scores, left = methods[name], iter(axes)
        if hours:
            _line(next(left), np.arange(24), scores.by_hour, name, style)
        if days:
            _line(next(left), np.arange(7), scores.by_weekday, name, style)
    left = iter(axes)
    if hours:
        next(left).set(
            xlabel=f"hour of the target ({timezone})", ylabel="sCRPS", ylim=(0, None), xticks=range(0, 24, 3)
        )
    if days:
        next(left).set(xlabel=f"weekday of the target ({timezone})", ylim=(0, None), ylabel="" if hours else "sCRPS",
                       xticks=range(7), xticklabels=WEEKDAYS)  # fmt: skip
    _legend_below(figure, axes[0])
    return svg(figure, "Error by the hour and the weekday of the target, for each method")


def _line(axis: Any, at: NDArray[np.int64], values: NDArray[np.float64], name: str, style: Mapping[str, Any]) -> None:
    there = np.isfinite(values)
    axis.plot(at[there], values[there], label=name, marker="o", markersize=2.5, **style)


def calibration(scores: Scored) -> str:
    """Plots the calibration of every quantile, and the histogram of the probability integral transform."""
    figure, (left, right) = _figure(2)
    left.plot([0, 1], [0, 1], color=SOFT, linewidth=1, label="calibrated")
    left.plot(LEVELS, scores.below, color=OWN, marker="o", markersize=3, label="forecaster")
    left.set(xlabel="level of the quantile", ylabel="share of actuals at or below", xlim=(0, 1), ylim=(0, 1))
    left.legend(frameon=False, fontsize=8)
    edges = [0.0, *LEVELS]
    right.bar(edges, scores.pit / 0.05, width=0.05, align="edge", color=OWN, edgecolor="white")
    right.axhline(1.0, color=SOFT, linewidth=1)
    right.set(xlabel="level of the actual (PIT)", ylabel="density", xlim=(0, 1))
    return svg(figure, "Calibration of the quantiles, and histogram of the levels of the actuals")


def fan(grid: Grid, which: int, quantiles: NDArray[np.floating], step: str) -> str:
    """Plots one forecast (horizon, 19) of a series with its history and the actuals; `step` names the interval."""
    horizon, origin = len(quantiles), int(grid.origin[which])
    first, end = max(0, origin - 3 * horizon), min(len(grid.y), origin + horizon + 1)
    figure, (axis,) = _figure(width=4.6, height=3.0)
    ahead = [_time(grid, origin + 1 + number) for number in range(horizon)]
    for k, alpha, name in INTERVALS:
        axis.fill_between(ahead, quantiles[:, 9 - k], quantiles[:, 9 + k], color=OWN, alpha=alpha, linewidth=0,
                          label=name)  # fmt: skip
    axis.plot(ahead, quantiles[:, 9], color=OWN, linewidth=1.6, label="median", marker="o" if horizon == 1 else "")
    times = [_time(grid, number) for number in range(first, end)]
    axis.plot(times, grid.y[first:end], color=INK, linewidth=1, label="actual")
    axis.axvline(_time(grid, origin), color=SOFT, linewidth=0.9, linestyle="--", label="origin")
    axis.set_title(grid.name if len(grid.name) <= 60 else f"{grid.name[:59]}…", fontsize=9, parse_math=False)
    axis.set_xlabel(
        f"from {_time(grid, origin):%Y-%m-%d %H:%M}, {horizon} steps of {step} ({grid.timezone})", fontsize=7
    )
    axis.tick_params(labelsize=7)
    _dates(axis, grid.timezone)
    axis.xaxis.get_offset_text().set_fontsize(7)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=7, columnspacing=1.0, handlelength=1.4)
    return svg(figure, f"Forecast of {grid.name} with its intervals, and the actuals")


def few_dates(timezone: str = "UTC") -> Any:
    """Returns the locator of the dates of an axis, of which there are few."""
    from matplotlib.dates import AutoDateLocator  # noqa: PLC0415 - as above

    # Its steps reach 30 minutes below two hours, and 6 months below two years: four of them, so five dates.
    return AutoDateLocator(  # type: ignore[no-untyped-call] # matplotlib.dates has no types
        tz=ZoneInfo(timezone), minticks=2, maxticks=5
    )


def _dates(axis: Any, timezone: str) -> None:
    from matplotlib.dates import ConciseDateFormatter  # noqa: PLC0415 - as above

    locator = few_dates(timezone)
    axis.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=ZoneInfo(timezone))  # type: ignore[no-untyped-call] # as above
    axis.xaxis.set_major_formatter(formatter)


def _time(grid: Grid, step: int) -> dt.datetime:
    return as_time(int(step_times(grid.start_ms, grid.interval_ms, grid.calendar, step, grid.timezone)), grid.timezone)


def as_time(time_ms: int, timezone: str) -> dt.datetime:
    """Returns the local time of epoch milliseconds."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=time_ms)
    return moment.astimezone(ZoneInfo(timezone))


def retrainings(decisions: Sequence[Retraining], times: Sequence[dt.datetime], timezone: str) -> str:
    """Plots held-out losses of champion and challenger at every retraining, relative to the naive forecast."""
    figure, (axis,) = _figure()
    at = np.array(times)
    naive = np.array([one.naive_loss for one in decisions])
    old = np.array([one.champion_loss for one in decisions]) / naive
    new = np.array([one.challenger_loss for one in decisions]) / naive
    promoted = np.array([one.promoted for one in decisions])
    axis.plot(at, old, color=OTHERS[0], linestyle="--", marker="s", markersize=4, label="champion (in use)")
    axis.plot(at, new, color=OWN, linewidth=1, label="challenger (trained)")
    axis.plot(at[promoted], new[promoted], "o", color=OWN, markersize=6, label="promoted")
    axis.plot(
        at[~promoted], new[~promoted], "o", markerfacecolor="white", color=OWN, markersize=6, label="not promoted"
    )
    axis.set(xlabel=f"time of the training in the data ({timezone})", ylabel="held-out loss / naive")
    _dates(axis, timezone)
    _legend_below(figure, axis)
    return svg(figure, "Held-out losses of the model in use and of the trained model at every retraining")


def _legend_below(figure: Figure, axis: Any) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
