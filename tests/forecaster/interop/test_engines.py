"""The operator inside bytewax and Spark: the examples of docs/engines.md give the forecasts of the daemon."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2]))
from engine_examples import EVENTS, Quantiles, check_equal, daemon_forecasts, example, write_events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the events."""
    folder = tmp_path_factory.mktemp("engines")
    write_events(folder)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> Quantiles:
    """The forecasts of the daemon, whose data are in the folder then."""
    return daemon_forecasts(folder)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="bytewax has no wheels for this Python")
def test_bytewax(folder: Path, expected: Quantiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataflow of bytewax gives the forecasts of the daemon, bit for bit."""
    monkeypatch.chdir(folder)
    exec(compile(example("bytewax"), "docs/engines.md", "exec"), {})  # noqa: S102 - of the page
    found = [json.loads(line) for line in Path("bytewax.jsonl").read_text().splitlines()]
    check_equal(
        {(one["series"], one["forecast"]["origin"]): np.array(one["forecast"]["quantiles"]) for one in found}, expected
    )


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")  # of pyspark, about pandas and sockets
def test_spark(folder: Path, expected: Quantiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query of Spark gives the forecasts of the daemon, bit for bit, over four micro-batches in any order.

    pytest -m long tests/forecaster/interop/test_engines.py, after pip install pyspark (400 MB), with Java 17.
    """
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed here; pip install pyspark (400 MB)")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("TZ", "UTC")
    header, *lines = Path("demand.csv").read_text().splitlines(keepends=True)
    Path("incoming").mkdir()
    rng = np.random.default_rng(5)
    for number, start in enumerate(range(0, EVENTS, EVENTS // 4)):
        path = Path(f"incoming/{number}.csv")
        path.write_text(header + "".join(rng.permutation(lines[start : start + EVENTS // 4])))
        os.utime(path, (1e9 + number, 1e9 + number))
    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", False)
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    builder = builder.config("spark.sql.shuffle.partitions", 1).config("spark.sql.session.timeZone", "UTC")
    session = builder.getOrCreate()
    try:
        exec(compile(example("Spark Structured Streaming"), "docs/engines.md", "exec"), {})  # noqa: S102 - of the page
        rows = session.read.parquet("forecasts").selectExpr("series", "unix_millis(origin) AS ms", "quantiles")
        found = {
            (row.series, f"{dt.datetime.fromtimestamp(row.ms / 1000, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"): np.array(
                row.quantiles
            )
            for row in rows.collect()
        }
    finally:
        session.stop()
    check_equal(found, expected)
