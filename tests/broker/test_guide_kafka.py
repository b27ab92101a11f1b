"""The guide to demand per store, as printed, with a real broker and a real schema registry."""

from __future__ import annotations

import pytest
from guide_run import run_guide, some_ports
from kafka_tools import read_topic


@pytest.mark.slow
def test_guide(bootstrap, registry, app, tmp_path):
    """From an empty topic to forecasts in Avro of every store, and to the alert at the webhook."""
    daemon, hook = some_ports(2)
    replaced = {
        "http://127.0.0.1:8081/apis/ccompat/v7": registry.url, "127.0.0.1:9092": bootstrap,
        '"demand"': f'"{app}.in"', " demand >": f" {app}.in >", '"shop"': f'"{app}"', "9464": daemon, "8001": hook,
    }  # fmt: skip
    said = run_guide("guide-kafka.md", tmp_path, replaced)
    assert said.count("store-3  next ") == 3
    assert "firing StockRunsOut" in said
    assert "the forecast is above 140" in said
    records = read_topic(bootstrap, f"{app}.forecasts")
    assert {record.key for record in records} == {b"store-1", b"store-2", b"store-3"}
    assert {record.value[:1] for record in records} == {b"\0"}
    assert not read_topic(bootstrap, f"{app}.rejects")
