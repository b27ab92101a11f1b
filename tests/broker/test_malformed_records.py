"""Records of any bytes in value, key and headers through a whole daemon on a real broker, with both clients.

Every record, whatever its bytes, is forecast or rejected; its neighbours are processed, and the daemon does not stop.
`make fuzz` is the long form.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kafka import KafkaProducer
from kafka_tools import read_topic

from service.cli._daemon import Daemon
from service.config.input import InputConfig
from service.config.load import load_config
from service.messages.decode import Decoder
from service.ports import Records

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from malformed_records import CONTROL, HOW, good, malformed, tell
from targets import CLOUD, EVENT, POINTS

MOST: Final = 1_048_400  # with a value of one byte this passes a broker with default settings; its reject would not
PASSED: Final = "traceparent"
SMALL: Final = {"hidden_size": 16, "head_size": 16, "horizon": 2, "interval": "1m"}


class AnyName(str):
    """A header name of any bytes, which the client encodes as those bytes."""

    __slots__ = ("raw",)
    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> AnyName:
        """Makes a name that is sent as the given bytes."""
        made = cls("raw")
        made.raw = raw
        return made

    def encode(self, *_: object) -> bytes:
        """Returns the bytes of the name."""
        return self.raw


BYTES: Final = st.one_of(st.binary(max_size=40), st.sampled_from([b"a", b"\xff\xfe", b"", b"x" * 1_100]))
NAMES: Final = st.one_of(
    st.sampled_from(
        [PASSED, "forecaster.reason", "__connect.errors.topic", "csv-header", "ce_specversion", "h" * 9_000]
    ),
    st.binary(max_size=20).map(AnyName.of),
)
HEADERS: Final = st.lists(st.tuples(NAMES, BYTES), max_size=5)
Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]], int | None]

LONG: Final[list[Record]] = [
    (b"x", b"v" * MOST, [], None),
    (b"x", b"k", [("h", b"v" * MOST)], None),
    (b"x", None, [(PASSED, b"\xff" * MOST)], None),
    (EVENT, b"k", [(PASSED, b"v" * (MOST - 500))], None),
    (b"v" * MOST, b"k", [], None),
    (b"x", b"k", [(f"h{at}", b"v" * 100) for at in range(5_000)], None),
    (None, b"v" * MOST, [], None),
]


@st.composite
def dressed(draw: st.DrawFn) -> list[Record]:
    """Draws arbitrary records with keys, headers and times of any kind; one may have the brokers' largest size."""
    found: list[Record] = []
    for value in draw(malformed(EVENT, CLOUD, CONTROL, POINTS, lines=False)):
        key = draw(st.none() | BYTES)
        found.append(
            (value[: MOST // 2], key, draw(HEADERS), draw(st.sampled_from([None, None, 0, 1, 1_767_571_200_000])))
        )
    found += draw(st.lists(st.sampled_from(LONG), max_size=1))
    found.append(draw(st.sampled_from([(b"", None, [], None), (None, b"a", [], None), (None, b"", [], None)])))
    return found


@contextmanager
def running(settings: dict[str, Any]) -> Iterator[tuple[Daemon, threading.Thread]]:
    """Runs a daemon in a thread until the end of the block."""
    one, stop = Daemon(load_config(None, settings)), threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    try:
        wait(lambda: one.phase == "running", thread)
        yield one, thread
    finally:
        stop.set()
        thread.join(60)


def wait(reached: Callable[[], bool], thread: threading.Thread, seconds: float = 300.0) -> None:
    """Waits until a condition holds, as long as the daemon runs."""
    until = time.monotonic() + seconds
    while not reached():
        assert thread.is_alive(), "the daemon has stopped"
        assert time.monotonic() < until
        time.sleep(0.05)


def settled(daemon: Daemon, ends: dict[str, int]) -> bool:
    """Whether everything up to the given offsets is committed."""
    partitions = daemon._engine.status["partitions"]
    return all(name in partitions and partitions[name]["position"] >= end for name, end in ends.items())


def undecodable(records: list[Record]) -> list[int]:
    """Returns the indices of the records that the decoder rejects one by one, records without a value excluded."""
    found = []
    for at, (value, key, headers, _) in enumerate(records):
        if value is None or any(name.startswith("ce_") for name, _ in headers):
            continue
        keys = None if key is None else [key]
        one = Records("p", [0], 1, [value], keys=keys, timestamps_ms=[1_767_571_200_000])
        if b'"specversion"' not in value and Decoder(InputConfig()).decode(one).rejects:
            found.append(at)
    return found


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_malformed_records(client: str, bootstrap: str, topics: Callable[..., str], app: str, tmp_path: Path) -> None:
    """Good events among arbitrary records get the forecasts of a partition without them; the daemon goes on."""
    topic, sent, steps, wrong, ends = topics(partitions=2), 0, 0, set[int](), dict[str, int]()
    settings = {
        "kafka.bootstrap": (bootstrap,), "kafka.topics": (topic,), "kafka.app": app, "kafka.instance": "one",
        "kafka.client": client, "kafka.pass_headers": (PASSED, "h"), "input.max_poll_records": 37, "http.port": 0,
        "state.data_dir": tmp_path / "data", **{f"model.{key}": value for key, value in SMALL.items()},
    }  # fmt: skip
    producer = KafkaProducer(bootstrap_servers=bootstrap, max_request_size=4 << 20, linger_ms=5)
    with running(settings) as (daemon, thread):

        def send(partition: int, record: Record) -> int:
            value, key, headers, time_ms = record
            offset = producer.send(topic, value, key, headers, partition, time_ms).get(30).offset
            ends[f"{topic}-{partition}"] = int(offset) + 1
            return int(offset)

        @HOW
        @example(LONG)
        @given(dressed())
        def attempt(records: list[Record]) -> None:
            nonlocal sent, steps
            bad = undecodable(records)
            for at, record in enumerate(records):
                name, time_ms, value = good(steps)
                line = orjson.dumps({"series": name, "timestamp": time_ms, "value": value})
                offset = send(0, record)
                wrong.update([offset] if at in bad else [])
                for partition in (0, 1):
                    send(partition, (line, None, [], None))
                steps, sent = steps + 1, sent + 1
            assert thread.is_alive(), "the daemon has stopped"

        attempt()
        wait(lambda: settled(daemon, ends), thread, 240.0)
    producer.close(5)
    found: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for record in read_topic(bootstrap, f"{app}.forecasts"):
        one = json.loads(record.value)
        if str(one["series"]).startswith("good."):
            found[int(one.pop("source")["partition"].rpartition("-")[2])].append(one)
    assert len(found[1]) == steps
    for name in ("good.0", "good.1"):
        with_odd, alone = ([one for one in found[at] if one["series"] == name] for at in (0, 1))
        assert with_odd == alone
    rejected = {
        int(dict(record.headers)["__connect.errors.offset"]) for record in read_topic(bootstrap, f"{app}.rejects")
    }
    assert wrong <= rejected
    assert len(rejected) == daemon.summary.rejects.total()
    tell(f"whole daemon, Kafka by {client}", sent)
