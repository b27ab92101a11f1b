"""Source and sink of a configuration, and combinations that are refused before anything is opened."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from service.config.load import load_config
from service.config.sections import Config
from service.errors import ConfigurationError
from service.kafka.group_positions import GroupPositions
from service.kafka.sink import KafkaSink
from service.kafka.source import KafkaSource
from service.kafka.tools.topics import plan
from service.kafka.topic_positions import TopicPositions
from service.lifecycle import SystemClock
from service.registry.models import Registry
from service.sinks.postgres_sink import PostgresSink
from service.sinks.sqlite_sink import SqliteSink
from service.sinks.stdout_sink import StdoutSink
from service.sources.history_first import HistoryFirst
from service.sources.local import LocalSource
from service.transport.build import check_transport, connector
from service.transport.pair import Pair

REGISTRY: dict[str, object] = {"schema_registry.url": "http://registry:8081"}
TOPICS = {"kafka.topics": "events"}
ALONE = {**TOPICS, "kafka.membership": "alone"}


def config(folder: Path, **flags: object) -> Config:
    """Returns a configuration with these settings, and a file as the input if no topic is set."""
    (folder / "in.csv").write_text("series,timestamp,value\n")
    given = {name.replace("__", "."): value for name, value in flags.items()}
    files = {} if "kafka.topics" in given else {"input.files": [str(folder / "in.csv")]}
    return load_config(None, {"state.data_dir": folder / "data", **files, **given})


@pytest.mark.parametrize(
    ("settings", "source", "sink", "atomic"),
    [
        ({}, LocalSource, SqliteSink, True),
        ({"output.sink": "stdout"}, LocalSource, StdoutSink, False),
        ({"output.sink": "kafka"}, LocalSource, KafkaSink, True),
        (TOPICS, KafkaSource, KafkaSink, True),
        ({**TOPICS, "output.sink": "kafka"}, KafkaSource, KafkaSink, True),
        ({**ALONE, "output.sink": "sqlite"}, KafkaSource, SqliteSink, True),
        ({**ALONE, "output.sink": "stdout"}, KafkaSource, StdoutSink, False),
        ({"output.sink": "postgres"}, LocalSource, PostgresSink, True),
        ({"postgres.url": "postgresql://h/d"}, LocalSource, PostgresSink, True),
        ({**ALONE, "postgres.url": "postgresql://h/d"}, KafkaSource, PostgresSink, True),
        ({"output.sink": "sqlite", "postgres.url": "postgresql://h/d"}, LocalSource, SqliteSink, True),
        ({"bootstrap.files": ["h.csv"]}, HistoryFirst, SqliteSink, True),
        ({"bootstrap.files": ["h.csv"], "output.sink": "kafka"}, HistoryFirst, KafkaSink, True),
        ({**ALONE, "output.sink": "sqlite", "bootstrap.files": ["h.csv"]}, HistoryFirst, SqliteSink, True),
    ],
)
def test_pairs(tmp_path: Path, settings: dict[str, object], source: type, sink: type, atomic: bool) -> None:
    """Each combination builds its pair, and opens nothing."""
    chosen = config(tmp_path, **settings)
    check_transport(chosen)
    pair = connector(chosen, Registry(tmp_path / "models", SystemClock()))()
    assert isinstance(pair, Pair)
    assert (type(pair.source), type(pair.sink), pair.atomic) == (source, sink, atomic)
    if isinstance(pair.sink, KafkaSink):
        kind = GroupPositions if source is KafkaSource else TopicPositions
        assert type(pair.sink._positions) is kind
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bootstrap.files": ["-"]}, 'bootstrap.files: got "-", expected names or globs of files'),
        ({"bootstrap.files": ["h.csv"], "input.push": True}, "bootstrap.files: got 2 inputs"),
        (
            {**TOPICS, "bootstrap.files": ["h.csv"]},
            'bootstrap.files: got output.sink = "kafka" with kafka.topics, expected output.sink = "sqlite" or "stdout"',
        ),
        (
            {**ALONE, "output.sink": "sqlite", "kafka.topics": "a, b", "bootstrap.files": ["h.csv"]},
            "bootstrap.files: got 2 topics, expected one",
        ),
        ({**TOPICS, "input.push": True}, "got input.push and kafka.topics, expected one of them"),
        ({**TOPICS, "output.sink": "sqlite"}, 'Set kafka.membership = "alone", or output.sink = "kafka"'),
        (
            {**TOPICS, "output.sink": "stdout"},
            'expected kafka.membership = "alone": positions are stored in the SQLite file',
        ),
        (
            {**ALONE, "output.sink": "sqlite", "kafka.share_snapshots": "10m"},
            'Set kafka.share_snapshots = 0, or output.sink = "kafka"',
        ),
        ({**TOPICS, "output.sink": "postgres"}, "positions are stored in the database schema of this process"),
        ({"output.sink": "postgres", "output.format": "json"}, 'output.sink = "postgres", which holds compact rows'),
        ({"postgres.url": "postgresql://h/d?a"}, "postgres.url: cannot be read by libpq; expected postgresql://"),
        ({"postgres.url": "postgresql://h/d", "postgres.password_file": "/none"}, "postgres.password_file: got /none"),
        ({**TOPICS, "input.format": "protobuf"}, "expected a schema registry: set schema_registry.url"),
        ({"input.push": True, "input.format": "json-schema"}, "read from kafka.topics with a schema registry only"),
        ({"output.format": "avro"}, 'which holds compact rows or JSON. Set output.format = "auto"'),
        ({"output.sink": "stdout", "output.format": "protobuf"}, 'output.sink = "stdout", which holds JSON'),
        ({**TOPICS, "output.format": "compact"}, "which holds JSON, Avro or Protobuf"),
        ({**TOPICS, "output.format": "avro"}, "set schema_registry.url"),
        (
            {**TOPICS, **REGISTRY, "output.format": "avro", "kafka.forecasts_per_record": 2},
            "kafka.forecasts_per_record = 2, expected 1",
        ),
        ({"output.sink": "kafka", "kafka.ca_file": "/none.pem"}, "kafka.ca_file: got /none.pem"),
    ],
)
def test_refused(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    """An invalid combination is refused with the setting to change."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        check_transport(config(tmp_path, **settings))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (TOPICS, ["events", "f.forecasts", "f.rejects", "f.adoptions", "f.models"]),
        ({"output.sink": "kafka"}, ["f.forecasts", "f.rejects", "f.adoptions", "f.models", "f.positions"]),
        ({**ALONE, "output.sink": "sqlite"}, ["events"]),
        (
            {**TOPICS, "kafka.share_snapshots": "10m"},
            ["events", "f.forecasts", "f.rejects", "f.adoptions", "f.models", "f.snapshots", "f.snapshot-chunks"],
        ),
    ],
)
def test_topics(tmp_path: Path, settings: dict[str, object], names: list[str]) -> None:
    """The topics that are created and checked are those that the pair needs."""
    planned = plan(config(tmp_path, **settings, **{"kafka.app": "f"}), 4, 1000)
    assert [topic.name for topic in planned] == names
    for topic in planned:
        if topic.name == "f.positions":
            assert (topic.partitions, topic.settings["cleanup.policy"]) == (1, "compact")


