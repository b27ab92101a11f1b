"""The rules shipped for Prometheus, tried with Prometheus' own tool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from service.metrics import Metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"


def promtool(*arguments: str, text: bytes = b"") -> str:
    """Run promtool in the folder of the rules; what it printed, once it agreed."""
    program = shutil.which("promtool")
    if program is None:
        assert not os.environ.get("CI"), "got no promtool under CI, expected the Debian package: run `make system`"
        pytest.skip("no promtool here: `make system` installs it")
    run = subprocess.run([program, *arguments], cwd=FOLDER, input=text, capture_output=True, timeout=120, check=False)
    said = (run.stdout + run.stderr).decode()
    assert run.returncode == 0, said
    return said


def test_the_rules_and_the_configuration_are_valid() -> None:
    """Prometheus takes the configuration and every rule it names."""
    assert "14 rules found" in promtool("check", "config", "prometheus.yml")


def test_every_fault_fires_its_alert_and_a_daemon_that_is_well_is_silent() -> None:
    """Each alert fires on its fault; none does while all is well."""
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def test_the_metrics_pass_the_linter() -> None:
    """Names, units and help texts are as Prometheus wants them."""
    promtool("check", "metrics", text=generate_latest(Metrics(CollectorRegistry()).registry))


def test_rules_name_only_metrics_that_exist() -> None:
    """A renamed metric cannot leave an alert behind that never fires."""
    registry = CollectorRegistry()
    Metrics(registry)
    names = set()
    for family in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    rules = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = {name for rule in rules for name in re.findall(r"(?<![\w:])(?:job:)?forecaster_[\w:]+", rule["expr"])}
    assert used - recorded <= names
    assert len(used) > 10


def test_every_alert_is_explained() -> None:
    """Whoever is woken finds what to do."""
    page = (ROOT / "docs" / "operations.md").read_text()
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert "alert" not in rule or f"`{rule['alert']}`" in page
