"""A daemon with Parquet files that is killed at any moment leaves every forecast once, as a quiet run does."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import duckdb
import pytest
from test_kill import KILLED, launcher, write_config, write_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4000)]

KILLS = int(os.environ.get("CHAOS_PARQUET_KILLS", "8"))
# What a reader sees but for where it lies: files are cut by the clock.
COLUMNS = "* EXCLUDE (date, hour, id)"


def files(folder: Path) -> str:
    """Returns the glob that a reader uses."""
    return f"read_parquet('{folder}/data/forecasts/forecasts/*/*/*.parquet', union_by_name = true)"


def content(folder: Path) -> list[tuple]:
    """Returns what DuckDB reads from the files, in an order that does not depend on batches."""
    order = "ORDER BY partition, position, series, origin"
    return duckdb.sql(f"SELECT {COLUMNS} FROM {files(folder)} {order}").fetchall()


def repeats(folder: Path) -> int:
    """Returns how many forecasts the files have more than once, as they are now."""
    if not [*(folder / "data" / "forecasts" / "forecasts").glob("*/*/*.parquet")]:
        return 0
    query = f"SELECT count(*) - count(DISTINCT (partition, position, series, event)) FROM {files(folder)}"
    return duckdb.sql(query).fetchall()[0][0]


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Kills at seeded random moments, with files of 64 KiB and of a second: nothing is lost, repeated or changed."""
    inputs = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path in inputs:
        write_events(path, 4_000, bad=True)
    config = write_config(tmp_path, inputs, '[output]\nsink = "parquet"\nfile_bytes = 65536\nfile_age = "1s"\n')
    rng, kills, runs = random.Random(20261201), 0, 0
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert len(expected) > 7_500
        shutil.rmtree(tmp_path / "data")
        begun = time.monotonic()
        assert start.run() == 0  # a second run, as the first may have compiled
        whole = time.monotonic() - begun
        while kills < KILLS:
            shutil.rmtree(tmp_path / "data")
            runs += 1
            reach = 0.2 * whole  # scales with slow disks; grows, or a slow start would never progress
            while (status := start.run(rng.uniform(0.0, reach))) == KILLED:
                kills += 1
                reach *= 1.2
                assert repeats(tmp_path) == 0
            assert status == 0
            assert content(tmp_path) == expected
    print(f"{kills} kills in {runs} runs, {len(expected)} forecasts each")
