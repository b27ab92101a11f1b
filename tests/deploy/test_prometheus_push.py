"""A real Prometheus server, set up as in the how-to, writes to the daemon and scrapes forecasts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from service.cli._daemon import Daemon
from service.config.sections import Config

PAGE = (Path(__file__).parents[2] / "docs" / "prometheus-only.md").read_text()
NAME = "forecast:targets_up:count"


def blocks(language: str) -> list[str]:
    """Returns the page's blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def settings(folder: Path) -> dict[str, Any]:
    """Returns the page's configuration with a short interval and a network that other tests have compiled."""
    text = blocks("toml")[0]
    found = tomllib.loads(text)
    found["model"] = {
        "hidden_size": 16,
        "head_size": 16,
        "horizon": 3,
        "quantiles": [0.1, 0.5, 0.9],
        "interval": "200ms",
    }
    return found | {"state": {"data_dir": str(folder / "data")}, "http": {"port": 0}}


def write_prometheus(folder: Path, address: str) -> None:
    """Writes the page's files for Prometheus with short intervals and the daemon's address."""
    rules, config, *_ = blocks("yaml")
    (folder / "forecast-rules.yml").write_text(rules.replace("interval: 5m", "interval: 200ms"))
    quick = "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"
    config = config.replace("queue_config: {", "queue_config: {batch_send_deadline: 300ms, ")
    (folder / "prometheus.yml").write_text(quick + config.replace("127.0.0.1:9464", address))


@pytest.mark.timeout(400)
def test_the_how_to_works(tmp_path: Path) -> None:
    """With the page's own files series are forecast, and the forecasts are metrics that Prometheus can scrape."""
    program = shutil.which("prometheus")
    if program is None:
        assert not os.environ.get("CI"), "got no prometheus under CI, expected the Debian package: run `make system`"
        pytest.skip("no prometheus here: `make system` installs it")
    daemon, stop = Daemon(Config.model_validate(settings(tmp_path))), threading.Event()
    running = threading.Thread(target=daemon.run, args=(stop,))
    running.start()
    ends = time.monotonic() + 300
    try:
        while not daemon._http.url:
            assert time.monotonic() < ends
            time.sleep(0.01)
        write_prometheus(tmp_path, daemon._http.url.removeprefix("http://"))
        command = [
            program, "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address=127.0.0.1:0"
        ]  # fmt: skip
        with (
            httpx.Client(base_url=daemon._http.url, trust_env=False, timeout=30) as client,
            (tmp_path / "log").open("w") as log,
            subprocess.Popen(command, cwd=tmp_path, stderr=log) as server,
        ):
            try:
                events: list[Any] = []
                while sum(one["value"] == 1.0 for one in events) < 3:
                    assert time.monotonic() < ends, (tmp_path / "log").read_text()
                    assert server.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.05)
                    answer = client.get(f"/api/v1/series/{quote(NAME)}/history")
                    events = answer.json()["events"] if answer.status_code == 200 else []
                found = client.get(f"/api/v1/series/{quote(NAME)}/forecast").json()["forecast"]
                names = {row["id"] for row in client.get("/api/v1/series").json()["series"]}
                metrics = client.get("/metrics").text
            finally:
                server.terminate()
    finally:
        stop.set()
        running.join()
    assert {one["value"] for one in events} <= {1.0, None}  # None: Prometheus' stale marker after a failed scrape
    assert found["interval_ms"] == 200
    assert len(found["quantiles"]) == 3
    assert names == {NAME}
    assert f'forecaster_series_forecast{{horizon="1",partition="push",quantile="0.5",series="{NAME}"}} ' in metrics


def test_the_pages_other_blocks() -> None:
    """The alerts are YAML and use metrics of the daemon, and both configurations accept pushed events."""
    alerts = [*yaml.safe_load(blocks("yaml")[2]), *yaml.safe_load(blocks("yaml")[3])]
    names = r"forecaster_(series_forecast|series_anomaly_score|threshold_breach_probability)\{"
    assert all(re.match(names, alert["expr"]) for alert in alerts)
    first, second = (tomllib.loads(block) for block in blocks("toml"))
    both = {name: first.get(name, {}) | second.get(name, {}) for name in first.keys() | second.keys() - {"alert"}}
    assert Config.model_validate(first).input.push
    found = Config.model_validate(both | {"alert": second["alert"]})
    assert found.input.push
    assert found.step_ms * found.model.horizon == 6 * 3_600_000
    assert [rule.name for rule in found.alert] == ["DiskFullSoon"]
    assert quote(NAME) in blocks("sh")[2]
