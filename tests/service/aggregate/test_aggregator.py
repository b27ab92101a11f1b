"""Windows over random streams: equal to polars, whatever the disorder, the batches and the restarts."""

from __future__ import annotations

import math
import time
from collections import deque
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_columns import TICK, Raw, aggregator_of, bytes_of, columns, rows, take, ticks

from forecaster import CheckpointError
from service.aggregate import watermark
from service.aggregate.aggregator import Aggregator
from service.aggregate.closed_windows import ClosedWindows
from service.aggregate.closing_rows import MOST_EMPTY
from service.messages.controls import Tombstone

BEGIN = 1_774_744_200_000  # 2026-03-29T00:30 UTC, an hour in which the clock of Berlin changes
MINUTE = 60_000
ALL = ["count", "sum", "mean", "min", "max", "first", "last", "median", "p90", "p95", "p99", "distinct"]
INTERVALS = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": 60 * MINUTE, "1d": 1440 * MINUTE}


class Stream(NamedTuple):
    """A random stream: raw events in the order of their arrival, and the settings of its windows."""

    events: list[Raw]
    interval: str
    timezone: str
    grace: int


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Returns a stream with disorder within the grace, gaps, missing values and some series."""
    interval, timezone = draw(st.sampled_from(list(INTERVALS))), draw(st.sampled_from(["UTC", "Europe/Berlin"]))
    length = INTERVALS[interval]
    grace = draw(st.sampled_from([0, length // 10, 2 * length]))
    steps = st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([0, 1, length // 7, length // 2, length, 3 * length]),
        st.one_of(st.integers(-5, 5).map(float), st.just(math.nan)),
        st.integers(0, max(0, grace - 1)),
    )
    time, arrivals = BEGIN, []
    for series, step, value, delay in draw(st.lists(steps, max_size=60)):
        time += step
        arrivals.append((time + delay, Raw(series, time, value)))
    arrivals.sort(key=lambda pair: pair[0])
    return Stream([event for _, event in arrivals], interval, timezone, grace)


def whole(stream: Stream) -> list[Raw]:
    """Returns the events with others before and behind them, so that all windows close."""
    if not stream.events:
        return []
    step, last = INTERVALS[stream.interval], max(one.time_ms for one in stream.events)
    before = [Raw(TICK, BEGIN)] * 3
    return [*before, *stream.events, *ticks(last, last + stream.grace + 2 * step, step)]


def of_stream(stream: Stream, **more: Any) -> Aggregator:
    """Returns an aggregator for a stream."""
    fixed = {"interval": stream.interval, "timezone": stream.timezone, "grace": stream.grace / 1000}
    return aggregator_of(**(fixed | {"empty": "missing", "functions": ALL} | more))


def by_polars(stream: Stream) -> dict[tuple[str, int], dict[str, float]]:
    """Returns the value of every function by series and begin of the window, computed by polars."""
    names = ("series", "time", "value")
    columns = {name: [one[at] for one in stream.events] for at, name in enumerate(names)}
    frame = pl.DataFrame(columns, schema={"series": pl.String, "time": pl.Int64, "value": pl.Float64})
    local = pl.from_epoch("time", time_unit="ms").dt.replace_time_zone("UTC").dt.convert_time_zone(stream.timezone)
    value = pl.col("value").drop_nulls()
    in_order = pl.col("value").sort_by("time", maintain_order=True).drop_nulls()
    result = (
        frame.with_columns(local.alias("local"), pl.col("value").fill_nan(None))
        .with_columns(pl.col("local").dt.truncate(stream.interval).dt.epoch("ms").alias("start"))
        .group_by("series", "start")
        .agg(
            pl.len().cast(pl.Float64).alias("count"),
            pl.when(value.len() > 0).then(value.sum()).alias("sum"),
            value.mean().alias("mean"),
            value.min().alias("min"),
            value.max().alias("max"),
            in_order.first().alias("first"),
            in_order.last().alias("last"),
            value.median().alias("median"),
            *(value.quantile(level, "linear").alias(name) for name, level in (("p90", 0.9), ("p95", 0.95))),
            value.quantile(0.99, "linear").alias("p99"),
            pl.when(value.len() > 0).then(value.n_unique()).cast(pl.Float64).alias("distinct"),
        )
    )
    return {
        (row["series"], row["start"]): {name: math.nan if row[name] is None else row[name] for name in ALL}
        for row in result.iter_rows(named=True)
    }


@given(streams())
def test_equal_to_polars(stream: Stream) -> None:
    """Every function of every window is what polars computes, and no event within the grace is late."""
    closed = take(of_stream(stream), whole(stream))
    found: dict[tuple[str, int], dict[str, float]] = {}
    for name, start, _, value in rows(closed):
        series, _, function = name.partition(".")
        found.setdefault((series, start), {})[function] = value
    expected = by_polars(stream)

    assert not closed.refused
    assert found.keys() == expected.keys()
    for window, values in expected.items():
        assert found[window] == pytest.approx(values, rel=1e-9, abs=1e-9, nan_ok=True), window


@given(streams())
def test_order_of_closing(stream: Stream) -> None:
    """Windows of a record close by end and name, and those of a series by their begins."""
    closed = take(of_stream(stream, functions=["count"], empty="zero"), whole(stream))
    order = list(zip(closed.index, closed.end_ms, closed.series, strict=True))

    assert order == sorted(order)
    for name in set(closed.series):
        starts = [start for other, start in zip(closed.series, closed.start_ms, strict=True) if other == name]
        assert starts == sorted(set(starts))


class Disordered(NamedTuple):
    """Any events, late ones and wrong times too, and where their batches and records end."""

    events: list[Raw]
    records: list[int]
    cuts: list[int]


@st.composite
def disordered(draw: st.DrawFn) -> Disordered:
    """Returns events with wrong times, of records with several events, and cuts between records."""
    times = st.one_of(st.integers(0, 20 * MINUTE), st.sampled_from([-(10**9), 10**11, 10**11 + MINUTE]))
    events = draw(st.lists(st.builds(Raw, st.sampled_from("abcd"), times, st.integers(-3, 9).map(float)), max_size=80))
    sizes = draw(st.lists(st.integers(1, 3), min_size=len(events), max_size=len(events)))
    records = np.repeat(np.arange(len(sizes)), sizes)[: len(events)].tolist() if events else []
    edges = [at for at in range(1, len(events)) if records[at] != records[at - 1]]
    cuts = draw(st.lists(st.sampled_from(edges), max_size=6)) if edges else []
    return Disordered(events, records, sorted({0, *cuts, len(events)}))


def parts(
    stream: Disordered, starts: list[int], *, restart: bool, **more: Any
) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]], Aggregator]:
    """Takes events in batches that end at `starts`, with a new aggregator for each if `restart`."""
    settings = {"functions": ["count", "median", "rate", "distinct"], "empty": "zero", "grace": "30s"} | more
    aggregator = aggregator_of(3, **settings)
    found, refused = list[tuple[Any, ...]](), list[tuple[int, str]]()
    for begin, end in pairwise(starts):
        if restart:
            state = aggregator.arrays()
            aggregator = aggregator_of(3, **settings)
            aggregator.restore(state)
        closed = take(aggregator, stream.events[begin:end], index=stream.records[begin:end])
        found += list(zip(*(getattr(closed, name) for name in ("series", "start_ms", "end_ms", "index")), strict=True))
        found += [(value,) for value in np.array(closed.values).view(np.int64).tolist()]
        refused += [(at, problem.reason) for at, problem in closed.refused]
        refused += [(-1, name) for _, name in closed.forget]
    return sorted(found, key=repr), refused, aggregator


@pytest.mark.parametrize("restart", [False, True])
@given(stream=disordered())
def test_batches_and_restarts_make_no_difference(restart: bool, stream: Disordered) -> None:
    """Any cut into batches, with or without a saved state, gives the same windows and the same state, bit for bit."""
    straight, pieces = (
        parts(stream, [0, len(stream.events)], restart=False),
        parts(stream, stream.cuts, restart=restart),
    )

    assert pieces[:2] == straight[:2]
    assert bytes_of(pieces[2].arrays()) == bytes_of(straight[2].arrays())


@pytest.mark.parametrize("restart", [False, True])
@given(stream=disordered())
def test_batches_and_restarts_where_the_watermark_returns(restart: bool, stream: Disordered) -> None:
    """The same holds where a watermark that was wrong begins anew, and series with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watermark, "RETURNING", 3)
        test_batches_and_restarts_make_no_difference.hypothesis.inner_test(restart, stream)


