"""The metrics: a golden list of names, types and labels, bounded labels, one update per batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import Bench, event
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.monitoring.batch_histogram import BatchHistogram
from service.monitoring.metrics import FAST_BUCKETS, Metrics
from service.transport.memory import MemoryLog

GOLDEN = Path(__file__).parent / "metrics.golden"


def listing(metrics: Metrics) -> str:
    """Returns name, type and labels of every scraped metric, one per line."""
    from prometheus_client import generate_latest

    lines = set()
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        labels: set[str] = set()
        for sample in family.samples:
            labels |= set(sample.labels) - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if not name.endswith("_created"):
            lines.add(f"{name} {family.type} {','.join(sorted(labels))}".rstrip())
    return "\n".join(sorted(lines)) + "\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An engine after a few events of every kind."""
    script = [event(1), event(2, value=None), b"bad", event(2), event(1), event(3, "b")]
    bench = Bench(tmp_path, MemoryLog({"0": script}), {"input": {"max_poll_records": 2}})
    bench.run()
    return bench


def test_golden(bench: Bench) -> None:
    """Names, types and labels equal the golden list, which dashboards and alerts rely on."""
    assert listing(bench.metrics) == GOLDEN.read_text()


def test_conventions(bench: Bench) -> None:
    """Every metric has the prefix, base units and a help text."""
    for family in bench.metrics.registry.collect():
        assert family.name.startswith("forecaster_"), family.name
        assert family.documentation, family.name
        assert not family.name.endswith(("_ms", "_us", "_kb", "_mb", "_minutes")), family.name


def test_no_series_label(bench: Bench) -> None:
    """More series and more kinds of invalid records add no time series."""

    def count(found: Bench) -> int:
        return sum(len(family.samples) for family in found.metrics.registry.collect())

    script = [event(1, f"series {number}") for number in range(50)] + [b"bad", b"[]", b'{"series": 1}', b"\xff"]
    more = Bench(bench.folder.with_name("more"), MemoryLog({"0": script}), {"input": {"max_poll_records": 2}})
    more.run()

    assert count(more) == count(bench)


def test_counts(bench: Bench) -> None:
    """The counters match the published events."""
    assert bench.sample("events_total", status="ok") == 3
    assert bench.sample("events_total", status="duplicate") == 1
    assert bench.sample("events_total", status="late") == 1
    assert bench.sample("rejected_total", reason="undecodable") == 1
    assert bench.sample("forecasts_total") == 3
    assert bench.sample("batches_total") == 3
    assert bench.sample("event_duration_seconds_count") == 5
    assert bench.sample("position", partition="0") == 6


class TestBatchHistogram:
    """n equal observations in one call."""

    def test_like_n(self) -> None:
        """Five equal observations count and add up as five."""
        registry = CollectorRegistry()
        histogram = BatchHistogram("h_seconds", "Text.", registry, (0.1, 1.0))
        histogram.observe(0.1, 5)
        histogram.observe(0.5, 2)
        histogram.observe(7.0, 1)

        assert registry.get_sample_value("h_seconds_bucket", {"le": "0.1"}) == 5
        assert registry.get_sample_value("h_seconds_bucket", {"le": "1.0"}) == 7
        assert registry.get_sample_value("h_seconds_bucket", {"le": "+Inf"}) == 8
        assert registry.get_sample_value("h_seconds_count") == 8
        assert registry.get_sample_value("h_seconds_sum") == pytest.approx(8.5)

    def test_buckets(self) -> None:
        """The buckets rise from one microsecond."""
        assert FAST_BUCKETS[0] == 1e-6
        assert list(FAST_BUCKETS) == sorted(set(FAST_BUCKETS))
