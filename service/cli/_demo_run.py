"""One run of the demo: the feeds of city and machine, the daemon in a thread, and the screen."""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from rich.console import Console
from rich.live import Live

from service.cli._errors import Failed, as_failure
from service.cli._logging import configure_logging
from service.demo.board import Board
from service.demo.city import LAGS_MS, UNITS, City, first_monday
from service.demo.feed import Feed, written_times
from service.demo.format import clock, ratio
from service.demo.observer import Observer
from service.demo.sampler import MachineSampler, seconds_since_start
from service.demo.screen import WIDTH, ScreenStatus, city_skill, line, screen
from service.demo.settings import (
    CITY,
    FIRST_TRAINING_SECONDS,
    MACHINE,
    NEXT_TRAINING_SECONDS,
    exclude_machine,
    settings,
)
from service.ports import Unit
from service.publication import OnUnit

if TYPE_CHECKING:
    from service.cli._daemon import Daemon

# Seconds between two updates of the screen, and between two printed lines where there is no screen.
DRAW_SECONDS, LINE_SECONDS = 0.5, 5.0
# A shutdown commits and writes a snapshot, which takes milliseconds; the demo gives up waiting after this time.
SHUTDOWN_SECONDS = 20.0
_NEXT = (
    "Forecast your own: forecaster run --input FILE for a file or pipe as it is, "
    "forecaster inspect --topic NAME for Kafka, docs/prometheus-only.md for Prometheus"
)
# Screen updates over which the rate is averaged.
RATE_DRAWS = 10


