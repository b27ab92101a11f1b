"""Which windows would make the series of an unknown input regular: `[aggregate]` for raw events, counters and sensors.

fast        values of a state, several times a second: the mean of each second
on change   a state at irregular times: the last value of an interval, and that of the interval before without any
events      values at irregular times that do not follow each other: their number and their mean
counters    values that only grow: rates, over four samples of them or more; buckets of histograms: percentiles

Regular series that are neither need no windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.aggregate.histogram_buckets import bucket_of
from service.aggregate.window_rules import is_counter
from service.config.durations import format_duration

Kind = Literal["fast", "on change", "events", "counters", "regular"]

FEW: Final = 20  # events of a series that is judged
_REGULAR: Final = 0.8  # of the gaps of a regular series are near a multiple of the usual one ...
_NEAR: Final = 0.2  # ... by so many usual gaps
_TOGETHER: Final = 0.2  # of the events at the time of another one show that they are events, and no samples
_FOLLOWING: Final = 0.8  # correlation of neighbouring values of a state
_SCRAPES: Final = 4  # samples of a counter in a window
_EVENTS: Final = 10  # events of a series in a window
_REPORTS: Final = 2  # reports of a state in a window
_FAST_MS: Final = 1000
_ABOUT: Final = 0.9  # the times of samples are not exact
_MOST_RULES: Final = 20
_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


class Series(NamedTuple):
    """The events of a series, by rising time.

    Attributes:
        name: of the series. times: (n,) epoch ms, with repeated ones. values: (n,), nan where missing.
        counter: whether the values only grow, but for resets.
    """

    name: str
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    counter: bool


class WindowAdvice(NamedTuple):
    """Windows for an input.

    Attributes:
        settings: of the section `aggregate`.
        reason: what most series are, as a text.
    """

    settings: Mapping[str, Any]
    reason: str

    def of_requests(self) -> WindowAdvice:
        """Returns the same windows for times of requests: how many there were, and how long most of them took."""
        return self._replace(settings=dict(self.settings) | {"functions": ["count", "p95"]})


def advise(series: Sequence[Series]) -> WindowAdvice | None:
    """Returns the windows for series; None where most of them need none, or have too few events."""
    judged = [one for one in series if len(one.times) >= FEW]
    kinds = Counter(kind_of(one) for one in judged)
    kinds.pop("regular", None)
    if not kinds or 2 * kinds.total() < len(judged):
        return None
    (kind, _), *_ = kinds.most_common(1)
    counters = [one for one in judged if one.counter]
    of_kind = [one for one in judged if kind_of(one) == kind]
    gap = float(np.median([_usual_gap(one) if kind == "counters" else _mean_gap(one) for one in of_kind]))
    functions, samples, reason = _FOR[kind]
    settings: dict[str, Any] = {"interval": format_duration(_nice(samples * gap)), "functions": list(functions)}
    if kind == "on change":
        settings["empty"] = "last"
    if kind == "counters" and len(counters) < len(judged):
        settings["functions"] = ["mean"]
    if rules := _rules([one.name for one in counters], settings["functions"]):
        settings["rules"] = rules
    shown = format_duration(round(gap / 1000) if gap >= _FAST_MS else round(gap) / 1000)
    return WindowAdvice(settings, f"{reason}, one in {shown} of a series")


_FOR: Final[Mapping[Kind, tuple[tuple[str, ...], int, str]]] = {
    "fast": (("mean",), 1, "values come faster than once a second"),
    "on change": (("last",), _REPORTS, "values follow each other at irregular times"),
    "events": (("count", "mean"), _EVENTS, "raw events at irregular times"),
    "counters": (("rate",), _SCRAPES, "values that only grow"),
}


def kind_of(series: Series) -> Kind:
    """Returns what a series is by its times and values."""
    if series.counter:
        return "counters"
    follows = _follows(series.values)
    gaps = np.diff(np.unique(series.times)).astype(np.float64)
    if not len(gaps) or (not follows and len(gaps) < (1 - _TOGETHER) * (len(series.times) - 1)):
        return "events"
    ratios = gaps / _usual_gap(series)
    near = (np.abs(ratios - np.round(ratios)) <= _NEAR) & (ratios >= 1 - _NEAR)
    regular = near.mean() >= _REGULAR
    if _mean_gap(series) < _FAST_MS and (regular or follows):
        return "fast"
    if regular:
        return "regular"
    return "on change" if follows else "events"


def _follows(values: NDArray[np.float64]) -> bool:
    """Returns whether neighbouring values are alike, as those of a state are."""
    present = values[np.isfinite(values)]
    if len(present) < FEW or not present.std() > 0:
        return False
    centred = present - present.mean()
    return bool((centred[1:] * centred[:-1]).sum() >= _FOLLOWING * (centred**2).sum())


def _mean_gap(series: Series) -> float:
    return float(series.times[-1] - series.times[0]) / (len(series.times) - 1)


def _usual_gap(series: Series) -> float:
    return float(np.median(np.diff(np.unique(series.times))))


def _nice(milliseconds: float) -> float:
    """Returns the shortest usual interval of about so many milliseconds or more, in seconds; a day at most."""
    return next((seconds for seconds in _SECONDS if 1000 * seconds >= _ABOUT * milliseconds), _SECONDS[-1])


def _rules(counters: Sequence[str], functions: Sequence[str]) -> list[dict[str, Any]]:
    """Returns rules for counters that are not counters by their name, and for histograms."""
    buckets = [bucket.histogram for name in counters if (bucket := bucket_of(name)) is not None]
    rules = [{"series": pattern, "functions": ["histogram_p95"]} for pattern in _patterns(buckets)]
    if list(functions) != ["rate"]:
        others = [name for name in counters if bucket_of(name) is None and not is_counter(name)]
        rules += [{"series": pattern, "functions": ["rate"]} for pattern in _patterns(others)]
    return rules[:_MOST_RULES]


def _patterns(names: Sequence[str]) -> list[str]:
    """Returns a pattern for each metric: its name, and where it has labels, all of them."""
    found = dict.fromkeys((name.partition("{")[0], "{" in name) for name in names)
    return [
        "".join(f"[{sign}]" if sign in "[*?" else sign for sign in name) + ("*" if labeled else "")
        for name, labeled in found
    ]
