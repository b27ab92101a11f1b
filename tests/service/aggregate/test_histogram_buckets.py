"""Quantiles of Prometheus histograms: against a naive twin of its function, and against Prometheus itself."""

from __future__ import annotations

import math
import random
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promtool import Expected, check
from raw_columns import Raw, aggregator_of, columns, continued, encoded, rows, take, ticks

from service.aggregate.histogram_buckets import MOST_BUCKETS, Bucket, HistogramBuckets, bucket_of
from service.messages.controls import Tombstone

WINDOW = 60_000
BOUNDS = (0.1, 0.5, 1.0, 2.5, math.inf)
LEVELS = {"histogram_median": 0.5, "histogram_p90": 0.9, "histogram_p95": 0.95, "histogram_p99": 0.99}


def scrapes(rng: random.Random, bounds: tuple[float, ...] = BOUNDS) -> dict[float, dict[int, float]]:
    """Returns the samples of the buckets of a histogram, by bound and second, with resets and missing scrapes."""
    counts, found = dict.fromkeys(bounds, 10_000.0), {bound: dict[int, float]() for bound in bounds}
    for second in range(0, 60, rng.choice([1, 2, 5])):
        if rng.random() < 0.05:
            counts = dict.fromkeys(bounds, 0.0)
        for _ in range(rng.randrange(6)):
            observed = rng.expovariate(1.0)
            for bound in bounds:
                counts[bound] += observed <= bound
        for bound in bounds:
            if rng.random() < 0.97:
                found[bound][second] = counts[bound]
    return found


def histogram_of(samples: dict[float, dict[int, float]]) -> HistogramBuckets:
    """Returns the buckets with these samples."""
    found = HistogramBuckets()
    for bound, values in samples.items():
        for second, value in values.items():
            assert found.add(bound, second * 1000, value)
    return found


def test_histograms_as_prometheus(tmp_path: Path) -> None:
    """Prometheus computes the same quantiles of the same samples, to the ms by which its range is closed at its end."""
    rng, expected = random.Random(20261130), list[Expected]()
    for _ in range(40):
        samples = scrapes(rng)
        level = rng.choice(list(LEVELS.values()))
        found = histogram_of(samples).quantile(level, 0, WINDOW)
        if math.isnan(found):
            continue
        series = {f'x_bucket{{le="{"+Inf" if bound == math.inf else bound}"}}': at for bound, at in samples.items()}
        expected.append(Expected(series, f"histogram_quantile({level}, rate(x_bucket[60s]))", found))
    assert len(expected) > 20
    check(tmp_path, expected)


def quantile_of(level: float, buckets: list[tuple[float, float]]) -> float:
    """Returns what bucketQuantile in promql/quantile.go of Prometheus returns for bounds and increases."""
    if not buckets or buckets[-1][0] != math.inf or len(buckets) < 2:
        return math.nan
    counts, most = [], 0.0
    for _, count in buckets:
        most = max(most, count)
        counts.append(most)
    if counts[-1] == 0:
        return math.nan
    rank = level * counts[-1]
    at = 0
    while at < len(counts) - 1 and counts[at] < rank:
        at += 1
    if at == len(counts) - 1:
        return buckets[-2][0]
    if at == 0 and buckets[0][0] <= 0:
        return buckets[0][0]
    start, count = 0.0, counts[at]
    if at > 0:
        start, count, rank = buckets[at - 1][0], count - counts[at - 1], rank - counts[at - 1]
    return start + (buckets[at][0] - start) * (rank / count)


@given(
    st.dictionaries(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 5.0, math.inf]), st.integers(0, 50), max_size=6),
    st.sampled_from(list(LEVELS.values())),
)
def test_quantiles_of_increases(increases: dict[float, int], level: float) -> None:
    """The quantile is that of Prometheus, also where increases fall with the bounds; none without the bucket +Inf."""
    found = HistogramBuckets()
    for bound, increase in increases.items():  # samples at both ends, so that nothing is extrapolated
        found.add(bound, 0, 100.0)
        found.add(bound, WINDOW, 100.0 + increase)

    expected = quantile_of(level, sorted(increases.items()))
    assert found.quantile(level, 0, WINDOW) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ('x_bucket{le="0.5"}', Bucket("x_bucket", 0.5)),
        ('x_bucket{job="a",le="+Inf"}', Bucket('x_bucket{job="a"}', math.inf)),
        ('x_bucket{le="1e-05",job="a"}', Bucket('x_bucket{job="a"}', 1e-05)),
        ('x_bucket{a="1",le="2",z="3"}', Bucket('x_bucket{a="1",z="3"}', 2.0)),
        ('x_bucket{a="le=\\"3\\",",le="2"}', Bucket('x_bucket{a="le=\\"3\\","}', 2.0)),
        ('x_bucket{a="}",le="2"}', Bucket('x_bucket{a="}"}', 2.0)),
        ("x_bucket", None),
        ('x_bucket{job="a"}', None),
        ('x_bucket{le="NaN"}', None),
        ('x_bucket{le="abc"}', None),
        ('x_bucket{le="0.5"', None),
        ("x_bucket{le=0.5}", None),
        ('x_bucket{a="le=1"}', None),
    ],
)
def test_bucket_of_a_series(name: str, expected: Bucket | None) -> None:
    """A series is a bucket by its label le; the histogram has the other labels."""
    assert bucket_of(name) == expected


