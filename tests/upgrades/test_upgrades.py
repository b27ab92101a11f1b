"""Files of earlier versions, archived by archive.py, are read by this version."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import archive
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from forecaster import CheckpointError, Forecaster, SequenceModel, load_model
from service.errors import SinkFormatError
from service.sinks.sqlite_sink import SqliteSink
from service.snapshots.file import read

ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.gz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Unpacks and returns the files of an earlier version."""
    with tarfile.open(request.param) as held:
        held.extractall(tmp_path, filter="data")
    return tmp_path


def answers(folder: Path) -> dict[str, Any]:
    """Returns the forecasts of the version that wrote the files."""
    return dict(json.loads((folder / "answers.json").read_text()))


def test_a_daemon_goes_on_where_the_earlier_one_stopped(old: Path) -> None:
    """The daemon continues from an earlier version's files: nothing repeated, nothing lost, in order."""
    command = [sys.executable, "-P", "-m", "service.cli", "run", "--config", "config.toml"]
    done = subprocess.run(command, cwd=old, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    rows = archive.forecasts(old / "data")
    before = answers(old)["before"]
    assert rows[: len(before)] == before
    assert len(rows) == archive.BEFORE + archive.AFTER
    assert [row[1] for row in rows] == list("ab") * (len(rows) // 2)
    assert len({row[0] for row in rows}) == len(rows)
    assert np.isfinite([row[2] for row in rows[len(before) :]]).all()


def test_a_snapshot_of_it_is_read(old: Path) -> None:
    """Every archived snapshot is restored with its model."""
    paths = list((old / "data" / "snapshots").rglob("*.snapshot"))
    assert paths
    for path in paths:
        snapshot = read(path)
        model = load_model(old / "data" / "models" / f"{snapshot.model_sha256}.safetensors")
        held = Forecaster.from_state(snapshot.arrays, snapshot.library, model, max_series=4, history_events=200)
        assert held.series_count == 2


def test_the_librarys_files_answer_as_they_did(old: Path) -> None:
    """A saved forecaster, a model and a sequence model give the archived results."""
    recorded = answers(old)
    held = Forecaster.load(old / "saved.forecaster")
    assert held.observe(archive.batch(40, 5)).quantiles == pytest.approx(np.array(recorded["after_saved"]), rel=1e-4)
    assert load_model(old / "model.safetensors").sha256 == recorded["model"]
    sequence = SequenceModel.load(old / "sequence.safetensors")
    assert np.asarray(sequence.predict(archive.sequences())) == pytest.approx(np.array(recorded["sequence"]), rel=1e-4)


FILES: dict[str, Callable[[Path], object]] = {
    "model.safetensors": load_model,
    "saved.forecaster": Forecaster.load,
    "sequence.safetensors": SequenceModel.load,
    "one.snapshot": read,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_later_program_is_refused(old: Path, name: str) -> None:
    """A file of a later format version is rejected; the error states the versions and refers to the CHANGELOG."""
    shutil.copy(next((old / "data" / "snapshots").rglob("*.snapshot")), old / "one.snapshot")
    with safe_open(old / name, framework="np") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        metadata = file.metadata()
    known = int(metadata["version"])
    save_file(arrays, old / name, metadata | {"version": str(known + 1)})
    with pytest.raises(
        CheckpointError, match=rf"got format version '{known + 1}', expected {known}; .* see the CHANGELOG"
    ):
        FILES[name](old / name)


def test_an_output_of_a_later_program_is_refused(old: Path) -> None:
    """An output of a later format version is rejected on opening."""
    path = old / "data" / "forecasts.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(SinkFormatError, match="got format version 2, expected 1"):
        SqliteSink(path).open()


def test_a_snapshot_of_a_later_program_only_makes_the_start_longer(old: Path) -> None:
    """Snapshots of a later format version are logged and skipped; the state is computed from the events."""
    for path in (old / "data" / "snapshots").rglob("*.snapshot"):
        with safe_open(path, framework="np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            metadata = file.metadata()
        known = int(metadata["version"])
        save_file(arrays, path, metadata | {"version": str(known + 1)})
    command = [sys.executable, "-P", "-m", "service.cli", "run", "--config", "config.toml", "--log-level", "warning"]
    done = subprocess.run(command, cwd=old, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert f"got format version '{known + 1}', expected {known}" in done.stderr
    rows = archive.forecasts(old / "data")
    assert rows[: archive.BEFORE] == answers(old)["before"]
    assert len(rows) == archive.BEFORE + archive.AFTER
