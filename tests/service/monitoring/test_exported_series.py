"""Metrics of single series: which are exported, their limits, and thresholds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import Bench, event
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from structlog.testing import capture_logs

from forecaster import Batch, Forecasts, Status
from service.config.monitoring import MetricsConfig, Threshold
from service.monitoring.exported_series import ExportedSeries, Shown, breach, exceedance
from service.monitoring.metrics import Metrics
from service.transport.memory import MemoryLog

LEVELS = (0.1, 0.5, 0.9)


def config(**settings: object) -> MetricsConfig:
    """Settings of [metrics]."""
    return MetricsConfig.model_validate(settings)


def feed(exports: ExportedSeries, names: list[str], flagged: bool = False, partition: str = "0") -> None:
    """Updates the exported series with one event of each name and its forecast."""
    n = len(names)
    batch = Batch(names, np.arange(n, dtype=np.int64), np.arange(n, dtype=float))
    answers = Forecasts(
        np.zeros(n, np.uint8), batch.timestamp_ms, np.full(n, 1000), np.ones(n, np.int64),
        np.zeros((n, 2, 3), np.float32), np.zeros(n, np.float32), np.full(n, flagged, np.uint8),
    )  # fmt: skip
    exports.update(partition, batch, answers, LEVELS)


def shown(exports: ExportedSeries) -> list[str]:
    """Returns the names of the exported series."""
    return [row.series for row in exports.rows()]


class TestWhich:
    """Patterns, the top list, and their limits."""

    def test_patterns(self) -> None:
        """Names and patterns export the first matching series, up to the limit."""
        exports = ExportedSeries(config(export_series=["cpu.*", "disk"], export_limit=3))
        feed(exports, ["mem", "cpu.1", "disk", "disk.2", "cpu.2", "cpu.3"])
        feed(exports, ["cpu.4", "cpu.1"])

        assert shown(exports) == ["cpu.1", "cpu.2", "disk"]

    def test_nothing_by_default(self) -> None:
        """No series is exported by default."""
        exports = ExportedSeries(config())
        feed(exports, ["a"], flagged=True)

        assert not shown(exports)

    def test_top(self) -> None:
        """The series with the most anomalies are exported; only twice as many anomalies displace one."""
        exports = ExportedSeries(config(export_top=2))
        for name, count in (("a", 4), ("b", 2), ("c", 3)):
            for _ in range(count):
                feed(exports, [name], flagged=True)
        assert shown(exports) == ["a", "b"]
        feed(exports, ["c", "d"], flagged=True)

        assert shown(exports) == ["a", "c"]

    @given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=300))
    def test_bounded(self, events: list[tuple[int, bool]]) -> None:
        """For any events, at most the sum of both limits is exported, and the sketch stays small."""
        exports = ExportedSeries(config(export_top=3, export_series=["*7"], export_limit=5))
        for number, flagged in events:
            feed(exports, [f"s{number}"], flagged)

        assert len(exports.rows()) <= 8
        assert len(exports._counts) <= 12

    def test_a_partition_that_went(self) -> None:
        """The series of a revoked partition are no longer exported, and make room for others."""
        exports = ExportedSeries(config(export_series=["*"], export_top=1, export_limit=1))
        feed(exports, ["a"], flagged=True, partition="p")
        exports.keep(["q"])
        feed(exports, ["b"], partition="q")

        assert [(row.partition, row.series) for row in exports.rows()] == [("q", "b")]

    def test_other_settings(self) -> None:
        """Series that the new settings do not name are removed at once."""
        exports = ExportedSeries(config(export_series=["a", "b"]))
        feed(exports, ["a", "b"])
        exports.configure(config(export_series=["b"]))
        feed(exports, ["a", "b"])

        assert shown(exports) == ["b"]


class TestLimits:
    """Probability and time of crossing a threshold."""

    def row(self, medians: list[float], interval_ms: int = 60_000) -> Shown:
        """Returns a forecast of width 2 around medians."""
        quantiles = np.array([[m - 1, m, m + 1] for m in medians], np.float32)
        return Shown("0", "a", 0, 0.0, 0.0, interval_ms, quantiles, LEVELS)

    def test_probability(self) -> None:
        """The probability is given by the level at a quantile, linear between quantiles, and decays beyond them."""
        found = [exceedance(self.row([0.0]).quantiles, LEVELS, limit)[0] for limit in (-9, -1, -0.5, 0, 0.5, 1, 1.5, 9)]

        assert found == pytest.approx([1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.05, 0.0], abs=1e-4)

    @given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), st.floats(-2e6, 2e6), st.floats(-2e6, 2e6))
    def test_rises_never(self, row: list[float], a: float, b: float) -> None:
        """The probability never rises with the limit and lies in [0, 1], also for collapsed quantiles."""
        quantiles = np.sort(np.array([row], np.float32))
        low, high = (exceedance(quantiles, LEVELS, limit)[0] for limit in sorted((a, b)))

        assert 1.0 >= low >= high >= 0.0

    def test_time(self) -> None:
        """A trend crosses a limit at the time it reaches it; a distant limit has almost no probability."""
        rising = self.row([0.0, 2.0, 4.0, 6.0, 8.0])
        chance, seconds = breach(rising, Threshold(series="a", above=4.0))
        far, _ = breach(rising, Threshold(series="a", above=100.0))

        assert chance > 0.99
        assert 2 * 60 < seconds < 4 * 60
        assert far < 1e-9

    def test_below_mirrors_above(self) -> None:
        """A lower limit has the probability and time of the mirrored upper limit."""
        up, down = self.row([1.0, 2.0]), self.row([-1.0, -2.0])

        assert breach(down, Threshold(series="a", below=-2.5)) == pytest.approx(
            breach(up, Threshold(series="a", above=2.5))
        )

    def test_within(self) -> None:
        """`within` bounds the steps; there is no probability where it exceeds the horizon or is under one step."""
        rising = self.row([0.0, 2.0, 4.0])
        near, far = (breach(rising, Threshold(series="a", above=4.0, within=within)) for within in (60, 180))

        assert near is not None
        assert near[0] < 0.01
        assert far is not None
        assert far[0] == pytest.approx(0.5)
        for within in (181, 1e6, 59, 1):
            assert breach(rising, Threshold(series="a", above=4.0, within=within)) is None
        assert breach(self.row([0.0], interval_ms=0), Threshold(series="a", above=4.0, within=60)) is None
        assert breach(self.row([0.0], interval_ms=0), Threshold(series="a", above=4.0)) is not None

    def test_nothing_known(self) -> None:
        """A series without a known forecast has no probability."""
        unknown = self.row([math.nan])

        assert not unknown.known
        assert breach(unknown, Threshold(series="a", below=10.0)) is None

    def test_a_large_level(self) -> None:
        """Adding 1e9 to the forecast and to the limit leaves the probability unchanged."""
        near = Shown("0", "a", 0, 0.0, 0.0, 60_000, np.array([[-1.0, 0.0, 1.0]]), LEVELS)
        far = Shown("0", "a", 0, 0.0, 0.0, 60_000, np.array([[-1.0, 0.0, 1.0]]) + 1e9, LEVELS)

        for limit in (-1.5, -0.5, 0.0, 0.5, 1.5):
            assert breach(far, Threshold(series="a", above=1e9 + limit)) == pytest.approx(
                breach(near, Threshold(series="a", above=limit)), rel=1e-6
            )

    @pytest.mark.parametrize("sides", [{}, {"above": 1.0, "below": 0.0}])
    def test_one_side(self, sides: dict[str, float]) -> None:
        """A threshold has either `above` or `below`."""
        with pytest.raises(ValidationError, match="expected one of above and below"):
            Threshold(series="a", **sides)


def test_the_page(tmp_path: Path) -> None:
    """An engine exports value, forecast, score and thresholds of the configured series only, as of the last event."""
    names = ["disk.1", "disk.2", "cpu"]
    log = MemoryLog({"0": [event(step, name) for step in range(40) for name in names]})
    metrics = {
        "export_series": ["disk.1"],
        "thresholds": [{"series": "disk.*", "above": 3}, {"series": "disk.1", "below": -50}],
        "export_limit": 2,
    }
    bench = Bench(tmp_path, log, {"metrics": metrics})
    bench.run()
    page = generate_latest(bench.metrics.registry).decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    one = {"partition": "0", "series": "disk.1"}

    assert {sample.labels["series"] for sample in samples if "series" in sample.labels} == {"disk.1", "disk.2"}
    assert bench.sample("series_event_timestamp_seconds", **one) == 1_700_000_000 + 39 * 60
    assert bench.sample("series_value", **one) == (39 % 7) + 0.25 * (39 % 3)
    low, high = (bench.sample("series_forecast", **one, horizon="3", quantile=q) for q in ("0.1", "0.9"))
    assert low < high
    assert 0.0 <= bench.sample("series_anomaly_score", **one) <= 1.0
    assert 0.0 < bench.sample("threshold_breach_probability", **one, limit="above 3") < 1.0
    assert sum(sample.name == "forecaster_threshold_breach_probability" for sample in samples) == 2  # export_limit


def test_a_threshold_beyond_the_forecast(tmp_path: Path) -> None:
    """With a learnt interval, a threshold beyond the horizon is absent and logged once with the setting to change."""
    log = MemoryLog({"0": [event(step, name) for step in range(40) for name in ("disk.1", "disk.2")]})
    thresholds = [{"series": "disk.*", "above": 3, "within": within} for within in ("3m", "6h")]
    thresholds[1]["above"] = 4
    bench = Bench(tmp_path, log, {"metrics": {"thresholds": thresholds}})
    with capture_logs() as said:
        bench.run()
    page = generate_latest(bench.metrics.registry).decode()
    limits = {
        sample.labels["limit"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("forecaster_threshold_breach")
    }

    assert limits == {"above 3"}
    (line,) = [line for line in said if line["event"] == "threshold is outside of the forecast horizon"]
    assert (line["limit"], line["got"]) == ("above 4", "6h")
    assert "set model.horizon to 360 or more" in line["expected"]


def test_a_series_of_which_nothing_is_known() -> None:
    """Without a forecast only the last value of a series is exported."""
    metrics = Metrics(CollectorRegistry())
    exports = metrics.exports.exports = ExportedSeries(config(thresholds=[{"series": "*", "below": 10}]))
    batch = Batch(["a"], np.zeros(1, np.int64), np.array([3.5]))
    answers = Forecasts(
        np.array([Status.UNKNOWN], np.uint8), batch.timestamp_ms, np.zeros(1, np.int64), np.ones(1, np.int64),
        np.full((1, 2, 3), np.nan, np.float32), np.full(1, np.nan, np.float32), np.zeros(1, np.uint8),
    )  # fmt: skip
    exports.update("0", batch, answers, LEVELS)
    page = generate_latest(metrics.registry).decode()

    assert 'forecaster_series_value{partition="0",series="a"} 3.5' in page
    assert "forecaster_series_forecast{" not in page
    assert "forecaster_threshold_breach_probability{" not in page
    feed(exports, ["a"])
    page = generate_latest(metrics.registry).decode()
    assert "forecaster_series_forecast{" in page
    assert "forecaster_threshold_breach_probability{" in page


def test_names_that_are_no_text() -> None:
    """A name with half a surrogate pair or of great length does not break the page."""
    metrics = Metrics(CollectorRegistry())
    metrics.exports.exports = ExportedSeries(config(export_series=["*"]))
    feed(metrics.exports.exports, ["\ud800", 'a"\n\\', "x" * 10_000, "x" * 10_001])
    page = generate_latest(metrics.registry).decode()
    names = {
        sample.labels["series"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if family.name == "forecaster_series_value"
    }

    assert names == {"?", 'a"\n\\', "x" * 256}
