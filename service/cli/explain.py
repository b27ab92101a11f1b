"""`forecaster explain`: why a forecast was what it was, computed again from snapshot and source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np

from service.cli._errors import FAILED, Failed
from service.cli._options import config_source, with_config
from service.cli.exclude import event_time_ms
from service.cli.tail import significant
from service.config.load import load_config
from service.config.sections import Config
from service.messages.timestamps import LATEST_MS, format_times

if TYPE_CHECKING:
    from forecaster import Explanation
    from service.engine.past_forecast import PastForecast


@click.command(short_help="Explain a forecast: members, weights, calibration, what it read, effects.")
@click.argument("series")
@click.option("--at", metavar="TIME", help="Newest forecast up to this event time, ISO-8601 (UTC without a zone).")
@click.option("--horizon", type=click.IntRange(1), default=1, show_default=True, help="Steps ahead, of the paragraph.")
@click.option("--as", "kind", type=click.Choice(["table", "json"]), default="table", show_default=True,
              help="table: a paragraph and tables; json: all numbers, as of the API.")  # fmt: skip
@with_config("--data-dir", "--input", "--format", "--output")
def explain(config: Config, *, series: str, at: str | None, horizon: int, kind: str) -> None:
    """Explain a forecast of SERIES: its members and their weights, the calibration, and the effect of every input.

    Computes it again from the newest snapshot before it and the input files, compares it with the stored one bit for
    bit, and says so; nothing of the data directory is written, so that a daemon may be running on it. Needs the
    configuration of that daemon: input.files, and the SQLite output. The page and the API explain the newest forecast
    of a running daemon with any input.

    Exit status: 0 explained, 1 there is no such forecast or it cannot be computed again with the same bits, 2 wrong
    command line or configuration.
    """
    from forecaster import RowTwin  # noqa: PLC0415 - keeps the help page fast
    from forecaster import explain as explained  # noqa: PLC0415 - as above
    from service.cli._settled import with_chosen_fields  # noqa: PLC0415 - as above
    from service.discovery.settle_groups import kept_groups  # noqa: PLC0415 - as above
    from service.engine.past_forecast import past_forecast  # noqa: PLC0415 - as above
    from service.http.explanations import explanation_of  # noqa: PLC0415 - as above

    until = LATEST_MS if at is None else event_time_ms(at, "--at")
    path, flags = config_source()
    if kept := kept_groups(config):
        flags = {**flags, **kept}
        config = load_config(path, flags)
    config = with_chosen_fields(config, path, flags)
    found = past_forecast(config, series, until, lambda situation: RowTwin(situation.model).forecast(situation))
    steps = found.situation.model.config.horizon
    if horizon > steps:
        msg = f"got {horizon}, expected 1 to {steps}, the horizon of the series"
        raise click.BadParameter(msg, param_hint="--horizon")
    if not np.isfinite(found.situation.scale):
        msg = f"{series}: has no scale, expected a series with a forecast"
        raise Failed(msg, FAILED)
    explanation = explained(found.situation)
    if kind == "json":
        answer = explanation_of(
            explanation, found.stored.partition, np.clip(explanation.quantiles, *found.bounds), horizon,
            as_published=True,
        )  # fmt: skip
        click.echo(answer.model_dump_json())
        return
    _print(explanation, found, horizon)


def _print(found: Explanation, past: PastForecast, horizon: int) -> None:
    """Prints the paragraph, a row per member and step ahead, and the effects."""
    click.echo(found.in_words(horizon))
    origin = "the beginning of the input" if past.snapshot is None else f"the snapshot at position {past.snapshot}"
    click.echo(
        f"Equal to the stored forecast bit for bit (partition {past.stored.partition}, position "
        f"{past.stored.position}), computed again from {origin}.\n"
    )
    middle = found.levels.index(0.5)
    targets = format_times(np.minimum(found.targets_ms, LATEST_MS))
    wide = max(len("calibration"), *(len(name) for name in found.names))
    click.echo(f"{'step':>5}  {'target':24}  {'part':{wide}}  {'weight':>7}  {'median':>12}  {'low':>12}  {'high':>12}")

    def line(h: int, part: str, weight: str, row: np.ndarray) -> None:
        digits = significant(float(found.quantiles[h, 0]), float(found.quantiles[h, -1]))
        numbers = "  ".join(f"{float(row[at]):>12.{digits}g}" for at in (middle, 0, -1))
        click.echo(f"{h + 1:>5}  {targets[h]:24}  {part:{wide}}  {weight:>7}  {numbers}")

    for h in _shown(len(targets), horizon):
        for name, weight, rows in zip(found.names, found.weights[:, h], found.members, strict=True):
            line(h, name, f"{weight:.1%}", rows[h])
        line(h, "calibration", "", found.correction[h])
        line(h, "forecast", "", np.clip(found.quantiles[h], *past.bounds))
    if found.left_out:
        click.echo("\neffect on the median of leaving out, by step: with it minus without it")
        click.echo(f"{'input':24}" + "".join(f"{f'+{h + 1}':>12}" for h in _shown(len(targets), horizon)))
        for one in found.left_out:
            cells = "".join(f"{one.effect[h]:>12.4g}" for h in _shown(len(targets), horizon))
            click.echo(f"{f'{one.kind} {one.name}':24}{cells}")


def _shown(count: int, horizon: int) -> list[int]:
    """Returns the places of the first, the asked and the last step ahead."""
    return sorted({0, horizon - 1, count - 1})