@given(disordered())
def test_a_stop_after_any_record(stream: Disordered) -> None:
    """An aggregator that stops after records that close windows gives the same as one that does not."""
    straight, stopped = aggregator_of(), aggregator_of()
    events, at, columns_of = columns(stream.events, stream.records), 0, ("series", "values", "index")
    expected = straight.take(events, 0, deque())[0]
    found: dict[str, list[Any]] = {name: [] for name in columns_of}
    while at < len(stream.events):
        closed, at = stopped.take(events, at, deque(), lambda _names, _starts: True)
        for name in columns_of:
            found[name] += getattr(closed, name)

    assert found == {name: getattr(expected, name) for name in columns_of}
    assert bytes_of(stopped.arrays()) == bytes_of(straight.arrays())


class TestEmptyWindows:
    """Windows without events between two windows with events."""

    def closed(self, gap: int, **settings: Any) -> ClosedWindows:
        """Returns the windows of two events, `gap` minutes apart, and of many between them that move the watermark."""
        first = [Raw(TICK, 0)] * 3
        between = ticks(0, gap * MINUTE, MINUTE)
        last = ticks(gap * MINUTE, (gap + 2) * MINUTE, MINUTE)
        events = [*first, Raw("a", 0, 5.0), *between, Raw("a", gap * MINUTE, 7.0), *last]
        return take(
            aggregator_of(rules=[{"series": TICK, "functions": ["count"], "empty": "missing"}], **settings), events
        )

    @pytest.mark.parametrize(
        ("function", "empty", "values"),
        [
            ("count", "auto", [1, 0, 0, 1]),
            ("sum", "auto", [5, 0, 0, 7]),
            ("mean", "auto", [5, 7]),
            ("mean", "zero", [5, 0, 0, 7]),
            ("mean", "last", [5, 5, 5, 7]),
            ("count", "missing", [1, 1]),
        ],
    )
    def test_values(self, function: str, empty: str, values: list[float]) -> None:
        """An empty window is zero, the value before, or no value."""
        found = rows(self.closed(3, functions=[function], empty=empty))

        assert [value for *_, value in found] == values
        assert [start for _, start, *_ in found] == ([0, 60_000, 120_000, 180_000] if len(values) > 2 else [0, 180_000])

    def test_a_long_gap(self) -> None:
        """Of a gap of days the newest empty windows have values; the others are left out and counted."""
        gap = 5 * MOST_EMPTY
        closed = self.closed(gap, functions=["count"])

        assert len(rows(closed)) == MOST_EMPTY + 2
        assert closed.skipped == gap - 1 - MOST_EMPTY

    def test_functions_without_a_value(self) -> None:
        """Functions for which an empty window has no value have none there."""
        found = rows(self.closed(3, functions=["count", "mean"]))

        assert [name for name, *_ in found] == ["a.count", "a.mean", "a.count", "a.count", "a.count", "a.mean"]