RULES = [{"series": "x_bucket*", "functions": list(LEVELS)}]


def raw_of(samples: dict[float, dict[int, float]], labels: str = "") -> list[Raw]:
    """Returns the raw events of the buckets of a histogram, in the order of their times."""
    found = [
        Raw(f'x_bucket{{{labels}le="{"+Inf" if bound == math.inf else bound}"}}', second * 1000, value)
        for bound, values in samples.items()
        for second, value in values.items()
    ]
    return sorted(found, key=lambda one: one.time_ms)


def test_windows_of_histograms() -> None:
    """The buckets of a histogram share a window; other labels make other histograms; other series are not affected."""
    first, second = scrapes(random.Random(1)), scrapes(random.Random(2))
    events = [*raw_of(first), Raw("y", 0, 3.0), *raw_of(second, 'job="b",')]
    events = sorted(events, key=lambda one: one.time_ms)
    closed = take(aggregator_of(rules=RULES), [*events, *ticks(WINDOW, 3 * WINDOW, WINDOW)])

    assert not closed.refused
    assert {(name, start): value for name, start, _, value in rows(closed)} == {
        ("y", 0): 3.0,
        **{
            (f"x_bucket{labels}.{name}", 0): pytest.approx(histogram_of(samples).quantile(level, 0, WINDOW))
            for labels, samples in (("", first), ('{job="b"}', second))
            for name, level in LEVELS.items()
        },
    }


@given(st.integers(0, 1 << 30), st.integers(0, 400))
def test_histograms_saved_in_the_middle(seed: int, cut: int) -> None:
    """An aggregator that is saved and restored among the samples of histograms gives the same, bit for bit."""
    events = [*raw_of(scrapes(random.Random(seed))), *ticks(WINDOW, 3 * WINDOW, WINDOW)]
    straight, before, after = (aggregator_of(rules=RULES) for _ in range(3))
    expected = take(straight, events)
    found = take(before, events[:cut])
    after.restore(before.arrays())
    more = take(after, events[cut:])

    assert found.values + more.values == pytest.approx(expected.values, nan_ok=True, abs=0)
    assert {name: part.tobytes() for name, part in after.arrays().items()} == {
        name: part.tobytes() for name, part in straight.arrays().items()
    }


def test_series_that_are_no_buckets() -> None:
    """A series with functions of histograms that is no bucket is rejected, and so is one bucket too many."""
    events = [Raw("x_bucket", 0), Raw('x_bucket{le="a"}', 1), Raw('x_bucket{le="1"}', 2), Raw("x_bucket", 3)]
    events += [Raw(f'x_bucket{{le="{at}"}}', 4) for at in range(MOST_BUCKETS + 2)]
    closed = take(aggregator_of(rules=RULES), events)

    assert [(at, problem.reason) for at, problem in closed.refused] == [
        (at, "no_bucket") for at in (0, 1, 3, MOST_BUCKETS + 4, MOST_BUCKETS + 5)
    ]
    assert closed.taken == MOST_BUCKETS + 1


def test_a_tombstone_of_a_bucket() -> None:
    """A tombstone with the name of a bucket, or of the histogram, removes the windows of the histogram."""
    for name in ('x_bucket{le="1"}', "x_bucket"):
        aggregator = aggregator_of(rules=RULES)
        events = columns([Raw('x_bucket{le="1"}', 0), Raw('x_bucket{le="2"}', 1)])
        closed, _ = aggregator.take(events, 0, deque([Tombstone(2, 2, name)]))

        assert [forgotten for _, forgotten in closed.forget] == [f"x_bucket.{function}" for function in LEVELS]
        assert len(aggregator) == 0


def test_state_of_buckets() -> None:
    """The state of buckets is the same after it was restored."""
    histogram = histogram_of(scrapes(random.Random(3)))
    assert encoded(continued(histogram)) == encoded(histogram)
