"""What other programs read from Parquet files: DuckDB, pandas and polars, beside the SQLite views as the oracle."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_parquet_sink import ParquetOutput
from test_sqlite_views import LEVELS, START, batch

from forecaster import Forecasts, Note
from service.messages.compact import CompactFormat
from service.messages.encode import JsonFormat, encode
from service.messages.exact_columns import ExactFormat, on_grid
from service.ports import Unit
from service.sinks.parquet_columns import (
    SILENCE_SCHEMA,
    column_of,
    forecast_objects,
    forecast_schema,
    level_columns,
    tables_of,
)
from service.sinks.parquet_forecasts import ParquetForecasts
from service.sinks.parquet_pending import PendingUnit
from service.sinks.sqlite_forecasts import SqliteForecasts
from service.sinks.sqlite_sink import SqliteSink


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same units in both sinks, several files of Parquet and some outputs that wait for theirs."""
    folder = tmp_path_factory.mktemp("both")
    with ParquetOutput(folder / "out", file_bytes=10_000) as output, closing(SqliteSink(folder / "f.sqlite")) as sink:
        sink.open()
        for number in range(6):
            for partition, seed in (("p", 1), ("q", 2)):
                decoded, forecasts = batch(60, 10 * seed + number, start=START + number * 1_200_000)
                if number:  # only the first ones have no forecast yet
                    forecasts.status[:3], forecasts.quantiles[:3] = 0, forecasts.quantiles[3:6]
                decoded.timestamp_ms[30:33] += 20_000  # one moment that is late
                begin = number * 60
                decoded.positions[:] = range(begin, begin + 60)
                for target, form in ((sink, CompactFormat()), (output.sink, ExactFormat())):
                    made = encode(decoded, forecasts, partition=partition, levels=LEVELS, model_sha256="ab" * 32,
                                  output=form)  # fmt: skip
                    target.publish(Unit(partition, begin, begin + 60, made.series, made.forecasts,
                                        positions=made.positions))  # fmt: skip
                output.settle()
        output.sink.close()
        assert len(output.paths()) >= 4
        yield output.folder, folder / "f.sqlite"
        output.start()


def by_duckdb(folder, query) -> pd.DataFrame:
    """Returns what DuckDB reads through the views."""
    with duckdb.connect() as connection:
        connection.execute((folder / "views.sql").read_text())
        return connection.execute(query).df()


def by_sqlite(path, query) -> pd.DataFrame:
    """Returns what SQLite reads through its views."""
    with closing(sqlite3.connect(path)) as database:
        return pd.read_sql(query, database)


def milliseconds(times: pd.Series) -> np.ndarray:
    """Returns times, which may be texts, as epoch milliseconds."""
    return pd.to_datetime(times, utc=True).astype("datetime64[ms, UTC]").astype("int64").to_numpy()


def test_verified_as_in_sqlite(both):
    """The view `verified` has the rows of the view of the same name in SQLite, with the same errors."""
    folder, path = both
    order = "ORDER BY partition, series, origin, step"
    found = by_duckdb(folder, f"SELECT * FROM verified {order}")
    wanted = by_sqlite(path, f"SELECT * FROM verified {order}")
    assert len(found) == len(wanted) > 1000
    for name in ("series", "step", "partition", "position", "model", "revision"):
        assert found[name].tolist() == wanted[name].tolist(), name
    for name in ("origin", "target"):
        np.testing.assert_array_equal(milliseconds(found[name]), milliseconds(wanted[name]))
    np.testing.assert_array_equal(found["actual"], wanted["actual"])
    for name in ("forecast", "error"):
        np.testing.assert_allclose(found[name], wanted[name], atol=0.05)
    rows = np.array([json.loads(text) for text in wanted["quantiles"]])
    np.testing.assert_allclose(found[["q10", "q50", "q90"]], rows, atol=0.05)


@pytest.mark.parametrize("view", ["forecasts", "steps", "silences"])
def test_views_as_in_sqlite(both, view):
    """The other views have the rows of the views of the same name in SQLite."""
    folder, path = both
    order = "ORDER BY partition, position, series" + (", step" if view == "steps" else "")
    found = by_duckdb(folder, f"SELECT * FROM {view} {order}")
    wanted = by_sqlite(path, f"SELECT * FROM {view} {order}")
    assert len(found) == len(wanted) > 0
    for name in {*found.columns} & {*wanted.columns} - {"id", "anomaly", "value"}:
        if name in {"origin", "target", "last", "expected", "noticed"}:
            np.testing.assert_array_equal(milliseconds(found[name]), milliseconds(wanted[name]))
        else:
            assert found[name].tolist() == wanted[name].tolist(), name
    if view == "forecasts":
        np.testing.assert_array_equal(found["value"], wanted["value"])
        np.testing.assert_allclose(found["anomaly"], wanted["anomaly"].astype(float), rtol=1e-7)


