"""`forecaster retrain`: exit statuses of the outcomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.cli import retrain as command
from service.config.sections import Config
from service.registry.models import Registry
from service.trainer.job import Result, TrainingBusyError
from service.trainer.season_check import Seasons


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory with an empty registry."""
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.mark.parametrize(("outcome", "status"), [("promoted", 0), ("kept", 3), ("nothing_to_learn", 3), ("failed", 1)])
def test_statuses(folder: Path, monkeypatch, outcome: str, status: int) -> None:
    """A promotion ends with 0, a kept champion with 3, a failure with 1, each with the reason."""
    result = Result(outcome, "ab" * 32, "the reason", {"steps": 7.0})
    monkeypatch.setattr(command, "retrain_once", lambda *_, **__: result)

    done = CliRunner().invoke(main, ["retrain", "--data-dir", str(folder)])

    assert done.exit_code == status
    assert "the reason" in done.output
    assert ("Error" in done.output) == (outcome == "failed")


def test_json(folder: Path, monkeypatch) -> None:
    """`--json` prints the result as one JSON object and keeps the status."""
    result = Result("kept", "ab" * 32, "not better", {"steps": 7.0}, Seasons((24,), (24, 168), (24, 168)))
    monkeypatch.setattr(command, "retrain_once", lambda *_, **__: result)

    done = CliRunner().invoke(main, ["retrain", "--data-dir", str(folder), "--json"])

    assert done.exit_code == 3
    assert json.loads(done.stdout) | {"seconds": 0} == {
        "outcome": "kept",
        "model": "ab" * 32,
        "reason": "not better",
        "figures": {"steps": 7.0},
        "seasons": {"network": [24], "shown": [24, 168], "wanted": [24, 168]},
        "tried": {},
        "seconds": 0,
    }


def test_seasons_that_do_not_fit(folder: Path, monkeypatch) -> None:
    """Seasons that do not fit are reported on standard error with what to set; fitting seasons are not."""
    for seasons, said in ((Seasons((24,), (24, 168), (24, 168)), True), (Seasons((24,), (24,), (24,)), False)):
        result = Result("kept", "ab" * 32, "not better", {"steps": 7.0}, seasons)
        monkeypatch.setattr(command, "retrain_once", lambda *_, result=result, **__: result)
        done = CliRunner().invoke(main, ["retrain", "--data-dir", str(folder)])
        assert ("set model.seasons = [24, 168]" in done.stderr) == said


def test_another_shape_was_tried(folder: Path, monkeypatch) -> None:
    """The shape that a search tried is named on standard error."""
    result = Result("kept", "ab" * 32, "not better", tried={"head": "decoder", "layers": 1})
    monkeypatch.setattr(command, "retrain_once", lambda *_, **__: result)
    done = CliRunner().invoke(main, ["retrain", "--data-dir", str(folder)])
    assert 'note: also tried: head = "decoder", layers = 1\n' in done.stderr


def test_nothing_to_learn_from(folder: Path) -> None:
    """Without a snapshot the command ends with status 1 and the reason."""
    done = CliRunner().invoke(main, ["retrain", "--data-dir", str(folder)])

    assert done.exit_code == 1
    assert "no snapshot" in done.output


def test_no_data_directory(tmp_path: Path) -> None:
    """A data directory that no daemon has used ends with status 2, and nothing is created."""
    done = CliRunner().invoke(main, ["retrain", "--data-dir", str(tmp_path / "none")])

    assert done.exit_code == 2
    assert not (tmp_path / "none").exists()


def test_busy(folder: Path, monkeypatch) -> None:
    """While another training runs on the directory, the command ends with status 1 and the reason."""

    def busy(*_: object, **__: object) -> Result:
        msg = "another training is running"
        raise TrainingBusyError(msg)

    monkeypatch.setattr(command, "retrain_once", busy)
    done = CliRunner().invoke(main, ["retrain", "--data-dir", str(folder)])

    assert (done.exit_code, done.output) == (1, "Error: another training is running\n")


def test_groups_by_cadence(folder: Path, monkeypatch) -> None:
    """A group that the daemon made is known as one of the configuration is; with other seasons it is none."""
    (folder / "models" / "groups" / "auto-1h").mkdir(parents=True)
    group = {"interval_ms": 3_600_000, "seasons": [24], "series": ["a", "b*"]}
    (folder / "cadences.json").write_text(json.dumps({"files": [], "groups": {"auto-1h": group}}))
    seen = []

    def retrained(config: Config, registry: Registry, *_: object, **__: object) -> Result:
        seen.append(registry.group)
        return Result("kept", "", "")

    monkeypatch.setattr(command, "retrain_once", retrained)
    command_line = ["retrain", "--data-dir", str(folder), "--group", "auto-1h"]
    assert CliRunner().invoke(main, command_line).exit_code == 3
    assert seen == ["auto-1h"]
    done = CliRunner().invoke(main, [*command_line, "--set", "model.seasons=24"])
    assert done.exit_code == 2
    assert "expected its [[group]] in the configuration" in done.output
