"""What a training of very many series takes from the daemon: memory of the trainer, latency of events meanwhile.

    python benchmarks/training_load.py DIR [--series 100000] [--steps 25] [--rate 5000] [--idle 65] [--set KEY=VALUE]

First it fills DIR: a daemon reads that many steps of that many series. Then (`--again` starts here) a daemon takes up
its state and reads a file that another process goes on writing at a steady rate. After a while at rest, with a snapshot
every minute as ever, it is asked for a training, as by SIGUSR1. Printed are the greatest resident memory of the
training process, and of the events' time before and during the training the median, the 99th percentile and the
greatest:

    engine    from the poll's return to the commit of its batch
    arrival   from the moment the batch's first event was written into the file to the commit
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEP_MS = 60_000
FEED_SECONDS, SETTLING_SECONDS = 0.05, 5.0
EVENTS, ARRIVALS = "events.csv", "arrivals.txt"
Took = tuple[float, int, float, int]  # when, events, seconds in the engine, position behind


def lines(first: int, count: int, series: int) -> str:
    """Events number `first` and following: series in turn, each a wave with noise of its own."""
    number = np.arange(first, first + count)
    step, which = np.divmod(number, series)
    noise = np.random.default_rng(first).normal(size=count)
    value = 50 + which % 40 + 10 * np.sin(step / 24 * 2 * np.pi + which) + noise
    times = 1_700_000_000_000 + step * STEP_MS
    rows = zip(which.tolist(), times.tolist(), value.tolist(), strict=True)
    return "".join([f"s{name},{ms},{v:.3f}\n" for name, ms, v in rows])


def config_of(folder: Path, series: int, history: int, settings: list[str]) -> Any:
    """The daemon's configuration."""
    from service.config.load import load_config

    given: dict[str, object] = {
        "input.files": str(folder / EVENTS), "state.data_dir": str(folder / "data"), "http.port": "0",
        "model.interval": "1m", "model.seasons": "24", "output.sink": "stdout", "state.max_series": str(series),
        "state.history_events": str(history), "retrain.wait": "false", "log.level": "warning",
    }  # fmt: skip
    return load_config(None, given | dict(setting.split("=", 1) for setting in settings))


def fill(folder: Path, series: int, steps: int, config: Any) -> None:
    """Writes the events and lets a daemon read them."""
    from service.cli._daemon import Daemon

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / EVENTS).open("w") as file:
        file.write("series,timestamp,value\n")
        for step in range(steps):
            file.write(lines(step * series, series, series))
    started = time.perf_counter()
    Daemon(config).run(threading.Event())
    seconds = time.perf_counter() - started
    print(f"filled: {series * steps:,} events in {seconds:.0f} s", file=sys.stderr)


