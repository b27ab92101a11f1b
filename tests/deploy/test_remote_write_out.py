"""Forecasts in real Prometheus and VictoriaMetrics: counted, joined and compared by their own queries."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from metric_servers import MetricServer, running
from structlog.testing import capture_logs

from service.cli._daemon import Daemon
from service.config.sections import Config
from service.http.remote_write import encode

SERVERS = ["prometheus", "victoria-metrics"]
STEPS = 100
EVERY_S = 15
HOSTS = ("a", "b")


def value_of(step: int, host: str) -> float:
    """Returns an actual."""
    return 10.0 + 5 * math.sin(step / 8) + HOSTS.index(host)


def write_input(folder: Path, end_s: int, steps: int = STEPS, every_s: int = EVERY_S) -> Path:
    """Writes the events of two hosts up to a time."""
    path = folder / "in.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "series": f'load{{host="{host}",job="node"}}',
                    "timestamp": (end_s - (steps - step) * every_s) * 1000,
                    "value": value_of(step, host),
                }
            )
            + "\n"
            for step in range(1, steps + 1)
            for host in HOSTS
        )
    )
    return path


def settings_of(folder: Path, path: Path, **remote_write: Any) -> dict[str, Any]:
    """Returns the settings of a daemon with a tiny network that forecasts a file and ends."""
    return {
        "input": {"files": [str(path)], "max_poll_records": 20},
        "model": {"hidden_size": 16, "head_size": 16, "horizon": 4, "quantiles": [0.1, 0.5, 0.9], "interval": "15s"},
        "retrain": {"every_events": 0},
        "state": {"data_dir": str(folder / "data"), "snapshot_every": "0.1s"},
        "http": {"port": 0},
        "remote_write": remote_write,
    }


def run(settings: dict[str, Any], stop: threading.Event | None = None) -> Daemon:
    """Runs a daemon to the end of its input."""
    daemon = Daemon(Config.model_validate(settings))
    daemon.run(stop or threading.Event())
    return daemon


def stored(folder: Path) -> dict[tuple[str, int], list[float]]:
    """Returns the stored forecasts: quantiles of each step, by series and origin in milliseconds."""
    with closing(sqlite3.connect(folder / "data" / "forecasts.sqlite")) as database:
        rows = database.execute("SELECT series, origin_ms, quantiles FROM forecasts WHERE status = 'ok'").fetchall()
    return {(series, origin): json.loads(quantiles) for series, origin, quantiles in rows if quantiles}


def sent(daemon: Daemon, name: str) -> float:
    """Returns a metric of deliveries."""
    value = daemon._engine._metrics.registry.get_sample_value(f"forecaster_{name}", {"kind": "remote_write"})
    assert value is not None
    return value


@pytest.mark.parametrize("program", SERVERS)
def test_every_forecast_is_there(tmp_path: Path, program: str) -> None:
    """Once, with the time of its origin and its value, as the server itself counts and shows them."""
    with running(program, tmp_path / program) as server:
        end_s = int(time.time()) // EVERY_S * EVERY_S
        settings = settings_of(tmp_path, write_input(tmp_path, end_s), url=server.write_url)
        daemon = run(settings)
        forecasts = stored(tmp_path)
        counts = server.query("count_over_time(forecast[1h])", end_s + 1)
        newest = server.query('forecast{quantile="0.9",step="4",horizon="60"}', end_s + 1)
    of_host = {host: sum(f'"{host}"' in series for series, _ in forecasts) for host in HOSTS}
    assert sent(daemon, "deliveries_sent_total") == len(forecasts) > 150
    assert sent(daemon, "deliveries_pending_bytes") == 0
    assert len(counts) == 2 * 2 * 3
    for one in counts:
        assert int(one["value"][1]) == of_host[one["metric"]["host"]], one
    assert {one["metric"]["host"] for one in newest} == {*HOSTS}
    for one in newest:
        assert one["metric"]["metric"] == "load"
        assert one["metric"]["job"] == "node"
        host = one["metric"]["host"]
        expected = forecasts[f'load{{host="{host}",job="node"}}', end_s * 1000][3][2]
        assert float(one["value"][1]) == pytest.approx(expected, abs=1e-3)  # stored with fewer digits


def push_actuals(server: MetricServer, end_s: int) -> None:
    """Writes the actuals of the events to the server, as a scraper would."""
    body = encode(
        [
            (
                [("__name__", "load"), ("host", host), ("job", "node")],
                [((end_s - (STEPS - step) * EVERY_S) * 1000, value_of(step, host)) for step in range(1, STEPS + 1)],
            )
            for host in HOSTS
        ]
    )
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
    httpx.post(server.write_url, content=body, headers=headers, trust_env=False).raise_for_status()


def test_joined_with_the_actuals_by_instance(tmp_path: Path) -> None:
    """PromQL subtracts the forecast of a minute before from the actual, matched by the labels of the target."""
    with running("prometheus", tmp_path / "server") as server:
        end_s = int(time.time()) // EVERY_S * EVERY_S
        run(settings_of(tmp_path, write_input(tmp_path, end_s), url=server.write_url))
        push_actuals(server, end_s)
        query = 'load - on (host, job) forecast{metric="load",quantile="0.5",horizon="60"} offset 60s'
        found = server.query(query, end_s)
        wide = server.query(
            'load > on (host, job) forecast{metric="load",quantile="0.9",horizon="15"} offset 15s + 1000', end_s
        )
    forecasts = stored(tmp_path)
    assert {one["metric"]["host"] for one in found} == {*HOSTS}
    for one in found:
        host = one["metric"]["host"]
        forecast = forecasts[f'load{{host="{host}",job="node"}}', (end_s - 60) * 1000][3][1]
        assert float(one["value"][1]) == pytest.approx(value_of(STEPS, host) - forecast, abs=1e-3)
    assert wide == []


def test_the_times_of_the_targets(tmp_path: Path) -> None:
    """VictoriaMetrics shows the future at its own time, beside the actual."""
    end_s = int(time.time()) // EVERY_S * EVERY_S
    path = write_input(tmp_path, end_s)
    with running("victoria-metrics", tmp_path / "victoria") as server:
        settings = settings_of(tmp_path, path, url=server.write_url, times="target", steps=[4], quantiles=[0.5])
        run(settings)
        push_actuals(server, end_s)
        ahead = server.query('forecast{host="a"}', end_s + 60)
        errors = server.query(
            'load - ignoring (metric, quantile, horizon, step, __name__) forecast{horizon="60"}', end_s
        )
    forecasts = stored(tmp_path)
    expected = forecasts['load{host="a",job="node"}', end_s * 1000][3][1]
    assert float(ahead[0]["value"][1]) == pytest.approx(expected, abs=1e-3)
    assert {one["metric"]["host"] for one in errors} == {*HOSTS}


def test_what_prometheus_refuses_is_counted(tmp_path: Path) -> None:
    """Samples an hour older than its newest are refused, each counted once with its reason; all others are there."""
    steps = 300
    with running("prometheus", tmp_path / "server") as server, capture_logs() as logs:
        end_s = int(time.time()) // EVERY_S * EVERY_S
        push_actuals(server, end_s)
        path = write_input(tmp_path, end_s, steps)
        daemon = run(settings_of(tmp_path, path, url=server.write_url, steps=[1], quantiles=[0.5]))
        (found,) = server.query("sum(count_over_time(forecast[3h]))", end_s + 1)
    old = [origin for _, origin in stored(tmp_path) if origin < (end_s - 3600) * 1000]
    assert len(old) > 90
    assert sent(daemon, "deliveries_refused_total") == len(old)
    assert sent(daemon, "deliveries_sent_total") == len(stored(tmp_path)) - len(old) == int(found["value"][1])
    reasons = [one["error"] for one in logs if one["event"] == "deliveries refused"]
    assert len(reasons) == len(old)
    assert all("status 400" in one for one in reasons)
