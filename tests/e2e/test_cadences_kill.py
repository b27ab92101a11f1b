"""Series of several cadences in one file, with nothing configured about them: killed at any moment, and alone."""

from __future__ import annotations

import json
import math
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_groups_kill import adopted, decisions
from test_kill import KILLED, TRAINING_STEPS, assert_whole, content, launcher, write_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN = """
[train]
k1 = 8
k2 = 16
batch = 8
max_steps = 20
evaluate_every = 20
margin = -1.0
[retrain]
first_after_events = 300
every_events = 0
"""
INTERVALS = {"m1": 60_000, "m2": 60_000, "h1": 3_600_000, "d1": 86_400_000}
GROUPS = {"": {"m1", "m2"}, "auto-1h": {"h1"}, "auto-1d": {"d1"}}
STEPS = 350


def write_mixed(path: Path, names: set[str]) -> None:
    """Writes series that end together, in the order of their times."""
    end = 1_700_000_000_000 // 86_400_000 * 86_400_000
    events = [
        (end - (STEPS - step) * interval, name, step)
        for name, interval in INTERVALS.items() if name in names for step in range(STEPS)
    ]  # fmt: skip
    lines = [
        json.dumps({"series": name, "timestamp": time, "value": math.sin(step / 4) * 3 + step % 5})
        for time, name, step in sorted(events)
    ]
    path.write_text("\n".join(lines) + "\n")


def write_settings(folder: Path) -> Path:
    """Writes a configuration that says nothing of cadences and seasons."""
    config = write_config(folder, [folder / "in.jsonl"], TRAIN)
    text = config.read_text()
    for line in ("seasons = [12]\n", 'interval = "1m"\n'):
        assert line in text
        text = text.replace(line, "")
    config.write_text(text)
    return config


def forecasts(folder: Path, names: set[str]) -> list[tuple[object, ...]]:
    """Returns what is forecast for series, without the positions, which count the records of all."""
    query = "SELECT series, origin, interval_ms, model, status, quantiles, anomaly FROM forecasts ORDER BY position"
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        return [row for row in database.execute(query) if row[0] in names]


def test_killed_and_alone(tmp_path: Path) -> None:
    """Kills change no byte; each cadence is forecast as in a file of its own, with its seasons and its trainings."""
    write_mixed(tmp_path / "in.jsonl", set(INTERVALS))
    config = write_settings(tmp_path)
    rng = random.Random(19)
    with launcher(config) as start:
        assert start.run() == 0
        expected, models, decided = content(tmp_path), adopted(tmp_path), decisions(tmp_path)
        assert {group: [one[0] for one in found] for group, found in decided.items()} == {
            group: ["initial", "promoted"] for group in GROUPS
        }
        shutil.rmtree(tmp_path / "data")
        for step in ("1:1", "4:1", "5:2", "2:9", *TRAINING_STEPS, "3:3", "4:6", *TRAINING_STEPS, "1:4"):
            assert start.run(kill_at=f"step:{step}") == KILLED
        for _ in range(4):
            if start.run(rng.uniform(0.2, 4.0)) != KILLED:
                break
        assert start.run() == 0
        assert_whole(tmp_path, expected)
        assert (adopted(tmp_path), decisions(tmp_path)) == (models, decided)
    for number, (group, names) in enumerate(GROUPS.items()):
        folder = tmp_path / f"alone{number}"
        folder.mkdir()
        write_mixed(folder / "in.jsonl", names)
        with launcher(write_settings(folder)) as start:
            assert start.run() == 0
        assert forecasts(folder, names) == forecasts(tmp_path, names), group
        assert not (folder / "data" / "cadences.json").exists()
        assert not (folder / "data" / "models" / "groups").exists()


def test_killed_with_later_series(tmp_path: Path) -> None:
    """Series that a file has later get their group while the daemon runs, and kills around it change no byte."""
    source, steps = tmp_path / "in.jsonl", 1_400
    lines = []
    for step in range(steps):
        for name, gap in (("m1", 60_000), ("m2", 60_000), ("h1", 3_600_000)):
            at = 1_700_000_000_000 + step * gap
            if name != "h1" or step >= 200:
                lines.append(json.dumps({"series": name, "timestamp": at, "value": math.sin(step / 4) * 3 + step % 5}))
    begin = 400  # records of the first run, none of them of the later series
    config = write_settings(tmp_path)
    rng = random.Random(20)
    with launcher(config) as start:

        def first_run() -> None:
            source.write_text("\n".join(lines[:begin]) + "\n")
            assert start.run() == 0
            source.write_text("\n".join(lines) + "\n")

        first_run()
        assert not (tmp_path / "data" / "cadences.json").exists()
        assert start.run() == 0
        kept = (tmp_path / "data" / "cadences.json").read_text()
        assert list(json.loads(kept)["groups"]) == ["", "auto-1h"]
        expected, models, decided = content(tmp_path), adopted(tmp_path), decisions(tmp_path)
        assert decided.keys() == {"", "auto-1h"}
        shutil.rmtree(tmp_path / "data")
        first_run()
        for step in ("4:1", "4:15", "5:16", "5:1", "2:1", "3:1", *TRAINING_STEPS, "4:6", "1:4"):
            start.run(kill_at=f"step:{step}")
        for _ in range(4):
            if start.run(rng.uniform(0.2, 4.0)) != KILLED:
                break
        assert start.run() == 0
        assert_whole(tmp_path, expected)
        assert (tmp_path / "data" / "cadences.json").read_text() == kept
        assert (adopted(tmp_path), decisions(tmp_path)) == (models, decided)
