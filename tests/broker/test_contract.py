"""The transport contract over every pair with Kafka in it, both clients and a real broker."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from contract import RECORDS, TransportContract, World
from kafka import KafkaAdminClient
from kafka_tools import (
    Shelf,
    crash,
    file_to_kafka,
    kafka_to_sink,
    make_positions,
    produce,
    read_topic,
    settings,
    transport,
    values,
)
from postgres_outputs import RecordsOfTexts, identities, settings_of
from postgres_server import Server

from service.sinks.sqlite_sink import SqliteSink
from service.sinks.stdout_sink import StdoutSink


class TestContract(TransportContract):
    """Topics to topics."""

    @pytest.fixture(params=["kafka-python", "confluent"])
    def world(self, request, bootstrap, topics, app, tmp_path) -> World:
        """One partition that holds the records of the contract."""
        produce(bootstrap, topics(), RECORDS)
        shelf = Shelf({"f" * 64: b"a model"})
        config = settings(bootstrap, app, client=request.param, share_snapshots=600)  # deletes time marks
        return World(
            lambda: transport(config, tmp_path, shelf),
            crash,
            lambda: values(read_topic(bootstrap, f"{app}.forecasts")),
        )


class TestFilesToKafka(TransportContract):
    """Files to topics: positions are records of a topic."""

    @pytest.fixture(params=[("kafka-python", "plain"), ("kafka-python", "glob"), ("confluent", "plain")])
    def world(
        self,
        request: pytest.FixtureRequest,
        bootstrap: str,
        admin: KafkaAdminClient,
        topics: Callable[..., str],
        app: str,
        tmp_path: Path,
    ) -> World:
        """The records of the contract in one file, or in several that a glob names."""
        client, kind = request.param
        topics()
        make_positions(admin, app)
        shelf = Shelf({"f" * 64: b"a model"})
        step = 10 if kind == "glob" else len(RECORDS)
        for start in range(0, len(RECORDS), step):
            (tmp_path / f"part-{start:03}.jsonl").write_bytes(b"\n".join(RECORDS[start : start + step]) + b"\n")
        entry = tmp_path / ("part-*.jsonl" if kind == "glob" else "part-000.jsonl")
        config = settings(bootstrap, app, client=client)
        return World(
            lambda: file_to_kafka(config, entry, tmp_path / "data", shelf),
            crash,
            lambda: values(read_topic(bootstrap, f"{app}.forecasts")),
        )


def stored(path: Path) -> list[bytes]:
    """All forecasts in a SQLite file, in order."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT forecasts FROM batches ORDER BY partition, position").fetchall()
    return [json.dumps(one).encode() for (text,) in rows for one in json.loads(text)]


class TestKafkaToSqlite(TransportContract):
    """Topics to SQLite: positions are rows of the file."""

    @pytest.fixture(params=["kafka-python", "confluent"])
    def world(
        self, request: pytest.FixtureRequest, bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path
    ) -> World:
        """One partition that holds the records of the contract."""
        produce(bootstrap, topics(), RECORDS)
        config = settings(bootstrap, app, client=request.param)
        path = tmp_path / "forecasts.sqlite"
        return World(
            lambda: kafka_to_sink(config, SqliteSink(path), tmp_path / "data"),
            crash,
            lambda: stored(path),
        )


class TestKafkaToPostgres(TransportContract):
    """Topics to PostgreSQL: positions are rows of the database."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[Server]:
        """A server of these tests."""
        found = Server()
        found.start()
        yield found
        found.close()

    @pytest.fixture
    def world(self, server: Server, bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path) -> World:
        """One partition that holds the records of the contract."""
        produce(bootstrap, topics(), RECORDS)
        config, schema = settings(bootstrap, app), f"of_{time.monotonic_ns()}"
        return World(
            lambda: kafka_to_sink(config, RecordsOfTexts(settings_of(server, schema)), tmp_path / "data"),
            crash,
            lambda: identities(server, schema),
        )


class TestKafkaToStdout(TransportContract):
    """Topics to lines, with positions in a SQLite file."""

    @pytest.fixture
    def world(self, bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path) -> World:
        """One partition that holds the records of the contract."""
        produce(bootstrap, topics(), RECORDS)
        config: Any = settings(bootstrap, app)
        lines = io.BytesIO()
        return World(
            lambda: kafka_to_sink(
                config, StdoutSink(SqliteSink(tmp_path / "positions.sqlite"), lines), tmp_path / "data"
            ),
            crash,
            lambda: lines.getvalue().splitlines(),
        )
