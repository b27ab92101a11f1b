"""A real daemon whose folder of Parquet files is away for a while: it waits, says so once, and loses nothing.

    CHAOS_PARQUET_AWAY=60 pytest tests/e2e/test_parquet_away.py

is the long form: away for so many seconds.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from test_kill import launcher, write_config, write_events
from test_parquet_kill import content, repeats

AWAY = float(os.environ.get("CHAOS_PARQUET_AWAY", "2"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400 + 4 * AWAY)]


@pytest.mark.parametrize("how", ["renamed", "hidden"])
def test_the_folder_is_away(tmp_path: Path, how: str) -> None:
    """The folder is renamed, or an empty one hides it as where a volume is unmounted, and comes back.

    Meanwhile nothing is read or made in its place. `hidden` ends with the daemon still waiting: it is not restarted.
    """
    inputs = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path in inputs:
        write_events(path, 4_000, bad=True)
    config = write_config(tmp_path, inputs, '[output]\nsink = "parquet"\nfile_bytes = 65536\nfile_age = "1s"\n')
    folder, elsewhere, log = tmp_path / "data" / "forecasts", tmp_path / "elsewhere", tmp_path / "daemon.log"
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert len(expected) > 7_500
        shutil.rmtree(tmp_path / "data")
        log.write_text("")
        start.start()
        while not [*folder.glob("forecasts/*/*/*.parquet")]:
            time.sleep(0.005)
        folder.rename(elsewhere)
        if how == "hidden":
            folder.mkdir()
        while "sink unavailable, retrying" not in log.read_text():
            time.sleep(0.01)
        time.sleep(AWAY)
        if how == "hidden":
            folder.rmdir()  # nothing was made in it
        assert not folder.exists()
        elsewhere.rename(folder)
        assert start.wait() == 0, log.read_text()
        assert repeats(tmp_path) == 0
        assert content(tmp_path) == expected
    text = log.read_text()
    assert text.count("sink unavailable, retrying") == text.count("sink available again") == 1, text
    # by what was being done: a file was written, or positions were
    assert any(reason in text for reason in ("its folder cannot be reached now", "expected a writable folder")), text
    assert "restarting" not in text
