"""Daemons with Kafka on one side, killed at every step: each event is answered once, as in an undisturbed run.

    CHAOS_PARQUET_KILLS=200 pytest tests/broker/chaos/test_chaos_pairs.py -k parquet

is the long form of Kafka to Parquet.
"""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from daemons import Daemons, Sections, answers, events, rejected
from kafka import KafkaAdminClient
from kafka_tools import make_positions, make_topics, produce, read_topic

KILLED = -9
COUNT = 700  # events per partition: about twenty batches
PARQUET_KILLS = int(os.environ.get("CHAOS_PARQUET_KILLS", "6"))


def torment(daemons: Daemons) -> int:
    """Kills a daemon after each step at an early and a later pass, then at random moments; returns how many kills."""
    kills = 0
    for step in (1, 2, 3, 4, 5):
        for passage in (1, 3):
            status = daemons.run(kill_at=f"step:{step}:{passage}")
            assert status == KILLED, daemons.log()
            kills += 1
    rng = random.Random(20261129)
    for _ in range(4):
        kills += daemons.run(seconds=rng.uniform(0.3, 1.2)) == KILLED
    assert daemons.finish() == 0, daemons.log()
    return kills


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_files_to_kafka(bootstrap: str, admin: KafkaAdminClient, app: str, tmp_path: Path, client: str) -> None:
    """Positions are records of the transaction; a reader with read_committed sees each answer once."""
    files = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path in files:
        path.write_bytes(b"\n".join(events(COUNT)) + b"\n")
    found = []
    for name in (f"{app}q", f"{app}k"):
        make_topics(admin, name)
        make_positions(admin, name)
        more: Sections = {"input": {"files": [str(path) for path in files]}, "output": {"sink": "kafka"}}
        with Daemons(tmp_path / name, bootstrap, name, "", more, client=client, topics=[]) as daemons:
            if name.endswith("q"):
                assert daemons.run() == 0, daemons.log()
            else:
                assert torment(daemons) >= 10
        found.append((answers(bootstrap, name), rejected(bootstrap, name)))
    quiet, killed = found
    assert sum(map(len, quiet[0].values())) > 1.7 * COUNT
    assert quiet[1]
    assert killed == quiet


# All but the order of the commits, which depends on batches.
_COLUMNS = "partition, position, series, origin, interval_ms, model, status, levels, quantiles, anomaly, flagged, value"


def content(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Returns everything a reader of a SQLite file sees, in an order that does not depend on batches."""
    with closing(sqlite3.connect(f"file:{folder / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        return {
            table: database.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
            for table, columns in (
                ("forecasts", _COLUMNS), ("rejects", "*"), ("positions", "*"), ("adoptions", "partition, model"),
            )
        }  # fmt: skip


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_kafka_to_sqlite(bootstrap: str, admin: KafkaAdminClient, app: str, tmp_path: Path, client: str) -> None:
    """Offsets are rows of the SQLite transaction; each event is answered once."""
    topic = f"{app}.in"
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
    admin.wait_for_topics([topic])
    for partition in (0, 1):
        produce(bootstrap, topic, events(COUNT), partition=partition)
    found = []
    for name in (f"{app}q", f"{app}k"):
        more: Sections = {"output": {"sink": "sqlite"}}
        with Daemons(tmp_path / name, bootstrap, name, topic, more, client=client, membership="alone") as daemons:
            if name.endswith("q"):
                assert daemons.run() == 0, daemons.log()
            else:
                assert torment(daemons) >= 10
            found.append(content(daemons.data()))
    quiet, killed = found
    places = [row[:2] for row in killed["forecasts"]]
    assert len(set(places)) == len(places) > 1.7 * COUNT
    assert quiet["rejects"]
    assert killed == quiet
    assert len(read_topic(bootstrap, topic)) == 2 * COUNT


def rows_of(folder: Path, columns: str) -> list[tuple[object, ...]]:
    """Returns what DuckDB reads from the Parquet files of a daemon, in an order that does not depend on batches."""
    files = folder / "forecasts" / "forecasts"
    if not [*files.glob("*/*/*.parquet")]:
        return []
    order = "ORDER BY partition, position, series, origin"
    return duckdb.sql(f"SELECT {columns} FROM read_parquet('{files}/*/*/*.parquet') {order}").fetchall()


@pytest.mark.timeout(900 + 20 * PARQUET_KILLS)
def test_kafka_to_parquet(bootstrap: str, admin: KafkaAdminClient, app: str, tmp_path: Path) -> None:
    """Files are announced in the transaction of the offsets: no event is in two of them, at no moment, or in none."""
    topic = f"{app}.in"
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
    admin.wait_for_topics([topic])
    for partition in (0, 1):
        produce(bootstrap, topic, events(COUNT), partition=partition)
    more: Sections = {"output": {"sink": "parquet", "file_bytes": 65_536, "file_age": "1s"}}
    with Daemons(tmp_path / "quiet", bootstrap, f"{app}q", topic, more, membership="alone") as daemons:
        assert daemons.run() == 0, daemons.log()
        quiet = rows_of(daemons.data(), "* EXCLUDE (date, hour, id)")  # files are cut by the clock
    assert len(quiet) > 1.7 * COUNT
    rng, kills, runs = random.Random(20261201), 0, 0
    while kills < PARQUET_KILLS:
        runs += 1
        name = f"{app}k{runs}"
        with Daemons(tmp_path / name, bootstrap, name, topic, more, membership="alone") as daemons:
            for _ in range(min(10, PARQUET_KILLS - kills)):
                if rng.random() < 0.5:
                    status = daemons.run(kill_at=f"step:{rng.randint(1, 5)}:{rng.randint(1, 4)}")
                else:
                    status = daemons.run(seconds=rng.uniform(0.2, 2.0))
                places = rows_of(daemons.data(), "partition, position, series, origin")
                assert len(set(places)) == len(places)
                if status == 0:
                    break
                assert status == KILLED, daemons.log()
                kills += 1
            else:
                assert daemons.finish() == 0, daemons.log()
            assert rows_of(daemons.data(), "* EXCLUDE (date, hour, id)") == quiet
    print(f"{kills} kills in {runs} runs, {len(quiet)} forecasts each")
