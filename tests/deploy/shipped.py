"""Shared tools of the tests of the shipped files: real programs, real metrics."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.monitoring.metrics import Metrics

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


def program(name: str) -> str:
    """Returns the path of a program of requirements/debian.txt; a missing program fails under CI, else skips."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("CI"), f"got no {name} under CI, expected the Debian package: run `make system`"
        pytest.skip(f"no {name} here: `make system` installs it")
    return found


def run(name: str, *arguments: str | Path, folder: Path = ROOT, text: bytes = b"") -> str:
    """Runs a program, asserts status 0, and returns its output."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], cwd=folder, input=text, capture_output=True, timeout=240, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def rules() -> list[dict[str, Any]]:
    """Returns every shipped rule."""
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    return [rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def metric_names() -> set[str]:
    """Returns the names of all samples of the daemon, as in a scrape."""
    registry = CollectorRegistry()
    Metrics(registry)
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
    return {family.name + end for family in registry.collect() for end in suffixes.get(family.type, [""])}


def named(expression: str) -> set[str]:
    """Returns the daemon's metrics and the recorded rules that an expression names."""
    return set(re.findall(r"(?<![\w:])(?:\w+:)?forecaster_[\w:]+", expression))
