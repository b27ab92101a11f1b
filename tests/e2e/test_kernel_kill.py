"""A daemon that is killed while its quickly made code is replaced leaves the output of one that never had such code."""

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

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

REPLACED = "compiled for this network"
EACH, MOST = 40, 12_000  # events that are added at a time, and in all


def stored(folder: Path) -> int:
    """Returns how many forecasts stand in the output."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM forecasts").fetchone()[0])
    except sqlite3.Error:  # before the daemon has made it
        return 0


def test_killed_while_code_is_replaced(tmp_path: Path) -> None:
    """Kills while quick code is made, used, and replaced twice do not change a byte.

    The machine has compiled nothing. A file grows all the time, so that events arrive at each of these moments. The
    same events are then read by a daemon that has optimised code from its first event on.
    """
    whole, grown, log = tmp_path / "whole.jsonl", tmp_path / "grown.jsonl", tmp_path / "log"
    write_events(whole, MOST, bad=False)
    lines = whole.read_bytes().splitlines(keepends=True)
    config = write_config(tmp_path, [grown])
    config.write_text(config.read_text().replace("[input]", "[input]\nfollow = true"))
    environment = os.environ | {"FORECASTER_KERNELS": "auto", "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    given = kills = 0

    def run(until: str, seconds: float) -> None:
        """Runs a daemon and kills it some seconds after its first new forecast, or after this was logged so often."""
        nonlocal given, kills
        before, ends, text = stored(tmp_path), None, ""
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "service.cli", "run", "--config", str(config)], env=environment, stderr=out
            )
        with process:
            while ends is None or time.monotonic() < ends:
                assert process.poll() is None, log.read_text()
                found = stored(tmp_path)
                if found == given < MOST:  # further events only when these have been answered
                    with grown.open("ab") as file:
                        file.writelines(lines[given : given + EACH])
                    given += EACH
                time.sleep(0.25)
                text = log.read_text()
                if ends is None and (until in text if until else found > before):
                    ends = time.monotonic() + seconds
            process.kill()
            kills += 1

    grown.touch()
    began = time.monotonic()
    run("", 0.0)  # quick code was made
    cold = time.monotonic() - began
    run("", 1.0)  # and is used
    for share in (0.2, 0.5, 0.8):  # while it is replaced
        run("", 2.0 + share * cold)
    run(REPLACED, 1.0)
    run(REPLACED, 1.0)  # other functions, or the literal form
    assert kills == 7

    grown.write_bytes(b"".join(lines[:given]))
    config.write_text(config.read_text().replace("follow = true", "follow = false"))
    with launcher(config) as start:
        assert start.run() == 0
        killed = content(tmp_path)
        assert len(killed["forecasts"]) == given
        (tmp_path / "data").rename(tmp_path / "killed")
        assert start.run() == 0
    assert_whole(tmp_path, killed)