class DemoRun:
    """One run of the demo.

    Args:
        folder: folder for all written files.
        port: port of the metrics page.
        log: the stream for the daemon's log; the screen does not show it.
        ended: set by a signal to end the demo.
    """

    def __init__(self, folder: Path, port: int, log: TextIO, ended: threading.Event) -> None:
        config = settings(folder, port)
        configure_logging(config.log, log)
        exclude_machine(folder)
        self._observer = observer = Observer(Board(lambda name: LAGS_MS if name in UNITS else ()))
        now = datetime.now(tz=UTC)
        name = now.strftime("%Y-%m-%dT%H%M%S.jsonl")
        written = written_times(folder / CITY)
        city = City(first_monday(now) if written is None else written[0])
        if written is not None:
            city.skip(written[1])
        self._city = Feed(folder / CITY / name, city, lambda sample: observer.record_city(city, sample))
        self._city.write(city.history())
        self._machine = Feed(folder / MACHINE / name, MachineSampler(), observer.record_sample)
        self._config = config
        self._daemon: Daemon | None = None
        self._url = f"http://{config.http.host}:{port}/"
        self._ended = ended
        self._log = log
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._first_after: float | None = None
        self._live_since = 0.0
        self._counts: deque[tuple[float, int]] = deque(maxlen=RATE_DRAWS)
        self._started = time.monotonic()

    def run(self, seconds: float | None, *, on_screen: bool) -> None:
        """Shows the demo until `seconds` have passed, a signal arrives or the daemon fails; then ends all parts.

        Raises:
            Failed: the daemon or the sampler failed.
        """
        self._started = time.monotonic()
        thread = threading.Thread(target=self._run_daemon, name="daemon", daemon=True)
        self._machine.start()
        thread.start()
        try:
            if on_screen:
                self._show_screen(seconds)
            else:
                self._print_lines(seconds)
        finally:
            self._stop.set()
            self._city.stop()
            self._machine.stop()
            self._await_end(thread)
        self._finish(thread, on_screen=on_screen)

    def _await_end(self, thread: threading.Thread) -> None:
        """Waits until the daemon has ended.

        A compilation cannot be interrupted and is cached for the next start, so this waits for its end.
        """
        end = time.monotonic() + SHUTDOWN_SECONDS
        while thread.is_alive() and time.monotonic() < end:
            thread.join(0.2)
            if self._daemon is None or self._daemon.phase == "compiling":
                end = time.monotonic() + SHUTDOWN_SECONDS

    def _on_unit(self, unit: Unit) -> None:
        if self._first_after is None and unit.forecasts:
            self._first_after = seconds_since_start()
            self._live_since = time.monotonic()
            self._city.start()  # its time stands still while the daemon compiles
        self._observer.record_unit(unit)

    def _run_daemon(self) -> None:
        try:
            # Importing takes a second; the screen and the sampler do not wait for it.
            from service.cli._daemon import Daemon  # noqa: PLC0415
            from service.kernels import use_quick_kernels  # noqa: PLC0415 - see above

            use_quick_kernels()
            self._daemon = Daemon(self._config, listeners=[OnUnit(self._on_unit)])
            self._daemon.run(self._stop)
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self._failure = error
        self._ended.set()

    def _left(self, seconds: float | None) -> float | None:
        return None if seconds is None else max(0.0, seconds - (time.monotonic() - self._started))

    def _show_screen(self, seconds: float | None) -> None:
        console = Console()
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while self._left(seconds) != 0 and not self._ended.is_set():
                status = self._status(seconds)
                with self._observer.lock:
                    live.update(screen(self._observer.board, status, console.height), refresh=True)
                self._ended.wait(DRAW_SECONDS)

    def _print_lines(self, seconds: float | None) -> None:
        click.echo(f"forecaster demo: page at {self._url}, metrics at {self._url}metrics")
        while (left := self._left(seconds)) != 0 and not self._ended.is_set():
            self._ended.wait(LINE_SECONDS if left is None else min(LINE_SECONDS, left))
            status = self._status(seconds)
            with self._observer.lock:
                click.echo(line(self._observer.board, status))

    def _status(self, seconds: float | None) -> ScreenStatus:
        now = time.monotonic()
        with self._observer.lock:
            events, forecasts = self._observer.board.events, self._observer.board.forecasts
        self._counts.append((now, events))
        since, before = self._counts[0]
        daemon = self._daemon
        trainings = daemon.trainings if daemon else None
        return ScreenStatus(
            seconds=now - self._started,
            remaining=self._left(seconds),
            phase=self._phase(daemon, forecasts),
            rate=(events - before) / (now - since) if now > since else 0.0,
            trainings=trainings.ended if trainings else 0,
            promotions=trainings.promoted if trainings else 0,
            model=self._observer.model,
            url=self._url,
            training=trainings is not None and trainings.running,
            news=[f"last training: {trainings.last_reason}"] if trainings and trainings.last_reason else [],
        )

    def _phase(self, daemon: Daemon | None, forecasts: int) -> str:
        if daemon is not None and daemon.phase == "compiling":
            return "Compiling the network for this processor; the first start takes up to a minute."
        if daemon is None or not forecasts:
            return "Starting."
        if daemon.trainings.running:
            return "Training a new network in the background, at low priority."
        if not daemon.trainings.ended:
            left = FIRST_TRAINING_SECONDS - (time.monotonic() - self._live_since)
            return f"Forecasting with the shipped network; its first training here starts {_soon(left)}."
        return f"Forecasting; a training runs after every {NEXT_TRAINING_SECONDS} s of samples."

    def _finish(self, thread: threading.Thread, *, on_screen: bool) -> None:
        board, status = self._observer.board, self._status(None)
        if on_screen:
            Console(width=WIDTH).print(screen(board, status, height=100))
        if self._failure is not None:
            raise as_failure(self._failure) or self._failure
        for feed in (self._city, self._machine):
            if feed.error is not None:
                msg = f"writing {feed.path} ended: {feed.error}"
                raise Failed(msg)
        if thread.is_alive():
            msg = f"the daemon did not end within {SHUTDOWN_SECONDS:.0f} s; its log is {self._log.name}"
            raise Failed(msg)
        if self._first_after is None:
            click.echo(
                f"0 forecasts in {clock(status.seconds)}: the demo ended during its start; the next start is faster"
            )
            return
        click.echo(
            f"{board.forecasts} forecasts in {clock(status.seconds)}, the first after {self._first_after:.1f} s; "
            f"trainings {status.trainings} ({status.promotions} promoted); error of the city's forecasts relative to "
            f"seasonal naive {ratio(city_skill(board))}"
        )
        click.echo(_NEXT)


def _soon(seconds: float) -> str:
    return f"in {seconds:.0f} s" if seconds >= 1 else "now"
