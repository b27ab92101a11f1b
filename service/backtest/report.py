"""The report of a backtest: one self-contained HTML file."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import Retraining, install_command
from service.backtest import plots
from service.backtest.grids import Grid
from service.backtest.results import Scored
from service.errors import ConfigurationError

FANS = 6
WORST = 10

STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse}
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #e2e8f0}
th:first-child,td:first-child{text-align:left}
tr.own{font-weight:600}p.note{color:#64748b}svg{max-width:100%;height:auto}.fans{display:flex;flex-wrap:wrap}"""


SCORES_NOTE = """Errors relative to the mean absolute seasonal difference of the first 30 % of each series, averaged
over series. sCRPS: twice the mean pinball loss of 19 quantiles. In 80 %: share of actuals within that interval."""
CALIBRATION_NOTE = """Left: on the diagonal, each quantile has its nominal frequency. Right: flat for calibrated
forecasts; a U means too narrow intervals, a hump too wide ones."""


def require_plots() -> None:
    """Checks that matplotlib is installed.

    Raises:
        ConfigurationError: it is missing; the message has the command to install it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        msg = f"--report needs matplotlib, which is not installed; expected the extra: {install_command('plots')}"
        raise ConfigurationError(msg)


def write_report(
    path: Path,
    title: str,
    facts: Mapping[str, Any],
    methods: Mapping[str, Scored],
    decisions: Sequence[Retraining],
    series: Sequence[Grid],
    quantiles: NDArray[np.floating],
) -> None:
    """Writes the report.

    Args:
        path: the output file; replaced atomically.
        title: name of the data.
        facts: the summary of the run.
        methods: scores by method, the daemon's first.
        decisions: the retrainings.
        series: series with forecasts.
        quantiles: (n, horizon, 19), all kept forecasts.

    Raises:
        OSError: it could not be written.
    """
    own = next(iter(methods.values()))
    parts = [
        f"<h1>Backtest of {html.escape(title)}</h1>",
        _introduction(facts, quantiles.shape[1]),
        "<h2>Scores</h2>",
        _scores(methods),
        f'<p class="note">{SCORES_NOTE}</p>',
        "<h2>Error by steps ahead</h2>",
        plots.by_step(methods),
        "<h2>Calibration</h2>",
        plots.calibration(own),
        f'<p class="note">{CALIBRATION_NOTE}</p>',
        "<h2>Forecasts</h2>",
        '<div class="fans">',
        *_fans(own, series, quantiles),
        "</div>",
        "<h2>Retrainings</h2>",
        *([plots.retrainings(decisions), _decisions(decisions)] if decisions else ["<p>None.</p>"]),
        "<h2>Hardest series</h2>",
        _worst(own),
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Backtest of {html.escape(title)}</title>'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def _introduction(facts: Mapping[str, Any], horizon: int) -> str:
    seasons = html.escape(", ".join(map(str, facts["seasons"])) or "none")
    return (
        f"<p>{facts['forecasts']} forecasts of {horizon} steps, from {facts['events']} events of {facts['series']} "
        f"series, each made from earlier events only.  {facts['seconds']:.0f} s, {facts['training_seconds']:.0f} s of "
        f"them training; {facts['events_per_second']:.0f} events/s. Seasons: {seasons} steps.</p>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], own: int = -1) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    for number, row in enumerate(rows):
        mark = ' class="own"' if number == own else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _scores(methods: Mapping[str, Scored]) -> str:
    rows = [
        [name, f"{s.mase:.3f}", f"{s.scrps:.3f}", f"{s.coverage_80:.1%}", f"{s.coverage_90:.1%}"]
        for name, s in methods.items()
    ]
    return _table(["method", "MASE", "sCRPS", "in 80 %", "in 90 %"], rows, own=0)


def _decisions(decisions: Sequence[Retraining]) -> str:
    rows = [
        [str(one.events), "promoted" if one.promoted else "not promoted", one.reason, str(one.steps)]
        for one in decisions
    ]
    return _table(["after events", "decision", "why", "steps"], rows)


def _worst(own: Scored) -> str:
    order = sorted(own.per_series.items(), key=lambda item: -item[1])[:WORST]
    return _table(["series", "sCRPS"], [[name, f"{value:.3f}"] for name, value in order])


def _fans(own: Scored, series: Sequence[Grid], quantiles: NDArray[np.floating]) -> list[str]:
    """Draws fan charts of series with small to large errors, at origins spread over time."""
    known = sorted((grid for grid in series if grid.name in own.per_series), key=lambda g: own.per_series[g.name])
    picked = [known[i] for i in np.linspace(0, len(known) - 1, FANS).round().astype(int)] if known else []
    charts = []
    for number, grid in enumerate(picked):
        which = min(len(grid.at) - 1, (number + 1) * len(grid.at) // (FANS + 1))
        charts.append(plots.fan(grid, which, quantiles[grid.at[which]]))
    return charts
