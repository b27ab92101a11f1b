"""Throughput and latency of the daemon on Kafka and of a plain copy through the same client, in one run.

    python benchmarks/kafka_throughput.py [--client kafka-python|confluent] [--events 100000] [--rate 1000 --rate 20000]

All read the same topic, decode every event, and write a record of the same size per event, in transactions of one
poll each, with the input offsets in them. The copies forecast nothing: one serialises a record like a forecast per
event (consume, transform, produce), the other writes the same bytes again and again. A broker of its own is started,
or the one of KAFKA_BOOTSTRAP is used.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import orjson

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "broker"), str(ROOT / "tests" / "service")]

from kafka import KafkaAdminClient, KafkaProducer  # noqa: E402 - the path stands above

from service.cli._daemon import Daemon  # noqa: E402 - as above
from service.cli._logging import configure_logging  # noqa: E402 - as above
from service.config.kafka import KafkaConfig  # noqa: E402 - as above
from service.config.sections import Config  # noqa: E402 - as above
from service.ports import Unit  # noqa: E402 - as above
from service.publication import OnUnit  # noqa: E402 - as above

SERIES, LIMIT = 500, 4096
NAMES = ("forecasts", "rejects", "adoptions", "models")
MODEL: dict[str, object] = {"interval": "1m"}
JOINED = 12.0  # seconds in which the daemon compiles and joins its group


def feed(bootstrap: str, topic: str, count: int, rate: float) -> None:
    """Writes events; with a rate, evenly in time, each with the time of writing as the record's."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5 if rate else 50, batch_size=256 << 10)
    began = time.monotonic()
    for number in range(count):
        if rate:
            ahead = number / rate - (time.monotonic() - began)
            if ahead > 0.002:
                time.sleep(ahead)
        step, series = divmod(number, SERIES)
        value = {"series": f"s{series}", "timestamp": 1_700_000_000_000 + step * 60_000, "value": math.sin(step / 9)}
        producer.send(topic, orjson.dumps(value), partition=0, timestamp_ms=time.time_ns() // 1_000_000)
        if not rate and number % 20_000 == 0:
            producer.flush()
    producer.flush()
    producer.close()


def make_topics(bootstrap: str, app: str, topic: str) -> None:
    """Those of an application, one partition each."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    wanted = {topic, *(f"{app}.{name}" for name in NAMES)} - set(admin.list_topics())
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1} for name in wanted})
    admin.wait_for_topics(list(wanted))
    admin.close()


def settings(bootstrap: str, app: str, topic: str, client: str, folder: Path, **kafka: object) -> Config:
    """The defaults of the daemon, on that topic."""
    own = {"bootstrap": (bootstrap,), "app": app, "topics": (topic,), "client": client, "instance": "bench", **kafka}
    return Config.model_validate(
        {
            "kafka": own,
            "model": MODEL,
            "input": {"max_ahead": 0, "max_poll_records": LIMIT},
            "state": {"data_dir": folder},
            "http": {"port": 0},
        }
    )


def copy(config: KafkaConfig, folder: Path, value: bytes, *, transform: bool) -> tuple[int, float, float]:
    """A plain copy; events, seconds and seconds of processor time between its first and its last commit."""
    from kafka_tools import Shelf, transport

    from service.kafka.records import Message, Partitioner

    one = transport(config, folder, Shelf())
    one.start()
    partitioner, done, began, cpu = Partitioner(), 0, 0.0, 0.0
    consumer, producer, progress = one.source._consumer, one.sink._producer, one.source._progress
    (name, source) = next(iter(progress.sources.items()))
    one.source._open_partitions(consumer)
    end = progress.ends[name]
    record = orjson.loads(value or b"{}")
    record["quantiles"] = np.array(record.get("quantiles", ()), np.float32)
    position = 0
    while position < end:
        for batch in consumer.poll(500, max_records=LIMIT).values():
            records = consumer.columns("x", batch)
            keys = [orjson.loads(text)["series"] for text in records.values]
            values = [value] * len(keys)
            if transform:
                values = [orjson.dumps(record | {"series": k}, option=orjson.OPT_SERIALIZE_NUMPY) for k in keys]
            out = [
                Message(config.forecasts, partitioner.hash(k) % 1, k.encode(), v, [])
                for k, v in zip(keys, values, strict=True)
            ]
            position = records.next_position
            producer.transact(out, {source: position}, consumer.membership())
            if began == 0:
                began, cpu = time.perf_counter(), time.process_time()
            else:
                done += len(records)
    result = done, time.perf_counter() - began, time.process_time() - cpu
    one.close()
    return result


def daemon(config: Config) -> tuple[int, float, float]:
    """The daemon over the same topic."""
    marks: list[tuple[int, float, float]] = []

    def note(unit: Unit) -> None:
        marks.append((len(unit.forecasts), time.perf_counter(), time.process_time()))

    Daemon(config, [OnUnit(note)]).run(threading.Event())
    return sum(mark[0] for mark in marks[1:]), marks[-1][1] - marks[0][1], marks[-1][2] - marks[0][2]


def latency(config: Config, bootstrap: str, rate: float, seconds: float) -> dict[str, float]:
    """From the time of a record to its committed forecast, in milliseconds, at an even rate."""
    stop, count, seen = threading.Event(), int(rate * seconds), [0]
    written: list[np.ndarray] = []
    times: dict[int, int] = {}

    def note(unit: Unit) -> None:
        now = time.time_ns() // 1_000_000
        written.append(np.array([now - times.get(position, now) for position in unit.positions]))
        seen[0] += len(unit.positions)
        if seen[0] >= count:
            stop.set()

    from service.kafka.confluent import ConfluentConsumer
    from service.kafka.kafka_python import KafkaPythonConsumer

    inner = {kind: kind.columns for kind in (ConfluentConsumer, KafkaPythonConsumer)}

    def columns(self: Any, partition: str, batch: Any) -> Any:
        records = inner[type(self)](self, partition, batch)
        times.update(zip(records.positions, records.timestamps_ms, strict=True))
        return records

    topic = config.kafka.topics[0]
    feeder = threading.Timer(
        JOINED,
        lambda: subprocess.run(
            [sys.executable, __file__, "--feed", bootstrap, topic, str(count), str(rate)], check=True
        ),
    )
    feeder.start()
    try:
        for kind in inner:
            kind.columns = columns  # type: ignore[method-assign]
        Daemon(config, [OnUnit(note)]).run(stop)
    finally:
        for kind, own in inner.items():
            kind.columns = own  # type: ignore[method-assign]
    feeder.join()
    found = np.concatenate(written)
    found = found[len(found) // 5 :]  # the first fifth: caches, first batches
    return {"p50_ms": float(np.percentile(found, 50)), "p99_ms": float(np.percentile(found, 99))}


def main() -> None:
    """Prints one JSON object per result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--client", action="append", choices=["kafka-python", "confluent"])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rate", type=float, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--feed", nargs=4, metavar=("BOOTSTRAP", "TOPIC", "COUNT", "RATE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed:
        feed(given.feed[0], given.feed[1], int(given.feed[2]), float(given.feed[3]))
        return
    cluster, bootstrap = None, os.environ.get("KAFKA_BOOTSTRAP", "")
    with tempfile.TemporaryDirectory() as temporary, Path(temporary, "log").open("w") as log:
        folder = Path(temporary)
        if not bootstrap:
            from kafka_broker import Cluster
            from kafka_jars import installation

            cluster = Cluster(installation("4"), folder / "kafka")
            bootstrap = cluster.bootstrap
        try:
            configure_logging(Config.model_validate({}).log, log)
            events = f"bench{uuid.uuid4().hex[:8]}"
            make_topics(bootstrap, f"{events}x", events)
            feed(bootstrap, events, given.events, 0.0)
            for client in given.client or ["kafka-python", "confluent"]:
                measure(bootstrap, events, client, folder, given.rounds)
                for rate in given.rate:
                    app = f"l{uuid.uuid4().hex[:8]}"
                    make_topics(bootstrap, app, f"{app}.in")
                    config = settings(bootstrap, app, f"{app}.in", client, folder / app)
                    print(
                        json.dumps({"client": client, "rate": rate} | latency(config, bootstrap, rate, given.seconds))
                    )
        finally:
            if cluster is not None:
                cluster.close()


def measure(bootstrap: str, topic: str, client: str, folder: Path, rounds: int) -> None:
    """Daemon and copy over the same topic in turn, after one round that only warms up; medians."""
    from kafka_tools import read_topic

    kinds = ("daemon", "transform", "bytes")
    found: dict[str, list[float]] = {f"{kind}{of}": [] for kind in kinds for of in ("", "_cpu")}
    value = b""
    for number in range(rounds + 1):
        for what in kinds:
            app = f"{what}{uuid.uuid4().hex[:8]}"
            make_topics(bootstrap, app, topic)
            config = settings(bootstrap, app, topic, client, folder / app, stop_at_end=True)
            if what == "daemon":
                done, seconds, cpu = daemon(config)
            else:
                done, seconds, cpu = copy(config.kafka, folder / app, value, transform=what == "transform")
            if not value:
                value = max((record.value for record in read_topic(bootstrap, f"{app}.forecasts")[-50:]), key=len)
            if number:
                found[what].append(done / seconds)
                found[f"{what}_cpu"].append(done / cpu)
    rates = {name: float(np.median(each)) for name, each in found.items()}
    shown = {
        "records_per_second": round(rates["daemon"]),
        "copy_records_per_second": round(rates["transform"]),
        "share_of_copy": round(rates["daemon"] / rates["transform"], 3),
        "same_bytes_records_per_second": round(rates["bytes"]),
        "share_of_same_bytes": round(rates["daemon"] / rates["bytes"], 3),
        "records_per_cpu_second": round(rates["daemon_cpu"]),
        "copy_records_per_cpu_second": round(rates["transform_cpu"]),
    }
    print(json.dumps({"client": client, "record_bytes": len(value), **shown}), flush=True)


if __name__ == "__main__":
    main()
