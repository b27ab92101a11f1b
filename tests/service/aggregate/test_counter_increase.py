"""The increase of a counter against a naive twin of Prometheus' function, and against Prometheus itself."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promtool import Expected, check
from raw_columns import continued, encoded

from service.aggregate.counter_increase import MOST_SAMPLES, CounterSamples

WINDOW = 60_000
SAMPLES = st.dictionaries(st.integers(0, WINDOW - 1), st.integers(0, 1000).map(float), max_size=30)


def extrapolated(samples: list[tuple[int, float]], start: int, end: int) -> float:
    """Returns what extrapolatedRate in promql/functions.go of Prometheus returns for a counter and isRate false."""
    if len(samples) < 2:
        return math.nan
    result = samples[-1][1] - samples[0][1]
    previous = samples[0][1]
    for _, value in samples[1:]:
        if value < previous:
            result += previous
        previous = value
    duration_to_start = (samples[0][0] - start) / 1000
    duration_to_end = (end - samples[-1][0]) / 1000
    sampled_interval = (samples[-1][0] - samples[0][0]) / 1000
    average = sampled_interval / (len(samples) - 1)
    threshold = average * 1.1
    if duration_to_start >= threshold:
        duration_to_start = average / 2
    duration_to_zero = duration_to_start
    if result > 0 and samples[0][1] >= 0:
        duration_to_zero = sampled_interval * (samples[0][1] / result)
    duration_to_start = min(duration_to_start, duration_to_zero)
    if duration_to_end >= threshold:
        duration_to_end = average / 2
    return result * (sampled_interval + duration_to_start + duration_to_end) / sampled_interval


def increase_of(samples: list[tuple[int, float]]) -> float:
    """Returns the increase of samples that arrive in this order."""
    counter = CounterSamples()
    for time, value in samples:
        counter.add(time, value)
    return counter.increase(0, WINDOW)


@given(SAMPLES, st.randoms(use_true_random=False))
def test_as_prometheus(samples: dict[int, float], order: random.Random) -> None:
    """The increase is that of Prometheus, with resets, gaps and irregular times, in whatever order samples arrive."""
    in_order = sorted(samples.items())
    shuffled = list(in_order)
    order.shuffle(shuffled)

    expected = pytest.approx(extrapolated(in_order, 0, WINDOW), rel=1e-9, nan_ok=True)
    assert increase_of(in_order) == expected
    assert increase_of(shuffled) == increase_of(in_order) or math.isnan(increase_of(in_order))


def test_repeated_samples_count_once() -> None:
    """A sample that is sent again changes nothing."""
    samples = [(0, 1.0), (20_000, 5.0), (40_000, 9.0)]
    assert increase_of([*samples, *samples]) == increase_of(samples)


@pytest.mark.parametrize("size", [MOST_SAMPLES, MOST_SAMPLES + 1, 5 * MOST_SAMPLES + 7])
def test_more_samples_than_are_held(size: int) -> None:
    """The increase is the same if older samples were added up, with disorder of less than 512 samples."""
    rng = random.Random(size)
    value, samples = 0.0, []
    for at in range(size):
        value = 0.0 if rng.random() < 0.01 else value + rng.randrange(5)
        samples.append((at * WINDOW // size, value))
    shuffled = sorted(samples, key=lambda sample: samples.index(sample) + rng.randrange(400))
    assert len({time for time, _ in samples}) == size

    assert increase_of(shuffled) == pytest.approx(extrapolated(samples, 0, WINDOW), rel=1e-9)


@given(st.integers(0, 2500), st.integers(0, 200))
def test_saved_in_the_middle(size: int, cut: int) -> None:
    """A counter that is saved and restored continues as if it had not been."""
    straight, restored = CounterSamples(), CounterSamples()
    for at in range(size):
        if at == cut:
            restored = continued(restored)
        for one in (straight, restored):
            one.add(at * 7 % WINDOW, float(at % 90))

    assert encoded(straight) == encoded(restored)


def test_prometheus_itself(tmp_path: Path) -> None:
    """Prometheus computes the same increase of the same samples, to the ms by which its range is closed at its end."""
    rng, expected = random.Random(20261130), list[Expected]()
    for _ in range(40):
        value, samples = 10_000.0, dict[int, float]()
        for second in range(60):
            if rng.random() < rng.choice([0.1, 0.3]):
                value = float(rng.randrange(50)) if rng.random() < 0.2 else value + rng.randrange(100)
                samples[second] = value
        found = increase_of([(second * 1000, value) for second, value in sorted(samples.items())])
        if math.isnan(found) or found == 0 or min(samples.items())[1] < 10_000:
            continue
        expected.append(Expected({"x_total": samples}, "increase(x_total[60s])", found))
    assert len(expected) > 20
    check(tmp_path, expected)
