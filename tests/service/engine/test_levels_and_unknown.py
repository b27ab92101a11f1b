"""Output of an engine for float64 quantiles and for unknown forecasts, over a forecaster that shifts levels.

The forecaster of these tests subtracts the level from every value before the real forecaster observes the value, and
adds the level to the quantiles as float64, like a library that keeps large levels. The forecast of the first event of
every series has the status unknown.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from parts import Bench, event
from prometheus_client import generate_latest

from forecaster import Batch, Forecaster, Forecasts, Status
from service.http import Api, HttpServer, Hub, api_routes, create_app, status_of
from service.recent import RecentStore
from service.transport.memory import MemoryLog

STEPS = 60
METRICS = {
    "export_series": ["*"],
    "thresholds": [{"series": "*", "above": 1e300}],
}


def moved(level: float, scale: float) -> Any:
    """Returns the `Forecaster.observe` of a library that keeps the level."""
    real = Forecaster.observe

    def observe(self: Forecaster, batch: Batch, *forget: Any) -> Forecasts:
        plain = Batch(batch.series, batch.timestamp_ms, (np.asarray(batch.value) - level) / scale)
        answers = real(self, plain, *forget)
        quantiles = answers.quantiles.astype(np.float64) * scale + level
        first = (answers.steps == 1) & (answers.status <= Status.MISSING)
        quantiles[first] = np.nan
        status = np.where(first, np.uint8(Status.UNKNOWN), answers.status)
        return dataclasses.replace(answers, quantiles=quantiles, status=status)

    return observe


@dataclasses.dataclass
class Shown:
    """Output of an engine: messages, metrics, API and counts."""

    messages: list[Any]
    page: str
    answers: dict[str, Any]
    counts: dict[str, float]
    bench: Bench

    @property
    def known(self) -> np.ndarray:
        """All published quantiles with the status ok."""
        return np.array([one["quantiles"] for one in self.messages if one["status"] == "ok"])


def shown(folder: Path, monkeypatch: pytest.MonkeyPatch, level: float, scale: float, steps: int = STEPS) -> Shown:
    """Runs an engine over a wave at a level."""
    wave = [(step % 7) + 0.25 * (step % 3) for step in range(steps)]
    script = [event(step, name, level + scale * value) for step, value in enumerate(wave) for name in "ab"]
    bench = Bench(folder, MemoryLog({"0": script}), {"metrics": METRICS})
    live = RecentStore(10, 500)
    bench.recent = live
    with monkeypatch.context() as patch:
        patch.setattr(Forecaster, "observe", moved(level, scale))
        bench.run()
    hub = Hub(live, lambda: status_of(bench.engine.status, bench.health), 16, bench.metrics)
    api = Api(live, bench.registry, bench.health, lambda: bench.engine.status, hub, dict)
    face = create_app(bench.metrics, bench.health, lambda: bench.engine.status, routes=api_routes(api.endpoints()))
    with HttpServer(face, "127.0.0.1", 0) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        answers = {
            name: client.get(f"/api/v1/series/a/{name}", params=query).raise_for_status().json()
            for name, query in (("forecast", {}), ("history", {"horizon": "1,2"}), ("calibration", {}))
        }
    counts = {
        f"{name} {horizon}": bench.sample(f"{name}_total", horizon=str(horizon), **more)
        for horizon in (1, 2, 3)
        for name, more in (("scored_forecasts", {}), ("interval_hits", {"level": "0.8"}))
    }
    messages = [orjson.loads(one) for one in bench.log.forecasts("0")]
    return Shown(messages, generate_latest(bench.metrics.registry).decode(), answers, counts, bench)


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """The output for the wave around zero."""
    return shown(tmp_path / "plain", monkeypatch, 0.0, 1.0)


@pytest.mark.parametrize(
    ("level", "scale"), [(1e9, 1.0), (5e8, 1.0), (2e12, 4096.0), (2.0**53 - 2.0**30, 2.0**24), (123_456.78, 0.01)]
)
def test_large_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Shown, level: float, scale: float
) -> None:
    """Messages, API, exported series and scores at a large level are exact to a millionth of the changes."""
    large = shown(tmp_path / "large", monkeypatch, level, scale)
    step = np.arange(STEPS)
    change = float(np.abs(np.diff(step % 7 + 0.25 * (step % 3))).mean())

    def same(found: Any, around_zero: Any) -> None:
        expected = np.array(around_zero, np.float64) * scale + level
        near = max(1e-6 * scale * change, 4 * np.spacing(level))
        np.testing.assert_allclose(np.array(found, np.float64), expected, rtol=0, atol=near)

    same(large.known, plain.known)
    same(large.answers["forecast"]["forecast"]["quantiles"], plain.answers["forecast"]["forecast"]["quantiles"])
    same(large.answers["forecast"]["last"]["value"], plain.answers["forecast"]["last"]["value"])
    for one, other in zip(large.answers["history"]["events"], plain.answers["history"]["events"], strict=True):
        same(one["value"], other["value"])
        for before, expected in zip(one["forecasts"], other["forecasts"], strict=True):
            assert (before is None) == (expected is None)
            same(before or [], expected or [])
    found, expected = large.answers["calibration"], plain.answers["calibration"]
    for one, other in zip(found["horizons"], expected["horizons"], strict=True):
        for name in ("error", "naive_error"):  # in units of the values
            near = max(1e-6 * scale * change, 4 * np.spacing(level))
            np.testing.assert_allclose(one.pop(name), other.pop(name) * scale, rtol=1e-6, atol=near)
    assert found == expected
    assert large.counts == plain.counts
    who = {"partition": "0", "series": "a"}
    same(large.bench.sample("series_value", **who), plain.bench.sample("series_value", **who))
    for horizon in ("1", "2", "3"):
        at = who | {"horizon": horizon, "quantile": "0.9"}
        same(large.bench.sample("series_forecast", **at), plain.bench.sample("series_forecast", **at))


def test_values_are_shown_as_they_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API returns the observed values exactly, whatever their digits."""
    found = shown(tmp_path, monkeypatch, 2.0**53 - 8, 1.0)

    values = [one["value"] for one in found.answers["history"]["events"]]
    assert values == [2.0**53 - 8 + (step % 7) + 0.25 * (step % 3) for step in range(STEPS)]


