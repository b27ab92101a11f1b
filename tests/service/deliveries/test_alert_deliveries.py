"""Alerts of an engine that is broken off anywhere: the same deliveries, each once, as in an undisturbed run."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import event
from test_deliveries import DeliveringBench, Mailbox

from service.config.alerts import OWN_ALERT_LABELS, AlertsConfig
from service.deliveries.alert_messages import AlertDeliveries, AlertMessages, LastingAlerts, NewestStates
from service.deliveries.alertmanager import AlertmanagerTarget, posted, time_text
from service.deliveries.series_labels import MOST_CHARACTERS, MOST_LABELS, alert_labels
from service.errors import TransportError
from service.lifecycle import SystemClock
from service.messages.prometheus_names import NAME, labels_of, series_id
from service.monitoring.metrics import Metrics
from service.transport.memory import MemoryLog

SECTIONS: dict[str, Any] = {
    "anomaly": {"threshold": 0.9, "clear": 0.8, "quiet_events": 2, "per_day": 1000, "silent_after": 4},
    "alert": [
        {"name": "High", "match": ["a"], "above": 6.0, "for_steps": 2, "clear": 4.0, "severity": "critical"},
        {"name": "Low", "match": ["*"], "below": 1.0, "within": "2m"},
    ],
    "retrain": {"every_events": 0, "drift": True, "drift_threshold": 0.5, "drift_cooldown": 0, "check_events": 20},
}  # fmt: skip


def script() -> list[bytes]:
    """Returns events of three series: waves with jumps, one of which is silent in between."""
    found = []
    for step in range(150):
        wave = 4 + 5 * math.sin(step / 12) + step % 3 + (40 if step % 29 == 28 else 0)
        found += [event(step, "a", wave), event(step, "b", wave / 2)]
        found += [event(step, "c", wave + 1)] if step % 50 < 25 else []
    return found


class AlertBench(DeliveringBench):
    """A bench with the deliveries of alerts, to a mailbox."""

    def __post_init__(self) -> None:
        """Builds the producer."""
        super().__post_init__()
        self.lasting = LastingAlerts(messages := AlertMessages(self.config))
        for group in self.engine._groups.values():  # drift makes trainings due, which are of no interest here
            group.training.on_training_due = lambda *_: None  # type: ignore[method-assign]
            group.training.on_training_due_in_replay = lambda *_: None  # type: ignore[method-assign]
        producer = AlertDeliveries(messages, self.lasting, self.boxes)
        self.deliveries._routes[0] = self.deliveries._routes[0]._replace(producer=producer)  # type: ignore[index]


def run(folder: Path, sections: dict[str, Any], fails: str = "") -> Mailbox:
    """Runs an engine that is broken off at every third unit, before or after its deliveries; returns these."""
    box = Mailbox()
    bench = AlertBench(folder, MemoryLog({"0": script()}), SECTIONS | sections, boxes=(box,))
    produce, calls = bench.deliveries._produce, [0]

    def failing(publication: Any, *, replayed: bool) -> None:
        calls[0] += not replayed
        now = fails and not replayed and calls[0] % 3 == 1
        if now and fails == "before":
            raise TransportError(fails)
        produce(publication, replayed=replayed)
        if now:
            raise TransportError(fails)

    def passes(unit: Any) -> None:
        bench.units.append(unit)
        bench.engine._writer.wait()
        bench.clock.now += 1e6  # else no snapshot would be due

    bench.deliveries._produce, bench.on_unit = failing, passes  # type: ignore[method-assign]
    bench.run()
    if fails:
        count = sum(1 for _ in (folder / "snapshots").rglob("*.snapshot"))  # one is written at the end
        assert (count > 1) == (sections["state"]["snapshot_every"] < 1.0)
    return box


@pytest.mark.parametrize("groups", [False, True])
def test_the_same_deliveries(tmp_path: Path, groups: bool) -> None:
    """All kinds of alerts begin and end; broken off, the daemon delivers the same bodies in the same order."""
    more: dict[str, Any] = {"group": [{"name": "bees", "match": ["b"]}]} if groups else {}
    whole = run(tmp_path / "whole", more | {"input": {"max_poll_records": 50}})
    messages = [orjson.loads(one.body) for one in whole.found]
    kinds = {(one["kind"], one["status"]) for one in messages}
    assert kinds == {(kind, status) for kind in ("anomaly", "silence", "breach", "drift") for status in
                     ("firing", "resolved")}  # fmt: skip
    assert {one["name"] for one in messages} == {"SeriesAnomalous", "SeriesSilent", "ForecastDrift", "High", "Low"}
    assert {one["severity"] for one in messages if one["name"] == "High"} == {"critical"}
    assert {one["group"] for one in messages if one["series"] == "b"} == {"bees" if groups else ""}
    assert len({one.identity for one in whole.found}) == len(whole.found)
    for limit, every, fails in ((7, 1e9, "before"), (13, 1e-9, "after"), (7, 1e-9, "before")):
        sections = more | {"input": {"max_poll_records": limit}, "state": {"snapshot_every": every}}
        broken = run(tmp_path / f"{limit} {every} {fails}", sections, fails)
        if groups:  # of a unit, one group comes after the other
            assert sorted(broken.found) == sorted(whole.found)
        else:
            assert broken.found == whole.found


def test_newest_states() -> None:
    """Of each alert the last state, in order, without old ones, whose deliveries are counted."""
    changes = ("1", "firing", 10, 0), ("2", "firing", 3, 0), ("1", "resolved", 10, 20), ("3", "firing", 9, 0)
    bodies = [orjson.dumps(dict(zip(("id", "status", "starts_ms", "ends_ms"), one, strict=True))) for one in changes]
    found = NewestStates(bodies, 5)
    assert [(one["id"], one["status"]) for one in found.messages] == [("1", "resolved"), ("3", "firing")]
    assert (found.deliveries_of(found.messages), found.deliveries_without(found.messages)) == (3, 1)


MESSAGE: dict[str, Any] = {
    "id": "x", "status": "firing", "kind": "breach", "name": "Full", "severity": "critical", "series": "d",
    "group": "", "partition": "0", "position": 7, "starts_ms": 1_700_000_000_000, "ends_ms": 0, "value": 96.0,
    "score": None, "expected_ms": 1_700_003_600_000, "threshold": "above 95",
}  # fmt: skip


def test_as_an_alertmanager_takes_it() -> None:
    """Labels without empty ones; an alert that lasts ends when it expires, and none begins or ends in the future."""
    now = 1_700_000_290_000
    found = posted(MESSAGE, {"cluster": "eu"}, now, 1_700_000_300_000)
    assert found["labels"] == {
        "cluster": "eu", "alertname": "Full", "kind": "breach", "severity": "critical", "series": "d", "partition": "0",
    }  # fmt: skip
    assert found["annotations"]["summary"] == "d: the forecast is above 95 from 2023-11-14T23:13:20.000Z on"
    assert (found["startsAt"], found["endsAt"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:18:20.000Z")
    over = MESSAGE | {"status": "resolved", "ends_ms": 1_700_000_060_000}
    assert posted(over, {}, now, now + 5)["endsAt"] == "2023-11-14T22:14:20.000Z"
    # Event times ahead of the clock, by a minute at the begin.
    early = posted(over, {}, 1_699_999_940_000, 1_699_999_999_000)
    assert (early["startsAt"], early["endsAt"]) == ("2023-11-14T22:12:20.000Z",) * 2
    assert time_text(10**17).startswith("9999-12-31")


def test_renewals(tmp_path: Path) -> None:
    """What lasts is renewed as often as configured, until its partition has had no event for `max_age`."""
    bench = AlertBench(tmp_path, MemoryLog({"0": script()[:115]}), SECTIONS, boxes=(Mailbox(),))
    bench.run()
    newest = 1_700_000_000_000 + 44 * 60_000
    lasting = {one["id"] for one in bench.lasting.since(newest)}
    assert lasting
    assert bench.lasting.since(newest + 60_000) == []

    class Clock(SystemClock):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def wall_ms(self) -> int:
            return newest + 1000

    sent: list[Any] = []
    clock = Clock()
    target = AlertmanagerTarget("am", "http://none:1", AlertsConfig.model_validate({}), bench.lasting, Metrics(), clock)
    target._post.post = lambda body: sent.append(orjson.loads(body))  # type: ignore[method-assign,assignment]
    for clock.now in (10.0, 61.0, 80.0, 119.0, 122.0):
        target.renew()
    assert [{one["annotations"]["id"] for one in alerts} for alerts in sent] == [lasting] * 2
    bench.lasting.keep(["other"])
    assert bench.lasting.since(0) == []


LABEL = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True) | st.sampled_from(
    ["instance", "job", "series", "severity", "alertname", "cluster", "exported_series", "__meta", "metric", NAME]
)
LABELS = st.dictionaries(LABEL, st.text(max_size=6) | st.just("x" * (MOST_CHARACTERS + 1)), max_size=60)


@given(LABELS, st.dictionaries(st.sampled_from(["cluster", "metric", "job"]), st.just("own"), max_size=3))
def test_labels_of_a_series_of_prometheus(labels: dict[str, str], further: dict[str, str]) -> None:
    """They are labels of its alerts, none in place of another, bounded, and as an Alertmanager accepts them."""
    series = series_id([*labels.items()])
    message = MESSAGE | {"series": series}
    found: dict[str, str] = posted(message, further, 0, 1)["labels"]
    own = {"alertname": "Full", "kind": "breach", "severity": "critical", "partition": "0"}
    own |= {"series": series} if series else {}
    assert {**further, **own}.items() <= found.items()
    given_ones = {name: value for name, value in found.items() if name not in own and name not in further}
    assert len(given_ones) <= MOST_LABELS
    assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) and value for name, value in found.items())
    assert max([len(value) for value in given_ones.values()], default=0) <= MOST_CHARACTERS
    if not labels_of(series):
        assert not given_ones
        return
    expected = Counter(value for name, value in labels.items() if 0 < len(value) <= MOST_CHARACTERS)
    assert Counter(given_ones.values()) <= expected
    for name in ("instance", "job"):
        if 0 < len(labels.get(name, "")) <= MOST_CHARACTERS:
            assert found[f"exported_{name}" if name in further else name] == labels[name]


def test_a_label_that_the_daemon_uses() -> None:
    """It gets a prefix, and the name of the metric is a label; other names of series have no labels."""
    found = alert_labels('up{series="s",instance="a:1",metric="m",x=""}', {"job": "own"}, OWN_ALERT_LABELS)
    assert found == {"instance": "a:1", "metric": "up", "exported_metric": "m", "exported_series": "s"}
    assert alert_labels("disk.a", {}, OWN_ALERT_LABELS) == {}
