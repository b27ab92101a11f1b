"""A daemon that is killed in quickly made code and continues in optimised code leaves the output of the latter."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from test_kill import assert_whole, content, launcher, write_config, write_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EVENTS = 20_000


def stored(folder: Path) -> int:
    """Returns how many forecasts stand in the output."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM forecasts").fetchone()[0])
    except sqlite3.Error:  # before the daemon has made it
        return 0


def test_killed_while_code_is_replaced(tmp_path: Path) -> None:
    """Every second start has quick code, as where nothing is compiled; each is killed after some new forecasts."""
    write_events(tmp_path / "events.jsonl", EVENTS, bad=True)
    config = write_config(tmp_path, [tmp_path / "events.jsonl"])
    quick = os.environ | {"FORECASTER_KERNELS": "quick", "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    command = [sys.executable, "-P", "-m", "service.cli", "run", "--config", str(config)]
    kills = 0
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert len(expected["forecasts"]) > 0.95 * EVENTS
        (tmp_path / "data").rename(tmp_path / "whole")
        for environment in (quick, None, quick, None, quick):
            before = stored(tmp_path)
            with subprocess.Popen(command, env=environment) as process:
                while stored(tmp_path) < before + 500:
                    assert process.poll() is None
                    time.sleep(0.002)
                process.kill()
            kills += process.returncode == -9
        assert kills == 5
        assert stored(tmp_path) < len(expected["forecasts"])
        assert start.run() == 0
    assert_whole(tmp_path, expected)
