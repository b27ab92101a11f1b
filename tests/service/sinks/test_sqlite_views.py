"""Compact forecasts in a SQLite file: the views show what JSON would say, and which forecasts came true."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_outputs import outputs

from forecaster import Forecasts, Silence, Status
from service.messages.compact import CompactFormat
from service.messages.decode import Decoded
from service.messages.encode import JSON, encode
from service.ports import Unit
from service.sinks import stored_rows
from service.sinks.sqlite_forecasts import SqliteForecasts
from service.sinks.sqlite_sink import SqliteSink

LEVELS = (0.1, 0.5, 0.9)
SERIES = ["a", "b", 'c"{x="é"}']
START = 1_767_225_600_000  # 2026-01-01


def batch(count: int, seed: int = 0, *, steps: int = 3, start: int = START) -> tuple[Decoded, Forecasts]:
    """Returns events of three series, a minute apart, and forecasts of them, the first of each without quantiles."""
    rng = np.random.default_rng(seed)
    times = start + np.arange(count) // 3 * 60_000
    quantiles = np.sort(rng.normal(100.0, 20.0, (count, steps, 3)), axis=2)
    status = np.zeros(count, np.uint8)
    status[:3], quantiles[:3] = Status.UNKNOWN, np.nan
    value = rng.normal(100.0, 20.0, count)
    if count > 5:
        status[5], value[5] = Status.MISSING, np.nan
    found = Forecasts(
        status,
        times,
        np.full(count, 60_000, np.int64),
        np.arange(count, dtype=np.int64),
        quantiles,
        np.where(rng.random(count) < 0.5, np.nan, rng.random(count)).astype(np.float32),
        (rng.random(count) < 0.2).astype(np.uint8),
        [Silence("b", 4, START - 5, START + 5, START + 7)] if count > 4 else [],
    )
    series = [SERIES[at % 3] for at in range(count)]
    decoded = Decoded(series, times, value, None, list(range(count)), list(range(count)), [], 0)
    return decoded, found


def publish(path: Path, decoded: Decoded, forecasts: Forecasts, output=None, partition="p") -> None:
    """Writes the forecasts of a batch to a file."""
    made = encode(
        decoded, forecasts, partition=partition, levels=LEVELS, model_sha256="ab" * 32, output=output or CompactFormat()
    )
    sink = SqliteSink(path)
    sink.open()
    begin = sink.committed(partition) or 0
    sink.publish(Unit(partition, begin, begin + len(decoded), made.series, made.forecasts, positions=made.positions))
    sink.close()


def rows(path: Path, query: str) -> list[dict[str, object]]:
    """Returns the rows that another program reads."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]


@pytest.mark.parametrize("view", ["forecasts", "steps", "silences"])
def test_views_show_what_json_says(tmp_path, view):
    """Every column is that of the same forecasts in JSON, quantiles to a thousandth of their width."""
    found = {}
    for name, output in (("json", JSON), ("compact", CompactFormat())):
        publish(tmp_path / name, *batch(40), output)
        found[name] = rows(tmp_path / name, f"SELECT * FROM {view} ORDER BY position, series, 5")
    assert len(found["json"]) == len(found["compact"]) > 0
    for one, other in zip(found["json"], found["compact"], strict=True):
        for name in one.keys() - {"quantiles", "anomaly", "value", "flagged", "id"}:
            assert one[name] == other[name], name
        if view == "forecasts":
            assert bool(one["flagged"]) == bool(other["flagged"])
            assert (one["anomaly"] is None) == (other["anomaly"] is None)
            assert one["anomaly"] is None or one["anomaly"] == pytest.approx(other["anomaly"], rel=1e-7)
        if view != "silences":
            assert (one["quantiles"] is None) == (other["quantiles"] is None)
            if one["quantiles"] is not None:
                np.testing.assert_allclose(json.loads(other["quantiles"]), json.loads(one["quantiles"]), atol=0.05)


