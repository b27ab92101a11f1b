"""Killed daemons over a file that is followed and falls silent: time marks close every window once, in one place."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from test_kill import KILLED, launcher

from service.aggregate.aggregator import Aggregator
from service.config.load import load_config
from service.messages.decode import Decoder
from service.messages.timestamps import parse_time
from service.ports import Records, TimeMark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STAGES, PER_STAGE = 8, 60


def config_of(folder: Path, *, follow: bool) -> Path:
    """Writes a configuration with windows of a second that close after a short silence."""
    path = folder / "config.toml"
    path.write_text(
        f"""
[input]
files = ["{folder / "in.jsonl"}"]
follow = {str(follow).lower()}
max_poll_records = 7
[aggregate]
interval = "1s"
functions = ["count", "max"]
grace = "200ms"
idle = "300ms"
[model]
hidden_size = 16
head_size = 16
horizon = 4
[state]
data_dir = "{folder / "data"}"
snapshot_every = "0.1s"
[retrain]
every_events = 0
[http]
port = 0
"""
    )
    return path


def written(folder: Path) -> None:
    """Appends events of three series in stages, with silences between them, at the times of the clock."""
    with (folder / "in.jsonl").open("ab", buffering=0) as file:
        for _ in range(STAGES):
            for at in range(PER_STAGE):
                one = {"series": "abc"[at % 3], "timestamp": int(time.time() * 1000), "value": at % 11}
                file.write(json.dumps(one).encode() + b"\n")
                time.sleep(0.02)
            time.sleep(2.5)


def windows_of(folder: Path, marks: list[TimeMark]) -> list[tuple[Any, ...]]:
    """Returns the windows that the records of the file and the marks close, in order, with their places."""
    config = load_config(folder / "config.toml")
    aggregator = Aggregator.of(config.aggregate, config.state.max_series)
    assert aggregator is not None
    data, position, found, left = (folder / "in.jsonl").read_bytes(), 0, list[tuple[Any, ...]](), deque(marks)

    def marked() -> None:
        while left and left[0].position <= position:
            closed = aggregator.mark(mark := left.popleft())
            places = zip(closed.series, closed.start_ms, strict=True)
            found.extend((mark.position, series, start, mark.time_ms) for series, start in places)

    for line in data.splitlines(keepends=True):
        marked()
        records = Records("0", [position], position + len(line), [line.rstrip()])
        closed, _ = aggregator.take(Decoder(config.input).decode(records), 0, deque())
        found += [(position, series, start, None) for series, start in zip(closed.series, closed.start_ms, strict=True)]
        position += len(line)
    marked()
    return found


def test_killed_around_time_marks(tmp_path: Path) -> None:
    """Kills in any step and at random moments, also of the units of marks, lose and repeat no window."""
    (tmp_path / "in.jsonl").touch()
    config = config_of(tmp_path, follow=True)
    rng, kills = random.Random(18), 0
    with launcher(config) as start:
        assert start.run(0.1) == KILLED  # compiled once
        writer = threading.Thread(target=written, args=(tmp_path,))
        writer.start()
        while writer.is_alive():
            step = rng.choice(["", "", "step:3:2", "step:4:1", "step:4:3", "step:5:2"])
            kills += start.run(rng.uniform(0.5, 5.0), kill_at=step) == KILLED
        assert start.run(6.0) == KILLED  # the silence at the end has its mark
        config_of(tmp_path, follow=False)
        assert start.run() == 0
    with closing(sqlite3.connect(f"file:{tmp_path / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        marks = [TimeMark(*row) for row in database.execute("SELECT position, time_ms FROM marks ORDER BY 1, 2")]
        texts = database.execute("SELECT one.value FROM batches, json_each(forecasts) AS one ORDER BY batches.rowid")
        found = [json.loads(text) for (text,) in texts]
    places = [
        (
            one["source"]["position"],
            one["series"],
            parse_time(one["origin"]),
            parse_time(one["source"]["mark"]) if "mark" in one["source"] else None,
        )
        for one in found
    ]

    assert kills > 5
    assert len({mark.position for mark in marks}) >= 2
    assert sorted(places, key=repr) == sorted(windows_of(tmp_path, marks), key=repr)
    assert len({(name, start) for _, name, start, _ in places}) == len(places)
