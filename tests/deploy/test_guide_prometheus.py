"""The guide to predictive scaling, as printed, with a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import shipped
from guide_run import run_guide, some_ports


@pytest.mark.slow
def test_guide(tmp_path: Path) -> None:
    """From nothing to forecasts in PromQL, to replicas ahead of the load, and to the alert before the limit."""
    for name in ("prometheus", "promtool", "prometheus-alertmanager"):
        shipped.program(name)
    said = run_guide(
        "guide-prometheus.md", tmp_path, dict(zip(("8000", "9464", "9090", "9093"), some_ports(4), strict=True))
    )
    quantiles = dict(re.findall(r"^(0\.\d+) ([\d.]+)$", said, re.MULTILINE))
    assert list(quantiles) == ["0.05", "0.5", "0.95"]
    low, middle, high = map(float, quantiles.values())
    assert low < middle < high
    assert 2 <= float(re.findall(r"^replicas (\d+)$", said, re.MULTILINE)[0]) <= 40
    (alert,) = json.loads((tmp_path / "alert.json").read_text())
    assert (alert["labels"]["alertname"], alert["labels"]["job"]) == ("CheckoutBeyondEightReplicas", "shop")
    assert "the forecast is above 400" in said
