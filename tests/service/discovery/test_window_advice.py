"""Windows that are advised for an input: by what its series are, and so that its values are regular."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.aggregate.aggregator import Aggregator
from service.config.aggregate import AggregateConfig
from service.discovery.window_advice import Series, advise, kind_of
from service.messages.decode import Decoded
from service.messages.decoded_rows import numbers_within

T0 = 1_767_571_200_000
SEEDS = st.integers(0, 1 << 30)


def walk(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Returns the values of a state that changes little from one to the next."""
    return 20 + np.cumsum(rng.normal(0, 0.1, count))


def series_of(kind: str, rng: np.random.Generator, gap_ms: float, name: str = "x", count: int = 400) -> Series:
    """Returns a series of a kind with a mean gap."""
    at = np.arange(count)
    if kind in {"regular", "fast", "counters"}:
        times = at * gap_ms + rng.uniform(-0.1, 0.1, count) * gap_ms  # a scrape is not exact ...
        times = times[rng.random(count) < 0.95]  # ... and some are missing
    else:
        times = np.cumsum(rng.exponential(gap_ms, count))
    values = {
        "regular": rng.normal(10, 3, len(times)),
        "fast": walk(rng, len(times)),
        "on change": walk(rng, len(times)),
        "events": rng.lognormal(3, 1, len(times)),
        "counters": np.cumsum(rng.poisson(5, len(times))).astype(float),
    }[kind]
    return Series(name, T0 + np.sort(times).astype(np.int64), values, kind == "counters")


@given(SEEDS, st.sampled_from([1000, 15_000, 60_000, 3_600_000]))
def test_kinds(seed: int, gap_ms: int) -> None:
    """A series is recognised by its times and values, with jitter and gaps."""
    rng = np.random.default_rng(seed)
    for kind in ("regular", "on change", "events", "counters"):
        expected = {"on change", "fast"} if (kind, gap_ms) == ("on change", 1000) else {kind}
        assert kind_of(series_of(kind, rng, gap_ms)) in expected, kind
    assert kind_of(series_of("fast", rng, 10)) == "fast"


@given(SEEDS)
def test_events_with_whole_seconds(seed: int) -> None:
    """Events whose times are written in seconds, many of them equal, are events."""
    rng = np.random.default_rng(seed)
    one = series_of("events", rng, 700)
    assert kind_of(one._replace(times=one.times // 1000 * 1000)) == "events"


@pytest.mark.parametrize(
    ("kind", "gap_ms", "settings"),
    [
        ("fast", 10, {"interval": "1s", "functions": ["mean"]}),
        ("on change", 40_000, {"interval": "2m", "functions": ["last"], "empty": "last"}),
        ("events", 20_000, {"interval": "5m", "functions": ["count", "mean"]}),
        ("counters", 15_000, {"interval": "1m", "functions": ["rate"]}),
    ],
)
def test_settings(kind: str, gap_ms: float, settings: dict[str, object]) -> None:
    """Each kind has its functions, and an interval that holds enough events."""
    found = advise([series_of(kind, np.random.default_rng(at), gap_ms, f"s{at}") for at in range(4)])

    assert found is not None
    assert found.settings == settings


def test_no_advice() -> None:
    """Regular series, and those of too few events, need no windows; nor do they for a few others among them."""
    rng = np.random.default_rng(1)
    regular = [series_of("regular", rng, 60_000, f"r{at}") for at in range(5)]
    assert advise(regular) is None
    assert advise([*regular, series_of("events", rng, 60_000), series_of("counters", rng, 60_000)]) is None
    assert advise([series_of("events", rng, 60_000, count=15)]) is None
    assert advise([]) is None


def test_counters_among_others() -> None:
    """Counters without the suffix have rules, histograms their percentiles, and the other series means."""
    rng = np.random.default_rng(2)
    names = ['a_total{x="1"}', 'b_count{x="1"}', 'b_count{x="2"}', 'c_bucket{le="1"}', 'c_bucket{le="+Inf"}', "d[0]"]
    counters = [series_of("counters", rng, 15_000, name) for name in names]
    found = advise([*counters, series_of("regular", rng, 15_000)])

    assert found is not None
    assert found.settings == {
        "interval": "1m",
        "functions": ["mean"],
        "rules": [
            {"series": "c_bucket", "functions": ["histogram_p95"]},
            {"series": "b_count*", "functions": ["rate"]},
            {"series": "d[[]0]", "functions": ["rate"]},
        ],
    }


@given(SEEDS, st.sampled_from([("fast", 10), ("on change", 40_000), ("events", 20_000), ("counters", 15_000)]))
def test_advised_windows_are_regular(seed: int, case: tuple[str, float]) -> None:
    """The values of the advised windows are regular: no gaps between them, and hardly any is missing."""
    kind, gap_ms = case
    one = series_of(kind, np.random.default_rng(seed), gap_ms, count=2000)
    found = advise([one])
    assert found is not None
    settings = AggregateConfig.model_validate(dict(found.settings) | {"functions": found.settings["functions"][:1]})
    at = list(range(len(one.times)))
    raw = Decoded(["x"] * len(at), one.times, one.values, None, at, at, [], 0, within=numbers_within(at))
    closed, _ = Aggregator(settings, 10).take(raw, 0, deque())

    assert len(closed) > 5
    steps = np.diff(closed.start_ms)
    assert (steps == round(settings.interval * 1000)).all()
    assert sum(map(math.isnan, closed.values)) <= 0.05 * len(closed)
