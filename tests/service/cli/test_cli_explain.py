"""`forecaster explain` computes stored forecasts again, with equal bits, beside whatever writes the data folder."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main

COUNT = 220
SETTINGS = """
[input]
files = ["{folder}/load.csv"]
max_poll_records = 20
covariates = ["rain"]
[model]
horizon = 4
interval = "1m"
seasons = [7]
hidden_size = 16
head_size = 16
[output]
format = "{form}"
limits = [{{ series = "b", least = 11.0 }}]
[retrain]
every_events = {every}
shadow = 0
[train]
max_steps = 20
min_windows = 1
margin = -1.0
[state]
data_dir = "{folder}/data"
snapshot_every = 0.001
snapshots_kept = 1000
[http]
port = 0
"""


def time_of(minute: int) -> str:
    """Returns the time of an event."""
    return f"2026-01-05T{minute // 60:02d}:{minute % 60:02d}:00Z"


@pytest.fixture(scope="module", params=["compact", "json"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of a daemon over two series, in each format of the output; it has trained in one."""
    folder: Path = tmp_path_factory.mktemp("explained")
    lines = [
        f"{series},{time_of(minute)},{10.0 + 3.0 * math.sin(minute / 5.0) + at + (minute % 7) / 3},{minute % 5}"
        for minute in range(COUNT)
        for at, series in enumerate(("a", "b"))
    ]
    (folder / "load.csv").write_text("\n".join(["series,timestamp,value,rain", *lines]) + "\n")
    values = {"folder": folder, "form": request.param, "every": 250 * (request.param == "compact")}
    (folder / "forecaster.toml").write_text(SETTINGS.format(**values))
    done = CliRunner().invoke(main, ["run", "--config", str(folder / "forecaster.toml")])
    assert done.exit_code == 0, done.output
    return folder


def explain(folder: Path, *arguments: str) -> Result:
    """Runs the command with the configuration of the daemon."""
    return CliRunner().invoke(main, ["explain", *arguments, "--config", str(folder / "forecaster.toml")])


def contents(folder: Path) -> dict[str, str]:
    """Returns the files of a folder and their digests, without the index that a reader of SQLite's log may leave."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def stored(folder: Path, series: str, minute: int) -> dict:
    """Returns a stored forecast."""
    done = CliRunner().invoke(
        main, ["forecasts", "--series", series, "--at", time_of(minute), "--as", "json",
               "--config", str(folder / "forecaster.toml")]
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found: dict = json.loads(done.output)
    return found


@pytest.mark.parametrize(("series", "minute"), [("a", 3), ("b", 60), ("a", 90), ("b", 149), ("a", COUNT - 1)])
def test_a_past_forecast(folder: Path, series: str, minute: int) -> None:
    """A forecast of any time is computed again with equal bits, and no file is changed.

    Before and after trainings, from a snapshot and from the beginning of the input.
    """
    before = contents(folder)
    done = explain(folder, series, "--at", time_of(minute), "--as", "json")
    assert done.exit_code == 0, done.output
    assert contents(folder) == before
    found, expected = json.loads(done.output), stored(folder, series, minute)
    assert found["as_published"] is True
    assert found["model"].startswith(expected["model"])
    for row, other in zip(found["quantiles"], expected["quantiles"], strict=True):
        assert row == pytest.approx(other, abs=1e-3 * (1.0 + row[-1] - row[0]))  # as text is rounded
    if series == "b":
        assert min(min(row) for row in found["quantiles"]) >= 11.0


def test_the_newest(folder: Path) -> None:
    """Without a time it is the newest forecast: in words, in a table, with what it was computed from."""
    done = explain(folder, "a", "--horizon", "2")
    assert done.exit_code == 0, done.output
    for part in (
        "The forecast of a for 2026-01-05T03:41:00Z (2 steps ahead)", "Equal to the stored forecast bit for bit",
        "computed again from the snapshot at position", "network", "seasonal_naive_7", "calibration",
        "covariate rain", "season 7",
    ):  # fmt: skip
        assert part in done.output


def test_several_models_were_in_force(folder: Path) -> None:
    """The stream has adopted new weights, so that the tests above have computed forecasts of several models again."""
    if (folder / "forecaster.toml").read_text().count("every_events = 0"):
        return  # one of both streams is enough, as a training takes seconds
    models = {stored(folder, "a", minute)["model"] for minute in (3, 90, COUNT - 1)}
    assert len(models) > 1


def test_other_bits_are_an_error(folder: Path, tmp_path: Path) -> None:
    """A stored forecast that differs from the one computed again in one bit is an error that says so."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    text = (copy / "forecaster.toml").read_text()
    (copy / "forecaster.toml").write_text(text.replace(f"{folder}/data", f"{copy}/data"))
    with closing(sqlite3.connect(copy / "data" / "forecasts.sqlite")) as database:
        if 'format = "compact"' in text:
            database.execute("UPDATE stored_forecasts SET least = least + 1e-9")
        else:
            database.execute(
                "UPDATE batches SET forecasts = replace(forecasts, '\"quantiles\":[[', '\"quantiles\":[[1')"
            )
        database.commit()
    done = explain(copy, "a", "--at", time_of(100))
    assert done.exit_code == 1
    assert "differs from the stored one, expected equal bits" in done.output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nobody",), 1, "has no forecast of series 'nobody' up to that time"),
        (("a", "--at", "2025-01-01"), 1, "has no forecast of series 'a' up to that time"),
        (("a", "--horizon", "5"), 2, "got 5, expected 1 to 4, the horizon of the series"),
        (("a", "--set", "output.sink=stdout"), 1, 'output.sink: got "stdout"; expected "sqlite"'),
    ],
)
def test_refused(folder: Path, arguments: tuple[str, ...], status: int, message: str) -> None:
    """What cannot be explained says what was got and what is expected."""
    done = explain(folder, *arguments)
    assert done.exit_code == status
    assert message in done.output
