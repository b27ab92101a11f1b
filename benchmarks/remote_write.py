"""Forecasts by remote write: encoding, spool, sending, beside the protobuf library alone (docs/performance.md).

    python benchmarks/remote_write.py                    200,000 forecasts, a minute
    python benchmarks/remote_write.py --forecasts 4096

Forecasts of 1,024 series with 8 labels, of which 2 steps and 3 quantiles are written, in units of 512. "Bare" is the
same samples encoded with the protobuf library and compressed. The server, where VictoriaMetrics or Prometheus is
installed, is a real one on the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from sqlite_output import LEVELS, UNIT, units

from service.config.remote_write import RemoteWriteConfig
from service.deliveries import BatchLimit, CommittedEvents, Deliveries, Route
from service.deliveries.delivery import SendResult, Spooled
from service.deliveries.forecast_samples import ForecastSamples, Published
from service.deliveries.remote_write import NAME, RemoteWriteTarget
from service.http.remote_write import encode
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
from service.ports import Unit
from service.publication import Publication

SERIES = 2 * UNIT
STEPS, QUANTILES = (1, 24), (0.05, 0.5, 0.95)


def publications(forecasts: int) -> Iterator[Publication]:
    """Yields units of forecasts, a second between those of the same series, up to now."""
    made, end_ms, rounds = units(8), time.time_ns() // 1_000_000, forecasts // SERIES
    own = [f'host="h{at}",instance="h{at}:9100",rack="{at % 40}"' for at in range(SERIES)]
    names = [f'load{{cluster="c",env="prod",{one},job="node",region="r",zone="z"}}' for one in own]
    model: Any = SimpleNamespace(config=SimpleNamespace(quantiles=LEVELS))
    for number in range(forecasts // UNIT):
        decoded, found = made[number % len(made)]
        at = number * UNIT
        times = np.full(UNIT, end_ms - (rounds - at // SERIES) * 1000, np.int64)
        series = [names[(at + one) % SERIES] for one in range(UNIT)]
        positions = list(range(at, at + UNIT))
        events = dataclasses.replace(decoded, series=series, positions=positions, timestamp_ms=times)
        yield Publication(
            Unit("0", at, at + UNIT, series, ()), events, dataclasses.replace(found, origin_ms=times), model, {}
        )


class Discarded:
    """A target that accepts everything."""

    name, kind, spool_bytes, limit = NAME, "remote_write", 1 << 30, BatchLimit(2000, 1 << 20)

    def send(self, _batch: Sequence[Spooled]) -> SendResult:
        """Accepts a batch."""
        return SendResult()

    def close(self) -> None:
        """Nothing to do."""


def bare(forecasts: int) -> float:
    """Returns the seconds to encode the same samples with the protobuf library."""
    began, steps = time.process_time(), [step - 1 for step in STEPS]
    for publication in publications(forecasts):
        found = []
        for series, at, rows in zip(publication.decoded.series, publication.forecasts.origin_ms.tolist(),
                                    publication.forecasts.quantiles, strict=True):  # fmt: skip
            for step in steps:
                for column in (0, 3, 6):
                    labels = [("__name__", "forecast"), *(
                        (name, value) for name, value in zip("abcdefgh", series.split(","), strict=True)
                    ), ("horizon", str(60 * step)), ("quantile", str(LEVELS[column])), ("step", str(step))]  # fmt: skip
                    found.append((labels, [(at, float(rows[step, column]))]))
        encode(found)
    return time.process_time() - began


def producer(url: str) -> tuple[ForecastSamples, RemoteWriteConfig]:
    """Returns the producer, and its settings."""
    settings = RemoteWriteConfig.model_validate({"url": url, "steps": STEPS, "quantiles": QUANTILES, "spool": 1 << 30})
    return ForecastSamples(settings, {"": Published(1, None)}, NAME), settings


def encoded(forecasts: int) -> float:
    """Returns the seconds to make the deliveries."""
    made, _ = producer("http://127.0.0.1:9/")
    began = time.process_time()
    for publication in publications(forecasts):
        for _ in made.deliveries(CommittedEvents(publication, 0)):
            pass
    return time.process_time() - began


def generated(forecasts: int) -> float:
    """Returns the seconds to make the forecasts, which all the others include."""
    began = time.process_time()
    for _ in publications(forecasts):
        pass
    return time.process_time() - began


def delivered(forecasts: int, folder: Path, url: str) -> tuple[float, float, Metrics]:
    """Returns processor seconds of this thread to spool all, and wall seconds until all are sent; "": to nowhere."""
    made, settings = producer(url or "http://127.0.0.1:9/")
    target: Any = RemoteWriteTarget(settings) if url else Discarded()
    metrics = Metrics(CollectorRegistry())
    deliveries = Deliveries(folder, [Route(made, [target])], metrics, SystemClock())
    began, used = time.perf_counter(), time.thread_time()
    deliveries.open("benchmark")
    deliveries.on_restore("0", 0)
    for publication in publications(forecasts):
        deliveries.on_publication(publication)
    spooled = time.thread_time() - used
    deliveries.close(threading.Event())
    return spooled, time.perf_counter() - began, metrics


@contextlib.contextmanager
def server(program: str, folder: Path) -> Iterator[str]:
    """Runs a server; yields the address for remote write."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir()
    (folder / "prometheus.yml").write_text("global: {}\n")
    options = {
        "prometheus": ["--config.file=prometheus.yml", f"--web.listen-address={address}",
                       "--web.enable-remote-write-receiver"],
        "victoria-metrics": [f"-httpListenAddr={address}", "-storageDataPath=data"],
    }[program]  # fmt: skip
    with subprocess.Popen([program, *options], cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            path, ends = {"prometheus": "/-/ready", "victoria-metrics": "/health"}[program], time.monotonic() + 120
            while time.monotonic() < ends:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}{path}", timeout=5):
                    break
                time.sleep(0.05)
            yield f"http://{address}/api/v1/write"
        finally:
            process.terminate()


def table(forecasts: int) -> str:
    """Returns the table."""
    base = generated(forecasts)
    rows = [
        ("protobuf library and snappy, bare", bare(forecasts) - base, ""),
        ("encoded", encoded(forecasts) - base, ""),
    ]
    with tempfile.TemporaryDirectory() as folder:
        spooled, _, _ = delivered(forecasts, Path(folder) / "spool", "")
        rows.append(("encoded and spooled: what the engine waits for", spooled - base, ""))
        for program in ("victoria-metrics", "prometheus"):
            if shutil.which(program):
                with server(program, Path(folder) / program) as url:
                    _, sent, metrics = delivered(forecasts, Path(folder) / f"to-{program}", url)
                value = metrics.registry.get_sample_value("forecaster_deliveries_sent_total", {"kind": "remote_write"})
                rows.append((f"sent to {program}", sent - base, f"{value or 0:,.0f}"))
    lines = ["| | us per forecast | forecasts per second | accepted |", "|---|--:|--:|--:|"]
    count = forecasts // UNIT * UNIT
    lines += [
        f"| {name} | {1e6 * took / count:.1f} | {count / took:,.0f} | {accepted} |" for name, took, accepted in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Forecasts by remote write.")
    parser.add_argument("--forecasts", type=int, default=200_000)
    sys.stdout.write(table(parser.parse_args().forecasts) + "\n")


if __name__ == "__main__":
    main()