def test_rows_of_a_batch_are_those_of_each(tmp_path, monkeypatch):
    """A batch whose records differ in numbers only is stored as one by one."""
    for name in ("batch", "each"):
        if name == "each":
            monkeypatch.setattr(stored_rows, "columns_of", lambda records: None)
        publish(tmp_path / name, *batch(40))
        decoded, forecasts = batch(400, 1, start=START + 10**9)
        forecasts.status[:3], forecasts.quantiles[:3], forecasts.silences[:] = Status.OK, forecasts.quantiles[3:6], []
        publish(tmp_path / name, decoded, forecasts)
    found = [rows(tmp_path / name, "SELECT * FROM stored_forecasts ORDER BY id") for name in ("batch", "each")]
    assert found[0] == found[1]
    assert len(found[0]) == 440


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([1.0, 1e-9, 1e7]), st.integers(0, 2**20))
def test_sql_and_numpy_read_the_same(tmp_path_factory, steps, levels, scale, seed):
    """The views compute the numbers that `unpack` does, whatever the shape and the size of the numbers."""
    path = tmp_path_factory.mktemp("same") / "f.sqlite"
    decoded, forecasts = batch(6)
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(0.0, scale, (6, steps, levels)), axis=2) + rng.choice([0.0, 1e6 * scale])
    values[:3] = np.nan
    made = Forecasts(*[getattr(forecasts, name) for name in ("status", "origin_ms", "interval_ms", "steps")], values,
                     forecasts.anomaly, forecasts.flagged)  # fmt: skip
    texts = encode(
        decoded, made, partition="p", levels=np.linspace(0.1, 0.9, levels).tolist(), model_sha256="c" * 64,
        output=CompactFormat(),
    )  # fmt: skip
    sink = SqliteSink(path)
    sink.open()
    sink.publish(Unit("p", 0, 6, texts.series, texts.forecasts, positions=texts.positions))
    sink.close()
    by_numpy = [one["quantiles"] for one in outputs(path) if "kind" not in one]
    by_sql = [row["quantiles"] for row in rows(path, "SELECT quantiles FROM forecasts ORDER BY position")]
    by_step = rows(path, "SELECT position, quantiles FROM steps ORDER BY position, step")
    for at, (one, other) in enumerate(zip(by_numpy, by_sql, strict=True)):
        assert (one is None) == (other is None)
        if one is not None:
            tolerance = {"rtol": 1e-12, "atol": 1e-9 * scale}
            np.testing.assert_allclose(json.loads(other), one, **tolerance)
            mine = [json.loads(row["quantiles"]) for row in by_step if row["position"] == at]
            np.testing.assert_allclose(mine, one, **tolerance)


def test_verified_is_what_pandas_joins(tmp_path):
    """A forecast is verified by the event at its target, by each of its steps; late by less than half an interval."""
    decoded, forecasts = batch(60)
    decoded.timestamp_ms[30:33] += 20_000  # one moment that is late
    path = tmp_path / "f.sqlite"
    publish(path, decoded, forecasts)
    found = pd.DataFrame(rows(path, "SELECT * FROM verified"))
    stored = pd.DataFrame(outputs(path)).query("kind.isna()")
    steps = stored[stored["quantiles"].notna()].explode("quantiles")
    steps["step"] = steps.groupby(level=0).cumcount() + 1
    steps["origin_at"] = pd.to_datetime(steps["origin"])
    steps["target_at"] = steps["origin_at"] + pd.to_timedelta(steps["step"], "min")
    actual = pd.DataFrame(
        {
            "series": decoded.series,
            "at": pd.to_datetime(decoded.timestamp_ms, unit="ms", utc=True),
            "actual": decoded.value,
        }
    ).dropna()
    joined = steps.merge(actual, on="series")
    half = pd.Timedelta(30, "s")
    joined = joined[(joined["at"] > joined["target_at"] - half) & (joined["at"] <= joined["target_at"] + half)]
    order = ["series", "origin", "step"]
    found, joined = (one.sort_values(order).reset_index(drop=True) for one in (found, joined))
    assert len(found) == len(joined) > 100
    assert found[order].equals(joined[order])
    np.testing.assert_array_equal(found["actual"], joined["actual"])
    middle = np.array([json.loads(text)[1] for text in found["quantiles"]])
    np.testing.assert_allclose(middle, [one[1] for one in joined["quantiles"]])
    np.testing.assert_allclose(found["error"], found["actual"] - found["forecast"])
    np.testing.assert_allclose(found["forecast"], middle)


def test_verified_by_its_own_partition(tmp_path):
    """Series of the same name in two partitions are two series: each forecast has the actuals of its own."""
    for partition, seed in (("p", 1), ("q", 2)):
        publish(tmp_path / partition, *batch(30, seed), partition=partition)
        publish(tmp_path / "both", *batch(30, seed), partition=partition)
    query = "SELECT * FROM verified ORDER BY partition, series, origin, step"
    assert rows(tmp_path / "both", query) == [*rows(tmp_path / "p", query), *rows(tmp_path / "q", query)]


