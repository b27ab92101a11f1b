"""Killed daemons over a file that is followed and falls silent: the bytes are those of an undisturbed engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from idle_kills import (
    KILLED,
    KILLS,
    SECTIONS,
    Bursts,
    KilledDaemon,
    assert_once,
    marks_in,
    marks_of,
    outputs_of,
    undisturbed,
)
from launchers import write_sections
from test_kill import launcher

from service.config.sections import Config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200 + 30 * KILLS)]


def sections_of(folder: Path, **input_: Any) -> dict[str, dict[str, Any]]:
    """Returns the settings of a daemon over the file in a folder."""
    own = {"files": [str(folder / "in.jsonl")], **input_}
    return SECTIONS | {
        "input": SECTIONS["input"] | own,
        "state": SECTIONS["state"] | {"data_dir": str(folder / "data")},
    }


def test_killed_around_time_marks(tmp_path: Path) -> None:
    """Kills in any step and at random moments, also of the units of marks, do not change a byte."""
    path, output = tmp_path / "in.jsonl", tmp_path / "data" / "forecasts.sqlite"
    config = write_sections(tmp_path / "config.toml", sections_of(tmp_path, follow=True))
    with path.open("ab", buffering=0) as file, launcher(config) as start:
        bursts = Bursts(lambda event: file.write(event + b"\n"))
        assert start.run(0.1) == KILLED  # compiled once
        bursts.start()
        daemon = KilledDaemon(start.start, start.wait, lambda: max(marks_of(output), default=None))
        daemon.kill(KILLS)
        bursts.close()
        daemon.kill_behind(lambda mark: mark is not None and mark.position == path.stat().st_size)
        write_sections(config, sections_of(tmp_path, follow=False))
        assert start.run() == 0
    found, rejects = outputs_of(output)
    marks = marks_in(found)
    quiet = sections_of(tmp_path, follow=False, max_poll_records=1)
    quiet["state"] = {"data_dir": str(tmp_path / "quiet")}

    assert sum(map(len, marks.values())) >= 2
    assert len(marks_of(output)) < 60  # those of the newest snapshots; none of the others is ever needed
    assert_once(found)
    assert (found, rejects) == undisturbed(Config.model_validate(quiet), marks)
