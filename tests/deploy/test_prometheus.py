"""The shipped Prometheus rules, tested with Prometheus' own tool."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from shipped import DEPLOY, ROOT, metric_names, named, rules, run

from service.monitoring.metrics import Metrics

FOLDER = DEPLOY / "prometheus"


def test_the_rules_and_the_configuration_are_valid() -> None:
    """Prometheus accepts the configuration and every rule that it names."""
    said = run("promtool", "check", "config", "prometheus.yml", folder=FOLDER)
    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == len(rules()) > 40


@pytest.mark.parametrize("page", ["alerts", "service_levels"])
def test_every_fault_fires_its_alert_and_a_daemon_that_is_well_is_silent(page: str) -> None:
    """Each alert fires on its fault, and not in normal operation, on a short fault, or on too few events."""
    assert "SUCCESS" in run("promtool", "test", "rules", f"tests/{page}.yml", folder=FOLDER)


def test_every_alert_is_seen_firing() -> None:
    """Every alert fires in the tests above."""
    tested = "".join(path.read_text() for path in (FOLDER / "tests").glob("*.yml"))
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {name for name in alerts if f'alertname="{name}"' not in tested} == set()


def test_the_metrics_pass_the_linter() -> None:
    """Names, units and help texts follow Prometheus' conventions."""
    run("promtool", "check", "metrics", text=generate_latest(Metrics(CollectorRegistry()).registry))


def test_rules_name_only_metrics_that_exist() -> None:
    """Rules use only existing metrics, so that a renamed metric cannot leave an alert that never fires."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in named(rule["expr"])}
    assert used - recorded <= metric_names()
    assert len(used) > 40


def test_every_alert_leads_to_its_page_of_the_runbook() -> None:
    """The link of every alert leads to a section of the runbook on its meaning and remedy."""
    page = (ROOT / "docs" / "operations.md").read_text()
    explained = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    alerts = [rule for rule in rules() if "alert" in rule]
    for rule in alerts:
        assert rule["annotations"]["runbook"] == f"operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"].endswith((".", "?"))
    assert [name for name in explained if name.startswith("Forecaster")] == [rule["alert"] for rule in alerts]