def test_one_line_of_sql(both):
    """The median of the next step is read as the documentation shows."""
    folder, _ = both
    found = by_duckdb(folder, "SELECT q50[1] AS next FROM forecasts WHERE series = 'b' ORDER BY origin DESC LIMIT 1")
    assert 0.0 < found["next"][0] < 300.0


def test_labels():
    """Labels of a series are a map, as it is named; other names have none."""
    decoded, forecasts = batch(6)
    decoded.series[3:] = ["up", 'up{job="a b",x="é"}', '{x="1"}']
    made = encode(decoded, forecasts, partition="p", levels=LEVELS, model_sha256="ab" * 32, output=ExactFormat())
    sizes = np.array([len(one) for one in made.forecasts])
    stored = PendingUnit(1, "p", list(made.series), np.array(made.positions), sizes, b"".join(made.forecasts))
    table = tables_of([stored], LEVELS).forecasts
    found = dict(zip(table["series"].to_pylist(), table["labels"].to_pylist(), strict=True))
    assert found["up"] is None
    assert dict(found['{x="1"}']) == {"x": "1"}
    assert dict(found['up{job="a b",x="é"}']) == {"__name__": "up", "job": "a b", "x": "é"}
    with duckdb.connect() as connection:
        connection.register("forecasts", table)
        query = "SELECT labels['x'] FROM forecasts WHERE series LIKE 'up{%'"
        assert connection.execute(query).fetchall() == [("é",)]


def test_pandas_and_polars(both):
    """Both read the folder as a data set with date and hour, without a view."""
    folder, path = both
    count = by_sqlite(path, "SELECT count(*) AS n FROM forecasts")["n"][0]
    frame = pd.read_parquet(folder / "forecasts")
    assert len(frame) == frame["id"].nunique() == count
    assert {"date", "hour"} <= {*frame.columns}
    assert str(frame["origin"].dtype) == "datetime64[ms, UTC]"
    assert set(frame["status"]) == {"ok", "missing", "unknown"}
    scanned = pl.scan_parquet(folder / "forecasts" / "**" / "*.parquet", hive_partitioning=True)
    assert scanned.select(pl.len()).collect().item() == count
    assert scanned.filter(pl.col("status") == "ok").select(pl.col("q50").list.len().unique()).collect().item() == 3


def test_encodings_that_all_readers_know(both):
    """Pages have encodings of the first version of the format, which Spark reads with its fast reader."""
    folder, _ = both
    for path in (folder / "forecasts").glob("*/*/*.parquet"):
        metadata = pq.read_metadata(path)
        groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
        columns = [group.column(at) for group in groups for at in range(group.num_columns)]
        assert {name for column in columns for name in column.encodings} <= {"PLAIN", "RLE", "RLE_DICTIONARY"}
        assert {column.compression for column in columns} == {"ZSTD"}


SPARK_TYPES = {
    pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_(), pa.date32(),
    pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="UTC"),
}  # fmt: skip


def leaves(kind: pa.DataType) -> list[pa.DataType]:
    """Returns the types within a type."""
    if pa.types.is_map(kind):
        return [*leaves(kind.key_type), *leaves(kind.item_type)]
    return leaves(kind.value_type) if pa.types.is_list(kind) else [kind]


def test_layout_that_spark_knows(both):
    """Folders are key=value with a date and an hour; types are such that Spark has (none is unsigned, times in ms)."""
    folder, _ = both
    for kind in ("forecasts", "silences"):
        paths = [*(folder / kind).rglob("*.parquet")]
        assert paths
        for path in paths:
            assert re.fullmatch(
                r"date=\d{4}-\d\d-\d\d/hour=\d\d/part-\d{12}\.parquet", str(path.relative_to(folder / kind))
            )
            found = pq.ParquetFile(path)
            assert {one for field in found.schema_arrow for one in leaves(field.type)} <= SPARK_TYPES
            assert not {field.name for field in found.schema_arrow} & {"date", "hour"}
            for at in range(len(found.schema)):
                assert found.schema.column(at).physical_type in {"BYTE_ARRAY", "INT32", "INT64", "DOUBLE", "BOOLEAN"}
        others = [path for path in (folder / kind).rglob("*") if path.is_file() and path not in paths]
        assert not [path for path in others if not path.name.startswith((".", "_"))]  # Spark skips these


@pytest.mark.parametrize("until", [START + 2_000_000, 1 << 52])
@pytest.mark.parametrize("last", [1, 4])
def test_newest_as_in_sqlite(both, until, last):
    """`forecaster forecasts` shows the same forecasts and actuals from both sinks."""
    folder, path = both
    with closing(ParquetForecasts(folder, folder / "positions.sqlite")) as stored:
        found = list(stored.newest("*", until, last))
        assert list(stored.newest("b", until, last)) == [one for one in found if one.series == "b"]
        assert list(stored.newest("none", until, last)) == []
    wanted = list(SqliteForecasts(path).newest("*", until, last))
    assert len(found) == len(wanted) == 3 * last
    for one, other in zip(found, wanted, strict=True):
        assert one._replace(quantiles=[], actuals=[]) == other._replace(quantiles=[], actuals=[])
        # Two partitions have events at the same time, of which either may be the newest.
        assert [actual is None for actual in one.actuals] == [actual is None for actual in other.actuals]


