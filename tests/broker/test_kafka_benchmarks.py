"""The benchmarks with a broker run in a form of seconds."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import kafka_processes
import kafka_throughput

SMALL = {"hidden_size": 16, "head_size": 16, "horizon": 2, "interval": "1m"}


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_kafka_throughput(
    client: str, bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon and both plain copies have their records per second, and the daemon its latency at a rate."""
    for name, value in {"MODEL": SMALL, "LIMIT": 100, "JOINED": 0.5}.items():
        monkeypatch.setattr(kafka_throughput, name, value)
    topic = f"bench{uuid.uuid4().hex[:8]}"
    kafka_throughput.make_topics(bootstrap, f"{topic}x", topic)
    kafka_throughput.feed(bootstrap, topic, 400, 0.0)
    kafka_throughput.measure(bootstrap, topic, client, tmp_path, 1)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found.pop("client") == client
    assert all(value > 0 for value in found.values())
    app = f"l{uuid.uuid4().hex[:8]}"
    kafka_throughput.make_topics(bootstrap, app, f"{app}.in")
    config = kafka_throughput.settings(bootstrap, app, f"{app}.in", client, tmp_path / app)
    latency = kafka_throughput.latency(config, bootstrap, 200.0, 1.0)
    assert 0 < latency["p50_ms"] <= latency["p99_ms"]


def test_kafka_processes(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed daemon returns, and a process on a topic of four partitions has its events per second."""
    more = {"model": SMALL, "state": {"snapshot_every": "0.5s"}}
    monkeypatch.setattr(kafka_processes, "MORE", more)
    found = kafka_processes.recovery(bootstrap, tmp_path, "kafka-python", 30, 60)
    assert float(str(found["seconds_from_start_to_ready"])) > 0
    topic = f"scaling{uuid.uuid4().hex[:6]}.in"
    kafka_processes.make_topics(bootstrap, f"{topic}x", topic, 4)
    kafka_processes.feed(bootstrap, topic, 4, 20, 0, 400)
    scaled = kafka_processes.scaling(bootstrap, tmp_path, "kafka-python", 1, topic, 400)
    assert scaled["answered"] == 400
