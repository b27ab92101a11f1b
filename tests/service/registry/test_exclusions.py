"""Windows that are excluded from training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from forecaster import History
from service.cli import main
from service.registry import exclusions
from service.registry.exclusions import Exclusion, ExclusionError


def history() -> History:
    """Returns a history of two series with ten events each."""
    series = np.array([0, 1] * 10)
    ts = np.arange(20) * 1000
    value = np.arange(20, dtype=np.float32)
    return History(series, ts, value, np.zeros((20, 0), np.float32), {0: "cpu.a", 1: "disk.b"}, {})


def test_masks_the_window() -> None:
    """Values of matching series from the start of the window to before its end are missing, the others unchanged."""
    before = history()
    after = exclusions.masked(before, [Exclusion("cpu.*", 4000, 8000)])

    assert np.flatnonzero(np.isnan(after.value)).tolist() == [4, 6]
    assert np.isfinite(before.value).all()
    assert np.flatnonzero(np.isnan(exclusions.masked(before, [Exclusion("*", 4000, 6000)]).value)).tolist() == [4, 5]


def test_damaged_file(tmp_path: Path) -> None:
    """A file that is not a list of windows is an error with its name, so that no excluded event is learnt from."""
    (tmp_path / "exclusions.json").write_text('{"series": 1}')
    with pytest.raises(ExclusionError, match=r"exclusions\.json: expected a list"):
        exclusions.read(tmp_path)


def test_command(tmp_path: Path) -> None:
    """The command adds, lists and removes windows; wrong times and numbers are errors."""
    (tmp_path / "models").mkdir()

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["exclude", "--data-dir", str(tmp_path), *words])
        return result.exit_code, result.output

    window = ["--series", "cpu.*", "--from", "2026-11-22T10:00", "--to", "2026-11-22T12:00Z", "--reason", "fire"]
    line = "1  cpu.*  2026-11-22T10:00:00+00:00  2026-11-22T12:00:00+00:00  fire\n"
    assert run(*window) == (0, line)
    assert run("--list") == (0, line)
    assert exclusions.read(tmp_path / "models")[0].from_ms == 1795341600000
    assert run("--remove", "2")[0] == 1
    assert run("--remove", "1")[0] == 0
    assert run("--list") == (0, "")
    assert run("--series", "x", "--from", "soon", "--to", "2026-11-22")[0] == 2
    assert run("--series", "x", "--from", "2026-11-22", "--to", "2026-11-21")[0] == 2
    assert run("--series", "x")[0] == 2
