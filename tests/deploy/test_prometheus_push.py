"""A real Prometheus server writes what it scrapes to the daemon, and forecasts of it come out."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.cli._daemon import Daemon
from service.config import Config

CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: forecaster
    static_configs: [{{targets: ["{address}"]}}]
remote_write:
  - url: http://{address}/api/v1/write
    queue_config: {{batch_send_deadline: 500ms, max_shards: 2}}
"""


def test_a_real_server_writes_to_us(tmp_path: Path) -> None:
    """A Prometheus with six lines of configuration, and its series are forecast; what no glob names is left out."""
    program = shutil.which("prometheus")
    if program is None:
        assert not os.environ.get("CI"), "got no prometheus under CI, expected the Debian package: run `make system`"
        pytest.skip("no prometheus here: `make system` installs it")
    settings: dict[str, Any] = {
        "input": {"push": True, "push_metrics": ["forecaster_ready", "up", "process_resident_*"]},
        "model": {"hidden_size": 16, "head_size": 16, "horizon": 3, "quantiles": [0.1, 0.5, 0.9]},
        "state": {"data_dir": str(tmp_path / "data")},
        "http": {"port": 0},
    }
    daemon, stop = Daemon(Config.model_validate(settings)), threading.Event()
    running = threading.Thread(target=daemon.run, args=(stop,))
    running.start()
    ends = time.monotonic() + 200
    try:
        while not daemon._http.url:
            assert time.monotonic() < ends
            time.sleep(0.01)
        with httpx.Client(base_url=daemon._http.url, trust_env=False, timeout=30) as client:
            address = daemon._http.url.removeprefix("http://")
            (tmp_path / "prometheus.yml").write_text(CONFIG.format(address=address))
            command = [
                program, "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address=127.0.0.1:0"
            ]  # fmt: skip
            with (tmp_path / "log").open("w") as log, subprocess.Popen(command, cwd=tmp_path, stderr=log) as server:
                try:
                    wanted = f'up{{instance="{address}",job="forecaster"}}'
                    events: list[Any] = []
                    while len(events) < 15:
                        assert time.monotonic() < ends, (tmp_path / "log").read_text()
                        assert server.poll() is None, (tmp_path / "log").read_text()
                        time.sleep(0.1)
                        answer = client.get(f"/api/v1/series/{wanted}/history")
                        events = answer.json()["events"] if answer.status_code == 200 else []
                    found = client.get(f"/api/v1/series/{wanted}/forecast").json()["forecast"]
                    names = {row["id"].partition("{")[0] for row in client.get("/api/v1/series").json()["series"]}
                finally:
                    server.terminate()
    finally:
        stop.set()
        running.join()
    assert {one["value"] for one in events} <= {0.0, 1.0}
    assert 150 <= found["interval_ms"] <= 250
    assert len(found["quantiles"]) == 3
    assert names == {"forecaster_ready", "up", "process_resident_memory_bytes"}
