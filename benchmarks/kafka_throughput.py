"""Throughput and latency of the daemon on Kafka and of a plain copy through the same client, in one run.

    python benchmarks/kafka_throughput.py [--client kafka-python|confluent] [--events 100000] [--rate 1000 --rate 20000]
    python benchmarks/kafka_throughput.py --formats [--client ...]     # JSON, joined JSON, Avro, Protobuf in turns

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import orjson

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "broker"), str(ROOT / "tests" / "service")]

from confluent_kafka import Consumer, Producer, TopicPartition  # noqa: E402 - the path stands above
from kafka import KafkaAdminClient  # noqa: E402 - as above
from kafka_processes import Process, wait_for  # noqa: E402 - as above
from kafka_tools import Shelf, read_topic, transport  # noqa: E402 - as above

from service.cli._daemon import Daemon  # noqa: E402 - as above
from service.cli._logging import configure_logging  # noqa: E402 - as above
from service.config.kafka import KafkaConfig  # noqa: E402 - as above
from service.config.sections import Config  # noqa: E402 - as above
from service.kafka.records import Message, Partitioner  # noqa: E402 - as above
from service.ports import Unit  # noqa: E402 - as above
from service.publication import OnUnit  # noqa: E402 - as above

SERIES, LIMIT = 500, 4096
LATEST_SECONDS = 30.0  # for which a reader waits for the last forecasts
NAMES = ("forecasts", "rejects", "adoptions", "models")
MODEL: dict[str, object] = {"interval": "1m"}


def feed(bootstrap: str, topic: str, count: int, rate: float) -> None:
    """Writes events; with a rate, evenly in time, each with the time of writing as the record's."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1 if rate else 50, "enable.idempotence": True})
    began = time.monotonic()
    for number in range(count):
        if rate:
            ahead = number / rate - (time.monotonic() - began)
            if ahead > 0.001:
                time.sleep(ahead)
        step, series = divmod(number, SERIES)
        value = {"series": f"s{series}", "timestamp": 1_700_000_000_000 + step * 60_000, "value": math.sin(step / 9)}
        producer.produce(topic, orjson.dumps(value), partition=0, timestamp=time.time_ns() // 1_000_000)
        producer.poll(0)
        if not rate and number % 20_000 == 0:
            producer.flush()
    producer.flush()


def make_topics(bootstrap: str, app: str, topic: str) -> None:
    """Those of an application, one partition each."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    wanted = {topic, *(f"{app}.{name}" for name in NAMES)} - set(admin.list_topics())
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1} for name in wanted})
    admin.wait_for_topics(list(wanted))
    admin.close()


def settings(
    bootstrap: str, app: str, topic: str, client: str, folder: Path, registry: str = "", form: str = "json",
    **kafka: object,
) -> Config:  # fmt: skip
    """The defaults of the daemon, on that topic, but without trainings: with an end, the stream waits for each."""
    own = {"bootstrap": (bootstrap,), "app": app, "topics": (topic,), "client": client, "instance": "bench", **kafka}
    return Config.model_validate(
        {
            "kafka": own,
            "model": MODEL,
            "input": {"max_ahead": 0, "max_poll_records": LIMIT},
            "output": {"format": form},
            "schema_registry": {"url": registry},
            "retrain": {"every_events": 0},
            "state": {"data_dir": folder},
            "http": {"port": 0},
        }
    )


def copy(config: KafkaConfig, folder: Path, value: bytes, *, transform: bool) -> tuple[int, float, float]:
    """A plain copy; events, seconds and seconds of processor time between its first and its last commit."""
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


class OneId(BaseHTTPRequestHandler):
    """A schema registry that registers every schema as number 1."""

    def do_POST(self) -> None:
        """Answers with the id."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"id": 1}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


def formats(bootstrap: str, topic: str, client: str, folder: Path, rounds: int) -> None:
    """The daemon over the same topic with each format in turns, after one round that only warms up; medians."""
    forms = {"json": {}, "json, 8 in a record": {"forecasts_per_record": 8}, "avro": {}, "protobuf": {}}
    found: dict[str, list[tuple[float, float, float]]] = {form: [] for form in forms}
    with ThreadingHTTPServer(("127.0.0.1", 0), OneId) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        registry = f"http://127.0.0.1:{server.server_port}"
        for number in range(rounds + 1):
            for form, kafka in forms.items():
                app = f"f{uuid.uuid4().hex[:8]}"
                make_topics(bootstrap, app, topic)
                config = settings(
                    bootstrap, app, topic, client, folder / app, registry, form.partition(",")[0], stop_at_end=True,
                    **kafka,
                )  # fmt: skip
                done, seconds, cpu = daemon(config)
                records = read_topic(bootstrap, f"{app}.forecasts")
                size = sum(len(record.value) for record in records) / sum(count_of(record.value) for record in records)
                if number:
                    found[form].append((done / seconds, cpu / done * 1e6, size))
        server.shutdown()
    for form, each in found.items():
        rate, cpu, size = np.median(each, axis=0).tolist()
        row = {"client": client, "format": form, "bytes": round(size), "us_per_event": round(cpu, 1)}
        print(json.dumps(row | {"events_per_second": round(rate)}), flush=True)


def count_of(value: bytes) -> int:
    """How many forecasts a record holds."""
    return len(orjson.loads(value)) if value.startswith(b"[") else 1


def latency(bootstrap: str, client: str, rate: float, seconds: float, folder: Path) -> dict[str, object]:
    """From the time of an event to its forecast at a reader with read_committed, at an even rate, in milliseconds.

    Daemon, producer of the events and reader are processes of their own; what the first quarter of the events
    measures is left out. `max` is that of the rest.
    """
    app, count = f"l{uuid.uuid4().hex[:8]}", int(rate * seconds)
    topic = f"{app}.in"
    make_topics(bootstrap, app, topic)
    process = Process(folder / app, bootstrap, app, topic, client, "bench", stop_at_end=False)
    child = process.start()
    try:
        wait_for(process.is_ready, process, child)
        command = [sys.executable, __file__, "--feed", bootstrap, topic, str(count), str(rate)]
        with subprocess.Popen(command) as feeding:
            arrived = arrivals(bootstrap, f"{app}.forecasts", count, seconds + LATEST_SECONDS)
            feeding.wait()
        sent = np.array([record.timestamp for record in read_topic(bootstrap, topic)])
    finally:
        child.terminate()
        child.wait(60)
    position = np.array(sorted(arrived))
    position = position[position >= count // 4]
    found = np.array([arrived[at] for at in position.tolist()]) - sent[position]
    shown = {f"p{share}": round(float(np.percentile(found, share)), 1) for share in (50, 90, 99)}
    return {"forecasts": len(arrived), "of": count} | shown | {"max": round(float(found.max()), 1)}


def arrivals(bootstrap: str, topic: str, count: int, seconds: float) -> dict[int, float]:
    """Epoch milliseconds at which each forecast arrives at a reader, by the position of its event."""
    settings: dict[str, str | int | bool] = {
        "bootstrap.servers": bootstrap,
        "group.id": uuid.uuid4().hex,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 10,
    }
    reader, found, until = Consumer(settings), dict[int, float](), time.monotonic() + seconds
    reader.assign([TopicPartition(topic, 0, 0)])
    while len(found) < count and time.monotonic() < until:
        for message in reader.consume(1000, 0.01):
            now = time.time() * 1000
            if message.error() is None:
                found[orjson.loads(message.value() or b"")["source"]["position"]] = now
    reader.close()
    return found


def main() -> None:
    """Prints one JSON object per result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--client", action="append", choices=["kafka-python", "confluent"])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--formats", action="store_true", help="compare the formats of forecasts instead")
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
                if given.formats:
                    formats(bootstrap, events, client, folder, given.rounds)
                    continue
                measure(bootstrap, events, client, folder, given.rounds)
                for rate in given.rate:
                    found = latency(bootstrap, client, rate, given.seconds, folder)
                    print(json.dumps({"client": client, "events_per_second": rate} | found), flush=True)
        finally:
            if cluster is not None:
                cluster.close()


def measure(bootstrap: str, topic: str, client: str, folder: Path, rounds: int) -> None:
    """Daemon and copy over the same topic in turn, after one round that only warms up; medians."""
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
