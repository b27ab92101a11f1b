"""The charts of the report, as SVG text. Needs matplotlib, the extra `plots`."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forecaster import step_times
from service.backtest.origins import LEVELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from forecaster import Retraining
    from service.backtest.grids import Grid
    from service.backtest.results import Scored

INK, ACCENT, SOFT = "#1f2933", "#c2410c", "#94a3b8"


def _figure(columns: int = 1, width: float = 7.0, height: float = 3.2) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, needed for the report only

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: Figure) -> str:
    """Formats the figure as an SVG element; the bytes are reproducible."""
    from matplotlib import rc_context  # noqa: PLC0415 - as above

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "forecaster", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def by_step(methods: Mapping[str, Scored]) -> str:
    """Plots sCRPS by steps ahead, one line per method."""
    figure, (axis,) = _figure()
    for number, (name, scores) in enumerate(methods.items()):
        style = {"color": ACCENT, "linewidth": 2.2} if number == 0 else {"linewidth": 1.1}
        axis.plot(np.arange(1, len(scores.by_step) + 1), scores.by_step, label=name, **style)
    axis.set(xlabel="steps ahead", ylabel="sCRPS", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    return svg(figure)


def calibration(scores: Scored) -> str:
    """Plots the calibration of every quantile, and the histogram of the probability integral transform."""
    figure, (left, right) = _figure(2)
    left.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
    left.plot(LEVELS, scores.below, color=ACCENT, marker="o", markersize=3)
    left.set(xlabel="level of the quantile", ylabel="share of actuals at or below", xlim=(0, 1), ylim=(0, 1))
    edges = [0.0, *LEVELS]
    right.bar(edges, scores.pit / 0.05, width=0.05, align="edge", color=ACCENT, edgecolor="white")
    right.axhline(1.0, color=SOFT, linewidth=1)
    right.set(xlabel="level of the actual (PIT)", ylabel="density", xlim=(0, 1))
    return svg(figure)


def fan(grid: Grid, which: int, quantiles: NDArray[np.floating]) -> str:
    """Plots one forecast (horizon, 19) of a series with its history and the actuals."""
    horizon, origin = len(quantiles), int(grid.origin[which])
    first, end = max(0, origin - 3 * horizon), min(len(grid.y), origin + horizon + 1)
    figure, (axis,) = _figure(width=3.5, height=2.4)
    ahead = [_time(grid, origin + 1 + step) for step in range(horizon)]
    for k, alpha in ((9, 0.18), (8, 0.22), (5, 0.3)):
        axis.fill_between(ahead, quantiles[:, 9 - k], quantiles[:, 9 + k], color=ACCENT, alpha=alpha, linewidth=0)
    axis.plot(ahead, quantiles[:, 9], color=ACCENT, linewidth=1.4)
    axis.plot([_time(grid, step) for step in range(first, end)], grid.y[first:end], color=INK, linewidth=1)
    axis.axvline(_time(grid, origin), color=SOFT, linewidth=0.8)
    axis.set_title(grid.name, fontsize=8, parse_math=False)
    axis.tick_params(labelsize=6)
    axis.xaxis.set_major_locator(few_dates())
    return svg(figure)


def few_dates() -> Any:
    """Returns the locator of the dates of an axis, of which there are few."""
    from matplotlib.dates import AutoDateLocator  # noqa: PLC0415 - as above

    # Its steps reach 30 minutes below two hours, and 6 months below two years: four of them, so five dates.
    return AutoDateLocator(minticks=2, maxticks=5)  # type: ignore[no-untyped-call] # matplotlib.dates has no types


def _time(grid: Grid, step: int) -> dt.datetime:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    at = step_times(grid.start_ms, grid.interval_ms, grid.calendar, step, grid.timezone)
    return moment + dt.timedelta(milliseconds=int(at))


def retrainings(decisions: Sequence[Retraining]) -> str:
    """Plots held-out losses of champion and challenger at every retraining, relative to the naive forecast."""
    figure, (axis,) = _figure()
    at = np.array([one.events for one in decisions])
    naive = np.array([one.naive_loss for one in decisions])
    old = np.array([one.champion_loss for one in decisions]) / naive
    new = np.array([one.challenger_loss for one in decisions]) / naive
    promoted = np.array([one.promoted for one in decisions])
    axis.plot(at, old, color=SOFT, marker="o", markersize=4, label="champion")
    axis.plot(at, new, color=ACCENT, linewidth=1, label="challenger")
    axis.plot(at[promoted], new[promoted], "o", color=ACCENT, markersize=6, label="promoted")
    axis.plot(
        at[~promoted], new[~promoted], "o", markerfacecolor="white", color=ACCENT, markersize=6, label="not promoted"
    )
    axis.set(xlabel="events", ylabel="held-out loss / naive", xscale="log", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    return svg(figure)
