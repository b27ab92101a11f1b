"""`forecaster backtest`: forecasts the events of a file in time order (walk-forward) and scores the forecasts."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from service.cli._errors import FAILED, Failed
from service.cli._options import OutFile, with_config, without_groups
from service.config.sections import Config
from service.errors import ConfigurationError
from service.notebook.progress import events_bar

if TYPE_CHECKING:
    from service.backtest.events import EventTable
    from service.backtest.results import Scored
    from service.backtest.run import BacktestOutcome


@click.command(short_help="Backtest: forecast the events of a file in time order, and score it.")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--origins",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns series,origin: the events whose forecasts are kept (forecast origins). Default: about "
    "3,000, after the first 30 % of each series.",
)
@click.option(
    "--freeze-after",
    type=click.FloatRange(0.0, 1.0),
    default=1.0,
    metavar="SHARE",
    help="Run the last training after this share of the events; 1: never stop training.",
)
@click.option("--out", type=OutFile(".npz"), help="Output file for the predictions, .npz.")
@click.option(
    "--report",
    type=OutFile(".html", ".htm"),
    help="Output file for a report, .html: scores compared with simple methods, fan charts, calibration. Needs the "
    "extra plots.",
)
@click.option(
    "--scale",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare scaling policies instead: TOML file with [[scale]], such as the configuration of the daemon. Prints "
    "pod-hours and under-provisioned minutes of reactive scaling, of last week's load and of the forecast.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object, for scripts.")
@with_config("--format", "--interval", "--horizon", "--season", "--retrain-every")
def backtest(
    config: Config,
    data: Path,
    origins: Path | None,
    freeze_after: float,
    out: Path | None,
    report: Path | None,
    scale: Path | None,
    *,
    as_json: bool,
) -> None:
    """Backtest: forecast the events of a file in time order, and score it.

    DATA is CSV or JSON lines, also gzip, with all series in any order. The backtest observes its events once, in time
    order, and retrains models on the way (walk-forward, rolling origin); every forecast uses earlier events only. The
    predictions hold series, origin (epoch seconds) and the quantiles 0.05, 0.10 ... 0.95 of every step.

    With --scale, the series are loads, and the table has the cost of scaling for them; docs/autoscaling.md explains it.

    Exit status: 0 done, 1 the file cannot be read or no forecast was made, 2 wrong command line or configuration.
    """
    config = without_groups(config)
    if scale:
        if origins or out or report:
            msg = "got --scale with --origins, --out or --report, expected it without these: it prints one table"
            raise click.UsageError(msg)
        _compare_scaling(config, data, scale, freeze_after, as_json=as_json)
        return
    from service.backtest.events import read_file  # noqa: PLC0415 - keeps the help page fast
    from service.backtest.origins import LEVELS, default_origins, read_origins, write_predictions  # noqa: PLC0415
    from service.backtest.run import assess, run  # noqa: PLC0415

    if report:
        from service.backtest.report import require_plots, write_report  # noqa: PLC0415

        require_plots()
    events = read_file(data, config)
    _report_rejects(data, events)
    wanted, absent = (
        read_origins(origins, events, config.input.fields.time_unit)
        if origins
        else (default_origins(events, config.input.broadcast), 0)
    )
    with events_bar(show=sys.stderr.isatty() and not as_json) as progress:
        outcome = run(config, events, wanted, freeze_after=freeze_after, progress=progress)
    result = outcome.result
    if not len(result.event):
        msg = f"no forecast was made: {absent} origins have no event in {data}; see --origins"
        raise Failed(msg, FAILED)
    from forecaster import at_levels  # noqa: PLC0415 - as above

    quantiles = at_levels(result.quantiles, result.forecaster.config.quantiles, LEVELS)
    names = [events.names[i] for i in events.series[result.event].tolist()]
    if out:
        write_predictions(out, names, events.timestamp_ms[result.event], quantiles)
    series, methods = assess(outcome, events, quantiles, compare=report is not None)
    facts = summary(outcome, len(events), len(events.names), absent) | figures(methods)
    if report:
        write_report(report, data.name, facts, methods, result.retrainings, series, quantiles, events.timestamp_ms)
    _print_result(facts, as_json=as_json)


def _compare_scaling(config: Config, data: Path, scale: Path, freeze_after: float, *, as_json: bool) -> None:
    """Prints the costs of scaling policies for the `[[scale]]` of a file."""
    from service.backtest.events import read_file  # noqa: PLC0415 - as above
    from service.backtest.origins import WARM_SHARE  # noqa: PLC0415
    from service.backtest.run import run  # noqa: PLC0415
    from service.backtest.scaling import compare, scaled_events, table  # noqa: PLC0415
    from service.config.load import load_config  # noqa: PLC0415

    rules = load_config(scale).scale
    if not rules:
        msg = f"{scale}: got no [[scale]], expected at least one with name, series and capacity"
        raise ConfigurationError(msg)
    events = read_file(data, config)
    _report_rejects(data, events)
    wanted = scaled_events(events, rules)
    levels = tuple(sorted({*config.model.quantiles, *(rule.quantile for rule in rules)}))
    with events_bar(show=sys.stderr.isatty() and not as_json) as progress:
        outcome = run(
            config, events, wanted, freeze_after=freeze_after, known=int(WARM_SHARE * len(events)), levels=levels,
            progress=progress,
        )  # fmt: skip
    found = [compare(rule, events, outcome.result) for rule in rules]
    click.echo(orjson.dumps({"scales": [one.to_json() for one in found]}) if as_json else table(found))


def _report_rejects(data: Path, events: EventTable) -> None:
    if events.example is not None:
        click.echo(f"{data}: {events.rejects} records rejected, the first: {events.example.detail}", err=True)


def summary(outcome: BacktestOutcome, events: int, series: int, absent: int) -> dict[str, Any]:
    """Returns counts and cost of a backtest as JSON values."""
    result = outcome.result
    observing = max(1e-9, outcome.seconds - outcome.training_seconds)
    return {
        "events": events,
        "series": series,
        "forecasts": len(result.event),
        "origins_without_event": absent,
        "interval_ms": result.forecaster.config.interval_ms,
        "interval_months": result.forecaster.config.interval_months,
        "seasons": list(result.forecaster.config.seasons),
        "timezone": result.forecaster.config.timezone,
        "retrainings": len(result.retrainings),
        "promoted": sum(retraining.promoted for retraining in result.retrainings),
        "seconds": round(outcome.seconds, 3),
        "training_seconds": round(outcome.training_seconds, 3),
        "events_per_second": round(events / observing, 1),
    }


def figures(methods: Mapping[str, Scored]) -> dict[str, Any]:
    """Returns the scores of the daemon as JSON values, None without scored forecasts; other methods under "methods"."""
    own, *others = (_figures(scores) for scores in methods.values())
    return own | ({"methods": dict(zip(list(methods)[1:], others, strict=True))} if others else {})


def _figures(scores: Scored) -> dict[str, float | None]:
    values = {
        "mase": scores.mase,
        "scrps": scores.scrps,
        "coverage_80": scores.coverage_80,
        "coverage_90": scores.coverage_90,
    }
    return {name: round(value, 5) if math.isfinite(value) else None for name, value in values.items()}


def _print_result(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(facts))
        return
    from service.backtest.report import season_names, step_name  # noqa: PLC0415 - as above

    click.echo(
        f"{facts['forecasts']} forecasts from {facts['events']} events of {facts['series']} series in "
        f"{facts['seconds']:.1f} s, {facts['training_seconds']:.1f} s of them training ({facts['promoted']} of "
        f"{facts['retrainings']} retrainings promoted), {facts['events_per_second']:.0f} events/s\n"
        f"steps of {step_name(facts)}, {season_names(facts)}"
        + (
            f"\nMASE {facts['mase']:.3f}, sCRPS {facts['scrps']:.3f}, {facts['coverage_80']:.1%} of actuals in the 80 "
            f"% interval, {facts['coverage_90']:.1%} in the 90 %"
            if facts["mase"] is not None
            else ""
        )
    )
