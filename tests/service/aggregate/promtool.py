"""Asks Prometheus itself, with promtool, whether expressions over given samples have given values."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml


class Expected(NamedTuple):
    """The value of an expression at the end of a minute.

    Attributes:
        samples: of each series by its name, the values by second.
        query: the expression.
        value: what it is, to 0.02 %: the range of Prometheus is closed at its end, a millisecond earlier.
    """

    samples: Mapping[str, Mapping[int, float]]
    query: str
    value: float


def check(folder: Path, expected: Sequence[Expected]) -> None:
    """Fails unless Prometheus computes the values; `folder` is for its files. Skips without Prometheus, fails in CI."""
    if shutil.which("promtool") is None:
        assert not os.environ.get("CI"), "got no promtool under CI, expected the Debian package: run `make system`"
        pytest.skip("Prometheus is not installed (make system)")
    tests = []
    for number, (samples, query, value) in enumerate(expected):
        low, high = value * 0.9998, value * 1.0002
        series = [
            {"series": name, "values": " ".join(f"{at[second]:.0f}" if second in at else "_" for second in range(60))}
            for name, at in samples.items()
        ]
        holds = {
            "expr": f"({query} > bool {low}) * ({query} < bool {high})",
            "eval_time": "59s999ms",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        tests.append({"interval": "1s", "input_series": series, "promql_expr_test": [holds], "name": str(number)})
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1s", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
