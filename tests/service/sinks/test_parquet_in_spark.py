"""Parquet files in a real Spark, beside DuckDB. Without pyspark (400 MB, and a Java that it supports) it is skipped.

pytest -m long tests/service/sinks/test_parquet_in_spark.py
"""

from __future__ import annotations

import re
from contextlib import closing, redirect_stdout
from io import StringIO
from pathlib import Path

import duckdb
import pytest
from test_parquet_columns import PAGE, by_duckdb
from test_parquet_sink import HOUR, ParquetOutput
from test_sqlite_views import LEVELS, START, batch

from service.messages.encode import encode
from service.messages.exact_columns import ExactFormat
from service.ports import Unit

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(1800)]

SPARK_TYPES = {
    "VARCHAR": "string", "BIGINT": "bigint", "INTEGER": "int", "DOUBLE": "double", "BOOLEAN": "boolean",
    "TIMESTAMP WITH TIME ZONE": "timestamp", "DATE": "date", "MAP(VARCHAR, VARCHAR)": "map<string,string>",
    "INTEGER[]": "array<int>", "DOUBLE[]": "array<double>", "TIMESTAMP WITH TIME ZONE[]": "array<timestamp>",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Files of three hours and two days, of series with labels and without, of two sets of levels."""
    with ParquetOutput(tmp_path_factory.mktemp("spark") / "out", file_bytes=20_000) as output:
        output.now += 14 * HOUR
        for number in range(18):
            output.now += HOUR // 5
            levels = LEVELS if number < 12 else (0.025, 0.5, 0.975)
            for partition, seed in (("p", 1), ("q", 2)):
                decoded, forecasts = batch(60, 10 * seed + number, start=START + number * 1_200_000)
                decoded.series[:] = [name if name == "b" else f'up{{job="{name}"}}' for name in decoded.series]
                if number:  # only the first ones have no forecast yet
                    forecasts.status[:3], forecasts.quantiles[:3] = 0, forecasts.quantiles[3:6]
                begin = number * 60
                decoded.positions[:] = range(begin, begin + 60)
                made = encode(decoded, forecasts, partition=partition, levels=levels, model_sha256="ab" * 32,
                              output=ExactFormat())  # fmt: skip
                output.sink.publish(Unit(partition, begin, begin + 60, made.series, made.forecasts,
                                         positions=made.positions))  # fmt: skip
        output.sink.close()
        assert len({path.parent for path in output.paths()}) >= 4
        yield output.folder
        output.start()


def test_spark_reads_what_duckdb_reads(folder: Path, tmp_path: Path) -> None:
    """Schema, partitions, counts, quantiles, labels and verified errors are those that DuckDB finds."""
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed here; pip install pyspark (400 MB)")
    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", False)
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.sql.warehouse.dir", str(tmp_path))
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.sql.shuffle.partitions", 1)
    block = re.search(r"## Spark.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    printed = StringIO()
    session = builder.getOrCreate()
    try:
        with redirect_stdout(printed):
            exec(block.replace("data/forecasts/forecasts", str(folder / "forecasts")), {})  # noqa: S102 - of the page
        assert "avg(abs(error))" in printed.getvalue()
        with duckdb.connect() as other:
            other.execute((folder / "views.sql").read_text())
            types = {name: SPARK_TYPES[kind] for name, kind, *_ in other.execute("DESCRIBE forecasts").fetchall()}
        assert {field.name: field.dataType.simpleString() for field in session.table("forecasts").schema} == types
        for spark, duck in (
            ("date, hour, count(*) FROM forecasts GROUP BY date, hour ORDER BY 1, 2",) * 2,
            ("status, count(*), count(labels), count(q2_5) FROM forecasts GROUP BY status ORDER BY 1",) * 2,
            ("id, q50, q10, q97_5, steps FROM forecasts ORDER BY id",) * 2,
            ("id, labels['job'] FROM forecasts ORDER BY id",) * 2,
            ("id, unix_millis(origin), transform(targets, x -> unix_millis(x)) FROM forecasts ORDER BY id",
             "id, epoch_ms(origin), list_transform(targets, lambda x: epoch_ms(x)) FROM forecasts ORDER BY id"),
            ("id, step, forecast, actual, error FROM verified ORDER BY 1, 2",) * 2,
            ("count(*) FROM forecasts WHERE date = (SELECT max(date) FROM forecasts) AND hour = 0",) * 2,
        ):  # fmt: skip
            found = [tuple(row) for row in session.sql(f"SELECT {spark}").collect()]
            with closing(duckdb.connect()) as other:
                other.execute((folder / "views.sql").read_text())
                assert found == other.execute(f"SELECT {duck}").fetchall(), spark
        assert len(by_duckdb(folder, "SELECT * FROM verified")) > 3000
    finally:
        session.stop()