class TestNames:
    """Series whose values would have the same name."""

    RULES: Final = [{"series": "a", "functions": ["count", "sum"]}]

    @pytest.mark.parametrize("names", [("a", "a.count"), ("a.count", "a")])
    def test_the_later_one_is_rejected(self, names: tuple[str, str]) -> None:
        """The values of two series are not mixed: the one that comes later is rejected."""
        aggregator = aggregator_of(functions=["mean"], rules=self.RULES)
        events = [*ticks(0, 0, MINUTE), *[Raw(names[at % 2], at * 1000) for at in range(10)], Raw("a.mean", 0)]
        closed = take(aggregator, [*events, *ticks(MINUTE, 3 * MINUTE, MINUTE)])

        assert {problem.reason for _, problem in closed.refused} == {"series_clash"}
        assert [at for at, _ in closed.refused] == [10, 12, 14, 16, 18]
        assert len(closed.series) == len(set(zip(closed.series, closed.start_ms, strict=True)))
        assert "a.mean" in closed.series


def test_forgotten_windows_that_open_again() -> None:
    """A window that is opened again after a tombstone closes once, and others in their order."""
    aggregator = aggregator_of(functions=["count"])
    events = [Raw("bacb"[at % 4], at // 4 * MINUTE) for at in range(40)]
    tombstones = [Tombstone(at, at, "b") for at in range(1, 40, 3)]
    closed = take(aggregator, [*events, *ticks(10 * MINUTE, 12 * MINUTE, MINUTE)], tombstones)
    found = rows(closed)

    assert found == sorted(set(found), key=lambda row: (row[2], row[0]))
    assert len(aggregator) == aggregator.arrays()["series"][:, 0].sum()


def test_many_tombstones() -> None:
    """The time to remove series does not grow with the number of open windows."""
    count, aggregator = 30_000, aggregator_of(30_000)
    take(aggregator, [Raw(str(at), 0) for at in range(count)])
    begin = time.process_time()
    take(aggregator, [Raw("0", 1)], [Tombstone(0, 0, str(at)) for at in range(1, count)])

    assert time.process_time() - begin < 10
    assert len(aggregator) == 1


def test_a_tombstone_removes_open_windows() -> None:
    """The open windows of the series are removed, and the series of all its functions are named."""
    aggregator = aggregator_of(functions=["count", "sum"])
    events = [Raw("a", 0), Raw("b", 0), Raw("b", 1), Raw("a", 2), *ticks(MINUTE, 3 * MINUTE, MINUTE)]
    closed = take(aggregator, events, [Tombstone(3, 3, "a"), Tombstone(4, 4, "")])

    assert closed.forget == [(0, "a.count"), (0, "a.sum")]
    assert rows(closed)[:4] == [
        ("a.count", 0, MINUTE, 1), ("a.sum", 0, MINUTE, 1), ("b.count", 0, MINUTE, 2), ("b.sum", 0, MINUTE, 2),
    ]  # fmt: skip


def test_rules() -> None:
    """The first rule that matches a series applies, and leaves the rest as it is."""
    rules = [
        {"series": "orders.*", "functions": ["count", "sum"], "interval": "2m"},
        {"series": "orders.a", "functions": ["max"]},
        {"series": "x", "functions": ["last"]},
    ]
    aggregator = aggregator_of(functions=["mean"], rules=rules)
    events = [Raw("orders.a", 0, 2.0), Raw("x", 0, 3.0), Raw("y", 0, 4.0), *ticks(0, 6 * MINUTE, MINUTE)]

    assert rows(take(aggregator, events)) == [
        ("x", 0, MINUTE, 3.0), ("y", 0, MINUTE, 4.0), ("orders.a.count", 0, 2 * MINUTE, 1.0),
        ("orders.a.sum", 0, 2 * MINUTE, 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("counters", "of_total", "of_rule"), [("rate", 2.0, 60.0), ("increase", 120.0, 60.0), ("functions", 60.0, 60.0)]
)
def test_counters_by_name(counters: str, of_total: float, of_rule: float) -> None:
    """A series that is a counter by its name has its own function, unless a rule matches it."""
    aggregator = aggregator_of(functions=["mean"], counters=counters, rules=[{"series": "rule_total"}])
    names = ("x_total", 'x_total{job="a"}', "rule_total", "total")
    events = [Raw(name, second * 1000, 2.0 * second) for second in range(0, 61, 1) for name in names]
    found = {
        name: value
        for name, start, _, value in rows(take(aggregator, [*events, *ticks(0, 3 * MINUTE, MINUTE)]))
        if start == 0
    }

    assert found == {
        "x_total": pytest.approx(of_total, rel=0.02), 'x_total{job="a"}': pytest.approx(of_total, rel=0.02),
        "rule_total": pytest.approx(of_rule, rel=0.02), "total": pytest.approx(60.0, rel=0.02),
    }  # fmt: skip


def test_values_beyond_the_float_limits() -> None:
    """A sum beyond the limits is missing, and no error."""
    events = [Raw("a", 0, 1.7e308), Raw("a", 1, 1.7e308), *ticks(0, 3 * MINUTE, MINUTE)]
    (found,) = rows(take(aggregator_of(functions=["sum"]), events))
    assert math.isnan(found[3])


@pytest.mark.parametrize("name", sorted(aggregator_of().arrays()))
@pytest.mark.parametrize("change", ["without", "shorter", "other type"])
def test_invalid_states_are_refused(name: str, change: str) -> None:
    """A state with a missing or wrong array is refused as a whole."""
    aggregator = aggregator_of(functions=["count", "median", "rate", "distinct"])
    events = [Raw("abbb"[at % 4], at * 10, float(at)) for at in range(1200)]
    take(
        aggregator,
        [
            *[Raw("b", at * MINUTE // 10) for at in range(30)],
            *[Raw(e.series, e.time_ms + 3 * MINUTE, e.value) for e in events],
            Raw("b", 10**11),
        ],
    )
    state = aggregator.arrays()
    assert len(state[name])
    if change == "without":
        del state[name]
    else:
        state[name] = state[name][:-1] if change == "shorter" else np.zeros(state[name].shape, np.float16)

    with pytest.raises(CheckpointError):
        aggregator_of(functions=["count", "median", "rate", "distinct"]).restore(state)


@settings(max_examples=30)
@given(streams())
def test_counters_within_windows(stream: Stream) -> None:
    """Rate is the increase per second of the window."""
    events = [one._replace(value=abs(one.value)) for one in whole(stream)]
    found = rows(take(of_stream(stream, functions=["increase", "rate"]), events))
    rates = {(name[0], start): (end - start, value) for name, start, end, value in found if name.endswith("rate")}
    for name, start, _, value in found:
        if name.endswith("increase"):
            length, rate = rates[name[0], start]
            assert value == pytest.approx(rate * length / 1000, nan_ok=True)
