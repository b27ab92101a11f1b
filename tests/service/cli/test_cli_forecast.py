"""`forecaster forecast`: the newest forecasts of a file."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sqlite_outputs import outputs

from service.backtest.latest import training_positions
from service.cli import main
from service.config.load import load_config

# The network of tests/e2e/test_kill.py, so that it is compiled once.
SMALL = ["--horizon", "4", "--interval", "1m", "--season", "12", "--set", "model.hidden_size=16", "--set",
         "model.head_size=16"]  # fmt: skip
T0 = 1_767_571_200


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of two series, of which `b` ends earlier, and one without a value."""
    lines = [f"{T0 + 60 * step},{name},{step % 12 + (name == 'b')}" for step in range(60) for name in "ab"]
    lines = [line for line in lines if not (",b," in line and int(line.split(",")[0]) > T0 + 3000)]
    lines.append(f"{T0 + 60 * 59},empty,")
    (tmp_path / "load.csv").write_text("\n".join(["timestamp,series,value", *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(main, arguments)


def test_as_the_daemon(folder: Path) -> None:
    """The newest forecast of every series is the last one that a daemon publishes of the file."""
    done = call("forecast", "load.csv", "--as", "json", *SMALL)
    assert done.exit_code == 0, done.stderr
    found = {one["series"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == {"a", "b"}
    assert "1 series with too few values for a forecast: empty" in done.stderr
    assert call("run", "--input", "load.csv", "--data-dir", "data", "--port", "0", *SMALL).exit_code == 0
    with closing(sqlite3.connect("data/forecasts.sqlite")) as database:
        for name, forecast in found.items():
            origin, quantiles = database.execute(
                "SELECT origin, quantiles FROM forecasts WHERE series = ? ORDER BY origin DESC LIMIT 1", [name]
            ).fetchone()
            assert forecast["origin"] == origin
            np.testing.assert_allclose(json.loads(quantiles), forecast["quantiles"], atol=1e-3)
    assert found["b"]["targets"] == [f"2026-01-05T00:{minute}:00.000Z" for minute in range(51, 55)]


WINDOWS = ["--set", "aggregate.interval=1m", "--set", "aggregate.functions=count,max", "--set", "aggregate.grace=5s"]
REPAIRS = ["--set", "input.late=repair", "--set", "input.late_within=6"]


@pytest.mark.parametrize("options", [REPAIRS, [*WINDOWS, *REPAIRS], WINDOWS], ids=["events", "windows", "dropped"])
def test_late_events_as_the_daemon(folder: Path, options: list[str]) -> None:
    """The newest forecast of a file with late events is the last one that a daemon publishes, revisions included."""
    rng, windows = random.Random(7), "aggregate.interval=1m" in options
    events = sorted(rng.sample(range(3600), 300)) if windows else list(range(0, 3600, 60))
    arrival = sorted(events, key=lambda at: at + (rng.random() < 0.2) * rng.randrange(290))
    lines = [f"{T0 + at},{name},{at // 60 % 12 + (name == 'b')}" for at in arrival for name in "ab"]
    (folder / "late.csv").write_text("\n".join(["timestamp,series,value", *lines]) + "\n")

    done = call("forecast", "late.csv", "--as", "json", *SMALL, *options)
    assert done.exit_code == 0, done.stderr
    found = {one["series"]: one for one in map(json.loads, done.stdout.splitlines())}
    exact = ["--set", "output.format=json", *options]
    assert call("run", "--input", "late.csv", "--data-dir", "data", "--port", "0", *SMALL, *exact).exit_code == 0
    published = list(outputs(Path("data/forecasts.sqlite")))
    assert (sum(one.get("revision") == 1 for one in published) > 10) == (options != WINDOWS)
    assert len(found) == (4 if windows else 2)
    for name, forecast in found.items():
        newest = max(forecast["origin"], *(one["origin"] for one in published if one["series"] == name))
        last = [one for one in published if (one["series"], one["origin"]) == (name, newest)][-1]
        assert last["quantiles"] == forecast["quantiles"]


def test_table_and_csv(folder: Path) -> None:
    """The table and the CSV have a row per target; a glob chooses series, and one that matches none fails."""
    table = call("forecast", "load.csv", "--series", "a*", *SMALL)
    assert [line.split()[:2] for line in table.stdout.splitlines()[1:]] == [
        ["a", f"2026-01-05T01:{minute:02d}:00.000Z"] for minute in range(4)
    ]
    rows = list(csv.DictReader(io.StringIO(call("forecast", "load.csv", "--as", "csv", *SMALL).stdout)))
    assert [row["series"] for row in rows] == ["a"] * 4 + ["b"] * 4
    assert all(float(row["0.05"]) <= float(row["0.5"]) <= float(row["0.95"]) for row in rows)
    none = call("forecast", "load.csv", "--series", "c*", *SMALL)
    assert none.exit_code == 1
    assert "no series has a forecast and a name that matches 'c*'" in none.stderr


def test_trainings() -> None:
    """One training near the end where there are events enough, or those that the configuration says."""
    assert training_positions(load_config(None, {}), 1999) == []
    assert training_positions(load_config(None, {}), 10_000) == [8000]
    assert training_positions(load_config(None, {"retrain.every_events": "500"}), 10_000) is None