def test_nothing_is_known_of_the_first_event(plain: Shown) -> None:
    """The first event is published as unknown, shown with its value and no forecast, and counted."""
    first, second, *others = plain.messages

    assert [(one["status"], one["quantiles"], one["interval_ms"]) for one in (first, second)] == [
        ("unknown", None, 0)
    ] * 2
    assert {one["status"] for one in others} == {"ok"}
    events = plain.answers["history"]["events"]
    assert (events[0]["value"], events[0]["forecasts"]) == (0.0, [None, None])
    assert (events[1]["value"], events[1]["forecasts"]) == (1.25, [None, None])
    assert events[2]["forecasts"][0] is not None
    assert plain.bench.sample("events_total", status="unknown") == 2
    assert plain.bench.sample("events_total", status="ok") == 2 * (STEPS - 1)
    assert plain.bench.engine.summary.total.events == 2 * STEPS
    assert plain.bench.log.units[0].outcomes.events == 2 * STEPS


def test_nothing_known_is_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first event the API and the metrics have a value, but neither forecast nor threshold probability."""
    found = shown(tmp_path, monkeypatch, 0.0, 1.0, steps=1)

    assert found.answers["forecast"]["last"]["value"] == 0.0
    assert found.answers["forecast"]["forecast"] is None
    assert found.answers["calibration"]["horizons"][0]["scored"] == 0
    assert "forecaster_series_value{" in found.page
    assert "forecaster_series_forecast{" not in found.page
    assert "forecaster_threshold_breach_probability{" not in found.page
