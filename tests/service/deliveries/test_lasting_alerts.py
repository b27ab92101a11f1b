"""What lasts after a restart: announced with the restore, in the log of the API, and never begun again once over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs
from test_alert_deliveries import MESSAGE, SECTIONS, AlertBench, script
from test_deliveries import Mailbox

from service.config.alerts import AlertsConfig
from service.deliveries import SendResult
from service.deliveries.alertmanager import AlertmanagerTarget
from service.deliveries.delivery import Spooled, UnavailableError
from service.http import AlertViews, Api, HttpServer, Hub, api_routes, create_app, status_of
from service.http import schemas as answers
from service.monitoring.metrics import Metrics
from service.recent import AlertLog, RecentStore
from service.registry.feedback import Feedback, FeedbackStore, Request
from service.transport.memory import MemoryLog

NEWEST_MS = 1_700_000_000_000 + 44 * 60_000
STEPS = 115  # of the script; some alerts last behind it


class Stopped:
    """A clock that stands still until it is set."""

    now = 0.0

    def monotonic(self) -> float:
        """Returns the time that was set."""
        return self.now

    def wall_ms(self) -> int:
        """Returns a moment behind the last event of the script."""
        return NEWEST_MS + 1000

    def sleep(self, seconds: float) -> None:
        """Turns the clock."""
        self.now += seconds


class LoggingBench(AlertBench):
    """A bench with the log of alerts."""

    def __post_init__(self) -> None:
        """Adds the listeners of the API."""
        super().__post_init__()
        self.live = RecentStore(5, 200)
        self.log_of_alerts = AlertLog(self.live.expected)
        self.engine._listeners += [self.live, self.log_of_alerts]


@pytest.fixture
def bench(tmp_path: Path) -> LoggingBench:
    """A daemon that has ended while alerts lasted."""
    found = LoggingBench(tmp_path / "data", MemoryLog({"0": script()[:STEPS]}), SECTIONS, boxes=(Mailbox(),))
    found.run()
    return found


def views_of(bench: LoggingBench, *entries: Feedback) -> AlertViews:
    """Returns the answers of a bench, with feedback."""
    return AlertViews(bench.log_of_alerts, bench.config, lambda _: entries)


def test_the_log(bench: LoggingBench) -> None:
    """What lasts comes first; an anomaly has the range that was expected, and its value is not in it."""
    page = views_of(bench).page("", "", 1000)
    assert 0 < page.lasting < len(page.alerts)
    firing = [one for one in page.alerts if one.status == "firing"]
    assert len(firing) == page.lasting
    assert page.alerts[: len(firing)] == firing
    assert all((one.ends_ms is None) == (one.status == "firing") for one in page.alerts)
    assert {one.rule for one in page.alerts if one.kind == "breach"} <= {"High", "Low"}
    anomalies = [one for one in page.alerts if one.kind == "anomaly" and one.expected_low is not None]
    assert anomalies
    for one in anomalies:
        assert one.value is not None
        assert one.expected_low is not None
        assert one.expected_high is not None
        assert not one.expected_low <= one.value <= one.expected_high


def test_announced_with_the_restore(bench: LoggingBench) -> None:
    """Without an event after the start, what lasts is in the log, in the gauge, and renewed at once; only once."""
    expected = {one["id"] for one in bench.lasting.since(NEWEST_MS)}
    assert {one.alert.identity("0") for one in bench.log_of_alerts.alerts()[0]} == expected
    second = LoggingBench(bench.folder, bench.log, SECTIONS, boxes=(Mailbox(),))
    second.run()
    assert {one["id"] for one in second.lasting.since(NEWEST_MS)} == expected
    assert {one.alert.identity("0") for one in second.log_of_alerts.alerts()[0]} == expected
    assert views_of(second).page("", "resolved", 10).alerts == []
    gauges = [second.metrics.registry.get_sample_value("forecaster_alerts_lasting", {"kind": kind}) or 0
              for kind in ("anomaly", "silence", "breach", "drift")]  # fmt: skip
    assert sum(gauges) == len(expected)
    assert second.boxes[0].found == []  # no begin is delivered again

    sent: list[Any] = []
    clock = Stopped()
    settings = AlertsConfig.model_validate({"max_age": "1h"})
    target = AlertmanagerTarget("am", "http://none:1", settings, second.lasting, Metrics(), clock)
    answer: list[Exception] = [UnavailableError("away")]

    def post(body: bytes) -> None:
        if answer:
            raise answer.pop()
        sent.append(orjson.loads(body))

    target._post.post = post  # type: ignore[method-assign,assignment]
    with pytest.raises(UnavailableError):
        target.renew()
    target.renew()
    assert sent == []  # not before a pause
    assert target.has_news
    for clock.now in (6.0, 7.0, 20.0):
        target.renew()
    assert [{one["annotations"]["id"] for one in alerts} for alerts in sent] == [expected]
    assert not target.has_news


def test_only_what_holds_is_sent(bench: LoggingBench) -> None:
    """No begin of an alert that is over or lasts elsewhere, and no end of one that has begun again."""
    (lasting, *_) = bench.lasting.since(0)
    begin = lasting | {"status": "firing"}
    over = begin | {"id": "former", "status": "resolved", "ends_ms": NEWEST_MS}
    elsewhere = begin | {"id": "x", "partition": "7"}
    end = elsewhere | {"status": "resolved", "ends_ms": NEWEST_MS}
    assert bench.lasting.holding([begin, over, elsewhere, end]) == [begin, end]
    bench.lasting.keep([])
    assert bench.lasting.holding([begin, over, elsewhere, end]) == [over, end]

    sent: list[Any] = []
    target = AlertmanagerTarget(
        "am", "http://none:1", AlertsConfig.model_validate({"max_age": "1d"}), bench.lasting, Metrics(), Stopped()
    )
    target._post.post = lambda body: sent.append(orjson.loads(body))  # type: ignore[method-assign,assignment]
    aged = MESSAGE | {"id": "old", "status": "resolved", "ends_ms": NEWEST_MS - 2 * 86_400_000}
    batch = [Spooled(str(number), orjson.dumps(one)) for number, one in enumerate((begin, elsewhere, end, aged))]
    assert target.send(batch).expired == 2  # the begin of what is not served here, and what is too old
    assert [one["annotations"]["id"] for alerts in sent for one in alerts] == ["x"]


def test_feedback_of_alerts(bench: LoggingBench) -> None:
    """The newest feedback of the series in the time of the alert; another series, run or time is none."""
    lasting, ended = bench.log_of_alerts.alerts()
    one = next(found for found in lasting if found.alert.series)

    def said(number: int, position: int, series: str = one.alert.series, run: int = one.run) -> Feedback:
        return Feedback(number, run, position, None, Request(str(number), series, "confirm", f"because {number}"))

    behind = one.alert.position + 1
    page = views_of(bench, said(1, behind), said(2, behind + 3), said(3, behind, "other"), said(4, behind, run=9)).page(
        "", "firing", 100
    )
    found = {each.id: (each.feedback, each.feedback_reason) for each in page.alerts}
    assert found[one.alert.identity("0")] == ("confirm", "because 2")
    before = views_of(bench, said(1, one.alert.position)).page("", "", 1000)
    assert {each.feedback for each in before.alerts if each.id == one.alert.identity("0")} == {None}
    over = next(each for each in ended if each.alert.series)
    late = views_of(bench, said(1, over.end + 1, over.alert.series)).page("", "resolved", 1000)
    assert next(each for each in late.alerts if each.id == over.alert.identity("0")).feedback is None


def test_feedback_is_read_when_it_changes(tmp_path: Path) -> None:
    """The file of a partition is parsed once per version."""
    store, name = FeedbackStore(tmp_path), Path("0.json")
    assert store.known(name) == ()
    store.add(name, Request("1", "a", "ack"), 1, 5, None)
    assert store.known(name) is store.known(name)
    store.add(name, Request("2", "a", "mute"), 1, 6, None)
    assert [one.request.verdict for one in store.known(name)] == ["ack", "mute"]


def test_the_endpoint(bench: LoggingBench, tmp_path: Path) -> None:
    """It filters by partition and status, is bounded, and says what it expects; broken feedback is no defect of it."""
    (tmp_path / "feedback").mkdir(exist_ok=True)
    store = FeedbackStore(tmp_path / "feedback")
    views = AlertViews(bench.log_of_alerts, bench.config, lambda name: store.known(Path(f"{name}.json")))
    hub = Hub(bench.live, lambda: status_of(bench.engine.status, bench.health), 1, bench.metrics)
    api = Api(bench.live, bench.registry, bench.health, lambda: bench.engine.status, hub, dict, alerts=views)
    app = create_app(bench.metrics, bench.health, lambda: bench.engine.status, routes=api_routes(api.endpoints()))
    with (
        HttpServer(app, "127.0.0.1", 0) as server,
        httpx.Client(base_url=f"{server.url}/api/v1", trust_env=False, timeout=30) as client,
    ):
        whole = client.get("/alerts", params={"limit": 1000}).json()
        assert answers.AlertPage.model_validate(whole) == views.page("", "", 1000)
        assert not whole["more"]
        (first,) = client.get("/alerts", params={"limit": 1}).json()["alerts"]
        assert first == whole["alerts"][0]
        assert client.get("/alerts", params={"partition": "1"}).json()["alerts"] == []
        firing = client.get("/alerts", params={"status": "firing"}).json()["alerts"]
        assert [one["id"] for one in firing] == [one["id"] for one in whole["alerts"] if one["status"] == "firing"]
        wrong = client.get("/alerts", params={"status": "unknown"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "bad_request")
        (tmp_path / "feedback" / "0.json").write_text("[")
        assert client.get("/alerts").status_code == 503


def test_expired_deliveries_are_counted(tmp_path: Path) -> None:
    """They are not sent ones: with a metric of their own and a line in the log."""
    box = Mailbox()
    box.send = lambda batch: SendResult(expired=len(batch))  # type: ignore[method-assign]
    log = MemoryLog({"0": script()[:STEPS]})
    bench = LoggingBench(tmp_path / "more", log, SECTIONS, boxes=(box,))
    with capture_logs() as logs:
        bench.run()
    value = bench.metrics.registry.get_sample_value
    expired = value("forecaster_deliveries_expired_total", {"kind": "webhook"})
    assert expired
    assert value("forecaster_deliveries_sent_total", {"kind": "webhook"}) == 0
    assert sum(one["count"] for one in logs if one["event"] == "deliveries expired") == expired
