"""A real Prometheus server as the history: state and forecasts are those of a daemon that was live all along."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import shipped

from service.cli._daemon import Daemon
from service.config.sections import Config
from service.errors import ConfigurationError
from service.snapshots.file import folder_of, newest_first, read
from service.transport.history import fetch_history

END_S = 1_700_000_000
EVERY_S = 15
STEPS = 400
KIND = {"content-type": "application/x-ndjson"}


def samples() -> list[tuple[int, str, float]]:
    """Returns time, host and value of samples of two series."""
    return [
        (END_S - (STEPS - step) * EVERY_S, host, 10 * number + step % 24 + step % 7 / 8)
        for step in range(1, STEPS + 1)
        for number, host in enumerate(("a", "b"))
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose storage was filled with the samples."""
    folder = tmp_path_factory.mktemp("prometheus")
    lines = ["# TYPE load gauge"]
    lines += [f'load{{host="{host}"}} {value!r} {at}' for at, host, value in sorted(samples(), key=lambda one: one[1])]
    (folder / "samples.txt").write_text("\n".join([*lines, "# EOF", ""]))
    shipped.run("promtool", "tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data", folder=folder)
    (folder / "prometheus.yml").write_text("global: {}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        shipped.program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=100y", f"--web.listen-address={address}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stderr=log) as process:
        try:
            ends = time.monotonic() + 120
            while time.monotonic() < ends:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    if httpx.get(f"http://{address}/-/ready", timeout=5, trust_env=False).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            yield f"http://{address}"
        finally:
            process.terminate()


def config_of(data: Path, **bootstrap: Any) -> Config:
    """Returns the settings of a daemon for pushed events, with a history."""
    return Config.model_validate(
        {
            "input": {"push": True},
            "bootstrap": bootstrap,
            "model": {"hidden_size": 16, "head_size": 16, "horizon": 3, "quantiles": [0.1, 0.5, 0.9]},
            "retrain": {"every_events": 0},
            "state": {"data_dir": str(data)},
            "http": {"port": 0},
        }
    )


def line(at: int, host: str, value: float) -> bytes:
    """Returns a sample as remote write would store it."""
    return json.dumps({"series": f'load{{host="{host}"}}', "timestamp": at * 1000, "value": value}).encode()


def run(config: Config, pushed: Sequence[bytes], events: int) -> dict[str, bytes]:
    """Runs a daemon, pushes events to it, and stops it when it has taken in so many; returns its last state."""
    daemon, stop = Daemon(config), threading.Event()
    running = threading.Thread(target=daemon.run, args=(stop,))
    running.start()
    try:
        ends = time.monotonic() + 250
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not daemon._http.url or daemon.phase != "running":
                assert time.monotonic() < ends
                time.sleep(0.05)
            answer = client.post(f"{daemon._http.url}/api/v1/events", content=b"\n".join(pushed), headers=KIND)
            assert answer.status_code == 200, answer.text
            while daemon.summary.events < events:
                assert time.monotonic() < ends
                time.sleep(0.05)
    finally:
        stop.set()
        running.join()
    snapshot = read(newest_first(folder_of(config.state.data_dir / "snapshots", "push"))[0])
    return {name: array.tobytes() for name, array in snapshot.arrays.items() if not name.startswith("seam.")}


@pytest.mark.timeout(600)
def test_equal_to_live(tmp_path: Path, server: str) -> None:
    """The samples of a server, then pushed events that overlap with them: the state of events pushed from the start."""
    events = [line(*one) for one in samples()]
    more = [line(END_S + step * EVERY_S, host, 5.0 + step) for step in range(1, 30) for host in ("a", "b")]
    expected = run(config_of(tmp_path / "live"), events + more, len(events) + len(more))
    config = config_of(tmp_path / "data", url=server, query="load", range=STEPS * EVERY_S)
    assert fetch_history(config, END_S * 1000, threading.Event())
    found = run(config, events[-100:] + more, len(events) + len(more))
    assert found == expected


def test_steps(tmp_path: Path, server: str) -> None:
    """With a step, the query is evaluated on its grid."""
    config = config_of(tmp_path, url=server, query="max(load)", range="1h", step="30s")
    assert fetch_history(config, END_S * 1000, threading.Event())
    (page,) = (tmp_path / "bootstrap").glob("0*.jsonl")
    found = [json.loads(one) for one in page.read_text().splitlines()]
    at = END_S // 30 * 30
    assert [one["timestamp"] for one in found] == [(at - 30 * number) * 1000 for number in range(119, -1, -1)]
    assert {one["series"] for one in found} == {"{}"}


def test_what_the_server_refuses(tmp_path: Path, server: str) -> None:
    """A query that is none is refused with the words of the server."""
    config = config_of(tmp_path, url=server, query="load{")
    with pytest.raises(ConfigurationError, match=r"bootstrap\.query: got status 400: .*parse error"):
        fetch_history(config, END_S * 1000, threading.Event())
