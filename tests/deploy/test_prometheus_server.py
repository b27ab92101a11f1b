"""A real Prometheus server scrapes the daemon's HTTP endpoint, with the shipped rules.

    PROMETHEUS_PICTURES=docs/images pytest tests/deploy/test_prometheus_server.py

also takes the picture of the server's own page for the documentation.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import shipped
from prometheus_client import CollectorRegistry

from service.http import HttpServer, create_app
from service.lifecycle import SystemClock
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
PICTURES = os.environ.get("PROMETHEUS_PICTURES", "")


def take_picture(url: str, path: Path) -> None:
    """Takes a picture of the server's page of targets in a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 420}, timezone_id="UTC", locale="en-GB")
        page.goto(url)
        page.get_by_text("forecaster (1/1 up)").wait_for()
        page.screenshot(path=path)
        browser.close()


def test_a_real_server_scrapes_our_metrics(tmp_path: Path) -> None:
    """With the shipped configuration the target is up, and a query returns the counted events."""
    program = shipped.program("prometheus")
    metrics = Metrics(CollectorRegistry())
    metrics.adoptions.inc(7)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shutil.copytree(FOLDER / "rules", tmp_path / "rules")
    with HttpServer(create_app(metrics, Health(SystemClock()), dict), "127.0.0.1", 0) as face:
        page = httpx.get(f"{face.url}/metrics", timeout=30, trust_env=False)
        shipped.run("promtool", "check", "metrics", text=page.content)
        text = (FOLDER / "prometheus.yml").read_text().replace("15s", "1s")
        (tmp_path / "prometheus.yml").write_text(text.replace("127.0.0.1:9464", face.url.removeprefix("http://")))
        command = [
            program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={address}",
        ]
        with (tmp_path / "log").open("w") as log, subprocess.Popen(command, cwd=tmp_path, stderr=log) as server:
            try:
                found = ""
                ends = time.monotonic() + 120
                while not found and time.monotonic() < ends and server.poll() is None:
                    time.sleep(0.2)
                    try:
                        query = {"query": 'forecaster_adoptions_total and on(instance) up{job="forecaster"} == 1'}
                        answer = httpx.get(f"http://{address}/api/v1/query", params=query, timeout=10, trust_env=False)
                    except httpx.TransportError:
                        continue
                    result = answer.json()["data"]["result"] if answer.status_code == 200 else []
                    found = result[0]["value"][1] if result else ""
                targets, groups = (
                    httpx.get(f"http://{address}/api/v1/{what}", timeout=30, trust_env=False).json()["data"]
                    for what in ("targets", "rules")
                )
                if PICTURES:
                    take_picture(f"http://{address}/classic/targets", Path(PICTURES) / "prometheus-targets.png")
            finally:
                server.terminate()
    assert found == "7", (tmp_path / "log").read_text()
    assert [(one["health"], one["lastError"]) for one in targets["activeTargets"]] == [("up", "")]
    assert sum(len(group["rules"]) for group in groups["groups"]) == len(shipped.rules())