def feed(folder: Path, series: int, start: int, rate: int) -> None:
    """Appends events at a steady rate until its standard input ends; notes when which byte was written."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    count = max(1, round(rate * FEED_SECONDS))
    with (folder / EVENTS).open("a") as file, (folder / ARRIVALS).open("w") as log:
        due, at = time.monotonic(), file.tell()
        while True:
            text = lines(start, count, series)
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            file.write(text)
            file.flush()
            log.write(f"{at} {now}\n")
            log.flush()
            start, at, due = start + count, at + len(text), due + FEED_SECONDS


class Watch:
    """Looks on while the daemon runs: when what was committed, and how large the training process is."""

    def __init__(self) -> None:
        self.took, self.peak = list[Took](), 0
        self.rested = self.began = self.ended = 0.0
        self._seconds = 0.0

    def look_at(self, daemon: Any) -> None:
        """The daemon, not started."""
        self.daemon = daemon
        published = daemon._engine._metrics.batch_published

        def batch_published(statuses: Any, rejects: Any, forecasts: int, stages: Any) -> None:
            self._seconds = sum(stages.values())
            published(statuses, rejects, forecasts, stages)

        daemon._engine._metrics.batch_published = batch_published

    def unit(self, unit: Any) -> None:
        """A unit was committed."""
        self.took.append((time.monotonic(), len(unit.forecasts), self._seconds, unit.next_position))

    def conduct(self, stop: threading.Event, idle: float, start_feeding: Callable[[], Any]) -> None:
        """Rest, training, end."""
        while self.daemon.phase != "running":
            time.sleep(0.05)
        start_feeding()
        while not self.took:
            time.sleep(0.05)
        time.sleep(SETTLING_SECONDS)
        self.rested = time.monotonic()
        time.sleep(idle)
        self.began = time.monotonic()
        self.daemon.request_training()
        while not self.daemon.trainings.ended:
            process = self.daemon._trainer._process
            if process is not None:
                self.peak = max(self.peak, resident_peak(process.pid))
            time.sleep(0.1)
        self.ended = time.monotonic()
        stop.set()


def resident_peak(pid: int) -> int:
    """Greatest resident memory of a process so far in bytes, 0 if it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def measure(folder: Path, series: int, rate: int, idle: float, config: Any) -> str:
    """Rest and training; the figures as a table."""
    from service.cli._daemon import Daemon
    from service.publication import OnUnit

    with (folder / EVENTS).open("rb") as file:
        start = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 24), b"")) - 1
    command = [
        sys.executable,
        __file__,
        str(folder),
        "--series",
        str(series),
        "--rate",
        str(rate),
        "--feed",
        str(start),
    ]
    feeders: list[subprocess.Popen[bytes]] = []

    def start_feeding() -> None:
        feeders.append(subprocess.Popen(command, stdin=subprocess.PIPE))

    stop = threading.Event()
    try:
        watch = Watch()
        daemon = Daemon(config, listeners=[OnUnit(watch.unit)])
        watch.look_at(daemon)
        threading.Thread(target=watch.conduct, args=(stop, idle, start_feeding), daemon=True).start()
        daemon.run(stop)
    finally:
        for feeder in feeders:
            assert feeder.stdin is not None
            feeder.stdin.close()
            feeder.wait()
    offsets, written = np.loadtxt(folder / ARRIVALS).T
    when, events, engine, behind = (np.array(column) for column in zip(*watch.took, strict=True))
    first = np.searchsorted(offsets, np.concatenate([[0], behind[:-1]]), side="right") - 1
    arrival = when - written[np.maximum(first, 0)]
    said = (
        f"{series:,} series, {rate:,} events/s, history of {config.state.history_events:,} events; training "
        f"{watch.ended - watch.began:.0f} s ({daemon.trainings.last_reason}), peak of the training process "
        f"{watch.peak / 2**20:.0f} MiB, of the daemon {resident_peak(os.getpid()) / 2**20:.0f} MiB\n"
    )
    out = [said, "| ms | median | p99 | greatest |", "|---|--:|--:|--:|"]
    p99: dict[str, list[float]] = {}
    for what, seconds in (("engine", engine), ("arrival", arrival)):
        spans = {"at rest": (watch.rested, watch.began), "while training": (watch.began, watch.ended)}
        for name, (a, b) in spans.items():
            inside = (when >= a) & (when < b)
            values = np.repeat(seconds[inside], events[inside]) * 1e3
            middle, high, top = np.quantile(values, [0.5, 0.99, 1.0])
            p99.setdefault(what, []).append(high)
            out.append(f"| {what}, {name} | {middle:.1f} | {high:.1f} | {top:.1f} |")
    ratios = ", ".join(f"{what} {busy / rest:.2f}" for what, (rest, busy) in p99.items())
    return "\n".join([*out, f"\np99 while training over p99 at rest: {ratios}"])


def main() -> None:
    """Fills, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--idle", type=float, default=65.0)
    parser.add_argument("--fill", action="store_true", help="fill the folder and end")
    parser.add_argument("--again", action="store_true", help="the folder is filled")
    parser.add_argument("--feed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="a configuration key=value")
    given = parser.parse_args()
    if given.feed is not None:
        feed(given.folder, given.series, given.feed, given.rate)
        return
    history = given.series * given.steps
    sys.stdout.flush()
    table, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # forecasts go to standard output, and from there nowhere
    if not given.again:
        fill(given.folder, given.series, given.steps, config_of(given.folder, given.series, history, given.settings))
    if given.fill:
        return
    settings = ["input.follow=true", *given.settings]
    config = config_of(given.folder, given.series, history, settings)
    text = measure(given.folder, given.series, given.rate, given.idle, config)
    os.write(table, (text + "\n").encode())


if __name__ == "__main__":
    main()
