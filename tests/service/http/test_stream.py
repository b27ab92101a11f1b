"""Server-sent events: a client gets the events of its series in order, and the number of those dropped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from parts import TurnedClock, config_of, event
from prometheus_client import CollectorRegistry

from forecaster import Forecaster
from service.http import Api, HttpServer, Hub, api_routes, create_app, openapi_document, status_of
from service.http.stream import Subscriber, message
from service.messages.decode import Decoder
from service.monitoring.health import Health
from service.monitoring.metrics import Metrics
from service.ports import Records
from service.recent import RecentStore
from service.registry.models import Registry

DOCUMENT = openapi_document()


class Stage:
    """A forecaster with recorded forecasts and the server that streams them; two clients may listen."""

    def __init__(self, folder: Path) -> None:
        config, clock = config_of(folder), TurnedClock()
        self.forecaster, self.decoder = Forecaster(config.library_model()), Decoder(config.input)
        self.live, self.metrics = RecentStore(3, 16), Metrics(CollectorRegistry())
        self.live.serve({"0": {"": self.forecaster}})
        health = Health(clock)
        self.hub = Hub(self.live, lambda: status_of({}, health), 2, self.metrics)
        api = Api(self.live, Registry(folder, clock), health, dict, self.hub)
        app = create_app(self.metrics, health, dict, routes=api_routes(api.endpoints()))
        self.server, self.step = HttpServer(app, "127.0.0.1", 0), 0

    def take(self, series: str, count: int = 1) -> None:
        """Observes events of a series, in one batch."""
        values = [event(self.step + at, series) for at in range(count)]
        self.step += count
        decoded = self.decoder.decode(Records("0", range(count), count, values))
        self.live.record("0", decoded, self.forecaster.observe(decoded.batch), self.forecaster)

    def listen(self, *series: str) -> Any:
        """Returns a stream, to be entered."""
        return self.client.stream("GET", "/api/v1/events", params={"series": series})

    client: httpx.Client


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A server with two events of the series "a" and one event of "b"."""
    found = Stage(tmp_path)
    for series in "aab":
        found.take(series)
    with found.server, httpx.Client(base_url=found.server.url, trust_env=False, timeout=30) as found.client:
        yield found
        found.hub.close()


def messages(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Yields the messages of a stream, validated against the document."""
    shapes = {"event": "LiveEvent", "status": "StatusAnswer", "lost": "LiveLost", "anomaly": "AnomalyRow"}
    kind = ""
    for line in answer.iter_lines():
        name, _, text = line.partition(": ")
        if name == "event":
            kind = text
        elif name == "data":
            schema = {"$ref": f"#/components/schemas/{shapes[kind]}", "components": DOCUMENT["components"]}
            jsonschema.Draft202012Validator(schema).validate(json.loads(text))
            yield kind, json.loads(text)


def test_hears(stage: Stage) -> None:
    """A client gets the status first, then every event of its series with the forecast, and no other event."""
    with stage.listen("a") as answer:
        heard = messages(answer)
        assert next(heard)[0] == "status"
        for series in "bab":
            stage.take(series)
        stage.take("a", 2)
        found = [next(found for kind, found in heard if kind == "event") for _ in range(3)]

    detail = stage.live.detail("0", "a")
    assert detail is not None
    assert [one["timestamp_ms"] for one in found] == detail.timestamp_ms[-3:].tolist()
    assert {one["series"] for one in found} == {"a"}
    assert found[-1]["forecast"]["quantiles"] == [
        [float(str(number)) for number in row] for row in detail.latest.astype(np.float32)
    ]


def test_loses_and_says_so(stage: Stage) -> None:
    """Of a batch over the queue's limit the newest events are sent, and the number dropped is reported."""
    with stage.listen("a") as answer:
        heard = messages(answer)
        next(heard)
        stage.take("a", 300)
        sent = lost = 0
        while sent + lost < 300:
            kind, found = next(heard)
            sent, lost = sent + (kind == "event"), lost + (found["messages"] if kind == "lost" else 0)
    assert (sent, lost) == (256, 44)
    assert stage.metrics.registry.get_sample_value("forecaster_stream_messages_dropped_total") == 44


def test_slow() -> None:
    """A queue is bounded; the number of dropped messages follows the queued ones, once."""
    listener = Subscriber([], "")
    assert sum(listener.put(b"x") for _ in range(300)) == 44
    assert listener.take() == b"x" * 256 + message("lost", {"messages": 44})
    assert listener.take() == b""


def test_a_series_that_comes_later(stage: Stage) -> None:
    """A client of an unknown series gets `lost` at its first event, to fetch the series, and then its events."""
    with stage.listen("new") as answer:
        heard = messages(answer)
        next(heard)
        stage.take("new")
        assert next(found for kind, found in heard if kind == "lost") == {"messages": 0}
        stage.take("new")
        assert next(found["series"] for kind, found in heard if kind == "event") == "new"


def test_places_of_listeners_stay(stage: Stage) -> None:
    """A series with a listener keeps its slot, and while all slots have listeners no other series is recorded."""
    for series in "cd":
        stage.take(series)
    with stage.listen("a", "b", "c") as answer:
        heard = messages(answer)  # kept: httpx closes the connection when the iterator is dropped
        next(heard)
        assert stage.live.detail("0", "d") is None
        with stage.listen("d") as refused:
            assert refused.status_code == 503
            assert json.loads(refused.read())["error"]["code"] == "too_many"


def test_too_many(stage: Stage) -> None:
    """A client beyond the limit gets 503 with Retry-After; a client that disconnects makes room."""
    with stage.listen("a") as first, stage.listen("a") as second:
        heard = [messages(first), messages(second)]  # kept, as above
        assert [next(one)[0] for one in heard] == ["status", "status"]
        with stage.listen("a") as third:
            assert third.status_code == 503
            assert third.headers["retry-after"] == "5"
            assert "http.stream_clients" in json.loads(third.read())["error"]["message"]
    status = 503
    while status == 503:  # the server notices the disconnects with a delay
        with stage.listen("a") as again:
            status = again.status_code
    assert status == 200


def test_end(stage: Stage) -> None:
    """When the daemon stops, streams end at once and without an error."""
    with stage.listen("a") as answer:
        heard = messages(answer)
        next(heard)
        threading.Thread(target=stage.hub.close).start()
        assert {kind for kind, _ in heard} <= {"status"}
