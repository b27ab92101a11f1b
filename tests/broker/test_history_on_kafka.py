"""A history before a topic, and where reading of a topic begins at a first start (`kafka.start`)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka_tools import Shelf, kafka_to_sink, lock_of, make_positions, patient, produce, settings

from service.config.kafka import KafkaConfig
from service.config.sections import Config
from service.folder_lock import FolderLock
from service.kafka.records import Partitioner
from service.ports import HISTORY_BEGIN, Adoption, Records, Unit
from service.sinks.sqlite_sink import SqliteSink
from service.sources import Source
from service.sources.file_source import FileSource
from service.sources.history import HistoryInput
from service.sources.history_first import HistoryFirst
from service.sources.local import LocalSource
from service.transport.history import overlap_of, with_history
from service.transport.kafka_pairs import kafka_to_local, local_to_kafka
from service.transport.pair import Pair


def taken(pair: Pair) -> list[Records]:
    """Reads and commits everything that was there at the start."""
    found = list[Records]()
    while (records := pair.poll(100, 0.3)) is not None:
        found.append(records)
        begin = pair.committed(records.partition)
        begin = pair.earliest(records.partition) if begin is None else begin
        pair.publish(Unit(records.partition, begin, records.next_position, [], []))
    return found


def numbers(found: list[Records]) -> list[bytes]:
    """Returns all values, in order."""
    return [value for records in found for value in records.values]


@pytest.fixture
def topic(topics: Callable[..., str], app: str) -> str:
    """Makes the topics with one partition; returns the input topic."""
    return topics(partitions=1)


class TestStart:
    """`kafka.start`."""

    @pytest.mark.parametrize("start", ["earliest", "latest", "committed", "time"])
    def test_first_start(self, bootstrap: str, topic: str, app: str, tmp_path: Path, start: str) -> None:
        """A first start begins at the record that the setting says; a later one where the one before it ended."""
        produce(bootstrap, topic, [b"1", b"2"])
        time.sleep(0.05)
        at = datetime.now(UTC).isoformat()
        time.sleep(0.05)
        produce(bootstrap, topic, [b"3"])
        config = settings(bootstrap, app, membership="alone", start=at if start == "time" else start)
        expected = {"latest": [], "time": [b"3"]}.get(start, [b"1", b"2", b"3"])
        for more in (b"4", b"5"):
            pair = kafka_to_sink(config, SqliteSink(tmp_path / "out.sqlite"), tmp_path)
            pair.start()
            try:
                assert numbers(taken(pair)) == expected
            finally:
                pair.close()
            produce(bootstrap, topic, [more])
            expected = [more]


def pair_of(config: KafkaConfig, folder: Path, files: list[Path]) -> Pair:
    """Returns a pair of a topic after files."""
    whole = Config.model_validate(
        {"state": {"data_dir": str(folder)}, "bootstrap": {"files": [str(file) for file in files]}}
    )

    def wrapped(live: Source) -> Source:
        return with_history(live, whole)

    lock = FolderLock(folder / "data.lock", folder, "end it")
    return patient(kafka_to_local(config, SqliteSink(folder / "out.sqlite"), lock, wrapped=wrapped))


def test_files_before_a_topic(bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path) -> None:
    """Every partition takes in the files, then its records from the end that the topic had at the first start."""
    topic = topics(partitions=2)
    for number in (0, 1):
        produce(bootstrap, topic, [b"old"], partition=number)
    history = tmp_path / "h.jsonl"
    history.write_bytes(b"1\n2\n")
    config = settings(bootstrap, app, membership="alone")
    (tmp_path / "data").mkdir()
    pair = pair_of(config, tmp_path / "data", [history])
    pair.start()
    try:
        first = pair.poll(1, 0.0)
        assert first is not None
        assert first.positions == [HISTORY_BEGIN]
        pair.publish(Unit(first.partition, HISTORY_BEGIN, first.next_position, [], []))
    finally:
        pair.close()
    produce(bootstrap, topic, [b"new"], partition=int(first.partition[-1]))
    pair = pair_of(config, tmp_path / "data", [history])
    pair.start()
    try:
        found = taken(pair)
        replayed = [value for one in pair.replay(first.partition, HISTORY_BEGIN, 2, 10) for value in one.values]
    finally:
        pair.close()
    own = [one for one in found if one.partition == first.partition]
    assert numbers(own) == [b"2", b"new"]
    assert numbers([one for one in found if one not in own]) == [b"1", b"2"]
    assert replayed == [b"1", b"2", b"new"]


def test_files_before_files_to_topics(
    bootstrap: str, topics: Callable[..., str], app: str, admin: KafkaAdminClient, tmp_path: Path
) -> None:
    """Positions of a history stand in the topic of positions: a start after each record goes on behind it."""
    topics()
    make_positions(admin, app)
    history, live = tmp_path / "h.jsonl", tmp_path / "live.jsonl"
    history.write_bytes(b"1\n2\n")
    live.write_bytes(b"3\n4\n")
    config = settings(bootstrap, app).model_copy(update={"topics": ()})
    model = hashlib.sha256(b"model").hexdigest()
    found, shelf, ended = list[bytes](), Shelf({model: b"model"}, model), False
    (tmp_path / "data").mkdir()
    while not ended:
        source = HistoryFirst(LocalSource([FileSource(str(live))]), [HistoryInput(str(history))])
        pair = patient(local_to_kafka(config, source, shelf, lock_of(tmp_path / "data")))
        pair.start()
        try:
            records = pair.poll(1, 0.3)
            ended = records is None
            if records is not None:
                begin = pair.committed(records.partition)
                adoption = Adoption(HISTORY_BEGIN, model) if begin is None else None
                begin = pair.earliest(records.partition) if begin is None else begin
                pair.publish(Unit(records.partition, begin, records.next_position, [], [], adoption=adoption))
                found += records.values
            else:
                assert [one.position for one in pair.adoptions(str(live))] == [HISTORY_BEGIN]
                replayed = [value for one in pair.replay(str(live), HISTORY_BEGIN, 4, 10) for value in one.values]
        finally:
            pair.close()
    assert found == replayed == [b"1", b"2", b"3", b"4"]


def test_series_belong_to_the_partition_of_their_key() -> None:
    """A partition takes in exactly the series that producers send there."""
    config = Config.model_validate(
        {"kafka": {"topics": ["t"]}, "bootstrap": {"files": ["h.csv"]}, "output": {"sink": "sqlite"}}
    )
    names, places = [f"series {number}" for number in range(100)], ["t-0", "t-1", "t-2"]
    for number, place in enumerate(places):
        overlap = overlap_of(config, place, len(places))
        assert overlap is not None
        assert overlap._owns is not None
        assert [name for name in names if overlap._owns(name)] == [
            name for name in names if Partitioner().hash(name) % 3 == number
        ]
