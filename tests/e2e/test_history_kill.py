"""A daemon that is killed while it takes in its history, and behind it: nothing differs from an undisturbed run."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlite_outputs import outputs
from test_kill import KILLED, RETRAIN, TRAINING_STEPS, assert_whole, content, launcher, write_config, write_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def answers(folder: Path) -> list[dict[str, Any]]:
    """Returns the forecasts without the position of their events."""
    found = outputs(folder / "data" / "forecasts.sqlite")
    return [{name: value for name, value in one.items() if name != "source"} for one in found]


def models(folder: Path) -> set[str]:
    """Returns the checksums of all models."""
    return {path.name for path in (folder / "data" / "models").glob("*.safetensors")}


def test_killed_in_the_history(tmp_path: Path) -> None:
    """With trainings and trials, in the history and after it: forecasts and models are those of one live stream.

    Kills at steps, in trainings and at seeded moments do not change a byte.
    """
    history, live = tmp_path / "history.jsonl", tmp_path / "live.jsonl"
    write_events(live, 2_500, bad=True)
    lines = live.read_bytes().splitlines(keepends=True)
    with launcher(write_config(tmp_path, [live], RETRAIN)) as start:
        assert start.run() == 0
    straight, made = answers(tmp_path), models(tmp_path)
    assert len(content(tmp_path)["adoptions"]) >= 2
    shutil.rmtree(tmp_path / "data")

    history.write_bytes(b"".join(lines[:1_500]))
    live.write_bytes(b"".join(lines[1_500:]))
    with launcher(write_config(tmp_path, [live], f'[bootstrap]\nfiles = ["{history}"]\n' + RETRAIN)) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        found = answers(tmp_path)
        assert len(found) > 900
        assert found == straight[-len(found) :]
        assert models(tmp_path) == made
        shutil.rmtree(tmp_path / "data")
        for step in ("3:2", "4:5", "2:9", *TRAINING_STEPS, "5:3", "4:20", *TRAINING_STEPS, "4:5"):
            assert start.run(kill_at=f"step:{step}") in {KILLED, 0}
        rng = random.Random(20261130)
        for _ in range(4):
            start.run(rng.uniform(0.2, 3.0))
        assert start.run() == 0
    assert_whole(tmp_path, expected)
    assert answers(tmp_path) == found
    assert models(tmp_path) == made
