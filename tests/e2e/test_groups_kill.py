"""A daemon with groups of series that is killed at any moment leaves, byte for byte, the output of an undisturbed run.

And the forecasts of each group are those of a daemon that has only its series and its settings.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from test_kill import KILLED, TRAINING_STEPS, assert_whole, content, launcher, write_config, write_events

from forecaster import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN = """
[train]
k1 = 8
k2 = 16
batch = 8
max_steps = 40
evaluate_every = 20
margin = -1.0
[retrain]
every_events = 400
first_after_events = 300
wait = "true"
shadow = 200
shadow_alpha = 0.8
check_events = 50
"""
SEARCH = 'search = ["hidden_size", "calendar"]'
OF_A = f"""
[group.model]
max_gap = 7
[group.retrain]
first_after_events = 250
{SEARCH}
[group.output]
every = 2
"""
GROUPS = f"""
[[group]]
name = "first"
match = ["a*"]
{OF_A}
[[group]]
name = "second"
match = ["b"]
"""
ALONE = {  # the settings of a daemon that has a group alone, in place of what is in the sections
    "a": (("horizon = 4", "horizon = 4\nmax_gap = 7"), ("[state]", "[output]\nevery = 2\n[state]"),
          ("first_after_events = 300", f"first_after_events = 250\n{SEARCH}")),
    "b": (),
    "c": (),
}  # fmt: skip


def adopted(folder: Path) -> list[tuple[str, str]]:
    """Returns group and model of the adoptions of groups, each in order; their positions depend on the batches."""
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        query = "SELECT group_name, model FROM group_adoptions ORDER BY partition, group_name, position"
        return [(str(group), str(model)) for group, model in database.execute(query)]


def decisions(folder: Path) -> dict[str, list[tuple[str, str, object]]]:
    """Returns every decision about a model by group, with the position at which a trial ended."""
    root = folder / "data" / "models"
    found = {}
    for name, path in {"": root, **{one.name: one for one in (root / "groups").iterdir()}}.items():
        lines = map(json.loads, (path / "decisions.jsonl").read_text().splitlines())
        found[name] = [(one["action"], one["model"], one["figures"].get("position")) for one in lines]
    return found


def test_killed_with_groups(tmp_path: Path) -> None:
    """Kills after every step, in trainings of several groups and at random moments do not change a byte."""
    write_events(tmp_path / "in.jsonl", 2_400, bad=True)
    config = write_config(tmp_path, [tmp_path / "in.jsonl"], TRAIN + GROUPS)
    rng = random.Random(19)
    with launcher(config) as start:
        assert start.run() == 0
        expected, models, decided = content(tmp_path), adopted(tmp_path), decisions(tmp_path)
        assert decided.keys() == {"", "first", "second"}
        assert all({"shadow"} <= {action for action, _, _ in one} for one in decided.values())
        assert {group for group, _ in models} == {"first", "second"}
        on_trial = [model for action, model, _ in decided["first"] if action == "shadow"]
        networks = [load_model(tmp_path / "data" / "models" / f"{sha256}.safetensors").config for sha256 in on_trial]
        assert {16, 32} == {one.hidden_size for one in networks}  # a searched shape among them
        shutil.rmtree(tmp_path / "data")
        for step in ("4:1", "5:2", "2:9", *TRAINING_STEPS, "3:3", *TRAINING_STEPS, "4:6", "1:4"):
            assert start.run(kill_at=f"step:{step}") == KILLED
        for _ in range(4):
            if start.run(rng.uniform(0.2, 4.0)) != KILLED:
                break
        assert start.run() == 0
        assert_whole(tmp_path, expected)
        assert adopted(tmp_path) == models
        assert decisions(tmp_path) == decided
    for series, changes in ALONE.items():
        folder = tmp_path / series
        folder.mkdir()
        text = write_config(folder, [tmp_path / "in.jsonl"], TRAIN).read_text()
        for old, new in (*changes, ("[input]", f"[input]\nwhere = \"series in ['{series}']\"")):
            assert old in text
            text = text.replace(old, new)
        (folder / "config.toml").write_text(text)
        with launcher(folder / "config.toml") as start:
            assert start.run() == 0
        own = [row for row in expected["forecasts"] if row[2] == series]
        assert content(folder)["forecasts"] == own, series
