"""Deliveries while partitions move between two members that are killed: none is lost, no alert is notified twice.

The long form: CHAOS_DELIVERY_PHASES=8 pytest -m "" tests/broker/test_deliveries_on_kafka.py
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))  # a real Alertmanager

from alert_receivers import Receiver, alertmanager, wait_for
from daemons import Daemons, answers
from kafka import KafkaAdminClient
from kafka_tools import make_topics, produce

from service.config.base import epoch_ms
from service.http.remote_write import RemoteWrite
from service.messages.prometheus_names import labels_of

LETTERS, CALM, PARTITIONS = "abc", 60, 2
PHASES = int(os.environ.get("CHAOS_DELIVERY_PHASES", "2"))  # the first one is calm
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 + 300 * PHASES)]

STEPS = ("step:3:1", "step:3:3", "step:4:1", "step:4:2", "step:4:4", "step:5:2")
NAMES = ("one", "two")


class Gate:
    """A server in front of a receiver, which is down when it is shut; then it answers that it is not available.

    Args:
        handle: returns the status for path and body.
    """

    def __init__(self, handle: Callable[[str, bytes], int]) -> None:
        self.is_open, gate = True, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(handle(self.path, body) if gate.is_open else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serves."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class ReceivedSamples:
    """What a receiver of remote write has got: how often each forecast came, by series and time."""

    def __init__(self) -> None:
        self.found = Counter[tuple[str, int]]()

    def take(self, _path: str, body: bytes) -> int:
        """Accepts a request."""
        decoded, *_ = RemoteWrite([], 1 << 24).decode(body)
        self.found.update((dict(labels_of(one.series) or ())["series"], one.timestamp_ms) for one in decoded)
        return 204


class Waves:
    """The input: the same wave for all series; a phase ends with a jump of some of them."""

    def __init__(self, bootstrap: str, topic: str, rng: random.Random) -> None:
        self._bootstrap, self._topic, self._rng, self._step = bootstrap, topic, rng, 0
        self._start_ms = int(time.time() * 1000) - 10 * 3_600_000

    def grow(self, jumping: set[str], steps: int = CALM) -> None:
        """Produces steps of all series; at the last one these jump."""
        first, self._step = self._step, self._step + steps
        for partition in range(PARTITIONS):
            lines = []
            for step in range(first + 1, self._step + 1):
                for series in (f"{letter}{partition}" for letter in LETTERS):
                    jump = 1e4 if step == self._step and series in jumping else 0
                    value, time_ms = step % 12 + self._rng.random() + jump, self._start_ms + step * 1000
                    lines.append(json.dumps({"series": series, "timestamp": time_ms, "value": value}).encode())
            produce(self._bootstrap, self._topic, lines, partition=partition)


def sections(alerts: str, samples: str) -> dict[str, dict[str, Any]]:
    """Returns the settings of a member besides those of all tests."""
    return {
        "model": {"interval": "1s"},
        "input": {"late": "drop"},
        "anomaly": {"threshold": 0.9999, "clear": 0.999, "quiet_events": 5, "per_day": 100000, "min_deviation": 500},
        "alerts": {"alertmanagers": [alerts], "max_age": "1d", "expire_after": "1h"},
        "remote_write": {"url": f"{samples}/api/v1/write", "steps": [1], "quantiles": [0.5]},
    }


def notified_of(receiver: Receiver, status: str) -> Counter[str]:
    """Returns how often the Alertmanager has notified of each alert with a status."""
    return Counter(f"{one['labels']['series']} {one['startsAt']}" for one in receiver.alerts()
                   if one["status"] == status)  # fmt: skip


def by_series(found: Counter[str]) -> Counter[str]:
    """Returns the number of alerts of each series."""
    return Counter(one.partition(" ")[0] for one in found)


@pytest.mark.parametrize(
    "shares",
    [pytest.param("1s", id="shared snapshots", marks=pytest.mark.long), pytest.param("", id="no shared snapshots")],
)
def test_partitions_move_while_deliveries_wait(
    bootstrap: str, admin: KafkaAdminClient, app: str, tmp_path: Path, shares: str
) -> None:
    """Every committed forecast arrives, and each alert is notified once and ends once, whoever has it in its spool."""
    rng = random.Random(f"deliveries {shares}")
    one = {"num_partitions": 1, "replication_factor": 1}
    shared = [f"{app}.snapshots", f"{app}.snapshot-chunks"] if shares else []
    admin.create_topics({f"{app}.in": one | {"num_partitions": PARTITIONS}} | dict.fromkeys(shared, one))
    make_topics(admin, app)
    notified, samples, killed = Receiver(), ReceivedSamples(), 0
    all_series = [f"{letter}{partition}" for letter in LETTERS for partition in range(PARTITIONS)]
    with ExitStack() as stack:
        stack.callback(notified.close)
        real = stack.enter_context(alertmanager(tmp_path / "alertmanager", notified.url))

        def forward(path: str, body: bytes) -> int:
            headers = {"Content-Type": "application/json"}
            return httpx.post(real + path, content=body, headers=headers, timeout=30, trust_env=False).status_code

        gates = Gate(forward), Gate(samples.take)
        for gate in gates:
            stack.enter_context(gate.running())
        kafka: dict[str, Any] = {
            "session_timeout": 15,  # a starved member stays in its group
            "request_timeout": 20,
            "delivery_timeout": 30,
            "transaction_timeout": 30,
        }
        kafka |= {"share_snapshots": shares} if shares else {}
        more = sections(*(gate.url for gate in gates))
        daemons = stack.enter_context(Daemons(tmp_path, bootstrap, app, f"{app}.in", more, **kafka))
        waves, jumping, expected = Waves(bootstrap, f"{app}.in", rng), set[str](), Counter[str]()
        for phase in range(PHASES):
            # Not those that lasted until now: an end and a begin within `group_interval` are no news to Alertmanager.
            calm = [name for name in all_series if name not in jumping]
            jumping = {*rng.sample(calm, rng.randint(1, 3))} if phase else set()
            waves.grow(jumping, CALM if phase else 4 * CALM)
            for gate in gates:
                gate.is_open = False
            for name in rng.sample(NAMES, 2):  # one begins alone, and is killed; the other takes its partitions
                daemons.start(name, rng.choice(STEPS))
                time.sleep(rng.uniform(0.5, 3.0))
            killed += sum(daemons.wait(name) == -9 for name in NAMES)
            last, first = rng.sample(NAMES, 2)
            daemons.start(last)
            time.sleep(rng.uniform(1.0, 4.0))
            daemons.start(first, rng.choice(STEPS))
            for gate in gates:
                gate.is_open = True
            killed += daemons.wait(first, 60.0) == -9
            assert daemons.supervise(last) == 0, daemons.log(last)
            for name in NAMES:  # sends what is left in its spool
                assert daemons.finish(name) == 0, daemons.log(name)
            expected.update(jumping)
            wait_for(lambda: by_series(notified_of(notified, "firing")) == expected, expected)
        waves.grow(set())
        for name in NAMES:
            assert daemons.finish(name) == 0, daemons.log(name)
        wait_for(lambda: by_series(notified_of(notified, "resolved")) == expected, expected)
        time.sleep(2.0)  # for a notification that should not follow
        active = httpx.get(f"{real}/api/v2/alerts", timeout=30, trust_env=False).json()
        committed = {
            (found["series"], epoch_ms(found["origin"]))
            for values in answers(bootstrap, app).values()
            for found in map(json.loads, values)
            if found.get("quantiles")
        }
    assert killed >= PHASES
    assert set(notified_of(notified, "firing").values()) == {1}
    assert set(notified_of(notified, "resolved").values()) == {1}
    assert active == []
    assert samples.found.keys() == committed
    print(f"{killed} kills, {expected.total()} alerts, {samples.found.total() - len(committed)} repeated samples")
