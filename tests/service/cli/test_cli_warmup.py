"""`forecaster warmup`; tests/deploy checks with the steps of the image that a daemon finds the compiled kernels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.cli import main, warmup
from service.config.sections import Config


def test_a_wrong_network_is_reported_before_anything_is_compiled(tmp_path: Path) -> None:
    """A wrong network ends with status 2, and no folder is created."""
    done = CliRunner().invoke(main, ["warmup", str(tmp_path / "kernels"), "--set", "model.hidden_size=17"])
    assert done.exit_code == 2
    assert "hidden_size" in done.output
    assert not (tmp_path / "kernels").exists()


def test_both_heads_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where trainings try both heads, the kernels of both are compiled."""
    heads = list[str]()

    def ran(*_: object, **given: Any) -> subprocess.CompletedProcess[bytes]:
        heads.append(Config.model_validate_json(given["input"]).model.head)
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(warmup.subprocess, "run", ran)
    assert CliRunner().invoke(main, ["warmup", "--set", "retrain.search=layers,head"]).exit_code == 0
    assert heads == ["direct", "decoder", "direct"]


def test_a_failure_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed compiling process ends with status 1, because no image may be built then."""
    false = tmp_path / "false"
    false.write_text("#!/bin/sh\nexit 1\n")
    false.chmod(0o755)
    monkeypatch.setattr(warmup.sys, "executable", str(false))
    assert warmup.sys is sys
    assert CliRunner().invoke(main, ["warmup", str(tmp_path / "kernels")]).exit_code == 1
