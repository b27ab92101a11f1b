"""Pairs with Kafka on one side: where positions are stored, and how a start handles missing positions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import kafka_proxy as wire
import pytest
from contract import read, unit_of
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.structs import TopicPartition
from kafka_tools import (
    PatientPair,
    Shelf,
    crash,
    drain,
    file_to_kafka,
    kafka_to_sink,
    lock_of,
    make_positions,
    patient,
    positions,
    produce,
    read_topic,
    settings,
)

from service.errors import SinkFormatError, SourceGoneError, TransportError
from service.ports import Adoption, Outcomes, Reject
from service.sinks.sqlite_sink import SqliteSink
from service.sources.local import LocalSource
from service.sources.push_log import PushLog
from service.sources.push_source import PushSource
from service.transport.kafka_pairs import local_to_kafka

CLIENTS = pytest.mark.parametrize("client", ["kafka-python", "confluent"])


@pytest.fixture
def outputs(admin: KafkaAdminClient, topics: Callable[..., str], app: str) -> str:
    """Makes the topics of a daemon that reads files; returns the name of the topic of positions."""
    topics()
    return make_positions(admin, app)


class TestFilesToKafka:
    """Positions are records of a topic."""

    def test_what_the_topic_holds(self, bootstrap: str, outputs: str, app: str, tmp_path: Path) -> None:
        """The topic has a position per partition and an entry per file; a transaction writes only changed entries."""
        for name in "abc":
            (tmp_path / f"{name}.jsonl").write_bytes(b"1\n2\n")
        entry = tmp_path / "*.jsonl"
        one = file_to_kafka(settings(bootstrap, app), entry, tmp_path / "data")
        one.start()
        read(one, limit=1)
        one.close()
        found = [(json.loads(record.key), json.loads(record.value)) for record in read_topic(bootstrap, outputs)]
        assert [value["position"] for key, value in found if key == [str(entry)]] == [2, 4, 6, 8, 10, 12]
        entries = [(key[1], Path(key[2]).name, value["size"]) for key, value in found if len(key) > 1]
        assert entries == [
            (0, "a.jsonl", None), (0, "a.jsonl", None), (0, "a.jsonl", 4), (4, "b.jsonl", None),
            (4, "b.jsonl", None), (4, "b.jsonl", 4), (8, "c.jsonl", None), (8, "c.jsonl", None),
        ]  # fmt: skip

    def test_entries_that_are_no_more(self, bootstrap: str, outputs: str, app: str, tmp_path: Path) -> None:
        """Obsolete entries are removed by tombstones, and a start does not find them."""
        path, entry = tmp_path / "a.jsonl", tmp_path / "*.jsonl"
        config = settings(bootstrap, app)
        path.write_bytes(b"1\n")
        one = file_to_kafka(config, entry, tmp_path / "data")
        one.start()
        read(one)
        (tmp_path / "b.jsonl").write_bytes(b"2\n")
        one.close()
        one = file_to_kafka(config, entry, tmp_path / "data")
        one.start()
        read(one)
        one.close()
        path.write_bytes(b"1\n3\n")  # one more segment of a released file
        one = file_to_kafka(config, entry, tmp_path / "data")
        one.start()
        read(one)
        one.release(str(entry), 6)  # only the newest segment of a is needed then
        (tmp_path / "c.jsonl").write_bytes(b"4\n")
        one.close()
        one = file_to_kafka(config, entry, tmp_path / "data")
        one.start()
        one.release(str(entry), 6)
        read(one)
        one.close()
        removed = [json.loads(record.key) for record in read_topic(bootstrap, outputs) if record.value is None]
        assert [str(entry), 0, str(path)] in removed
        again = file_to_kafka(config, entry, tmp_path / "data")
        again.start()
        assert (0, str(path)) not in [one.key for one in again.sink.files(str(entry))]
        assert again.committed(str(entry)) == 8
        again.close()

    def test_a_position_that_is_gone(
        self, bootstrap: str, admin: KafkaAdminClient, outputs: str, app: str, tmp_path: Path
    ) -> None:
        """A start whose position is missing stops if adoptions show that events were answered."""
        (tmp_path / "a.jsonl").write_bytes(b"1\n2\n")
        config = settings(bootstrap, app)
        one = file_to_kafka(config, tmp_path / "a.jsonl", tmp_path / "data")
        one.start()
        read(one)
        one.close()
        admin.delete_topics([outputs])
        deadline = time.monotonic() + 30
        while outputs in admin.list_topics() and time.monotonic() < deadline:
            time.sleep(0.1)
        make_positions(admin, app)
        again = file_to_kafka(config, tmp_path / "a.jsonl", tmp_path / "data")
        with pytest.raises(SourceGoneError, match=r"got no position.*kafka\.app"):
            again.start()
        again.close()
        assert len(positions(bootstrap, app)) == 2

    @pytest.mark.parametrize(
        ("value", "error", "message"),
        [(b'{"position": "x"}', SinkFormatError, "expected a position of this program"),
         (b'{"position": 0}', SourceGoneError, "has later positions")],
    )  # fmt: skip
    def test_a_position_that_somebody_wrote(
        self,
        bootstrap: str,
        outputs: str,
        app: str,
        tmp_path: Path,
        value: bytes,
        error: type[TransportError],
        message: str,
    ) -> None:
        """A position that is unreadable, or before answered events, stops a start."""
        path, sha256 = tmp_path / "a.jsonl", "f" * 64
        path.write_bytes(b"1\n2\n")
        config, shelf = settings(bootstrap, app), Shelf({sha256: b"a model"})
        one = file_to_kafka(config, path, tmp_path / "data", shelf)
        one.start()
        for adoption in (None, Adoption(2, sha256)):
            records = one.poll(1, 1.0)
            assert records is not None
            one.publish(unit_of(records, adoption=adoption))
        one.close()
        produce(bootstrap, outputs, [value], key=json.dumps([str(path)], separators=(",", ":")).encode())
        again = file_to_kafka(config, path, tmp_path / "data", shelf)
        with pytest.raises(error, match=message):
            again.start()
        again.close()

    @CLIENTS
    def test_fenced(self, bootstrap: str, outputs: str, app: str, tmp_path: Path, client: str) -> None:
        """A later start with the same name fences the earlier process, without group membership."""
        (tmp_path / "a.jsonl").write_bytes(b"1\n2\n")
        config = settings(bootstrap, app, client=client)
        first = file_to_kafka(config, tmp_path / "a.jsonl", tmp_path / "one")
        first.start()
        records = first.poll(1, 1.0)
        assert records is not None
        second = file_to_kafka(
            config.model_copy(update={"instance": "another"}), tmp_path / "a.jsonl", tmp_path / "two"
        )
        second.start()
        with pytest.raises(TransportError, match="fenced"):
            first.publish(unit_of(records))
        first.close()
        assert read(second) == [b"1", b"2"]
        second.close()
        assert len(positions(bootstrap, app)) == 2

    @CLIENTS
    @pytest.mark.parametrize("api", [wire.END_TXN, wire.PRODUCE, wire.ADD_PARTITIONS])
    @pytest.mark.parametrize("side", ["request", "answer"])
    def test_lost_frame(
        self,
        proxied: str,
        proxy: wire.Proxy,
        bootstrap: str,
        outputs: str,
        app: str,
        tmp_path: Path,
        client: str,
        api: int,
        side: str,
    ) -> None:
        """If a request or an answer of a transaction is lost, every record is answered once; the position is right."""
        path = tmp_path / "a.jsonl"
        path.write_bytes(b"".join(b"%d\n" % number for number in range(10, 22)))
        config = settings(proxied, app, client=client, request_timeout=1, delivery_timeout=2, transaction_timeout=5)

        def lose(published: int) -> None:
            if published == 2:
                rules = proxy.request_rules if side == "request" else proxy.answer_rules
                rules[api] = wire.eat_first(1)

        drain(lambda: file_to_kafka(config, path, tmp_path / "data"), lose)
        assert positions(bootstrap, app) == list(range(0, 36, 3))
        one = file_to_kafka(settings(bootstrap, app), path, tmp_path / "data")
        one.start()
        assert one.committed(str(path)) == 36
        assert one.finished()
        one.close()

    def test_pushed_events(self, bootstrap: str, outputs: str, app: str, tmp_path: Path) -> None:
        """Pushed events are a partition like a file; a restart resumes in their spool at the position of the topic."""
        log = PushLog(tmp_path / "push", 1 << 20)
        config = settings(bootstrap, app, topics=(), membership="alone")

        def made() -> PatientPair:
            return patient(local_to_kafka(config, LocalSource([PushSource(log)]), Shelf(), lock_of(tmp_path / "data")))

        one = made()
        one.patience = 0.2
        one.start()
        log.append(b"1\n2\n")
        assert read(one, limit=1, stop_after=1) == [b"1"]
        crash(one)
        log.append(b"3\n")
        one = made()
        one.patience = 0.2
        one.start()
        assert read(one) == [b"2", b"3"]
        assert one.lag() == {"push": 0}
        one.close()
        log.close()
        assert len(positions(bootstrap, app)) == 3

    def test_outcomes_and_rejects(self, bootstrap: str, outputs: str, app: str, tmp_path: Path) -> None:
        """Outcomes of records are available after a restart; a reject names its file."""
        path = tmp_path / "a.jsonl"
        path.write_bytes(b"1\n2\n")
        config = settings(bootstrap, app)
        for at in (0, 2):
            one = file_to_kafka(config, path, tmp_path / "data")
            one.start()
            records = one.poll(1, 1.0)
            assert records is not None
            reject = Reject(at, records.values[0], "wrong_type" if at else "late", "got 2")
            one.publish(unit_of(records, rejects=[reject], outcomes=Outcomes(1, 1, 2)))
            crash(one)
        one = file_to_kafka(config, path, tmp_path / "data")
        one.start()
        assert one.outcomes() == Outcomes(2, 2, 4, {"wrong_type": 1}, "got 2")
        assert one.identity.name.endswith(f"/{outputs}/{app}.forecasts")
        one.close()
        headers = [dict(record.headers) for record in read_topic(bootstrap, f"{app}.rejects")]
        assert [one["forecaster.partition"] for one in headers] == [str(path).encode()] * 2
        assert [one["__connect.errors.offset"] for one in headers] == [b"0", b"2"]


class TestKafkaToSqlite:
    """Positions are rows of a file; offsets of the group are informative only."""

    @CLIENTS
    def test_lag_tools_see_the_offset(
        self, bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path, client: str
    ) -> None:
        """The group's offset follows the position, and a start ignores it."""
        topic = topics()
        produce(bootstrap, topic, [b"1", b"2", b"3"])
        config = settings(bootstrap, app, client=client)
        one = kafka_to_sink(config, SqliteSink(tmp_path / "f.sqlite"), tmp_path / "data")
        one.start()
        assert read(one, limit=1, stop_after=2) == [b"1", b"2"]
        one.close()
        source = TopicPartition(topic, 0)
        lag = KafkaConsumer(bootstrap_servers=bootstrap, group_id=app, enable_auto_commit=False)
        try:
            assert lag.committed(source) == 2
        finally:
            lag.close(autocommit=False)
        other = kafka_to_sink(config, SqliteSink(tmp_path / "other.sqlite"), tmp_path / "other")
        other.start()
        assert read(other) == [b"1", b"2", b"3"]
        other.close()

    @CLIENTS
    def test_a_topic_made_anew(
        self,
        bootstrap: str,
        admin: KafkaAdminClient,
        topics: Callable[..., str],
        app: str,
        tmp_path: Path,
        client: str,
    ) -> None:
        """Positions of a deleted topic are not used for a new topic of the same name."""
        topic = topics()
        produce(bootstrap, topic, [b"1", b"2"])
        config = settings(bootstrap, app, client=client)
        one = kafka_to_sink(config, SqliteSink(tmp_path / "f.sqlite"), tmp_path / "data")
        one.start()
        read(one)
        one.close()
        admin.delete_topics([topic])
        deadline = time.monotonic() + 30
        while topic in admin.list_topics() and time.monotonic() < deadline:
            time.sleep(0.1)
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        admin.wait_for_topics([topic])
        produce(bootstrap, topic, [b"3", b"4", b"5"])
        again = kafka_to_sink(config, SqliteSink(tmp_path / "f.sqlite"), tmp_path / "data")
        with pytest.raises(SourceGoneError, match="was deleted and created again"):
            again.start()
        again.close()

    def test_rejects_as_they_came(self, bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path) -> None:
        """A reject keeps the envelope, key and headers of its event, including one without a value."""
        envelope = b'{"specversion":"1.0","data":{"value":"x"}}'
        headers = [("content-type", b"application/cloudevents+json"), ("none", None)]
        produce(bootstrap, topics(), [envelope], key=b"k", headers=[headers[0]])
        sink = SqliteSink(tmp_path / "f.sqlite")
        one = kafka_to_sink(settings(bootstrap, app), sink, tmp_path / "data")
        one.start()
        records = one.poll(1, 1.0)
        assert records is not None
        assert records.values == [envelope]
        one.publish(unit_of(records, rejects=[Reject(0, records.values[0], "wrong_type", "", b"k", headers)]))
        assert sink.rows("SELECT value, key, headers FROM rejects") == [
            (envelope, b"k", '[["content-type","application/cloudevents+json"],["none",""]]')
        ]
        one.close()
