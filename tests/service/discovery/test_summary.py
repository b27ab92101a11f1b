"""What a sample holds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from service.config.input import InputConfig
from service.discovery.sample import of_json
from service.discovery.summary import Summary, summarise
from service.ports import Records

HOUR = 3_600_000
T0 = 1_767_571_200_000


def summary(events: list[tuple[str, int, float | None]], **settings: object) -> Summary:
    """Summarises events of series, hour and value."""
    values = [json.dumps({"series": s, "timestamp": T0 + h * HOUR, "value": v}).encode() for s, h, v in events]
    config = InputConfig.model_validate(settings)
    sample = of_json("x", Records("p", range(len(values)), len(values), values), config)
    return summarise(replace(sample, complete=True), config)


def test_counts() -> None:
    """Gaps, duplicates, late events and missing values are counted by series."""
    hours = [*range(20), 25, 26, 26, 24, 27]
    found = summary([("a", hour, hour * 1.0) for hour in hours] + [("b", hour, None) for hour in range(30)])
    assert (found.series, found.events, found.missing) == (2, 55, 30)
    assert (found.duplicates, found.late) == (1, 1)
    assert found.gaps == 1  # from 19 to 24; 24 itself came late
    assert found.intervals_ms == [HOUR]
    assert (found.first_ms, found.last_ms) == (T0, T0 + 29 * HOUR)


def test_counters() -> None:
    """Values that only grow, but for a reset, are counters; rising values with falls are not, nor is a constant."""
    grows = [("grows", hour, float(hour * 3 % 90)) for hour in range(60)]
    falls = [("falls", hour, hour + 5 * math.sin(hour)) for hour in range(60)]
    still = [("still", hour, 7.0) for hour in range(60)]
    assert summary(grows + falls + still).counters == ["grows"]


def test_seasons() -> None:
    """The seasons are those that a network for the sample has."""
    day = [("a", hour, 10 * math.sin(hour / 24 * 2 * math.pi)) for hour in range(24 * 15)]
    assert summary(day).seasons == [24, 168]
    assert summary(day[:30]).seasons == [24]


def test_rejects() -> None:
    """Records that would be rejected are counted by reason, with the first detail."""
    found = summary([("a", 1, 1.0), ("a" * 50, 2, 1.0), ("b" * 50, 3, 1.0)], max_series_bytes=16)
    assert found.rejects == {"series_too_long": 2}
    assert "50 bytes" in found.first
    assert found.events == 1
