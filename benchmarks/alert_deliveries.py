"""Alerts to an Alertmanager and to a webhook, beside a bare loop of posts to the same receiver (docs/performance.md).

    python benchmarks/alert_deliveries.py                    10,000 alerts, a minute
    python benchmarks/alert_deliveries.py --alerts 400

Alerts that begin, 1,000 in each partition, in units of 100, go through producer, spool and sender. "Bare" posts the
same alerts, encoded before, with http.client over one connection: 256 in a request, as the sender does, and one in
each, as a program does that posts when it notices. The Alertmanager, where it is installed, is a real one on the same
machine; the webhook is a process that answers and does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import math
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import orjson
from prometheus_client import CollectorRegistry
from sqlite_output import units

from forecaster import Forecaster
from service.alerts.alert import Alert, AlertChange, AlertKey, AlertNews
from service.config.sections import Config
from service.deliveries import Deliveries
from service.deliveries.alert_messages import AlertMessages, Message
from service.deliveries.alert_routes import alert_routes
from service.deliveries.alertmanager import posted
from service.deliveries.webhook import body_of
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
from service.ports import Unit
from service.publication import Publication

LASTING, UNIT, BATCH = 1000, 100, 256  # in a partition at most; that begin with a unit; in a request
PROGRAM = "prometheus-alertmanager"
_HOOK = """
import http.server, sys
class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hook).serve_forever()
"""


class Posted(NamedTuple):
    """What was sent: alerts, seconds by the clock, and processor seconds of this process."""

    alerts: int
    seconds: float
    used: float


def publications(alerts: int) -> Iterator[Publication]:
    """Yields units with alerts that begin now."""
    decoded, forecasts = units(1, UNIT)[0]
    now_ms, forecaster = time.time_ns() // 1_000_000, cast("Forecaster", None)  # of no interest to alerts
    decoded.timestamp_ms[:] = now_ms
    lasting: dict[AlertKey, Alert] = {}
    for first in range(0, alerts, UNIT):
        if first % LASTING == 0:
            lasting = {}
        partition, at = str(first // LASTING), first % LASTING
        changes = list[AlertChange]()
        for number in range(UNIT):
            series = f'load{{instance="h{at + number}:9100",job="node"}}'
            one = Alert("anomaly", "", series, now_ms, at + number, 97.5, 0.9999, 0)
            changes.append(AlertChange(number, one))
            lasting[one.key] = one
        unit = Unit(partition, at, at + UNIT, decoded.series, ())
        yield Publication(unit, decoded, forecasts, forecaster, {}, alerts=AlertNews(changes, lasting))


def delivered(alerts: int, folder: Path, section: dict[str, Any]) -> Posted:
    """Sends alerts with the daemon's deliveries to the target of a section `[alerts]`."""
    config, metrics = (
        Config.model_validate({"input": {"files": ["-"]}, "alerts": section}),
        Metrics(CollectorRegistry()),
    )
    clock = SystemClock()
    deliveries = Deliveries(folder, alert_routes(config, metrics, clock), metrics, clock)
    began, used = time.perf_counter(), time.process_time()
    deliveries.open("benchmark")
    partitions = [str(number) for number in range(math.ceil(alerts / LASTING))]
    for partition in partitions:
        deliveries.on_restore(partition, 0)
    deliveries.on_partitions(partitions, {key: {} for key in partitions})
    for publication in publications(alerts):
        deliveries.on_publication(publication)
    deliveries.close(threading.Event())
    took, spent = time.perf_counter() - began, time.process_time() - used
    sent = sum(
        metrics.registry.get_sample_value("forecaster_deliveries_sent_total", {"kind": kind}) or 0.0
        for kind in ("alertmanager", "webhook")
    )
    return Posted(round(sent), took, spent)


def messages(alerts: int) -> list[Message]:
    """Returns the messages of the same alerts."""
    made = AlertMessages(Config.model_validate({"input": {"files": ["-"]}}))
    return [
        made.message(change.alert, one.partition, "") for one in publications(alerts) for change in one.alerts.changes
    ]


def bare(url: str, bodies: Sequence[bytes], alerts: int) -> Posted:
    """Posts bodies over one connection."""
    place = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(place.netloc)) as connection:
        began, used = time.perf_counter(), time.process_time()
        for body in bodies:
            connection.request("POST", place.path or "/", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise ValueError(text)
        return Posted(alerts, time.perf_counter() - began, time.process_time() - used)


def in_requests(found: Sequence[Message], size: int, *, webhook: bool) -> list[bytes]:
    """Returns the bodies of requests with so many alerts each, as the target posts them."""
    now_ms = time.time_ns() // 1_000_000
    parts = [found[first : first + size] for first in range(0, len(found), size)]
    if webhook:
        return [body_of("", part)[1] for part in parts]
    return [orjson.dumps([posted(one, {}, now_ms, now_ms + 300_000) for one in part]) for part in parts]


@contextlib.contextmanager
def receiver(program: str, folder: Path) -> Iterator[str]:
    """Runs a receiver, the webhook where no program is named; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _HOOK, str(port)]
    if program:
        folder.mkdir(parents=True)
        (folder / "alertmanager.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        address = f"--web.listen-address=127.0.0.1:{port}"
        options = ["--config.file=alertmanager.yml", "--storage.path=data", address, "--cluster.listen-address="]
        command = [program, *options]
    with subprocess.Popen(command, cwd=folder if program else None, stderr=subprocess.DEVNULL) as process:
        try:
            ends = time.monotonic() + 120
            while time.monotonic() < ends:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def table(alerts: int, rounds: int = 3) -> str:
    """Returns the best of some rounds of each way, in turns."""
    alerts = alerts // UNIT * UNIT
    lines = ["| receiver | way | alerts/s | us of processor time | accepted |", "|---|---|--:|--:|--:|"]
    found = messages(alerts)
    for name, program in (("Alertmanager", shutil.which(PROGRAM)), ("webhook", "")):
        if program is None:
            continue
        taken: dict[str, list[Posted]] = {"daemon": [], f"bare, {BATCH} in a request": [], "bare, one in a request": []}
        for number in range(rounds):
            with tempfile.TemporaryDirectory() as folder, receiver(program, Path(folder) / "receiver") as url:
                to = f"{url}/api/v2/alerts" if program else url
                section = {"alertmanagers": [url]} if program else {"webhook": url, "webhook_wait": 0}
                taken["daemon"].append(delivered(alerts, Path(folder) / f"spool{number}", section))
                for way, size in zip([*taken][1:], (BATCH, 1), strict=True):
                    part = found if size > 1 else found[: max(UNIT, alerts // 5)]
                    taken[way].append(bare(to, in_requests(part, size, webhook=not program), len(part)))
        for way, times in taken.items():
            best, least = min(one.seconds / one.alerts for one in times), min(one.used / one.alerts for one in times)
            accepted = "/".join(str(one.alerts) for one in times)
            lines.append(f"| {name} | {way} | {1 / best:,.0f} | {1e6 * least:.1f} | {accepted} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    print(table(given.alerts, given.rounds))


if __name__ == "__main__":
    main()
