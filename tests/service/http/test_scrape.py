"""Reading a metrics page: figures, histograms, and pages without metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.http.scrape import Figure, ScrapeError, figures, scrape


def page() -> bytes:
    """A metrics page with one metric of every kind."""
    registry = CollectorRegistry()
    Counter("forecaster_events", "Events read.", ["partition"], registry=registry).labels("0").inc(7)
    Gauge("forecaster_ready", "One when ready.", registry=registry).set(1)
    latency = Histogram("forecaster_batch_seconds", "Time.", buckets=(0.1, 1.0, 10.0), registry=registry)
    for seconds in (0.05, 0.05, 0.5, 20.0):
        latency.observe(seconds)
    Histogram("forecaster_idle_seconds", "Never observed.", buckets=(1.0,), registry=registry)
    return generate_latest(registry)


def by_name(found: list[Figure]) -> dict[str, Figure]:
    """Returns the figures by name."""
    return {figure.name: figure for figure in found}


class TestFigures:
    """From families to figures (pure)."""

    found = by_name(figures(text_string_to_metric_families(page().decode())))

    def test_counters_and_gauges(self) -> None:
        """A counter keeps its `_total` and labels, and the time of its creation is no figure."""
        events = self.found["forecaster_events_total"]

        assert (events.kind, events.labels, events.value) == ("counter", {"partition": "0"}, 7.0)
        assert self.found["forecaster_ready"].value == 1.0
        assert not any(name.endswith("_created") for name in self.found)

    def test_histogram(self) -> None:
        """A histogram is its count, its mean, and bounds that the quantiles do not exceed."""
        batch = self.found["forecaster_batch_seconds"]

        assert batch.count == 4
        assert batch.value == pytest.approx(20.6 / 4)
        assert batch.quantiles == ((0.5, 0.1), (0.99, math.inf))

    def test_histogram_without_observations(self) -> None:
        """A histogram without observations has no mean and no quantiles, and no division by zero occurs."""
        idle = self.found["forecaster_idle_seconds"]

        assert idle.count == 0
        assert math.isnan(idle.value)
        assert idle.quantiles == ()


class Pages(BaseHTTPRequestHandler):
    """Serves a metrics page, an empty page, a page of something else, and 404."""

    def do_GET(self) -> None:
        """Serves the body of the path."""
        bodies = {"/metrics": page(), "/empty": b"", "/html": b"<html>no metrics</html>"}
        self.send_response(200 if self.path in bodies else 404)
        self.end_headers()
        self.wfile.write(bodies.get(self.path, b""))

    def log_message(self, *args: object) -> None:
        """Logs nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server of `Pages`."""
    with HTTPServer(("127.0.0.1", 0), Pages) as listening:
        thread = Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def test_scrape(server: str) -> None:
    """A metrics page is read into its families."""
    names = {family.name for family in scrape(f"{server}/metrics")}

    assert {"forecaster_events", "forecaster_ready", "forecaster_batch_seconds"} <= names


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/empty", "has no metric"), ("/html", "not a metrics page"), ("/nothing", "404")],
)
def test_not_a_metrics_page(server: str, path: str, expected: str) -> None:
    """A page that is not a metrics page is refused with its URL and the reason."""
    with pytest.raises(ScrapeError, match=expected) as caught:
        scrape(server + path)

    assert server + path in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/metrics", "ftp://127.0.0.1/metrics", "http://[", "http://127.0.0.1:x"]
)
def test_nobody_there(url: str) -> None:
    """A URL without a server, or an invalid one, is one error that names the URL."""
    with pytest.raises(ScrapeError) as caught:
        scrape(url)

    assert url in str(caught.value)
