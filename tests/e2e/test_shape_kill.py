"""A daemon killed around adoptions of networks of other shapes leaves, byte for byte, the output of undisturbed runs.

A restart has another horizon and other levels, and leaves the seasons to the daemon: the trainings after it find the
day of the stream and promote a network that has it. In the other test the trainings search shapes, and a restart
changes a setting that they may change.
`CHAOS_SHAPE_KILLS=100` kills that often.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from test_kill import KILLED, TRAINING_STEPS, Content, assert_whole, content, launcher

from forecaster import ModelConfig, load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

HOUR = 3_600_000
KILLS = int(os.environ.get("CHAOS_SHAPE_KILLS", "14"))
STEPS = ("4:1", "5:2", *TRAINING_STEPS, "2:3", *TRAINING_STEPS, "4:4", "3:2", "1:3")
COMMON = """
[input]
files = ["{folder}/in.jsonl"]
max_poll_records = 60
late = "repair"
late_within = 3
[anomaly]
silent_after = 3
[state]
data_dir = "{folder}/data"
snapshot_every = "1ms"
history_events = 700
[train]
k1 = 8
k2 = 16
batch = 8
max_steps = 60
evaluate_every = 20
margin = -1.0
[retrain]
search = {search}
every_events = 320
first_after_events = 420
wait = "true"
[http]
port = 0
[model]
head_size = 16
pretrained = false
calendar = false
hidden_size = {units}
"""
BEFORE = COMMON + "horizon = 4\nquantiles = [0.1, 0.5, 0.9]\nseasons = []\n"
AFTER = COMMON + 'horizon = 6\nquantiles = [0.2, 0.5, 0.8, 0.95]\nseasons = "auto"\n'


def events(start: int, end: int) -> str:
    """Hourly events of two series with a rough day, missing and late ones among them."""
    lines, rng = list[str](), random.Random(start)
    shape = [random.Random(7 + hour).gauss(0.0, 1.0) for hour in range(24)]
    for step in range(start, end):
        for i, name in enumerate("ab"):
            value = 5.0 * i + shape[step % 24] + 0.05 * math.sin(step * 1.7)
            time_ms = 1_700_000_000_000 // HOUR * HOUR + step * HOUR
            if rng.random() < 0.02:
                continue
            lines.append(json.dumps({"series": name, "timestamp": time_ms, "value": value}))
            if rng.random() < 0.05 and len(lines) > start + 4:
                lines[-1], lines[-3] = lines[-3], lines[-1]
    return "\n".join(lines) + "\n"


def adopted_networks(folder: Path) -> list[ModelConfig]:
    """The networks in the order of their adoption."""
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT model FROM adoptions ORDER BY position").fetchall()
    return [load_model(folder / "data" / "models" / f"{sha256}.safetensors").config for (sha256,) in found]


def run_all(folder: Path, texts: Sequence[str], kills: int, rng: random.Random) -> int:
    """Runs both halves of the stream, the second with another configuration; returns how often it was killed."""
    done, count = 0, 0
    config, reach = folder / "config.toml", 6.0
    for part, text in enumerate(texts):
        config.write_text(text.replace("{folder}", str(folder)))
        with (folder / "in.jsonl").open("a" if part else "w") as file:
            file.write(events(400 * part, 400 * (part + 1)))
        with launcher(config) as start:
            while done < kills // (2 - part):
                count += 1
                if count % 3:
                    status = start.run(kill_at=f"step:{STEPS[count % len(STEPS)]}")
                else:
                    status = start.run(rng.uniform(0.3, reach))
                if status != KILLED:
                    break
                done += 1
            assert start.run() == 0
    return done


def kill_often(folder: Path, texts: Sequence[str], kills: int) -> list[ModelConfig]:
    """Runs undisturbed and with kills; asserts that not a byte differs, and returns the adopted networks."""
    rng, done, begun = random.Random(19), 0, time.monotonic()
    assert run_all(folder, texts, 0, rng) == 0
    expected: Content = content(folder)
    adopted = adopted_networks(folder)
    while done < kills:
        shutil.rmtree(folder / "data")
        done += run_all(folder, texts, min(20, kills - done), rng)
        assert_whole(folder, expected)
        assert adopted_networks(folder) == adopted
    print(f"{done} kills around {len(adopted)} adoptions in {time.monotonic() - begun:.0f} s")
    return adopted


def test_killed_around_other_shapes(tmp_path: Path) -> None:
    """Kills after every step, in trainings and at random moments do not change a byte."""
    texts = [text.replace("{search}", "[]").replace("{units}", "16") for text in (BEFORE, AFTER)]
    adopted = [(one.horizon, one.seasons) for one in kill_often(tmp_path, texts, KILLS)]
    assert {horizon for horizon, _ in adopted} == {4, 6}
    assert adopted[0][1] == ()
    assert adopted[-1][1][:1] == (24,), adopted


def test_killed_around_searched_shapes(tmp_path: Path) -> None:
    """The same, where trainings search shapes: what they found stays at a restart that changes another setting."""
    search = BEFORE.replace("{search}", '["calendar", "hidden_size"]')
    adopted = kill_often(tmp_path, [search.replace("{units}", units) for units in ("16", "32")], KILLS // 2)
    found = [(one.calendar, one.hidden_size) for one in adopted]
    assert found[0] == (False, 16)
    assert (True, 16) in found, found
    assert (True, 32) in found, found
    assert {one.horizon for one in adopted} == {4}
