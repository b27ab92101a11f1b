"""`forecaster tune`: searches for hyperparameters that forecast a history better than the present settings."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli._options import with_config, without_groups
from service.config.durations import parse_duration
from service.config.sections import Config

if TYPE_CHECKING:
    from service.backtest.events import EventTable
    from service.backtest.search import SearchResult, Tried


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float:
    try:
        return parse_duration(value) if value else 0.0
    except ValueError as error:
        msg = f"got {value!r}, {error}"
        raise click.BadParameter(msg) from error


@click.command(short_help="Search for hyperparameters that forecast a history better.")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--trials", type=click.IntRange(2), default=30, show_default=True, help="Largest number of trials.")
@click.option("--timeout", callback=_seconds, metavar="TIME", help='Start no further trial after this time, "30m".')
@click.option(
    "--search", "keys", multiple=True, metavar="KEY", help="A setting to search; repeat for more. Default: all."
)
@click.option(
    "--max-series",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Number of series in the sample to train on.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of proposals and samples.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, for scripts.")
@with_config("--format", "--data-dir", "--interval", "--horizon", "--season")
def tune(
    config: Config,
    data: Path | None,
    trials: int,
    timeout: float,
    keys: tuple[str, ...],
    max_series: int,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Search for hyperparameters that forecast a history better.

    DATA is CSV or JSON lines, also gzip; without it the recent events in the snapshots of the data directory are used.
    Every trial trains a network once on the older part of the history and forecasts a newer part as the daemon would.
    The best trial is then compared with the present settings on the newest part, which no trial has used. If it is
    better there, its lines for the configuration file are printed. Nothing else is changed: a daemon whose network gets
    another shape builds its state anew from what it holds. Needs the extra tune.

    The keys that can be searched: model.cell, model.hidden_size, model.layers, train.learning_rate, train.k2 (with
    k1 = 2/3 k2), train.batch, train.weight_decay, train.half_life.

    Exit status: 0 done, also if nothing better was found, 1 the history cannot be read or is too short, 2 wrong command
    line or configuration, or the extra is missing.
    """
    config = without_groups(config)
    from service.backtest.search import require_optuna, sampled, search  # noqa: PLC0415 - as in backtest

    require_optuna()
    events = sampled(_events(config, data), max_series, seed)
    started = time.monotonic()
    with _bar(trials, show=sys.stderr.isatty() and not as_json) as progress:
        found = search(config, events, keys, trials=trials, timeout=timeout, seed=seed, progress=progress)
    _print_result(found, len(events), len(events.names), time.monotonic() - started, as_json=as_json)


def _events(config: Config, data: Path | None) -> EventTable:
    from service.backtest.events import events_of, read_file  # noqa: PLC0415 - as above

    if data is not None:
        return read_file(data, config)
    from service.cli.models import open_registry  # noqa: PLC0415 - as above
    from service.monitoring.collectors import process_registry  # noqa: PLC0415 - as above
    from service.monitoring.metrics import Metrics  # noqa: PLC0415 - as above
    from service.snapshots.store import SnapshotStore  # noqa: PLC0415 - as above
    from service.trainer.job import own_history  # noqa: PLC0415 - as above

    store = SnapshotStore(config.state.data_dir / "snapshots", config.state.snapshots_kept, Metrics(process_registry()))
    return events_of(own_history(config, open_registry(config), store))


@contextlib.contextmanager
def _bar(trials: int, *, show: bool) -> Iterator[Callable[[int, float], None] | None]:
    """Shows a progress bar on standard error and yields its update function; None where there is no terminal."""
    if not show:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=trials)

        def advance(done: int, best: float) -> None:
            bar.update(task, completed=done, description=f"best sCRPS {best:.4f}")

        yield advance


def _print_result(found: SearchResult, events: int, series: int, seconds: float, *, as_json: bool) -> None:
    from service.backtest.search import toml_lines  # noqa: PLC0415 - as above

    lines = toml_lines(found.changes)
    if as_json:
        facts: dict[str, Any] = {
            "events": events, "series": series, "trials": len(found.trials), "seconds": round(seconds, 3),
            "present": _plain(found.present), "best": _plain(found.best), "changes": found.changes, "toml": lines,
            "tried": [_plain(one) for one in found.trials],
        }  # fmt: skip
        click.echo(orjson.dumps(facts))
        return
    click.echo(f"# {len(found.trials)} trials on {events} events of {series} series in {seconds:.0f} s")
    gain = 1 - found.best.checked / found.present.checked
    click.echo(f"# present settings: sCRPS {found.present.score:.4f}, held out {found.present.checked:.4f}")
    click.echo(f"# best trial:       sCRPS {found.best.score:.4f}, held out {found.best.checked:.4f}")
    if found.changes:
        click.echo(f"# better by {gain:.1%} on held-out data; add this to the configuration file:\n{lines}")
    else:
        click.echo("# no trial is better than the present settings on held-out data: keep them")


def _plain(one: Tried) -> dict[str, Any]:
    checked = round(one.checked, 5) if math.isfinite(one.checked) else None
    return {
        "settings": one.settings, "scrps": round(one.score, 5), "kept_back": checked, "seconds": round(one.seconds, 3)
    }  # fmt: skip
