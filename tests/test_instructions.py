"""The kernels execute the recorded number of instructions, a measure that is independent of the machine's load."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import instructions

WHY = "valgrind is not installed; `make system` installs it"


def test_compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Counts above or below the record by more than the tolerance are reported; counts within the tolerance are not."""
    monkeypatch.setattr(instructions, "RECORDED", tmp_path / "record.json")
    (tmp_path / "record.json").write_text(json.dumps({"a": 1000, "b": 1000, "c": 1000}))

    assert instructions.compare({"a": 1029, "b": 971, "c": 1000}) == {}
    assert instructions.compare({"a": 1031, "b": 900, "c": 1000}) == {
        "a": "+3.1% against 1000",
        "b": "-10.0% against 1000",
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="counts instructions of x86-64")
@pytest.mark.skipif(shutil.which("valgrind") is None and not os.environ.get("CI"), reason=WHY)
def test_instructions_are_those_recorded() -> None:
    """No kernel executes more or fewer instructions per event than recorded; `--record` accepts a justified change."""
    assert shutil.which("valgrind"), WHY
    counted = instructions.count()

    assert all(number > 100 for number in counted.values()), "nothing was counted"
    assert instructions.compare(counted) == {}
