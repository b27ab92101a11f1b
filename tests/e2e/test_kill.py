"""A daemon that is killed at any moment leaves, byte for byte, the output of an undisturbed run.

CHAOS_SQLITE_KILLS=200 pytest tests/e2e/test_kill.py -k random_moments     the long form
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from launchers import Launcher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

KILLED = -9
SQLITE_KILLS = int(os.environ.get("CHAOS_SQLITE_KILLS", "20"))
TRAINING_STEPS = (6, 7)
STEPS = (1, 2, 3, 4, 5)
Content = dict[str, list[tuple[object, ...]]]


def write_events(path: Path, count: int, *, bad: bool, every_ms: int = 20_000) -> None:
    """Writes three interleaved series as JSON lines; with `bad`, every kind of unusable event is mixed in."""
    lines = []
    for step in range(count):
        series = "abc"[step % 3]
        time_ms = 1_700_000_000_000 + step * every_ms
        value: float | None = math.sin(step / 40) * 3 + math.cos(step / 7) + step % 5
        if bad and step % 97 == 0:
            value = None
        if bad and step % 89 == 0:
            time_ms -= 500_000
        lines.append(json.dumps({"series": series, "timestamp": time_ms, "value": value}))
        if bad and step % 101 == 0:
            lines.append('{"series": "a", "timestamp"')
        if bad and step % 151 == 0:
            lines.append(lines[-1])
    path.write_text("\n".join(lines) + "\n")


def write_config(folder: Path, inputs: list[Path], extra: str = "") -> Path:
    """Writes a configuration with a tiny network, small batches and many snapshots."""
    files = ", ".join(f'"{path}"' for path in inputs)
    path = folder / "config.toml"
    if "[retrain]" not in extra:
        extra += "[retrain]\nevery_events = 0\n"
    path.write_text(
        f"""
