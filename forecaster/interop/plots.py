"""A fan chart: observations, the forecast median and prediction intervals."""

from __future__ import annotations

import re
from typing import Any

from forecaster.errors import BatchError
from forecaster.interop.frames import ID, NAME, TIME, VALUE, is_polars
from forecaster.interop.optional import optional

_INTERVAL = re.compile(rf"{NAME}-lo-(.+)")
_COLOUR = "#2563eb"


def plot(history: Any, forecast: Any, series: str | None = None, *, last: int = 200, ax: Any = None) -> Any:
    """Plots recent values of a series and its forecast, with prediction intervals as bands.

    Args:
        history: frame of unique_id, ds, y.
        forecast: frame of `forecast_frame` or `FrameForecaster.predict`; the newest of several cutoffs is used.
        series: identifier of the series; None: the first one in the forecast.
        last: number of values of the history to plot.
        ax: matplotlib axes to plot on; None: new ones.

    Returns:
        The axes.

    Raises:
        BatchError: there is no forecast of the series.
        MissingExtraError: matplotlib is not installed.
    """
    pyplot = optional("matplotlib.pyplot", "plots")
    names = [str(name) for name in forecast[ID].to_list()]
    series = series if series is not None else (names[0] if names else "")
    if series not in names:
        known = ", ".join(sorted(set(names))[:5]) or "none"
        msg = f"got no forecast of series {series!r}, expected one of: {known}"
        raise BatchError(msg)
    ahead = _of(forecast, series)
    if "cutoff" in ahead:
        newest = max(ahead["cutoff"])
        keep = [i for i, cutoff in enumerate(ahead["cutoff"]) if cutoff == newest]
        ahead = {name: [column[i] for i in keep] for name, column in ahead.items()}
    past = _of(history, series)
    ax = ax if ax is not None else pyplot.subplots(figsize=(9, 3.2), layout="constrained")[1]
    when = sorted(range(len(past[TIME])), key=lambda i: past[TIME][i])[-last:]
    ax.plot([past[TIME][i] for i in when], [past[VALUE][i] for i in when], color="#374151", lw=1.2, label="observed")
    shares = [found[1] for name in ahead if (found := _INTERVAL.fullmatch(name))]
    for share in sorted(shares, key=float, reverse=True):
        low, high = ahead[f"{NAME}-lo-{share}"], ahead[f"{NAME}-hi-{share}"]
        ax.fill_between(ahead[TIME], low, high, color=_COLOUR, alpha=0.18, lw=0, label=f"{share} %")
    ax.plot(ahead[TIME], ahead[NAME], color=_COLOUR, lw=1.6, label="median")
    ax.set_title(series, loc="left")
    ax.grid(alpha=0.25)
    ax.legend(loc="upper left", ncols=5, frameon=False, fontsize="small")
    return ax


def _of(frame: Any, series: str) -> dict[str, list[Any]]:
    """Returns the rows of a series, as columns."""
    keep = [i for i, name in enumerate(frame[ID].to_list()) if str(name) == series]
    part = frame[keep] if is_polars(frame) else frame.iloc[keep]
    return {str(name): part[name].to_list() for name in part.columns}