def test_numbers_without_codes(tmp_path):
    """A forecast whose range is not a number is shown as in JSON, step by step too."""
    found = {}
    for name, output in (("json", JSON), ("compact", CompactFormat())):
        decoded, forecasts = batch(12)
        forecasts.quantiles[7] = [-1e308, 0.0, 1e308]
        publish(tmp_path / name, decoded, forecasts, output)
        of_all = rows(tmp_path / name, "SELECT status, quantiles FROM forecasts WHERE position = 7")
        of_steps = rows(tmp_path / name, "SELECT step, quantiles FROM steps WHERE position = 7 ORDER BY step")
        found[name] = [dict(row, quantiles=json.loads(row["quantiles"])) for row in (*of_all, *of_steps)]
    assert found["compact"] == found["json"]
    assert [row.get("status") for row in found["json"]] == ["ok", None, None, None]


@pytest.mark.parametrize("output", [JSON, CompactFormat()])
def test_corrected_by_one_record(tmp_path, output):
    """Where a record with several events has corrected a forecast twice, the last one is read, with its targets."""
    decoded, forecasts = batch(9)
    series, times = decoded.series[8], int(forecasts.origin_ms[8])
    for at in (6, 7):  # late events in the record of the newest one
        decoded.series[at], forecasts.origin_ms[at], forecasts.status[at] = series, times, Status.REPAIRED
    decoded.positions[6:] = [6, 6, 6]
    publish(tmp_path / "f", decoded, forecasts, output)
    (found,) = SqliteForecasts(tmp_path / "f").newest("c*", times, 1)
    assert found.targets == [row["target"] for row in rows(
        tmp_path / "f", f"SELECT DISTINCT step, target FROM steps WHERE origin_ms = {times} AND series LIKE 'c%'"
    )]  # fmt: skip
    np.testing.assert_allclose(found.quantiles, forecasts.quantiles[7], atol=0.05)


def test_a_fourth_of_the_size(tmp_path):
    """With 24 steps and 7 levels a forecast takes a fourth of what it takes in JSON at most, with its index."""
    sizes = {}
    for name, output in (("json", JSON), ("compact", CompactFormat())):
        path = tmp_path / name
        for part in range(4):
            decoded, forecasts = batch(600, part, steps=24, start=START + part * 3_600_000 * 5)
            values = np.repeat(forecasts.quantiles, 3, axis=2)[:, :, 1:8].astype(np.float32).astype(np.float64)
            made = Forecasts(*[getattr(forecasts, one) for one in ("status", "origin_ms", "interval_ms", "steps")],
                             np.sort(values, axis=2), forecasts.anomaly, forecasts.flagged)  # fmt: skip
            publish(path, decoded, made, output)
        tables = "('batches', 'stored_forecasts', 'stored_forecasts_of_series')"
        (used,) = rows(path, f"SELECT sum(pgsize) AS bytes FROM dbstat WHERE name IN {tables}")
        sizes[name] = used["bytes"] / 2400
    assert sizes["compact"] <= sizes["json"] / 4.0, sizes
    assert sizes["compact"] <= 500


def test_series_come_one_by_one(tmp_path):
    """A query of one series reads the index, and not the forecasts of others."""
    path = tmp_path / "f.sqlite"
    publish(path, *batch(60))
    query = "SELECT quantiles FROM forecasts WHERE series = 'b' ORDER BY origin_ms DESC LIMIT 1"
    plan = [row["detail"] for row in rows(path, f"EXPLAIN QUERY PLAN {query}")]
    assert any("INDEX stored_forecasts_of_series (series=?)" in line for line in plan)
    assert not any("USE TEMP B-TREE FOR ORDER BY" in line for line in plan)


@pytest.mark.parametrize("where", ["step = 1", "series = 'b'", "series = 'b' AND origin_ms = 5 AND partition = 'p'"])
def test_actuals_are_found_by_their_time(tmp_path, where):
    """An actual is looked up in the index by series and time, so that a query takes no time for other events."""
    path = tmp_path / "f.sqlite"
    publish(path, *batch(60))
    plan = rows(path, f"EXPLAIN QUERY PLAN SELECT actual FROM verified WHERE {where}")
    assert any("SEARCH a" in row["detail"] and "origin_ms>? AND origin_ms<?" in row["detail"] for row in plan)
