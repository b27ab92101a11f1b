"""Reports of the daemon on event times: counters, log lines, intervals of the forecasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from parts import Bench
from structlog.testing import capture_logs

from service.transport.memory import MemoryLog

START = 1_700_000_000_000
MINUTE = 60_000
LINES = (
    "interval changed",
    "observed interval differs from the configured one",
    "series continues before a wrong future event time",
)


def play(folder: Path, times: list[int], **model: Any) -> tuple[Bench, list[dict[str, Any]], list[Any]]:
    """Runs one series with events at these milliseconds; returns the engine, its lines on times and its forecasts."""
    script = [orjson.dumps({"series": "a", "timestamp": START + time, "value": i % 5}) for i, time in enumerate(times)]
    bench = Bench(folder, MemoryLog({"0": script}), {"model": model, "input": {"max_poll_records": 7}})
    with capture_logs() as lines:
        bench.run()
    forecasts = [orjson.loads(record) for unit in bench.units for record in unit.forecasts]
    return bench, [line for line in lines if line["event"] in LINES], forecasts


def samples(bench: Bench) -> list[float | None]:
    """Returns the counters."""
    names = "same_step_events", "interval_changes", "interval_contradictions", "series_reopened"
    return [bench.sample(f"{name}_total") for name in names]


def test_a_change_of_cadence(tmp_path: Path) -> None:
    """A change of cadence is logged and counted once; later forecasts have the new interval."""
    times = [MINUTE * i for i in range(30)] + [MINUTE * 30 + 15 * MINUTE * i for i in range(1, 20)]

    bench, (line,), forecasts = play(tmp_path, times)

    assert (line["series"], line["before_ms"], line["interval_ms"]) == ("a", MINUTE, 15 * MINUTE)
    assert samples(bench) == [0, 1, 0, 0]
    assert forecasts[-1]["interval_ms"] == 15 * MINUTE
    assert len(forecasts) == len(times)


def test_a_configured_interval_that_is_none_of_the_data(tmp_path: Path) -> None:
    """A configured interval that the events contradict is logged once with the observed one, and kept."""
    bench, (line,), forecasts = play(tmp_path, [15 * MINUTE * i for i in range(40)], interval="1m")

    assert (line["configured_ms"], line["got_ms"], line["log_level"]) == (MINUTE, 15 * MINUTE, "warning")
    assert samples(bench) == [0, 0, 1, 0]
    assert forecasts[-1]["interval_ms"] == MINUTE


def test_a_time_from_the_future(tmp_path: Path) -> None:
    """A wrong future time is logged once; all but two of the events have a forecast."""
    times = [MINUTE * i for i in range(30)]
    times.insert(10, 253_402_300_000_000 - START)

    bench, (line,), forecasts = play(tmp_path, times)

    assert line["wrong"] == "9999-12-31T23:46:40.000Z"
    assert line["origin"] == forecasts[11]["origin"]
    assert samples(bench) == [0, 0, 0, 1]
    assert len(forecasts) == len(times) - 2
    assert bench.sample("events_total", status="late") == 2


@pytest.mark.parametrize("offset", [620, 20_000])
def test_two_scrapers(tmp_path: Path, offset: int) -> None:
    """Events of the same step are counted, each has a forecast, and the interval is that of the pairs."""
    times = [5 * MINUTE * i + offset * k for i in range(40) for k in (0, 1)]

    bench, lines, forecasts = play(tmp_path, times)

    same, changes, *others = samples(bench)
    assert (changes, others) == (len(lines), [0, 0])
    assert same is not None
    assert 25 <= same <= 40
    assert abs(forecasts[-1]["interval_ms"] - 5 * MINUTE) <= offset
    assert len(forecasts) == len(times)
