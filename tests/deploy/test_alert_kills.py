"""Alerts of a daemon that is killed, at a real Alertmanager and at a webhook: each is notified once, and is over once.

CHAOS_ALERT_KILLS=200 CHAOS_ALERT_DOWN=60 pytest tests/deploy/test_alert_kills.py     the long form
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from alert_receivers import Receiver, alertmanager, wait_for

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # for the launcher of the kill tests

from launchers import Launcher
from test_kill import KILLED, write_config

from service.deliveries.webhook import signature

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("CHAOS_ALERT_KILLS", "4"))
DOWN_SECONDS = float(os.environ.get("CHAOS_ALERT_DOWN", "0"))
STEPS = ("step:3:1", "step:3:3", "step:4:1", "step:4:2", "step:4:3", "step:5:1", "step:5:2", "step:2:3")
SERIES, CALM = "abc", 60
SECRET = "a secret that stays here"  # noqa: S105 - of a test


class Stream:
    """A file that grows. All series have the same wave; a phase ends with a jump of some of them, or without one."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path, self._rng, self._step = path, rng, 0
        self._start_ms = int(time.time() * 1000) - 10 * 3_600_000
        path.write_text("")

    def grow(self, jumping: str, steps: int = CALM) -> None:
        """Appends steps; at the last one these series jump."""
        with self.path.open("a") as file:
            for at in range(steps):
                self._step += 1
                for series in SERIES:
                    value = self._step % 12 + self._rng.random() + (1e4 if at == steps - 1 and series in jumping else 0)
                    time_ms = self._start_ms + self._step * 1000
                    file.write(json.dumps({"series": series, "timestamp": time_ms, "value": value}) + "\n")


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """The webhook of the daemon."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def notified() -> Iterator[Receiver]:
    """The webhook of the Alertmanager."""
    receiver = Receiver()
    yield receiver
    receiver.close()


def settings(folder: Path, urls: list[str], hook: str) -> Path:
    """Writes the configuration of a daemon, which reads one file."""
    (folder / "secret").write_text(f"{SECRET}\n")
    path = write_config(
        folder,
        [folder / "events.jsonl"],
        f"""[anomaly]
threshold = 0.9999
clear = 0.999
quiet_events = 5
per_day = 100000
min_deviation = 500
[alerts]
alertmanagers = {json.dumps(urls)}
webhook = "{hook}"
webhook_secret_file = "{folder / "secret"}"
webhook_wait = "50ms"
max_age = "1d"
expire_after = "1h"
""",
    )
    path.write_text(path.read_text().replace('interval = "1m"', 'interval = "1s"'))
    return path


def firing(notifications: Receiver, status: str = "firing") -> Counter[str]:
    """Returns how often the Alertmanager has notified of alerts of each series with a status."""
    return Counter(f"{one['labels']['series']} {one['startsAt']}" for one in notifications.alerts()
                   if one["status"] == status)  # fmt: skip


def test_kills(tmp_path: Path, hook: Receiver, notified: Receiver) -> None:
    """Kills at steps of the loop and at random moments: no alert is lost, and none is notified twice."""
    rng = random.Random(3)
    stream, killed, phase = Stream(tmp_path / "events.jsonl", rng), 0, 0
    expected: Counter[str] = Counter()
    jumping = ""
    with alertmanager(tmp_path / "alertmanager", notified.url) as url:
        launcher = Launcher(settings(tmp_path, [url], hook.url))
        while killed < KILLS or phase < 3:
            phase += 1
            # Not those that lasted until now: an end and a begin within `group_interval` are no news to Alertmanager.
            calm = [name for name in SERIES if name not in jumping]
            jumping = "".join(rng.sample(calm, rng.randint(1, min(2, len(calm))))) if phase > 1 else ""
            stream.grow(jumping, CALM if phase > 1 else 4 * CALM)
            for _ in range(rng.randrange(1, 3)):
                at = rng.choice([*STEPS, ""])
                status = launcher.run(rng.uniform(0.2, 3.0) if not at else 240.0, kill_at=at)
                killed += status == KILLED
            assert launcher.run() == 0
            if jumping:
                expected.update(jumping)
                wait_for(lambda: Counter(one[0] for one in firing(notified)) == expected, expected)
                wait_for(lambda: len({one["id"] for one in hook.alerts()}) == expected.total(), expected)
        stream.grow("")
        assert launcher.run() == 0
        launcher.close()
        wait_for(lambda: Counter(one[0] for one in firing(notified, "resolved")) == expected)
        time.sleep(2.0)  # for a notification that should not follow
        active = httpx.get(f"{url}/api/v2/alerts", trust_env=False).json()
    assert set(firing(notified).values()) == {1}
    assert set(firing(notified, "resolved").values()) == {1}
    assert active == []
    assert_signed(hook)
    by_id: dict[str, list[str]] = {}
    for alert in hook.alerts():
        by_id.setdefault(alert["id"], []).append(alert["status"])
    assert len(by_id) == expected.total()
    assert {found[-1] for found in by_id.values()} == {"resolved"}
    repeats = sum(len(found) - 2 for found in by_id.values())
    print(f"{killed} kills, {expected.total()} alerts, {repeats} repeated deliveries to the webhook")
    assert repeats <= 3 * killed
    assert SECRET not in (tmp_path / "daemon.log").read_text()


def assert_signed(hook: Receiver) -> None:
    """Asserts that every post has a valid signature of a recent time, and equal bodies equal ids."""
    bodies: dict[str, bytes] = {}
    for headers, body, raw in hook.posts:
        stamp = headers["X-Forecaster-Timestamp"]
        assert abs(int(stamp) - time.time()) < 7200
        assert headers["X-Forecaster-Signature"] == f"sha256={signature(SECRET.encode(), stamp, raw)}"
        assert headers["X-Forecaster-Id"] == body["id"]
        assert bodies.setdefault(body["id"], raw) == raw


def test_targets_that_are_down(tmp_path: Path, hook: Receiver, notified: Receiver) -> None:
    """Alerts wait on disk for an Alertmanager that is down and a webhook that fails, also over a restart."""
    stream = Stream(tmp_path / "events.jsonl", random.Random(1))
    with alertmanager(tmp_path / "alertmanager", notified.url) as url:
        pass
    hook.status = 503
    launcher = Launcher(settings(tmp_path, [url], hook.url))
    stream.grow("ab", 4 * CALM)
    ends = time.monotonic() + DOWN_SECONDS
    assert launcher.run() == 0
    while time.monotonic() < ends:
        assert launcher.run() == 0
    assert hook.posts == []
    hook.status = 200
    with alertmanager(tmp_path / "alertmanager", notified.url, int(url.rpartition(":")[2])):
        assert launcher.run() == 0  # nothing new to read
        launcher.close()
        wait_for(lambda: Counter(one[0] for one in firing(notified)) == Counter("ab"))
    assert sorted(one["series"] for one in hook.alerts()) == ["a", "b"]
    (found, *_) = [one for one in hook.alerts() if one["series"] == "a"]
    assert (found["status"], found["kind"], found["name"]) == ("firing", "anomaly", "SeriesAnomalous")
    assert found["summary"].startswith("a: the value 100")
