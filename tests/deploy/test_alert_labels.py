"""Labels of series at a real Alertmanager: it takes the alerts, and finds them by instance and job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from alert_receivers import alertmanager, wait_for

from service.alerts.alert import Alert
from service.config.alerts import AlertsConfig
from service.config.sections import Config
from service.deliveries.alert_messages import AlertMessages, LastingAlerts
from service.deliveries.alertmanager import AlertmanagerTarget
from service.deliveries.delivery import Spooled
from service.lifecycle import SystemClock
from service.messages.prometheus_names import NAME, series_id
from service.monitoring.metrics import Metrics
from service.publication import ServedAlerts

pytestmark = pytest.mark.slow

UNUSUAL = [
    (NAME, "requests:rate5m"), ("instance", 'a "quoted"\\ \n ü'), ("severity", "its own"), ("alertname", "x"),
    ("job", ""), ("path", "/" * 1000), ("long", "x" * 5000), ("__meta_x", "y"),
    *((f"label_{number}", str(number)) for number in range(25)),
]  # fmt: skip
SERIES = ['up{instance="db1:9100",job="node"}', series_id(UNUSUAL), "disk.a", '{instance="only"}', 'broken{x="y"']


def asked(url: str, *filters: str) -> list[dict[str, Any]]:
    """Returns the active alerts that match."""
    answer = httpx.get(f"{url}/api/v2/alerts", params={"filter": filters}, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_what_lasts_is_found_by_instance_and_job(tmp_path: Path) -> None:
    """The alerts of a restored partition are announced with the labels of their series, and end with them."""
    now, messages = time.time_ns() // 1_000_000, AlertMessages(Config.model_validate({}))
    lasting = LastingAlerts(messages)
    alerts = [Alert("anomaly", "", series, now - 1000, number, 1.0, 0.99, 0) for number, series in enumerate(SERIES)]
    lasting.keep(["0"])
    lasting.restore(ServedAlerts("0", 1, "", now, {one.key: one for one in alerts}))
    with alertmanager(tmp_path / "alertmanager", "http://127.0.0.1:9/nobody") as url:
        settings = AlertsConfig.model_validate({"labels": {"cluster": "eu1"}})
        target = AlertmanagerTarget("a", url, settings, lasting, Metrics(), SystemClock())
        target.renew()
        assert not target.has_news
        wait_for(lambda: len(asked(url)) == len(SERIES), SERIES)
        (found,) = asked(url, 'instance="db1:9100"', 'job="node"', 'cluster="eu1"')
        assert found["labels"]["series"] == SERIES[0]
        assert found["labels"]["metric"] == "up"
        (unusual,) = [one["labels"] for one in asked(url) if one["labels"]["series"] == SERIES[1]]
        assert unusual["instance"] == UNUSUAL[1][1]
        assert (unusual["severity"], unusual["exported_severity"], unusual["exported_alertname"]) == (
            "warning",
            "its own",
            "x",
        )
        assert unusual["path"] == "/" * 1000
        assert "long" not in unusual
        assert len(asked(url, 'instance!=""')) == 3

        over = [orjson.dumps(messages.message(one, "0", "", now)) for one in alerts]
        lasting.keep([])
        assert target.send([Spooled(str(at), body) for at, body in enumerate(over)]).expired == 0
        wait_for(lambda: asked(url) == [])
