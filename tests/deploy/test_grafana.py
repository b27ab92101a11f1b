"""The shipped dashboard, parsed by Prometheus' own tool: a wrong expression would show an empty panel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from shipped import DEPLOY, ROOT, metric_names, named, rules, run

FOLDER = DEPLOY / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboards" / "forecaster.json").read_text())
VARIABLES = {"$__rate_interval": "1m", "$job": "forecaster", "$instance": ".*", "$series": ".*"}


def expressions() -> Iterator[str]:
    """Yields every expression of panels, annotations and variables, with variables replaced by values."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    found += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found += re.findall(r"label_values\((.*), \w+\)$", variable["query"]["query"])
    for expression in found:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        yield expression


def test_prometheus_parses_every_expression(tmp_path: Path) -> None:
    """Every expression is valid as a rule's body; an unknown variable is not replaced and fails."""
    found = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": found}]}))
    assert f"{len(found)} rules found" in run("promtool", "check", "rules", "rules.yml", folder=tmp_path)
    assert len(found) > 40
    assert not [text for text in expressions() if "$" in text]


def test_the_dashboard_names_only_metrics_that_exist() -> None:
    """The dashboard uses only metrics of the daemon, of the recorded rules, and of any process."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    ours = {name for text in expressions() for name in named(text)}
    assert ours - recorded <= metric_names()
    assert len(ours) > 35
    others = {name for text in expressions() for name in re.findall(r"\bprocess_\w+", text)}
    assert others == {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def test_labels_of_the_dashboard_are_labels_of_the_metrics() -> None:
    """Every selected or grouped label belongs to the metric or to the scrape."""
    table = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", table, re.MULTILINE)
    labels = {name: {"job", "instance", "le", *re.findall(r"\w+", text)} for name, text in rows}
    for text in expressions():
        asked = re.findall(r"\b(forecaster_\w+)\{([^}]*)\}", text)
        own = [labels[name if name in labels else name.rsplit("_", 1)[0]] for name, _ in asked]
        for (_, selector), names in zip(asked, own, strict=True):
            assert set(re.findall(r"(\w+)=", selector)) <= names, text
        for group in re.findall(r"by \(([\w, ]+)\)", text):
            assert set(group.split(", ")) <= set.union(*own), text


def test_panels_are_described_and_do_not_overlap() -> None:
    """Each panel has a description; no two panels overlap in the grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith(".")
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_provisioning_finds_dashboard_and_source() -> None:
    """Grafana reads dashboard and data source from files, and the dashboard selects the provisioned type of source."""
    source = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "prometheus.yml").read_text())
    assert [(one["type"], one["isDefault"]) for one in source["datasources"]] == [("prometheus", True)]
    provider = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "forecaster.yml").read_text())
    assert provider["providers"][0]["options"]["path"] == "/var/lib/grafana/dashboards"
    kinds = [one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    assert kinds == ["prometheus"]
