"""The operator inside Quix Streams, on the broker of this run: the example of docs/engines.md.

Quix Streams asks for another version of the Kafka client than the daemon, so it runs in an environment of its own that
the test makes: the packages of this one, with those that Quix Streams brings before them.

pytest -m long tests/broker/test_quix_streams.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
import venv
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))
from engine_examples import EVENTS, ROOT, check_equal, daemon_forecasts, example, write_events
from kafka import KafkaAdminClient, KafkaProducer
from kafka_tools import read_topic

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with Quix Streams."""
    folder = tmp_path_factory.mktemp("quix") / "venv"
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "of_this_run.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "quixstreams>=3.20"], check=True)
    return folder / "bin" / "python"


def test_quix_streams(python: Path, bootstrap: str, admin: KafkaAdminClient, tmp_path: Path) -> None:
    """An application, killed on the way and started again, gives the forecasts of the daemon, bit for bit."""
    name = uuid.uuid4().hex[:8]
    lines = [line.strip().split(",") for line in write_events(tmp_path)[1:]]
    expected = daemon_forecasts(tmp_path)
    code = example("Quix Streams").replace("localhost:9092", bootstrap)
    for word in ('"demand"', '"forecasts"'):
        code = code.replace(word, f'"{name}-{word[1:-1]}"')
    (tmp_path / "application.py").write_text(code)

    topics = [f"{name}-demand", f"{name}-forecasts"]
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1} for topic in topics})
    admin.wait_for_topics(topics)

    def send(events: list[list[str]]) -> None:
        for series, when, value in events:
            event = json.dumps({"timestamp": when, "value": float(value)}).encode()
            producer.send(f"{name}-demand", event, key=series.encode())
        producer.flush(20)

    def run_until(count: int, end: signal.Signals) -> list[object]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen([python, "application.py"], cwd=tmp_path, env=environment) as process:
            while len(found := read_topic(bootstrap, f"{name}-forecasts")) < count:
                assert process.poll() is None
                time.sleep(0.5)
            process.send_signal(end)
        return found

    producer = KafkaProducer(bootstrap_servers=bootstrap)
    try:
        send(lines[: EVENTS // 2])
        run_until(EVENTS // 4, signal.SIGKILL)
        send(lines[EVENTS // 2 :])
        records = run_until(EVENTS, signal.SIGTERM)
    finally:
        producer.close(5)
    found = {}
    for record in records:
        one = json.loads(record.value)
        found[record.key.decode(), one["origin"]] = np.array(one["quantiles"])
    assert len(records) == EVENTS
    check_equal(found, expected)
