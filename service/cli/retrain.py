"""`forecaster retrain`: runs one training with the code of the daemon's trainer."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli._errors import FAILED, KEPT_CHAMPION, OK
from service.cli._options import config_source, with_config
from service.cli.models import open_registry, with_group
from service.config.load import load_config
from service.config.sections import Config
from service.discovery.settle_groups import kept_groups
from service.errors import ConfigurationError
from service.monitoring.collectors import process_registry
from service.monitoring.metrics import Metrics
from service.registry.decisions import shape_text
from service.snapshots.store import SnapshotStore
from service.trainer.job import Result
from service.trainer.job import retrain as retrain_once

if TYPE_CHECKING:
    from forecaster import FitProgress

# The exit status for each outcome of a training.
STATUSES = {"promoted": OK, "shadow": OK, "kept": KEPT_CHAMPION, "nothing_to_learn": KEPT_CHAMPION, "failed": FAILED}


@click.command(short_help="Train a new model on recent history; promote it if it is better.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, for scripts.")
@with_group
@with_config("--data-dir")
@click.pass_context
def retrain(context: click.Context, config: Config, group: str, *, as_json: bool) -> None:
    """Train a new model on recent history; promote it if it is better.

    Trains on the newest snapshots of the data directory, starting from the champion, and compares both models on the
    newest data, which is held out. A daemon that runs on the directory adopts a promoted model by itself.

    With retrain.shadow, the daemon first runs the new model as a shadow model, and promotes it if it is better there
    too.

    Exit status: 0 promoted (or ready to run as a shadow model), 3 the champion stays: the new model is not better, or
    there is nothing to learn because no series has changed, 1 failed (too little history) or another training is
    running, 2 wrong configuration.
    """
    registry = open_registry(config, group)
    if kept := kept_groups(config):
        path, flags = config_source()
        config = load_config(path, {**flags, **kept})
    if registry.group not in config.group_names:
        msg = f"--group: got {group!r}, expected its [[group]] in the configuration (--config), which has its settings"
        raise ConfigurationError(msg)
    config = config.of_group(registry.group)
    store = SnapshotStore(config.state.data_dir / "snapshots", config.state.snapshots_kept, Metrics(process_registry()))
    started = time.monotonic()
    with _bar(show=sys.stderr.isatty() and not as_json) as advance:
        result = retrain_once(config, registry, store, progress=advance)
    _print_result(result, time.monotonic() - started, as_json=as_json)
    context.exit(STATUSES[result.outcome])


@contextlib.contextmanager
def _bar(*, show: bool) -> Iterator[Callable[[FitProgress], None] | None]:
    """Shows a progress bar on standard error and yields its update function; None where there is no terminal."""
    if not show:
        yield None
        return
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=None, loss="compiling and reading")

        def advance(step: FitProgress) -> None:
            text = f"loss {step.loss:.4f}, held out {step.validation_loss:.4f}"
            bar.update(task, total=step.max_steps, completed=step.step, loss=text)

        yield advance


def _print_result(result: Result, seconds: float, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(asdict(result) | {"seconds": round(seconds, 3)}))
    elif result.outcome == "failed":
        click.echo(f"Error: {result.reason}", err=True)
    elif result.outcome == "nothing_to_learn":
        click.echo(f"the champion stays: {result.reason}")
    else:
        steps = f"{result.figures.get('steps', 0):.0f} steps in {seconds:.1f} s"
        click.echo(f"{result.outcome} {result.model[:12]}: {result.reason} ({steps})")
        if result.tried:
            click.echo(f"note: also tried: {shape_text(result.tried)}", err=True)
        if result.seasons.differ:
            click.echo(f"note: seasons: {result.seasons.description()}", err=True)
