"""The page "Prometheus only" with generated daily traffic: the error relative to seasonal naive, day by day.

    python benchmarks/prometheus_page.py                     ten days of 288 steps of 100 ms, five minutes
    python benchmarks/prometheus_page.py --without-seasons   the same without `model.seasons`

Follows the page with its own files and a real Prometheus (the Debian package): a recording rule that generates
requests per second beside those of the page, remote write to the daemon. A step of five minutes takes `--step` seconds,
so that a day takes half a minute. The score is read from the daemon's output, the view `verified`: the continuous
ranked probability score of the quantiles, over the absolute error of the value one day before, both summed over the
horizon.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from service.cli._daemon import Daemon
from service.config.sections import Config

PAGE = Path(__file__).parents[1] / "docs" / "prometheus-only.md"
DAY = 288  # steps of five minutes
SERIES = "forecast:requests:rate"


def traffic(step_seconds: float) -> str:
    """Returns requests per second in PromQL: a day with two peaks, a weaker weekend, noise in proportion."""
    at = f"(vector(time()) / {step_seconds})"
    level = f"(120 + 90 * sin(2 * pi() * ({at} / {DAY} - 0.3)) + 40 * sin(4 * pi() * ({at} / {DAY} - 0.1)))"
    weekend = f"(1 - 0.25 * (floor({at} / {DAY}) % 7 >= bool 5))"
    parts = (f"(sin(floor({at}) % 100003 * {factor}) * 43758.5453) % 1" for factor in (12.9898, 78.233, 37.719))
    return f"{level} * {weekend} * (1 + 0.06 * ({' + '.join(parts)}))"


def blocks(language: str) -> list[str]:
    """Returns the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def settings(folder: Path, step_seconds: float, *, seasons: bool) -> dict[str, Any]:
    """Returns the page's configuration with the short step."""
    found = tomllib.loads(blocks("toml")[0])
    found["model"]["interval"] = f"{round(step_seconds * 1000)}ms"
    found["model"]["seasons"] = [DAY] if seasons else []
    return found | {"state": {"data_dir": str(folder / "data")}, "http": {"port": 0}}


def write_prometheus(folder: Path, daemon: str, step_seconds: float) -> None:
    """Writes the page's files for Prometheus, with the short step and a rule that makes the traffic."""
    short = f"{round(step_seconds * 1000)}ms"
    rules = re.sub(r"interval: \S+", f"interval: {short}", blocks("yaml")[0])
    rules += f"      - record: {SERIES}\n        expr: {traffic(step_seconds)}\n"
    config = blocks("yaml")[1].replace("queue_config: {", "queue_config: {batch_send_deadline: 300ms, ")
    config = config.replace("127.0.0.1:9464", daemon)
    quick = f"global: {{scrape_interval: 5s, evaluation_interval: {short}}}\n"
    (folder / "forecast-rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text(quick + config)


def is_ready(url: str) -> bool:
    """Returns whether the daemon has compiled its kernels and reads events."""
    return httpx.get(f"{url}/readyz", trust_env=False, timeout=30).status_code == 200


def run(folder: Path, seconds: float, step_seconds: float, *, seasons: bool) -> Path:
    """Runs Prometheus and the daemon for some seconds of traffic; returns the daemon's output."""
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("got no prometheus on the path, expected the Debian package: `make system` installs it")
    config = Config.model_validate(settings(folder, step_seconds, seasons=seasons))
    daemon, stop = Daemon(config), threading.Event()
    running = threading.Thread(target=daemon.run, args=(stop,))
    running.start()
    try:
        while not daemon._http.url or not is_ready(daemon._http.url):
            time.sleep(0.05)
        write_prometheus(folder, daemon._http.url.removeprefix("http://"), step_seconds)
        command = [
            program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=tsdb",
            "--web.listen-address=127.0.0.1:0",
        ]
        with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stderr=log) as server:
            try:
                time.sleep(seconds)
            finally:
                server.terminate()
    finally:
        stop.set()
        running.join()
    return config.output_path


def scores(output: Path) -> tuple[list[tuple[int, int, float]], int]:
    """Returns day, number of verified steps, and error relative to seasonal naive; and the number of models adopted."""
    with closing(sqlite3.connect(output)) as database:
        rows = database.execute(
            "SELECT origin_ms, step, levels, quantiles, actual FROM verified WHERE series = ? ORDER BY origin_ms, step",
            (SERIES,),
        ).fetchall()
        values = dict(database.execute("SELECT origin_ms, value FROM forecasts WHERE series = ?", (SERIES,)).fetchall())
        (adopted,) = database.execute("SELECT count(*) FROM adoptions").fetchone()
    origins = np.array(sorted(values))
    interval = int(np.median(np.diff(origins)))
    at = {int(origin): round((origin - origins[0]) / interval) for origin in origins}
    series = {at[int(origin)]: values[origin] for origin in origins}
    found: dict[int, list[tuple[float, float]]] = {}
    for origin, step, levels, quantiles, actual in rows:
        target = at[origin] + step
        before = series.get(target - DAY)
        if before is None:
            continue
        level, fan = np.array(json.loads(levels)), np.array(json.loads(quantiles))
        miss = actual - fan
        pinball = np.maximum(level * miss, (level - 1.0) * miss)
        found.setdefault(target // DAY, []).append((2.0 * pinball.mean(), abs(actual - before)))
    table = []
    for day, pairs in sorted(found.items()):
        ours, naive = np.array(pairs).sum(axis=0)
        table.append((day, len(pairs), float(ours / naive)))
    return table, adopted - 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=10.0)
    parser.add_argument("--step", type=float, default=0.1, help="seconds of a step of five minutes")
    parser.add_argument("--without-seasons", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        output = run(Path(folder), given.days * DAY * given.step, given.step, seasons=not given.without_seasons)
        table, adopted = scores(output)
    print("| day | verified steps | CRPS / error of seasonal naive |\n|--:|--:|--:|")
    for day, count, ratio in table:
        print(f"| {day} | {count:,} | {ratio:.3f} |")
    print(f"\n{adopted} models adopted")


if __name__ == "__main__":
    main()
