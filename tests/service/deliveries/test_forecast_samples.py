"""The samples of remote write are the published forecasts: their quantiles, times and labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from parts import Bench, config_of, event
from test_deliveries import Mailbox

from forecaster import calendar_of
from service.config.sections import Config
from service.deliveries import CommittedEvents, Deliveries, Delivery, Route
from service.deliveries.forecast_labels import SampleHeads, base_labels, horizon_label
from service.deliveries.forecast_samples import encode_forecast
from service.deliveries.routes import check_deliveries, routes_of
from service.engine.loop import Engine
from service.errors import ConfigurationError
from service.http.remote_write import RemoteWrite
from service.lifecycle import SystemClock
from service.messages.prometheus_names import labels_of
from service.messages.remote_write_samples import compressed
from service.publication import ServedAlerts
from service.transport.memory import MemoryLog, MemoryTransport

LOAD = 'load{instance="web1",job="node",step="own"}'
URL = "http://127.0.0.1:9/api/v1/write"


class Both:
    """A producer that gives the deliveries of another to a mailbox."""

    def __init__(self, other: Any) -> None:
        self._other = other

    def deliveries(self, events: CommittedEvents) -> Iterator[Delivery]:
        """Returns them with the name of the mailbox."""
        return (one._replace(target="box") for one in self._other.deliveries(events))

    def on_partitions(self, assigned: Collection[str]) -> None:
        """Nothing to do."""

    def on_served(self, served: ServedAlerts) -> None:
        """Nothing to do."""


def written(folder: Path, events: list[bytes], **sections: Any) -> tuple[Bench, dict[tuple[str, int], float]]:
    """Runs an engine; returns it, and the samples: by labels and time."""
    box = Mailbox()
    bench = Bench(folder, MemoryLog({"0": events}), sections)
    routes = [Route(Both(routes_of(bench.config)[0].producer), [box])]
    bench.engine = Engine(
        bench.config, lambda: MemoryTransport(bench.log), bench.registry, bench.store, bench.trainer, bench.metrics,
        bench.health, bench.clock,
        listeners=[bench, Deliveries(folder / "deliveries", routes, bench.metrics, SystemClock())],
    )  # fmt: skip
    bench.run()
    heads = SampleHeads(bench.config.remote_write.metric, bench.config.remote_write.labels)
    samples, out = RemoteWrite([], 1 << 26).decode(compressed(encode_forecast(one, heads) for one in box.found))
    assert not out
    found = {(one.series, one.timestamp_ms): one.value or 0.0 for one in samples}
    assert len(found) == len(samples)
    return bench, found


def expected(bench: Bench, steps: list[int], levels: list[float], *, target: bool) -> dict[tuple[str, int], float]:
    """The naive twin: reads the published JSON forecasts."""
    found = {}
    for record in map(orjson.loads, bench.log.forecasts("0")):
        if record.get("kind") or record["quantiles"] is None:
            continue
        origin = round(datetime.fromisoformat(record["origin"]).timestamp() * 1000)
        own = labels_of(record["series"])
        for step in steps:
            for level in levels:
                value = record["quantiles"][step - 1][record["levels"].index(level)]
                labels = {"quantile": f"{level:g}", "step": str(step), "horizon": str(step * 60)}
                if own is None:
                    labels["series"] = record["series"]
                else:
                    labels |= {"metric": "load", "instance": "web1", "job": "node", "exported_step": "own"}
                name = "forecast{" + ",".join(f'{key}="{text}"' for key, text in sorted(labels.items())) + "}"
                found[name, origin + (step * 60_000 if target else 0)] = value
    return found


EVENTS = [event(step, series) for step in range(30) for series in (LOAD, "a")]


@pytest.mark.parametrize("times", ["origin", "target"])
@pytest.mark.parametrize(("steps", "levels"), [((), ()), ((2,), (0.5,)), ((3, 1), (0.9, 0.1))])
def test_they_are_the_published_forecasts(
    tmp_path: Path, times: str, steps: tuple[int, ...], levels: tuple[float, ...]
) -> None:
    """Whatever is chosen; to the digits of the published ones."""
    settings = {"url": URL, "times": times, "steps": steps, "quantiles": levels}
    model = {"interval": "1m"}
    bench, found = written(tmp_path, EVENTS, remote_write=settings, model=model)
    twin = expected(bench, sorted(steps or (1, 3)), sorted(levels or (0.1, 0.5, 0.9)), target=times == "target")
    assert found.keys() == twin.keys()
    assert len(found) > 50
    for key, value in found.items():
        assert value == pytest.approx(twin[key], rel=1e-6), key


def test_chosen_series_and_events(tmp_path: Path) -> None:
    """Patterns choose series; events before `publish_from`, and between those of `output.every`, are left out."""
    settings = {"url": URL, "series": ["load*"], "steps": [1], "quantiles": [0.5]}
    from_time = "2023-11-14T22:23:20Z"  # of event 10
    output = {"publish_from": from_time, "every": 4}
    bench, found = written(tmp_path, EVENTS, remote_write=settings, output=output, model={"interval": "1m"})
    twin = expected(bench, [1], [0.5], target=False)
    assert found.keys() == {key for key in twin if 'metric="load"' in key[0]}
    assert 2 < len(found) < 10


def test_labels() -> None:
    """A label with the name of one of the daemon's is kept under another name; further labels come first."""
    assert base_labels("store-12", "f", {"replica": "a"}) == [
        ("__name__", "f"),
        ("replica", "a"),
        ("series", "store-12"),
    ]
    found = dict(base_labels('x{quantile="0.9",exported_quantile="1",replica="b",a="c"}', "f", {"replica": "a"}))
    assert found == {
        "__name__": "f", "replica": "a", "metric": "x", "exported_replica": "b", "a": "c", "exported_quantile": "1",
        "exported_exported_quantile": "0.9",
    }  # fmt: skip
    assert base_labels("{}", "f", {}) == [("__name__", "f")]


def test_horizons() -> None:
    """Seconds; for steps of the calendar months or years."""
    months = [datetime(2024, month, 1, tzinfo=UTC).timestamp() * 1000 for month in range(1, 13)]
    monthly = calendar_of(np.array(months, np.int64), 31 * 86_400_000)
    assert [horizon_label(300_000, 0, step) for step in (1, 12)] == ["300", "3600"]
    assert horizon_label(1500, 0, 1) == "1.5"
    assert {horizon_label(15_000 + off, 0, 12) for off in (-300, -1, 0, 2, 300)} == {"180"}
    assert horizon_label(31 * 86_400_000, monthly, 3) == "3mo"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": [4]}, r"remote_write.steps: got 4, expected at most the 3 steps of model.horizon"),
        ({"quantiles": [0.3]}, r"remote_write.quantiles: got 0.3, expected some of model.quantiles: 0.1, 0.5, 0.9"),
        ({"token_file": "/none"}, r"remote_write.token_file: got /none, expected a file"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    """They are refused before anything is opened."""
    with pytest.raises(ConfigurationError, match=message):
        check_deliveries(config_of(tmp_path, remote_write={"url": URL} | settings))
    check_deliveries(Config())


@pytest.mark.parametrize(
    "settings", [{"url": "prometheus:9090"}, {"metric": "a-b"}, {"labels": {"step": "1"}}, {"labels": {"a": ""}}]
)
def test_settings_that_are_none(settings: dict[str, Any]) -> None:
    """They are refused by the configuration."""
    with pytest.raises(ValueError, match="expected"):
        Config.model_validate({"remote_write": settings})
