"""The report of a backtest: one self-contained HTML file."""

from __future__ import annotations

import html
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import Retraining, install_command
from service.backtest import plots
from service.backtest.grids import Grid
from service.backtest.results import Scored
from service.config.durations import format_duration, format_months
from service.errors import ConfigurationError

FANS = 6
HARDEST, EASIEST = 400, 100  # rows of the ranking

STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;background:#fff;max-width:62rem;margin:2rem auto;
padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse}
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #e2e8f0;vertical-align:top}
th:first-child,td:first-child,.words td:nth-child(n+4),.words th:nth-child(n+4){text-align:left}
.words td:nth-child(-n+4){white-space:nowrap}tr.own{font-weight:600}p.note{color:#52606d}
svg{max-width:100%;height:auto}.wide{overflow-x:auto}nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem}
.ranking{max-height:32rem;overflow:auto}
.fans{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
.ranking th{position:sticky;top:0;background:#fff}"""


SCORES_NOTE = """Errors relative to the mean absolute seasonal difference of the first 30 % of each series, averaged
over series. sCRPS: twice the mean pinball loss of 19 quantiles. In 80 %: share of actuals within that interval."""
CALIBRATION_NOTE = """Left: on the diagonal, each quantile has its nominal frequency. Right: flat for calibrated
forecasts; a U means too narrow intervals, a hump too wide ones."""
COVERAGE_NOTE = "On the thin lines, the intervals hold what they say; below them they are too narrow, above too wide."
TIME_NOTE = "A time at which the error is high has something that the network does not see: name it as a covariate."
TRAINING_NOTE = """Both models forecast the newest data, which the training holds out. Gain: by how much less loss the
trained model has there than the model in use; it is promoted only if that is more than chance."""


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
    times_ms: NDArray[np.int64],
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
        times_ms: of all events of the file, in order.

    Raises:
        OSError: it could not be written.
    """
    own = next(iter(methods.values()))
    zone, step = facts["timezone"], step_name(facts)
    when = [plots.as_time(int(times_ms[max(0, one.events - 1)]), zone) for one in decisions]
    dates = [f"{at:%Y-%m-%d %H:%M}" for at in when]
    sections = {
        "Scores": [_scores(methods), f'<p class="note">{SCORES_NOTE}</p>'],
        "Error by steps ahead": [plots.by_step(methods, step)],
        "Error by hour and weekday": [plots.by_time(methods, zone), f'<p class="note">{TIME_NOTE}</p>'],
        "Coverage by steps ahead": [plots.coverage_by_step(own, step), f'<p class="note">{COVERAGE_NOTE}</p>'],
        "Calibration": [plots.calibration(own), f'<p class="note">{CALIBRATION_NOTE}</p>'],
        "Forecasts": ["<p>From the easiest to the hardest series.</p>", '<div class="fans">',
                      *_fans(own, series, quantiles, step), "</div>"],
        "Trainings": [plots.retrainings(decisions, when, zone), _decisions(decisions, dates),
                      f'<p class="note">{TRAINING_NOTE}</p>'] if decisions else ["<p>None.</p>"],
        "Ranking of series": _ranking(methods),
    }  # fmt: skip
    if not sections["Error by hour and weekday"][0]:
        del sections["Error by hour and weekday"]
    parts = [
        f"<h1>Backtest of {html.escape(title)}</h1>",
        _introduction(facts, quantiles.shape[1], step, times_ms),
        "<nav>" + "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in sections) + "</nav>",
        *(part for name, found in sections.items() for part in (f'<h2 id="{_anchor(name)}">{name}</h2>', *found)),
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Backtest of {html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def step_name(facts: Mapping[str, Any]) -> str:
    """Returns the interval of a summary in words, such as "30m"."""
    if facts["interval_months"]:
        return format_months(facts["interval_months"])
    return format_duration(facts["interval_ms"] / 1000) if facts["interval_ms"] else "one of each series"


def season_names(facts: Mapping[str, Any]) -> str:
    """Returns the seasons of a summary in words, such as "seasons of 24 and 168 steps"."""
    seasons = [str(season) for season in facts["seasons"]]
    if len(seasons) < 2:
        return f"a season of {seasons[0]} steps" if seasons else "no season"
    return f"seasons of {', '.join(seasons[:-1])} and {seasons[-1]} steps"


def _anchor(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-")


def _introduction(facts: Mapping[str, Any], horizon: int, step: str, times_ms: NDArray[np.int64]) -> str:
    first, last = (plots.as_time(int(at), facts["timezone"]) for at in (times_ms[0], times_ms[-1]))
    return (
        f"<p>{facts['forecasts']:,} forecasts of {horizon} steps of {html.escape(step)}, from {facts['events']:,} "
        f"events of {facts['series']:,} series between {first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M} "
        f"({html.escape(facts['timezone'])}), each made from earlier events only, with {season_names(facts)}. "
        f"{facts['seconds']:.0f} s, {facts['training_seconds']:.0f} s of them training; "
        f"{facts['events_per_second']:,.0f} events/s.</p>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], own: int = -1, kind: str = "") -> str:
    lines = [
        f'<div class="wide {kind}"><table><tr>' + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"
    ]
    for number, row in enumerate(rows):
        mark = ' class="own"' if number == own else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table></div>"])


def _scores(methods: Mapping[str, Scored]) -> str:
    rows = [
        [name, f"{s.mase:.3f}", f"{s.scrps:.3f}", f"{s.coverage_80:.1%}", f"{s.coverage_90:.1%}"]
        for name, s in methods.items()
    ]
    return _table(["method", "MASE", "sCRPS", "in 80 %", "in 90 %"], rows, own=0)


def _decisions(decisions: Sequence[Retraining], when: Sequence[str]) -> str:
    rows = [
        [at, f"{one.events:,}", _gain(one), "promoted" if one.promoted else "not promoted", one.reason,
         f"{one.steps:,}", ", ".join(map(str, one.seasons)) or "none"]
        for one, at in zip(decisions, when, strict=True)
    ]  # fmt: skip
    head = ["time", "after events", "gain", "decision", "why", "optimiser steps", "seasons afterwards"]
    return _table(head, rows, kind="words")


def _gain(one: Retraining) -> str:
    gain = 1.0 - one.challenger_loss / one.champion_loss if one.champion_loss > 0 else math.nan
    return f"{gain:+.1%}" if math.isfinite(gain) else ""


def _ranking(methods: Mapping[str, Scored]) -> list[str]:
    """Returns the table of the series by error, of which there are at most 500, and a sentence of which it has."""
    own, *others = methods.values()
    order = sorted(own.per_series.items(), key=lambda item: -item[1].scrps)
    shown = [*enumerate(order, 1)]
    left_out = max(0, len(shown) - HARDEST - EASIEST)
    if left_out:
        shown = shown[:HARDEST] + shown[-EASIEST:]
    rows = []
    for rank, (name, one) in shown:
        best = min((other.per_series[name].scrps for other in others if name in other.per_series), default=math.nan)
        relative = f"{one.scrps / best:.2f}" if best > 0 else ""
        rows.append([name, str(rank), f"{one.mase:.3f}", f"{one.scrps:.3f}", relative, f"{one.coverage_80:.0%}",
                     f"{one.coverage_90:.0%}"])  # fmt: skip
    worse = sum(float(row[4] or 0) > 1 for row in rows)
    text = (
        f"<p>{len(order):,} series by sCRPS, the hardest first"
        + (f"; the {HARDEST} hardest and the {EASIEST} easiest of them" if left_out else "")
        + ". Search a name with the search of the browser. Of the best simple method: the sCRPS divided by that of "
        f"the best of the others above on this series; more than 1 on {worse} of these {len(rows)}.</p>"
    )
    head = ["series", "rank", "MASE", "sCRPS", "of the best simple method", "in 80 %", "in 90 %"]
    return [text, _table(head, rows, kind="ranking")]


def _fans(own: Scored, series: Sequence[Grid], quantiles: NDArray[np.floating], step: str) -> list[str]:
    """Draws fan charts of series with small to large errors, at origins spread over time."""
    known = sorted((g for g in series if g.name in own.per_series), key=lambda g: own.per_series[g.name].scrps)
    picked = [known[i] for i in np.linspace(0, len(known) - 1, FANS).round().astype(int)] if known else []
    charts = []
    for number, grid in enumerate(picked):
        which = min(len(grid.at) - 1, (number + 1) * len(grid.at) // (FANS + 1))
        charts.append(plots.fan(grid, which, quantiles[grid.at[which]], step))
    return charts
