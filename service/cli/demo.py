"""`forecaster demo`: this machine's own metrics through the whole daemon, on a screen."""

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


@click.command(short_help="Forecast this machine's own metrics, live.")
@click.option("--for", "duration", metavar="TIME", help='End after this time, e.g. "60s"; otherwise Ctrl-C ends.')
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep everything in this folder and go on from it the next time; otherwise a temporary one is used.",
)
@click.option(
    "--port",
    default=9464,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Of the page and the metrics; another is taken if it is busy.",
)
@click.option("--plain", is_flag=True, help="Print lines instead of a screen, also on a terminal.")
def demo(duration: str | None, data_dir: Path | None, port: int, *, plain: bool) -> None:
    """Forecast this machine's own metrics, live.

    Once a second CPU, memory, load, disk and network rates are written to a file that the daemon follows: the
    real engine, the real files, the real trainer. The first training starts after a minute of samples.

    Exit status: 0 also when Ctrl-C or SIGTERM ended it, 1 the daemon failed.
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
    """The folder of the run: the wanted one, which stays, or a temporary one, which goes."""
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
    """An event that SIGINT and SIGTERM set; a second signal ends the process at once, as without this."""
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
