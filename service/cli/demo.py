"""`forecaster demo`: forecasts a generated city and this machine's metrics with the complete daemon, on a screen."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import click

from service.cli._demo_run import DemoRun
from service.cli._ports import free_port
from service.config.durations import parse_duration


@click.command(short_help="Forecast a generated city and this machine, live.")
@click.option("--for", "duration", metavar="TIME", help='End after this time, e.g. "60s"; default: run until Ctrl-C.')
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep all data in this folder and continue from it the next time; default: a temporary folder.",
)
@click.option(
    "--port",
    default=9464,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port of page and metrics; if it is busy, a free one is used.",
)
@click.option("--plain", is_flag=True, help="Print lines instead of a screen, also on a terminal.")
def demo(duration: str | None, data_dir: Path | None, port: int, *, plain: bool) -> None:
    """Forecast a generated city and this machine, live.

    The daemon follows files of samples, with the same engine, files and trainer as `forecaster run`. The city's
    electricity, solar power and web traffic begin with eight weeks of half hours; then a day takes twelve seconds, with
    an incident every few days and a lasting change in the first week. Once a second, CPU, memory, load, disk and
    network rates of this machine follow in a second file. The first training starts after twenty live seconds.

    The error of the medians, over all steps ahead, is shown relative to that of the better of two naive forecasts: the
    value of a day before, and of a week before. For the machine it is that of the last value.

    Exit status: 0 also after Ctrl-C or SIGTERM, 1 the daemon failed.
    """
    seconds = None if duration is None else _seconds(duration)
    with _folder(data_dir) as folder, _ended_by_signals() as ended, (folder / "daemon.log").open("a") as log:
        DemoRun(folder, free_port(port), log, ended).run(seconds, on_screen=sys.stdout.isatty() and not plain)


def _seconds(duration: str) -> float:
    try:
        return parse_duration(duration)
    except ValueError as error:
        msg = f"got {duration!r}, {error}"
        raise click.BadParameter(msg, param_hint="--for") from error


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """Yields the folder of the run: the given one, or a temporary one that is deleted at the end."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted
        return
    folder = Path(tempfile.mkdtemp(prefix="forecaster-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[threading.Event]:
    """Yields an event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    ended = threading.Event()

    def end(number: int, _frame: object) -> None:
        ended.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