[input]
files = [{files}]
max_poll_records = 37
late = "dead-letter"
[model]
hidden_size = 16
head_size = 16
horizon = 4
seasons = [12]
interval = "1m"
[state]
data_dir = "{folder / "data"}"
snapshot_every = "0.1s"
[http]
port = 0
{extra}
"""
    )
    return path


# All but the order of the commits, which depends on batches.
_COLUMNS = (
    "partition, position, series, origin, interval_ms, model, status, levels, quantiles, anomaly, flagged, value, "
    "origin_ms, revision"
)


def content(folder: Path) -> Content:
    """Returns everything a reader of the output sees, in an order that does not depend on batches."""
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        return {
            table: database.execute(f"SELECT {columns} FROM {table} ORDER BY {order}").fetchall()
            for table, columns, order in (
                ("forecasts", _COLUMNS, "partition, position, series, origin"),
                ("rejects", "*", "1, 2"),
                ("positions", "*", "1, 2"),
                ("adoptions", "*", "1, 2"),
            )
        }


@contextmanager
def launcher(config: Path) -> Iterator[Launcher]:
    """Yields a launcher and ends it afterwards."""
    found = Launcher(config)
    try:
        yield found
    finally:
        found.close()


def assert_whole(folder: Path, expected: Content) -> None:
    """Asserts that the output is complete, without duplicates, and equal to `expected` byte by byte."""
    got = content(folder)
    places = [row[:4] for row in got["forecasts"]]  # a record may have several events, or close several windows
    assert len(set(places)) == len(places)
    for table, rows in expected.items():
        if table != "adoptions":  # the position of an adoption depends on the start of its batch
            assert got[table] == rows, table
    assert [row[2] for row in got["adoptions"]] == [row[2] for row in expected["adoptions"]]


@pytest.mark.timeout(400 + 20 * SQLITE_KILLS)
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """SIGKILLs at seeded random moments, over two partitions with bad input, do not change a byte."""
    inputs = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path in inputs:
        write_events(path, 9_000, bad=True)
    config = write_config(tmp_path, inputs)
    rng = random.Random(20261122)
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert len(expected["forecasts"]) > 17_000
        assert expected["rejects"]
        shutil.rmtree(tmp_path / "data")
        begun = time.monotonic()
        assert start.run() == 0  # a second run, as the first may have compiled
        whole = time.monotonic() - begun
        kills = 0
        while kills < SQLITE_KILLS:
            shutil.rmtree(tmp_path / "data")
            reach = 0.2 * whole  # scales with slow disks; grows, or a slow start would never progress
            while (status := start.run(rng.uniform(0.0, reach))) == KILLED:
                kills += 1
                reach *= 1.1
            assert status == 0
            assert_whole(tmp_path, expected)
    print(f"{kills} kills, {len(expected['forecasts'])} forecasts in each run")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step(tmp_path: Path, step: int) -> None:
    """Kills after a numbered step, early, later and during a replay, do not change a byte."""
    write_events(tmp_path / "in.jsonl", 600, bad=True)
    config = write_config(tmp_path, [tmp_path / "in.jsonl"])
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        shutil.rmtree(tmp_path / "data")
        for passage in (1, 5, 2, 1):
            assert start.run(kill_at=f"step:{step}:{passage}") == KILLED
        assert start.run() == 0
        assert_whole(tmp_path, expected)


WIDE = """
[input.fields]
series = "{site}/{field}"
values = ["cpu", "load.*", "none"]
"""


def test_killed_with_several_events_in_a_record(tmp_path: Path) -> None:
    """Kills among records of several events, some of them bad, do not change a byte; no record is torn."""
    records = [
        {"site": "ns"[step % 2], "timestamp": 1_700_000_000_000 + step * 30_000, "cpu": math.sin(step / 9) + step % 5,
         "load": {"one": step % 7, "five": None if step % 11 == 0 else math.cos(step / 5)}, "none": "bad"}
        for step in range(600)
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    config = write_config(tmp_path, [tmp_path / "in.jsonl"], WIDE)
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert {row[2] for row in expected["forecasts"]} == {
            f"{site}/{field}" for site in "ns" for field in ("cpu", "load.one", "load.five", "none")
        }
        assert not expected["rejects"]
        shutil.rmtree(tmp_path / "data")
        for kill in ("3:2", "4:5", "5:1", "2:6"):
            assert start.run(kill_at=f"step:{kill}") == KILLED
        assert start.run() == 0
        assert_whole(tmp_path, expected)


RETRAIN = """
[train]
k1 = 8
k2 = 16
batch = 8
max_steps = 120
evaluate_every = 20
margin = -1.0
[retrain]
every_events = 1000
first_after_events = 700
wait = "true"
shadow = 400
shadow_alpha = 0.8
check_events = 50
"""


def verdicts(folder: Path) -> list[tuple[str, str, object]]:
    """Returns every decision about a model with the position at which a shadow evaluation ended."""
    lines = (folder / "data" / "models" / "decisions.jsonl").read_text().splitlines()
    return [(one["action"], one["model"], one["figures"].get("position")) for one in map(json.loads, lines)]


def test_killed_while_retraining(tmp_path: Path) -> None:
    """Kills in and around awaited trainings and shadow evaluations leave the same models, decisions and positions."""
    write_events(tmp_path / "in.jsonl", 2_500, bad=False)
    config = write_config(tmp_path, [tmp_path / "in.jsonl"], RETRAIN)
    rng = random.Random(7)
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        decided = verdicts(tmp_path)
        assert {"shadow", "promoted", "confirmed"} <= {action for action, _, _ in decided}
        assert len(expected["adoptions"]) >= 2
        shutil.rmtree(tmp_path / "data")
        for step in (*TRAINING_STEPS, "4:6", *TRAINING_STEPS, "4:5"):  # "4:6": in the shadow evaluation that followed
            assert start.run(kill_at=f"step:{step}") == KILLED
        for _ in range(3):
            if start.run(rng.uniform(0.2, 4.0)) != KILLED:
                break
        assert start.run() == 0
        assert_whole(tmp_path, expected)
        assert verdicts(tmp_path) == decided


WINDOWS = """
[aggregate]
interval = "1m"
functions = ["count", "p90", "distinct"]
grace = "30s"
"""
WINDOW_KILLS = int(os.environ.get("CHAOS_WINDOW_KILLS", "6"))  # at random moments; `make chaos` has the long form


@pytest.mark.timeout(400 + 10 * WINDOW_KILLS)
def test_killed_with_open_windows(tmp_path: Path) -> None:
    """Kills with windows open, after each step and at random moments, do not change a byte of the forecasts."""
    inputs = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path in inputs:
        write_events(path, 2_700, bad=True, every_ms=8_000)
    config = write_config(tmp_path, inputs, WINDOWS)
    rng = random.Random(18)
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        series = {f"{name}.{part}" for name in "abc" for part in ("count", "p90", "distinct")}
        assert {row[2] for row in expected["forecasts"]} == series
        assert len(expected["forecasts"]) > 4_000
        assert {row[2] for row in expected["rejects"]} == {"late", "undecodable"}
        shutil.rmtree(tmp_path / "data")
        for step in ("4:1", "5:2", "2:9", "3:3", "4:6", "1:4", "4:2"):
            assert start.run(kill_at=f"step:{step}") == KILLED
        for _ in range(WINDOW_KILLS):
            if start.run(rng.uniform(0.1, 1.0)) != KILLED:  # it was faster: once more from the beginning
                assert_whole(tmp_path, expected)
                shutil.rmtree(tmp_path / "data")
        assert start.run() == 0
        assert_whole(tmp_path, expected)


def test_the_command_itself(tmp_path: Path) -> None:
    """`forecaster run`, killed and restarted as by a user, ends with status 0 and the complete output."""
    write_events(tmp_path / "in.jsonl", 300, bad=True)
    config = write_config(tmp_path, [tmp_path / "in.jsonl"])
    command = [sys.executable, "-m", "service.cli", "run", "--config", str(config)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    expected = content(tmp_path)
    shutil.rmtree(tmp_path / "data")
    killed = subprocess.run(
        command, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin", "FORECASTER_KILL_AT": "step:4:3"}
    )
    assert killed.returncode == KILLED
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert_whole(tmp_path, expected)
