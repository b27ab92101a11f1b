"""Quantiles of a classic Prometheus histogram within a window, as `histogram_quantile(rate())` computes them.

The buckets of a histogram are counters, series of their own that differ in the label `le`, their upper bound:

    rank  = level * increase of the bucket with the bound +Inf
    value = lower + (upper - lower) * (rank - increase of the bucket below) / (increase of the bucket - of that below)

of the first bucket, by bound, whose increase is at least the rank. `lower` is the bound of the bucket below it, or 0.
In the bucket +Inf the value is the greatest finite bound. Increases are those of `counter_increase`; one that is below
that of a smaller bound, because the buckets were not sampled together, is raised to it (promql/quantile.go).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from service.aggregate.counter_increase import CounterSamples

MOST_BUCKETS: Final = 256
"""Buckets of a histogram."""

_LABELED: Final = re.compile(r'[^{"]*\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}')
_LABEL: Final = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_EQUAL: Final = 1e-12  # relative difference of increases that is rounding


class Bucket(NamedTuple):
    """A bucket by the name of its series.

    Attributes:
        histogram: the name without the label `le`. bound: the upper bound.
    """

    histogram: str
    bound: float


def bucket_of(series: str) -> Bucket | None:
    """Returns the bucket that a series is by its labels, such as `x_bucket{le="0.5"}`; None where it is none."""
    labeled = _LABELED.fullmatch(series)
    if labeled is None:
        return None
    start, end = labeled.span(1)
    at, kept, bound = start, list[str](), math.nan
    while at < end:
        label = _LABEL.match(series, at, end)
        if label is None:
            return None
        at = label.end()
        if label[1] != "le":
            kept.append(label[0].strip().rstrip(","))
            continue
        try:
            bound = float(label[2])
        except ValueError:
            return None
    if math.isnan(bound):
        return None
    rest = ",".join(kept)
    return Bucket(series[: start - 1] + (f"{{{rest}}}" if rest else ""), bound)


class HistogramBuckets(msgspec.Struct, array_like=True, gc=False):
    """The samples of the buckets of one histogram in one window.

    Attributes:
        counters: the samples of each bucket, by its bound.
    """

    counters: dict[float, CounterSamples] = msgspec.field(default_factory=dict)

    def add(self, bound: float, time_ms: int, value: float) -> bool:
        """Adds a sample of a bucket; returns whether there was room for its bucket."""
        counter = self.counters.get(bound)
        if counter is None:
            if len(self.counters) >= MOST_BUCKETS:
                return False
            counter = self.counters[bound] = CounterSamples()
        counter.add(time_ms, value)
        return True

    def check(self) -> None:
        """Checks a restored state.

        Raises:
            ValueError: it is beyond the bounds.
        """
        if len(self.counters) > MOST_BUCKETS or any(map(math.isnan, self.counters)):
            msg = f"got {len(self.counters)} buckets, expected at most {MOST_BUCKETS}, with bounds that are numbers"
            raise ValueError(msg)
        for counter in self.counters.values():
            counter.check()

    def quantile(self, level: float, start_ms: int, end_ms: int) -> float:
        """Returns a quantile of what was observed in the window; nan without a bucket +Inf and another one."""
        bounds, counts = list[float](), list[float]()
        for bound, count in self._increases(start_ms, end_ms):
            before = counts[-1] if counts else count
            raised = count < before or abs(count - before) <= _EQUAL * max(count, before)
            bounds.append(bound)
            counts.append(before if raised else count)
        if len(bounds) < 2 or bounds[-1] != math.inf or counts[-1] == 0:
            return math.nan
        rank = level * counts[-1]
        at = next((at for at, count in enumerate(counts[:-1]) if count >= rank), len(counts) - 1)
        if at == len(counts) - 1:
            return bounds[-2]
        if at == 0:
            return bounds[0] if bounds[0] <= 0 else bounds[0] * (rank / counts[0])
        within = (rank - counts[at - 1]) / (counts[at] - counts[at - 1])
        return bounds[at - 1] + (bounds[at] - bounds[at - 1]) * within

    def _increases(self, start_ms: int, end_ms: int) -> Iterator[tuple[float, float]]:
        """Yields bound and increase of every bucket that has one, by rising bounds."""
        for bound in sorted(self.counters):
            increase = self.counters[bound].increase(start_ms, end_ms)
            if not math.isnan(increase):
                yield bound, increase