@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(-300, 280),
    st.sampled_from([0.0, 1.0, 1e6]),
    st.integers(0, 2**20),
)
def test_rounding(steps, levels, exponent, offset, seed):
    """Rounded quantiles keep their order, and are as near as the decimals of other formats; again changes nothing."""
    scale = 10.0**exponent
    values = np.sort(np.random.default_rng(seed).normal(offset, 1.0, (3, steps, levels)), axis=2) * scale
    values[2] = values[2, 0, 0]
    found = on_grid(values)
    assert (np.diff(found, axis=2) >= 0).all()
    mid = levels // 2
    half = np.maximum(values[:, :, mid] - values[:, :, 0], values[:, :, -1] - values[:, :, mid])
    span = values.max(axis=(1, 2)) - values.min(axis=(1, 2))
    narrow = np.where((half > 0).any(axis=1), np.where(half > 0, half, np.inf).min(axis=1), span)
    assert (np.abs(found - values) <= narrow[:, None, None] / 2000).all()
    np.testing.assert_array_equal(values[2], found[2])


def test_numbers_without_a_range():
    """Quantiles that are not finite or too small stay as they are; those at the end of the range stay finite."""
    values = np.array([[[0.0, 1.0, np.inf]], [[np.nan] * 3], [[5e-324, 1e-323, 2e-323]]])
    np.testing.assert_array_equal(on_grid(values), values)
    most = np.finfo(np.float64).max
    np.testing.assert_allclose(on_grid(np.array([[[-most, 0.0, most]]])), [[[-most, 0.0, most]]], rtol=1e-3)


@given(st.lists(st.integers(1, 99_999), min_size=1, unique=True))
def test_level_columns(numbers):
    """The level of a column is read from its name."""
    levels = [number / 100_000 for number in numbers]
    found = level_columns([*(column_of(level) for level in levels), "quantity", "id", "q", "queue5"])
    assert list(found.values()) == sorted(levels)


SOURCES = [
    {},
    {"event": 3},
    {"window": {"start": START, "end": START + 60_000}},
    {"event": 1, "window": {"start": START, "end": START + 60_000}, "mark": START + 90_000},
]


@pytest.mark.parametrize("calendar", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_rare_fields(source, calendar):
    """Windows, time marks, events of a record, suppressed flags and steps of the calendar are as in JSON."""
    decoded, forecasts = batch(8)
    steps = forecasts = replace(forecasts, notes=np.full(8, Note.MAINTENANCE if calendar else 0, np.uint8))
    if calendar:
        from forecaster import calendar_name

        code = next(number for number in range(1, 2000) if calendar_name(number) == "1mo")
        fields = {name: getattr(forecasts, name) for name in Forecasts.__dataclass_fields__}
        steps = Forecasts(**fields | {"calendar": np.full(8, code, fields["calendar"].dtype)})
    place = {"partition": "p", "position": 7, **source}
    within = replace(decoded, within=[source.get("event", -1)] * 8)
    text = JsonFormat().writer(within, steps, LEVELS, "ab" * 6, lambda _: place).one(6, "ok")
    record = ExactFormat().writer(within, steps, LEVELS, "ab" * 6, lambda _: place).one(6, "ok")
    stored = PendingUnit(1, "p", [decoded.series[6]], np.array([7]), np.array([len(record)]), record)
    (found,) = forecast_objects(tables_of([stored], LEVELS).forecasts)
    wanted = json.loads(text)
    assert list(found) == list(wanted)
    for name in wanted.keys() - {"quantiles", "anomaly"}:
        assert found[name] == wanted[name], name


PAGE = Path(__file__).parents[3] / "docs" / "parquet.md"


def test_columns_are_documented():
    """The page has every column, in its order; those of quantile levels are one row."""
    names = re.findall(r"^\| `(\w+)`[^|]*\|", PAGE.read_text(), re.MULTILINE)
    schema = forecast_schema([0.05, 0.5, 0.975])
    assert names == [name for name in schema.names if name not in {"q50", "q97_5"}]
    listed = re.search(r"columns of silences are ([^.]*)\.", PAGE.read_text())[1]
    assert re.findall(r"`(\w+)`", listed) == SILENCE_SCHEMA.names


def test_sql_of_the_page(both):
    """Every query of the page runs."""
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    queries = [text for text in re.sub(r"^(--|\.read).*$", "", block, flags=re.MULTILINE).split(";") if text.strip()]
    assert len(queries) == 3
    for query in queries:
        by_duckdb(both[0], query.replace("q95[12]", "q90[2]"))
