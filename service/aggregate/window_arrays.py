"""The open windows of a partition as arrays of a snapshot, and back.

names, name_ends     the series, UTF-8 one after the other, and where each name ends
series               (s, 4) int64: number of open windows, number of values, whether a window closed, its end
values               of the last closed windows, one after the other
windows              (w, 6) int64: begin, end, events, events with a value, times of the first and last value
sums                 (w, 5) float64: sum, least, greatest, first and last value
exact, exact_ends    the values of `ValueSample`; bins, bin_ends: its counts
times, samples, ends the samples of `CounterSamples`
watermark            int64: whether it has begun, the watermark, count, low, near, high, behind
ahead, ahead_ends    the series ahead of it, like `names`: those of refused events too, which have no windows
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.state import checked
from service.aggregate.counter_increase import CounterSamples
from service.aggregate.open_window import OpenWindow
from service.aggregate.value_sample import ValueSample
from service.aggregate.watermark import Watermark
from service.aggregate.window_rules import WindowRules
from service.aggregate.window_table import SeriesWindows, WindowTable

_WHERE: Final = "the state of open windows"
Arrays = dict[str, NDArray[Any]]


def arrays_of(table: WindowTable, watermark: Watermark) -> Arrays:
    """Returns the state of all windows of a partition."""
    names, ahead = _encoded(table.series), _encoded(sorted(watermark.ahead))
    series = [
        (len(one.open), len(one.values), one.closed_ms is not None, one.closed_ms or 0) for one in table.series.values()
    ]
    windows = list(table.windows())
    samples = [window.sample.arrays() for window in windows if window.sample is not None]
    counters = [window.counter.arrays() for window in windows if window.counter is not None]
    return {
        "names": np.frombuffer(b"".join(names), np.uint8),
        "name_ends": _ends(names),
        "series": np.array(series, np.int64).reshape(-1, 4),
        "values": np.array([value for one in table.series.values() for value in one.values], np.float64),
        "windows": np.array(
            [(w.start, w.end, w.events, w.n, w.first_ms, w.last_ms) for w in windows], np.int64
        ).reshape(-1, 6),
        "sums": np.array([(w.total, w.low, w.high, w.first, w.last) for w in windows], np.float64).reshape(-1, 5),
        "exact": _joined([exact for exact, _ in samples], np.float64),
        "exact_ends": _ends([exact for exact, _ in samples]),
        "bins": _joined([bins for _, bins in samples], np.int64),
        "bin_ends": _ends([bins for _, bins in samples]),
        "times": _joined([times for times, _ in counters], np.int64),
        "samples": _joined([values for _, values in counters], np.float64),
        "ends": _ends([times for times, _ in counters]),
        "watermark": np.array(
            [
                watermark.ms is not None, watermark.ms or 0, watermark.count, watermark.low, watermark.near,
                watermark.high, watermark.behind,
            ],
            np.int64,
        ),
        "ahead": np.frombuffer(b"".join(ahead), np.uint8),
        "ahead_ends": _ends(ahead),
    }  # fmt: skip


def _encoded(names: Iterable[str]) -> list[bytes]:
    return [name.encode("utf-8", "surrogatepass") for name in names]


def _names(arrays: Arrays, name: str, ends: str) -> list[str]:
    return [bytes(part).decode("utf-8", "surrogatepass") for part in _parts(arrays, name, ends, np.uint8)]


def _ends(parts: Sequence[Any]) -> NDArray[np.int64]:
    return np.array(list(accumulate(map(len, parts))), np.int64)


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _parts(arrays: Arrays, name: str, ends: str, kind: type[np.generic]) -> Iterator[NDArray[Any]]:
    """Yields the parts of an array.

    Raises:
        ValueError: the ends are not those of parts.
    """
    whole, last = _flat(arrays, name, kind), [0, *_flat(arrays, ends, np.int64).tolist()]
    if last[-1] != len(whole) or last != sorted(last):
        msg = f"got {name} with {len(whole)} of {whole.dtype}, expected parts that end at {last[-1]}"
        raise ValueError(msg)
    for start, end in pairwise(last):
        yield whole[start:end]


def table_from(arrays: Arrays, rules: WindowRules) -> dict[str, SeriesWindows]:
    """Returns the series of a state.

    Raises:
        CheckpointError: the arrays are not such a state.
    """
    with checked(_WHERE):
        names = _names(arrays, "names", "name_ends")
        rows, values = _rows(arrays, "series", 4, np.int64), _flat(arrays, "values", np.float64).tolist()
        windows = iter(list(_windows(arrays)))
        samples = map(
            ValueSample.from_arrays,
            _parts(arrays, "exact", "exact_ends", np.float64),
            _parts(arrays, "bins", "bin_ends", np.int64),
        )
        counters = map(
            CounterSamples.from_arrays,
            _parts(arrays, "times", "ends", np.int64),
            _parts(arrays, "samples", "ends", np.float64),
        )
        found, used = dict[str, SeriesWindows](), 0
        for name, (count, held, has_closed, closed_ms) in zip(names, rows, strict=True):
            one = found[name] = SeriesWindows(rules.of(name))
            one.closed_ms = closed_ms if has_closed else None
            one.values, used = values[used : used + held], used + held
            if len(one.values) != (len(one.rule.functions) if has_closed else 0):
                msg = f"got {len(one.values)} values of {name!r}, expected one per function"
                raise ValueError(msg)
            for _ in range(count):
                window, empty = next(windows, None), one.rule.open(0, 0)
                sample = None if empty.sample is None else next(samples, None)
                counter = None if empty.counter is None else next(counters, None)
                if window is None or (sample is None, counter is None) != (empty.sample is None, empty.counter is None):
                    msg = f"got fewer windows than the {count} of {name!r}"
                    raise ValueError(msg)
                window.sample, window.counter = sample, counter
                one.open[window.end] = window
        rest = [next(part, None) for part in (windows, samples, counters)]
        if len(found) != len(names) or used != len(values) or rest != [None, None, None]:
            msg = f"got {len(names)} names and {len(values)} values, expected those of {len(found)} series"
            raise ValueError(msg)
        return found


def _flat(arrays: Arrays, name: str, kind: type[np.generic]) -> NDArray[Any]:
    whole = arrays[name]
    if whole.dtype != kind or whole.ndim != 1:
        msg = f"got {name} of shape {whole.shape}, {whole.dtype}, expected one of {kind.__name__}"
        raise ValueError(msg)
    return whole


def _rows(arrays: Arrays, name: str, width: int, kind: type[np.generic]) -> list[Any]:
    whole = arrays[name]
    if whole.dtype != kind or whole.ndim != 2 or whole.shape[1] != width:
        msg = f"got {name} of shape {whole.shape}, {whole.dtype}, expected (n, {width})"
        raise ValueError(msg)
    found: list[Any] = whole.tolist()
    return found


def _windows(arrays: Arrays) -> Iterator[OpenWindow]:
    pairs = zip(_rows(arrays, "windows", 6, np.int64), _rows(arrays, "sums", 5, np.float64), strict=True)
    for (start, end, events, n, first_ms, last_ms), (total, low, high, first, last) in pairs:
        if not (start < end and 0 <= n <= events and events):
            msg = f"got a window from {start} to {end} with {n} values of {events} events"
            raise ValueError(msg)
        window = OpenWindow(start, end, None, None)
        window.events, window.n, window.first_ms, window.last_ms = events, n, first_ms, last_ms
        window.total, window.low, window.high, window.first, window.last = total, low, high, first, last
        yield window


def watermark_from(arrays: Arrays, watermark: Watermark) -> None:
    """Restores the watermark of a state.

    Raises:
        CheckpointError: the arrays are not such a state.
    """
    with checked(_WHERE):
        has_begun, ms, count, low, near, high, behind = _flat(arrays, "watermark", np.int64).tolist()
        if min(count, behind) < 0:
            msg = f"got a watermark with the counts {count} and {behind}, expected whole numbers"
            raise ValueError(msg)
        watermark.ms = ms if has_begun else None
        watermark.count, watermark.behind = count, behind
        watermark.low, watermark.near, watermark.high = low, near, high
        watermark.ahead = set(_names(arrays, "ahead", "ahead_ends"))
