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
    monkeypatch.setattr(kafka_throughput, "MODEL", SMALL)
    monkeypatch.setattr(kafka_throughput, "LIMIT", 100)
    monkeypatch.setattr(kafka_processes, "MORE", {"model": SMALL})
    topic = f"bench{uuid.uuid4().hex[:8]}"
    kafka_throughput.make_topics(bootstrap, f"{topic}x", topic)
    kafka_throughput.feed(bootstrap, topic, 400, 0.0)
    kafka_throughput.measure(bootstrap, topic, client, tmp_path, 1)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])  # below the log
    assert found.pop("client") == client
    assert all(value > 0 for value in found.values())
    late = kafka_throughput.latency(bootstrap, client, 200.0, 1.0, tmp_path)
    assert late["forecasts"] == late["of"] == 200
    assert 0 < float(str(late["p50"])) <= float(str(late["p99"])) <= float(str(late["max"]))


@pytest.mark.timeout(900)  # starts two daemons one after the other, on a busy machine
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
