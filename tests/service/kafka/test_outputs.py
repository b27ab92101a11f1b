"""The newest output of a partition, searched backwards from the ends of the output topics."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import SchemaRegistryError, SourceGoneError, TransportError, UnreachableError
from service.kafka import outputs as kafka_outputs
from service.kafka.outputs import newest_output
from service.kafka.records import Origin, PastRecords, adoption_message, reject_message, run_message
from service.messages.frames import FrameError
from service.ports import Adoption, Reject
from service.schemas.forecast_reader import ForecastReader

SETTINGS = KafkaConfig.model_validate({"app": "a", "topics": ["in"]})
SOURCE = Origin("in", 0)
FORECASTS, REJECTS = "a.forecasts", "a.rejects"


def forecast(position: int, partition: str = "in-0", run: int = 1) -> dict[str, Any]:
    """Returns the relevant fields of a forecast."""
    return {"series": "s", "source": {"partition": partition, "position": position} | ({"run": run} if run > 1 else {})}


class Topics:
    """Output topics in memory, with the methods of `History`."""

    def __init__(self, *forecasts: Any, rejects: tuple[Any, ...] = (), oldest: int = 0) -> None:
        self.records_of = {
            FORECASTS: [
                SimpleNamespace(
                    topic=FORECASTS, value=one if isinstance(one, bytes) else json.dumps(one).encode(), headers=[]
                )
                for one in forecasts
            ],
            REJECTS: [SimpleNamespace(topic=REJECTS, value=b"x", headers=one.headers) for one in rejects],
        }
        self.oldest, self.read = oldest, 0

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        """Returns the offsets of beginning and end."""
        return 0, len(self.records_of[place.topic])

    def records(self, place: TopicPartition, start: int, end: int) -> list[Any]:
        """Returns a window; raises for records before the oldest."""
        if start < self.oldest:
            msg = "retention"
            raise SourceGoneError(msg)
        self.read += end - start
        return self.records_of[place.topic][start:end]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets windows of three records."""
    monkeypatch.setattr(kafka_outputs, "_WINDOW", 3)


def found(topics: Any, least: int | None, run: int = 1, reader: ForecastReader | None = None) -> int | None:
    """Returns the newest output."""
    counts = {FORECASTS: 1, REJECTS: 1}
    return newest_output(topics, SETTINGS, counts, SOURCE, run, least, reader or ForecastReader())


def test_the_ends_say_it() -> None:
    """With output of the partition among the newest records, older records are not read."""
    topics = Topics(*(forecast(at) for at in range(30)))
    assert found(topics, None) == found(topics, 12) == found(topics, 29) == 29
    assert topics.read == 9


def test_far_back() -> None:
    """Output older than many records of other partitions and runs is found, if it is at or after the offset."""
    others = [forecast(at, "in-1") for at in range(20)] + [forecast(at, run=2) for at in range(20)]
    topics = Topics(forecast(40), forecast(7), *others)
    assert found(topics, 7) == found(topics, 40) == 40
    assert found(topics, 41) is None
    assert found(topics, 19, run=2) == found(topics, None, run=2) == 19


def test_all_kinds_of_records() -> None:
    """Joined forecasts and rejects count; foreign records, and those removed by retention, are skipped."""
    reject = reject_message(Reject(51, b"x", "undecodable", "got x"), SOURCE, "a", REJECTS, 1)
    later = reject_message(Reject(5, b"x", "undecodable", "got x"), SOURCE, "a", REJECTS, 1, 2)
    strange = SimpleNamespace(headers=[("__connect.errors.topic", b"\xff")])
    topics = Topics([forecast(49), forecast(50)], {"other": 1}, [], 5, rejects=(strange,))
    assert found(topics, 50) == 50
    topics = Topics([forecast(49)], rejects=(reject, later))
    assert (found(topics, None), found(topics, None, run=2)) == (51, 5)
    assert found(Topics(forecast(9), *[forecast(1, "in-1")] * 8, oldest=3), 5) is None


class Reader(ForecastReader):
    """Reads records with a schema as the JSON behind its id; id 9 has no registry that answers, and 8 is unknown."""

    def read(self, value: bytes) -> list[dict[str, Any]]:
        """See `ForecastReader`."""
        if value[4] == 9:
            msg = "down"
            raise SchemaRegistryError(msg)
        if value[4] == 8:
            raise FrameError("unknown_schema", "schema 8: gone")
        if value[4] == 7:
            raise FrameError("undecodable", "it ends early")
        return [json.loads(value[5:])]


def test_forecasts_with_a_schema() -> None:
    """Forecasts in Avro or Protobuf count too; without their registry nothing is decided."""

    def framed(content: object, number: int = 1) -> bytes:
        return bytes([0, 0, 0, 0, number]) + json.dumps(content).encode()

    topics = Topics(forecast(3), framed(forecast(8)), framed({"other": 1}), framed(forecast(9), 7))
    assert found(topics, None, reader=Reader()) == 8
    with pytest.raises(TransportError, match=r"set schema_registry\.url"):
        found(topics, None)
    with pytest.raises(UnreachableError, match="down"):
        found(Topics(framed(forecast(8), 9)), None, reader=Reader())
    with pytest.raises(TransportError, match="expected its schema: schema 8: gone"):
        found(Topics(framed(forecast(8), 8)), None, reader=Reader())


def test_the_past_by_run() -> None:
    """Runs and adoptions are read back by run number; those of other partitions are left out."""
    messages = [
        run_message(1, SOURCE, 0, "t", 1),
        adoption_message(Adoption(0, "a"), SOURCE, "t", 1),
        adoption_message(Adoption(70, "b"), SOURCE, "t", 1),
        adoption_message(Adoption(90, "c"), Origin("in", 1), "t", 1),
        run_message(2, SOURCE, 5, "t", 1),
        adoption_message(Adoption(0, "c"), SOURCE, "t", 1, 2),
    ]
    assert len({message.key for message in messages}) == len(messages)  # the topic is compacted
    records = PastRecords()
    for message in messages:
        records.add(message.key or b"", message.value)
    past = records.of(SOURCE)
    assert (past.newest_run, past.runs, past.reach) == (2, {1: 0, 2: 5}, 5)
    assert past.adoptions(1) == [Adoption(0, "a"), Adoption(70, "b")]
    assert past.adoptions(2) == [Adoption(0, "c")]
    assert not PastRecords().of(SOURCE)
