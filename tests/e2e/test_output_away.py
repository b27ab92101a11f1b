"""A real daemon whose output cannot be written for a while: it waits, says so once, and loses nothing.

    CHAOS_OUTPUT_AWAY=60 pytest tests/e2e/test_output_away.py

is the long form: away for so many seconds.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import test_kill
import test_parquet_kill
from launchers import Launcher
from test_kill import launcher, write_config, write_events
from test_parquet_kill import repeats

AWAY = float(os.environ.get("CHAOS_OUTPUT_AWAY", "2"))
PARQUET: Final = '[output]\nsink = "parquet"\nfile_bytes = 65536\nfile_age = "1s"\n'
RETRYING: Final = "sink unavailable, retrying"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400 + 4 * AWAY)]


def config_of(folder: Path, count: int, extra: str = "") -> Path:
    """Writes two inputs with so many events each, and the configuration of a daemon that reads them."""
    inputs = [folder / "first.jsonl", folder / "second.jsonl"]
    for path in inputs:
        write_events(path, count, bad=True)
    return write_config(folder, inputs, extra)


def start_until(start: Launcher, log: Path, has_output: Callable[[], bool]) -> None:
    """Starts a daemon over nothing, with an empty log, and waits until there is some output."""
    shutil.rmtree(log.parent / "data")
    log.write_text("")
    start.start()
    while not has_output():
        time.sleep(0.005)


def wait_while_away(log: Path) -> None:
    """Waits until the daemon has noticed, and then for as long as the output is away."""
    while RETRYING not in log.read_text():
        time.sleep(0.01)
    time.sleep(AWAY)


def assert_said_once(text: str) -> None:
    """Asserts that the log has one line when the output is away and one when it is back, and no restart."""
    assert text.count(RETRYING) == text.count("sink available again") == 1, text
    assert "restarting" not in text


@pytest.mark.parametrize("how", ["renamed", "hidden"])
def test_the_folder_is_away(tmp_path: Path, how: str) -> None:
    """The folder is renamed, or an empty one hides it as where a volume is unmounted, and comes back.

    Meanwhile nothing is read or made in its place. `hidden` ends with the daemon still waiting: it is not restarted.
    """
    config = config_of(tmp_path, 4_000, PARQUET)
    folder, elsewhere, log = tmp_path / "data" / "forecasts", tmp_path / "elsewhere", tmp_path / "daemon.log"
    with launcher(config) as start:
        assert start.run() == 0
        expected = test_parquet_kill.content(tmp_path)
        assert len(expected) > 7_500
        start_until(start, log, lambda: bool([*folder.glob("forecasts/*/*/*.parquet")]))
        folder.rename(elsewhere)
        if how == "hidden":
            folder.mkdir()
        wait_while_away(log)
        if how == "hidden":
            folder.rmdir()  # nothing was made in it
        assert not folder.exists()
        elsewhere.rename(folder)
        assert start.wait() == 0, log.read_text()
        assert repeats(tmp_path) == 0
        assert test_parquet_kill.content(tmp_path) == expected
    text = log.read_text()
    assert_said_once(text)
    # by what was being done: a file was written, or positions were
    assert any(reason in text for reason in ("its folder cannot be reached now", "expected a writable folder")), text


def test_sqlite_is_locked(tmp_path: Path) -> None:
    """Another program has a transaction open that writes, such as a backup; readers see what was there until then."""
    config, log = config_of(tmp_path, 2_000), tmp_path / "daemon.log"
    output = tmp_path / "data" / "forecasts.sqlite"
    with launcher(config) as start:
        assert start.run() == 0
        expected = test_kill.content(tmp_path)
        assert len(expected["forecasts"]) > 3_500
        start_until(start, log, lambda: output.exists() and output.stat().st_size > 0)
        with closing(sqlite3.connect(output, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN IMMEDIATE")
            before = other.execute("SELECT count(*) FROM forecasts").fetchone()
            wait_while_away(log)
            assert other.execute("SELECT count(*) FROM forecasts").fetchone() == before
            other.execute("ROLLBACK")
        assert start.wait() == 0, log.read_text()
        test_kill.assert_whole(tmp_path, expected)
    text = log.read_text()
    assert_said_once(text)
    assert "database is locked" in text
