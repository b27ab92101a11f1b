"""The metrics of `[[scale]]` from the engine, against the forecasts that were published."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parts import Bench, event
from structlog.testing import capture_logs

from forecaster import is_observed
from service.config.load import load_config
from service.errors import ConfigurationError
from service.monitoring.scale_reports import ScaleReports
from service.publication import Publication
from service.transport.memory import MemoryLog

MINUTE = 60_000
RULE = {"name": "web", "series": "a", "lead": "90s", "quantile": 0.9, "capacity": 0.5, "least": 1, "hold": "0"}


class ForecastBench(Bench):
    """A bench that keeps what was published of the series a: time, value, and the 0.9 quantiles of each event."""

    rows: list[tuple[int, float, Any]]

    def on_publication(self, publication: Publication) -> None:
        """Keeps the forecasts."""
        found = publication.forecasts
        for at in np.flatnonzero(is_observed(found.status)).tolist():
            if publication.decoded.series[at] == "a":
                value = float(publication.decoded.batch.value[at])
                known = found.quantiles[at, :, -1] if found.interval_ms[at] else np.full(3, np.nan)
                self.rows.append((int(found.origin_ms[at]), value, known.copy()))


def bench_of(folder: Path, log: MemoryLog, *rules: dict[str, Any]) -> ForecastBench:
    """Returns an engine with rules, and units of a few events."""
    bench = ForecastBench(folder, log, {"scale": list(rules), "input": {"max_poll_records": 7}})
    bench.rows = []
    return bench


def load(steps: int) -> Iterator[bytes]:
    """Yields a load with noise, another series, late events, duplicates and missing values."""
    random = np.random.RandomState(1)
    for step in range(steps):
        yield event(step, "b")
        yield event(step, value=round(5 + 3 * math.sin(step / 4) + random.normal(), 3))
        if step % 9 == 8:
            yield event(step - 3)
            yield event(step)
            yield event(step, "b").replace(b"timestamp", b"time")


def counted(rows: list[tuple[int, float, Any]]) -> tuple[int, int, list[int]]:
    """Returns the loads, those above the replicas, and all requests: two steps ahead, without a hold."""
    loads = short = 0
    requests = list[tuple[int, int]]()
    for now, value, quantiles in rows:
        since = now - 90_000
        if not math.isnan(value) and requests and requests[0][0] <= since:
            ends = [time for time, _ in requests[1:]] + [now + 1]
            serving = min(made for (_, made), end in zip(requests, ends, strict=True) if end > since)
            loads += 1
            short += value > serving * 0.5
        if not np.isnan(quantiles).any():
            requests.append((now, max(1, math.ceil(quantiles[:2].max() / 0.5))))
    return loads, short, [made for _, made in requests]


def test_like_the_published_forecasts(tmp_path: Path) -> None:
    """Desired replicas, loads and short ones follow from the forecasts by their definition; a restart begins anew."""
    script = [*load(150)]
    log = MemoryLog({"0": script})
    bench = bench_of(tmp_path, log, RULE, {**RULE, "name": "other", "series": "unknown"})
    bench.run()
    loads, short, requests = counted(bench.rows)

    assert loads > 100
    assert 0 < short < loads
    assert len(set(requests)) > 5
    assert bench.sample("scale_events_total", scale="web") == loads
    assert bench.sample("scale_under_provisioned_total", scale="web") == short
    assert bench.sample("desired_replicas", scale="web") == requests[-1]
    assert bench.sample("scale_load_forecast", scale="web") == pytest.approx(bench.rows[-1][2][:2].max())
    assert bench.sample("scale_events_total", scale="other") == 0
    assert bench.metrics.registry.get_sample_value("forecaster_desired_replicas", {"scale": "other"}) is None

    script.extend([event(150), event(151), event(152)])
    again = bench_of(tmp_path, log, RULE)
    again.run()
    assert again.sample("scale_events_total", scale="web") == 1  # two loads are within the lead time
    assert again.sample("desired_replicas", scale="web") >= 1


def test_a_partition_that_left(tmp_path: Path) -> None:
    """Gauges of a partition that another process reads are removed, counters stay."""
    bench = bench_of(tmp_path, MemoryLog({"0": [*load(20)]}), RULE)
    bench.run()
    (reports,) = [one for one in bench.engine._listeners if isinstance(one, ScaleReports)]
    reports.on_partitions(["0"], {})
    assert bench.sample("desired_replicas", scale="web") >= 1
    reports.on_partitions(["1"], {})
    assert bench.metrics.registry.get_sample_value("forecaster_desired_replicas", {"scale": "web"}) is None
    assert bench.metrics.registry.get_sample_value("forecaster_scale_load_forecast", {"scale": "web"}) is None
    assert bench.sample("scale_events_total", scale="web") > 0


def test_a_lead_beyond_the_horizon_is_reported_once(tmp_path: Path) -> None:
    """Without an answer there is no gauge, and one line says what the longest lead time is."""
    bench = bench_of(tmp_path, MemoryLog({"0": [*load(20)]}), {**RULE, "lead": "4m"})
    with capture_logs() as lines:
        bench.run()
    (line,) = [one for one in lines if one["event"] == "no replicas for this lead time and quantile"]
    assert (line["scale"], line["lead"], line["longest_lead"]) == ("web", "4m", "3m")
    assert bench.metrics.registry.get_sample_value("forecaster_desired_replicas", {"scale": "web"}) is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("quantile = 0.97", "scale.quantile: got 0.97 for web, expected one of model.quantiles: 0.05, 0.1"),
        ('lead = "4m"', 'scale.lead: got "4m" for web, expected at most "3m" (model.horizon = 3 steps); set'),
        ("capacities = 1", "unknown key; did you mean capacity?"),
    ],
)
def test_refused_settings(tmp_path: Path, changed: str, expected: str) -> None:
    """The message has what was found and what is expected."""
    file = tmp_path / "f.toml"
    text = '[model]\ninterval = "1m"\nhorizon = 3\n[[scale]]\nname = "web"\nseries = "a"\ncapacity = 2\n'
    file.write_text(text + 'lead = "3m"\n')
    assert load_config(file).scale[0].lead == 180.0
    file.write_text(text + changed + "\n")
    with pytest.raises(ConfigurationError) as error:
        load_config(file)
    assert expected in str(error.value)
