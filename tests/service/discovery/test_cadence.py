"""The interval and the seasons of an unknown input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.load import load_config
from service.discovery.cadence import FirstEvents, common_interval, first_seasons, seasons_of_input
from service.errors import ConfigurationError
from service.messages.decode import Decoder
from service.ports import Records

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_767_571_200_000


def regular(interval_ms: int, steps: int, series: int = 1, *, complete: bool = True) -> FirstEvents:
    """Returns events of several series, of noise, in turns."""
    at = np.arange(steps * series)
    value = np.random.default_rng(0).normal(size=len(at))
    return FirstEvents(at % series, T0 + at // series * interval_ms, value, complete)


@pytest.mark.parametrize(
    ("interval_ms", "steps", "complete", "seasons"),
    [
        (HOUR, 10, True, (24,)),
        (HOUR, 340, True, (24, 168)),
        (HOUR, 10, False, (24, 168)),
        (5 * MINUTE, 600, True, (12, 288)),
        (MINUTE, 10, True, (60,)),
        (MINUTE, 2880, True, (60, 1440)),
        (MINUTE, 10, False, (60,)),  # a day of minutes is too long to be assumed
        (DAY, 30, True, (7,)),
    ],
)
def test_calendar_seasons(interval_ms: int, steps: int, complete: bool, seasons: tuple[int, ...]) -> None:
    """Hour, day and week are seasons where two of them fit, the shortest always, and more where the input goes on."""
    assert first_seasons(regular(interval_ms, steps, complete=complete)) == seasons


def test_series_of_different_intervals() -> None:
    """A network for series of different intervals has no seasons in steps, unless the interval is configured."""
    one, other = regular(HOUR, 50), regular(MINUTE, 50)
    both = FirstEvents(
        np.concatenate([one.series, other.series + 1]),
        np.concatenate([one.timestamp_ms, other.timestamp_ms]),
        np.concatenate([one.value, other.value]),
    )
    assert common_interval(both) == 0
    assert first_seasons(both) == ()
    assert first_seasons(both, HOUR) == (24,)


@given(order=st.permutations(range(40)), twice=st.sets(st.integers(0, 39)))
def test_order_and_duplicates_do_not_matter(order: list[int], twice: set[int]) -> None:
    """Late and repeated records of a sample change neither interval nor seasons."""
    values = [
        json.dumps({"series": f"s{at % 2}", "timestamp": T0 + at // 2 * HOUR, "value": at % 7}).encode()
        for at in range(40)
    ]
    sent = [values[at] for at in order] + [values[at] for at in sorted(twice)]
    decoded = Decoder(load_config(None, {}).input).decode(Records("p", range(len(sent)), len(sent), sent))
    events = FirstEvents.of(decoded, complete=True)
    assert common_interval(events) == HOUR
    assert first_seasons(events) == (24,)


def test_files(tmp_path: Path) -> None:
    """The first file with events decides; no file, an empty one and other inputs give no seasons."""
    (tmp_path / "empty.csv").write_text("time,load\n")
    (tmp_path / "load.csv").write_text("".join(["time,load\n", *(f"{T0 + HOUR * hour},1\n" for hour in range(20))]))
    fields = {f"input.fields.{name}": value for name, value in
              {"series": "{file}", "timestamp": "time", "value": "load"}.items()}  # fmt: skip

    def seasons(*names: str, wanted: Any = "auto") -> tuple[int, ...] | None:
        files = {"input.files": [str(tmp_path / name) for name in names], "model.seasons": wanted}
        return seasons_of_input(load_config(None, {**fields, **files}))

    assert seasons("load.csv") == (24,)
    assert seasons("none.csv", "empty.csv", "load.csv") == (24,)
    assert seasons("none.csv", "empty.csv") == ()
    assert seasons_of_input(load_config(None, {"input.files": ["-"]})) == ()
    assert seasons_of_input(load_config(None, {"kafka.topics": ["t"]})) == ()
    assert seasons("load.csv", wanted=["12h", "1w", 5]) == (12, 168, 5)
    assert seasons("none.csv", wanted=["1d"]) is None
    with pytest.raises(ConfigurationError, match='"90m" is not a whole number of intervals of 3600000 ms'):
        seasons("load.csv", wanted=["90m"])


@pytest.mark.parametrize("where", [{"kafka.topics": ["t"]}, {"input.push": True}, {"input.files": ["-"]}])
def test_durations_on_other_inputs(where: dict[str, Any]) -> None:
    """A season that is a duration needs the interval of the steps, or of the windows, where no file shows it."""
    settings = {**where, "model.seasons": ["1d"]}
    assert seasons_of_input(load_config(None, settings)) is None
    assert seasons_of_input(load_config(None, {**settings, "model.interval": "1h"})) == (24,)
    assert seasons_of_input(load_config(None, {**settings, "aggregate.interval": "30m"})) == (48,)
