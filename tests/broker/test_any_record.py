"""Records with any value, key and headers are forecast or rejected, and so are their neighbours."""

from __future__ import annotations

import pytest
from contract import unit_of
from kafka import KafkaProducer
from kafka_tools import read_topic, settings, transport

from service.ports import Reject, Unit

MOST = 1_048_400  # with a value of one byte this passes a broker with default settings


class Raw(str):
    """A header name of any bytes."""

    __slots__ = ("raw",)

    def __new__(cls, raw):
        """Stores the bytes that are sent."""
        made = super().__new__(cls, "raw")
        made.raw = raw
        return made

    def encode(self, *_):
        """Returns the stored bytes."""
        return self.raw


RECORDS = {
    "a large key": (b"x", b"k" * MOST, []),
    "a large header": (b"x", None, [("h", b"v" * MOST)]),
    "many headers": (b"x", b"k", [(f"h{at}", b"v" * 100) for at in range(9_000)]),
    "headers of our own names": (b"x", b"k", [(name, b"v" * 500_000) for name in ("forecaster.reason", "h")]),
    "a large header name": (b"x", b"k", [("h" * 30_000, b"")] * 30),
    "a large value": (b"v" * MOST, b"k", []),
    "no value": (None, b"k", [("traceparent", b"v" * MOST)]),
    "no UTF-8": (b"\xff" * 10, b"\xff" * 10, [("h", b"\xff" * 10)]),
    "a header name that is no UTF-8": (b"x", b"k", [(Raw(b"\xff\xfe"), b"v")]),
}  # fmt: skip


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
@pytest.mark.parametrize("rejected", [True, False], ids=["rejected", "forecast"])
def test_any_record(bootstrap, topics, app, tmp_path, client, rejected):
    """Every record and its neighbours are answered, whether all records are rejected or all are forecast."""
    topic = topics()
    producer = KafkaProducer(bootstrap_servers=bootstrap, max_request_size=4 << 20, linger_ms=0)
    for value, key, headers in RECORDS.values():
        producer.send(topic, b"good", partition=0).get(10)
        producer.send(topic, value, key, headers, partition=0).get(10)
    producer.send(topic, b"good", partition=0).get(10)
    producer.close(5)
    count = 2 * len(RECORDS) + 1
    one = transport(settings(bootstrap, app, client=client, pass_headers=["h", "traceparent", "h0"]), tmp_path)
    one.start()
    while not one.finished():
        records = one.poll(4, 0.5)
        if records is None:
            continue
        if rejected:
            columns = zip(records.positions, records.values, records.keys, records.headers or [()] * 4, strict=False)
            rejects = [Reject(at, value, "wrong_type", "why", key, headers) for at, value, key, headers in columns]
            unit = Unit(records.partition, records.positions[0], records.next_position, [], [], rejects)
        else:
            made = unit_of(records)
            unit = Unit(
                made.partition,
                made.position,
                made.next_position,
                made.series,
                made.forecasts,
                positions=records.positions,
            )
        one.publish(unit)
    assert one.committed(f"{topic}-0") == count
    one.close()
    found = read_topic(bootstrap, f"{app}.{'rejects' if rejected else 'forecasts'}")
    assert len(found) == count
    if rejected:
        assert [int(dict(r.headers)["__connect.errors.offset"]) for r in found] == list(range(count))
