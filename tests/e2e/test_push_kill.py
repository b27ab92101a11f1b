"""A killed daemon with pushed events: acknowledged events are forecast once, as in an undisturbed run."""

from __future__ import annotations

import json
import math
import random
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the launcher of the other kill tests

from sqlite_outputs import outputs
from test_kill import KILLED, launcher, write_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BODIES, STEPS = 150, 4  # steps per body, of three series each
KILLS = 4


def events(body: int) -> bytes:
    """Returns the lines of a body."""
    return b"".join(
        json.dumps({
            "series": series,
            "timestamp": 1_700_000_000_000 + step * 60_000,
            "value": math.sin(step / 40) * 3 + math.cos(step / 7) + step % 5,
        }).encode() + b"\n"
        for step in range(body * STEPS, (body + 1) * STEPS)
        for series in "abc"
    )  # fmt: skip


class Sender(threading.Thread):
    """Pushes one body after the other to the running daemon, each until it is acknowledged."""

    def __init__(self, log: Path) -> None:
        super().__init__(daemon=True)
        self.log, self.acknowledged, self.tries = log, 0, 0
        self.moved = threading.Condition()

    def url(self) -> str:
        """URL of the daemon that was started last."""
        text = self.log.read_text() if self.log.exists() else ""
        return (re.findall(r"http://127\.0\.0\.1:\d+", text) or [""])[-1]

    def run(self) -> None:
        """Pushes until all bodies are acknowledged."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            while self.acknowledged < BODIES:
                self.tries += 1
                try:
                    answer = client.post(
                        f"{self.url()}/api/v1/events", content=events(self.acknowledged),
                        headers={"content-type": "application/x-ndjson"},
                    )  # fmt: skip
                except (httpx.TransportError, httpx.UnsupportedProtocol):
                    time.sleep(0.01)  # the next daemon is starting
                    continue
                if answer.status_code == 503:
                    time.sleep(0.01)
                    continue
                assert answer.json() == {"accepted": 3 * STEPS, "filtered": 0}
                with self.moved:
                    self.acknowledged += 1
                    self.moved.notify_all()

    def wait_for(self, count: int) -> None:
        """Waits until `count` bodies are acknowledged."""
        with self.moved:
            assert self.moved.wait_for(lambda: self.acknowledged >= count, 240), self.log.read_text()


def forecasts(folder: Path) -> dict[tuple[str, str], list[Any]]:
    """Returns the forecasts of every event, by series and time; a list of one element if forecast once."""
    found: dict[tuple[str, str], list[Any]] = {}
    database = folder / "data" / "forecasts.sqlite"
    if not database.exists():
        return found
    for one in outputs(database):
        found.setdefault((one["series"], one["origin"]), []).append((one["quantiles"], one["anomaly"]))
    return found


def test_killed_while_events_are_pushed(tmp_path: Path) -> None:
    """Four SIGKILLs under a continuous sender: every event has one forecast, that of an undisturbed run."""
    quiet, folder = tmp_path / "quiet", tmp_path / "pushed"
    for one in (quiet, folder):
        one.mkdir()
    (quiet / "events.jsonl").write_bytes(b"".join(map(events, range(BODIES))))
    with launcher(write_config(quiet, [quiet / "events.jsonl"])) as start:
        assert start.run() == 0
    expected = forecasts(quiet)
    assert len(expected) == 3 * STEPS * BODIES

    config = write_config(folder, [])
    config.write_text(config.read_text().replace("[input]", "[input]\npush = true"))
    rng, sender = random.Random(8), Sender(folder / "daemon.log")
    sender.start()
    with launcher(config) as start:
        for kill in range(KILLS):
            start.start()
            sender.wait_for((kill + 1) * BODIES // (KILLS + 1))
            time.sleep(rng.uniform(0.0, 0.05))
            assert start.wait(0) == KILLED
        start.start()
        sender.wait_for(BODIES)
        ends = time.monotonic() + 240
        while len(forecasts(folder)) < len(expected) and time.monotonic() < ends:
            time.sleep(0.05)
        assert start.wait(0) == KILLED
    sender.join()
    assert forecasts(folder) == expected
