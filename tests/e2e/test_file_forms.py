"""A daemon over Parquet, Avro, annotated CSV or an access log leaves, killed, the output of a run without kills."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import fastavro
import pyarrow as pa
import pytest
from pyarrow import parquet
from test_kill import KILLED, assert_whole, content, launcher, write_config, write_events

SCHEMA = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "series", "type": "string"},
        {"name": "timestamp", "type": "long"},
        {"name": "value", "type": ["null", "double"]},
    ],
}
EVENTS = 400


@pytest.mark.slow
def test_same_output_in_every_form(tmp_path: Path) -> None:
    """Forecasts, positions and rejects are byte for byte those of JSON lines, after kills during the first read."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name in ("first", "second"):
        write_events(inputs / f"{name}.jsonl", EVENTS, bad=False)
        rows = [json.loads(line) for line in (inputs / f"{name}.jsonl").read_text().splitlines()]
        rows[len(rows) // 2]["value"] = None
        # Without spaces the lines are those of the rows, so that even the positions are equal.
        lines = [json.dumps(row, separators=(",", ":")) for row in rows]
        (inputs / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        if name == "first":
            parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "first.parquet", row_group_size=90)
        else:
            with (tmp_path / "second.avro").open("wb") as file:
                fastavro.writer(file, SCHEMA, rows, sync_interval=1000)
    config = write_config(tmp_path, [inputs / "first.*", inputs / "second.*"])
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert len(expected["forecasts"]) >= 2 * EVENTS - 2
        shutil.rmtree(tmp_path / "data")
        for name in ("first.parquet", "second.avro"):
            (inputs / name).with_suffix(".jsonl").unlink()
            (tmp_path / name).rename(inputs / name)
        for passage in (2, 9):
            assert start.run(kill_at=f"step:3:{passage}") == KILLED
        assert start.run() == 0
        assert_whole(tmp_path, expected)


def write_annotated(path: Path) -> None:
    """Writes two annotated tables of several series, with a missing, a bad and a quoted value."""
    lines = []
    for measurement, tag in (("cpu", "host"), ("disk", "path")):
        lines += [
            "#group,false,false,false,false,true,true,true",
            "#datatype,string,long,dateTime:RFC3339,double,string,string,string",
            "#default,mean,,,,,,",
            f",result,table,_time,_value,_field,_measurement,{tag}",
        ]
        for series in range(3):
            for step in range(EVENTS // 4):
                value = {7: "", 30: "abc"}.get(step, f"{step % 5 + series}.5")
                time = f"2026-01-05T{step // 60:02d}:{step % 60:02d}:00Z"
                lines.append(f',,{series},{time},{value},used,{measurement},"a, {series}"')
        lines.append("")
    path.write_text("\r\n".join(lines) + "\r\n")


@pytest.mark.slow
def test_annotated_after_kills(tmp_path: Path) -> None:
    """Forecasts, positions and rejects of annotated CSV are byte for byte those of a run without kills."""
    write_annotated(tmp_path / "influx.csv")
    config = write_config(tmp_path, [tmp_path / "influx.csv"])
    config.write_text(config.read_text().replace("[input]\n", '[input]\nformat = "annotated-csv"\n'))
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert len(expected["forecasts"]) + len(expected["rejects"]) == 6 * EVENTS // 4
        assert expected["rejects"]
        shutil.rmtree(tmp_path / "data")
        for step, passage in ((3, 2), (4, 5), (5, 3)):
            assert start.run(kill_at=f"step:{step}:{passage}") == KILLED
        assert start.run() == 0
        assert_whole(tmp_path, expected)


@pytest.mark.slow
def test_access_log_after_kills(tmp_path: Path) -> None:
    """Counts and percentiles of a compressed access log are byte for byte those of a run without kills."""
    log = Path(__file__).parents[2] / "examples" / "access.log.gz"
    lines = gzip.decompress(log.read_bytes()).splitlines()
    lines[300:300] = [b"", b"not an entry", lines[10]]
    (tmp_path / "access.log.gz").write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    more = """[aggregate]
interval = "1m"
functions = ["count", "p95"]
rules = [{series = "/cart", functions = ["distinct", "max"], empty = "last"}]
"""
    config = write_config(tmp_path, [tmp_path / "access.log.gz"], more)
    fields = '[input]\nformat = "access-log"\nfields = {series = "path", value = "request_time"}\n'
    config.write_text(config.read_text().replace("[input]\n", fields))
    with launcher(config) as start:
        assert start.run() == 0
        expected = content(tmp_path)
        assert {"/.count", "/.p95", "/cart.distinct", "/cart.max"} <= {row[2] for row in expected["forecasts"]}
        assert [row[2] for row in expected["rejects"]] == ["undecodable", "late"]
        shutil.rmtree(tmp_path / "data")
        for step, passage in ((3, 2), (4, 5), (5, 3), (4, 9)):
            assert start.run(kill_at=f"step:{step}:{passage}") == KILLED
        assert start.run() == 0
        assert_whole(tmp_path, expected)
