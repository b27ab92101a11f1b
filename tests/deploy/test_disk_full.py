"""The page "Prometheus only" to its end, with real programs: a disk that fills up is an alert at an Alertmanager.

Prometheus has the samples of seven hours from the begin, so that nothing waits for the clock.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import shipped
from alert_receivers import Receiver, alertmanager, wait_for
from metric_servers import MetricServer
from test_prometheus_push import blocks

from service.cli._daemon import Daemon
from service.cli.run import _fetch_history
from service.config.sections import Config

HOURS, STEP_S = 7.0, 300
HISTORY = (Path(__file__).parents[2] / "docs" / "history.md").read_text()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def write_samples(folder: Path, now_s: float) -> None:
    """Makes the database of a Prometheus that has scraped a node exporter: a disk fills by 8 % an hour, another not."""
    lines = list[str]()
    for name in ("node_filesystem_avail_bytes", "node_filesystem_size_bytes"):
        lines.append(f"# TYPE {name} gauge")
        for path, grows in (("/data", 0.08), ("/", 0.0)):
            labels = f'device="{path}",fstype="ext4",mountpoint="{path}",instance="web1:9100",job="node"'
            for minute in range(int(-60 * HOURS), 0):
                avail = 0.42 - grows * minute / 60
                value = 1e9 * (avail if name.endswith("avail_bytes") else 1.0)
                lines.append(f"{name}{{{labels}}} {value:.0f} {now_s + 60 * minute:.3f}")
    (folder / "samples").write_text("\n".join([*lines, "# EOF", ""]))
    subprocess.run(
        [shipped.program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples", "data"],
        cwd=folder, check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def settings(folder: Path, prometheus: str, alerts: str) -> dict[str, Any]:
    """Returns the configurations of both pages, with the addresses and a network that other tests have compiled."""
    first, second = (tomllib.loads(block) for block in blocks("toml"))
    found = {name: first.get(name, {}) | second.get(name, {}) for name in first.keys() | second.keys() - {"alert"}}
    found["model"] |= {"hidden_size": 16, "head_size": 16, "seasons": []}
    found["alerts"] = {"alertmanagers": [alerts]}
    pages = (tomllib.loads(one) for one in re.findall(r"^```toml\n(.*?)^```$", HISTORY, re.MULTILINE | re.DOTALL))
    (bootstrap,) = (
        page["bootstrap"] for page in pages if "label_replace" in page.get("bootstrap", {}).get("query", "")
    )
    rule = blocks("yaml")[0].split("forecast:disk_used:ratio\n        expr: ")[1].splitlines()[0]
    assert rule in bootstrap["query"]
    own = {"bootstrap": bootstrap | {"url": prometheus}, "alert": second["alert"], "retrain": {"every_events": 0}}
    return found | own | {"state": {"data_dir": str(folder / "data")}, "http": {"port": 0}}


def found_in(url: str) -> list[dict[str, Any]]:
    """Returns the warnings that an Alertmanager has."""
    answer = httpx.get(f"{url}/api/v2/alerts", timeout=30, trust_env=False)
    return [one for one in answer.json() if one["labels"]["alertname"] == "DiskFullSoon"]


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """With the first live event the alert is there, with the labels of the disk; the other disk has none."""
    notified, now_s = Receiver(), time.time() // STEP_S * STEP_S
    server = MetricServer("prometheus", tmp_path / "prometheus")
    write_samples(tmp_path / "prometheus", now_s)
    server.start()
    with alertmanager(tmp_path / "alertmanager", notified.url) as url:
        config = Config.model_validate(settings(tmp_path, server.url, url))
        _fetch_history(config)
        daemon, stop = Daemon(config), threading.Event()
        running = threading.Thread(target=daemon.run, args=(stop,))
        running.start()
        try:
            wait_for(lambda: bool(daemon._http.url), seconds=300.0)
            series = 'forecast:disk_used:ratio{instance="web1:9100",mountpoint="/data"}'
            event = {"series": series, "timestamp": int((now_s + STEP_S) * 1000), "value": 0.587}  # behind the history
            with httpx.Client(base_url=daemon._http.url, trust_env=False, timeout=60) as client:
                wait_for(lambda: client.post("/api/v1/events", json=event).status_code == 200, seconds=300.0)
            wait_for(lambda: bool(found_in(url)), "the warning", seconds=120.0)
            (found,) = found_in(url)
        finally:
            stop.set()
            running.join()
            server.stop()
            notified.close()
    labels, annotations = found["labels"], found["annotations"]
    assert labels["mountpoint"] == "/data"
    assert labels["instance"] == "web1:9100"
    assert labels["metric"] == "forecast:disk_used:ratio"
    full_s = now_s + 3600 * (0.95 - 0.58) / 0.08
    assert abs(seconds_of(annotations["expected"]) - full_s) < 3600
    assert seconds_of(annotations["expected"]) <= now_s + 6 * 3600


def seconds_of(text: str) -> float:
    """Returns the epoch seconds of a time in an annotation."""
    return datetime.fromisoformat(text).timestamp()
