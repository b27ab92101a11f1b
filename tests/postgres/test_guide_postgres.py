"""The guide to sensors in PostgreSQL, as printed, with a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guide_run import run_guide, some_ports
from postgres_server import Server


@pytest.mark.slow
def test_guide(server: Server, tmp_path: Path) -> None:
    """From an empty database to verified forecasts in SQL, and to the warning before a bearing is too hot."""
    daemon, hook = some_ports(2)
    said = run_guide(
        "guide-postgres.md", tmp_path, {"PGPORT=5432": f"PGPORT={server.port}", "9464": daemon, "8001": hook}
    )
    errors = dict(re.findall(r"^(bearing-\d)\|\d+\|([\d.]+)$", said, re.MULTILINE))
    assert list(errors) == ["bearing-1", "bearing-2", "bearing-3"]
    assert float(errors["bearing-1"]) < 5
    assert "firing BearingTooHotSoon bearing-3: the forecast is above 80" in said
    hottest = dict(re.findall(r"^(bearing-\d)\|([\d.]+)$", said, re.MULTILINE))
    assert list(hottest) == ["bearing-1", "bearing-2", "bearing-3"]
    assert float(hottest["bearing-1"]) < 60
    assert server.rows("SELECT count(*) > 0 FROM forecaster.forecasts", database="plant") == [(True,)]