def test_schema_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry without its extra, or with a secret that is not there, is refused; for files it is not used."""
    registry = REGISTRY
    check_transport(config(tmp_path, **TOPICS, **registry))
    gone = {"schema_registry.token_file": str(tmp_path / "gone")}
    with pytest.raises(ConfigurationError, match=r"schema_registry\.token_file: got .*gone, expected a file"):
        check_transport(config(tmp_path, **TOPICS, **registry, **gone))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastavro" else object())
    with pytest.raises(ConfigurationError, match=r"fastavro not installed.*forecaster-daemon\[schema-registry\]"):
        check_transport(config(tmp_path, **TOPICS, **registry))
    check_transport(config(tmp_path, **TOPICS))
    with pytest.raises(ConfigurationError, match=r"fastavro not installed"):  # pushed records may be framed
        check_transport(config(tmp_path, **{"input.push": True}, **registry))
    check_transport(config(tmp_path, **{"input.files": ["events.jsonl"]}, **registry))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "grpc_tools" else object())
    with pytest.raises(ConfigurationError, match=r"grpcio-tools is not installed.*forecaster-daemon\[protobuf\]"):
        check_transport(config(tmp_path, **TOPICS, **registry, **{"input.format": "protobuf"}))
    with pytest.raises(ConfigurationError, match=r"output\.format: got .*grpcio-tools is not installed"):
        check_transport(config(tmp_path, **{"output.sink": "kafka"}, **registry, **{"output.format": "protobuf"}))
    check_transport(config(tmp_path, **TOPICS, **registry))


def test_psycopg_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the message has the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigurationError, match=r"psycopg is not installed; expected the extra: pip install .*postgres"
    ):
        check_transport(config(tmp_path, output__sink="postgres"))


def test_settings_without_secrets(tmp_path: Path) -> None:
    """The trainer and other processes read the settings with stars in place of the address; no sink takes them."""
    given = config(tmp_path, postgres__url="postgresql://ann:hunter2@h/d")
    shown = given.model_dump(mode="json")
    assert "hunter2" not in str(shown)
    again = Config.model_validate(shown)
    assert again.sink == "postgres"
    with pytest.raises(ConfigurationError, match=r"postgres\.url: cannot be read"):
        check_transport(again)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema_name", "Forecasts", "expected a name of lower-case letters"),
        ("schema_name", "pg_mine", "does not begin with pg_"),
        ("url", "http://ann:hunter2@h/d", "expected postgresql://USER@HOST:PORT/DATABASE"),
    ],
)
def test_bad_postgres_settings(tmp_path: Path, key: str, value: str, message: str) -> None:
    """A bad setting of the database is refused, and a password in it is not shown."""
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        config(tmp_path, **{f"postgres__{key}": value})
    assert "hunter2" not in str(caught.value)
