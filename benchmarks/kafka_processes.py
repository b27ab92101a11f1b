"""Whole daemons on Kafka: how long one is away that was killed, and what more of them on one group do.

    python benchmarks/kafka_processes.py recovery [--series 100000] [--tail 100000] [--client kafka-python|confluent]
    python benchmarks/kafka_processes.py scaling  [--processes 1 2 3 4] [--events 100000]

recovery  a daemon with its default settings takes in every series, writes its snapshot when that is due by default,
          goes on for `--tail` events more and is killed. Then: seconds from its start until it is ready again.
scaling   so many processes share the partitions of one topic and work it off; events/s between the first commit and
          the last, and per second of processor time, which is what counts where there are fewer cores than processes.

A broker of its own is started, or the one of KAFKA_BOOTSTRAP is used. Prints one JSON object per result.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
from confluent_kafka import Producer

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "broker"), str(ROOT / "tests" / "service")]

from kafka import KafkaAdminClient, KafkaConsumer  # noqa: E402 - the path stands above
from kafka.structs import TopicPartition  # noqa: E402 - as above

NAMES = ("forecasts", "rejects", "adoptions")
MORE: dict[str, dict[str, object]] = {"model": {"interval": "1m"}}  # beside the defaults and what a process is given
PAUSE = 1.0  # seconds between rounds of events until there is a snapshot
MINUTE_MS, BEGIN_MS = 60_000, 1_700_000_000_000


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """The address of a broker."""
    if given := os.environ.get("KAFKA_BOOTSTRAP"):
        yield given
        return
    from kafka_broker import Cluster
    from kafka_jars import installation

    cluster = Cluster(installation("4"), folder / "kafka")
    try:
        yield cluster.bootstrap
    finally:
        cluster.close()


def make_topics(bootstrap: str, app: str, topic: str, partitions: int) -> None:
    """Those of an application, and its input if that is new."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    wanted = dict.fromkeys([topic, *(f"{app}.{name}" for name in NAMES)], partitions) | {f"{app}.models": 1}
    missing = {name: count for name, count in wanted.items() if name not in set(admin.list_topics())}
    admin.create_topics({name: {"num_partitions": n, "replication_factor": 1} for name, n in missing.items()})
    admin.wait_for_topics(list(missing))
    admin.close()


def feed(bootstrap: str, topic: str, partitions: int, series: int, first: int, count: int) -> None:
    """Events number `first` and following: one of every series in turn, a minute of event time per turn."""
    failed: list[object] = []
    # Idempotent: without it a retry may change the order, and what comes late gets no forecast.
    own = {"bootstrap.servers": bootstrap, "linger.ms": 50, "enable.idempotence": True}
    producer = Producer(own | {"queue.buffering.max.messages": 500_000, "delivery.report.only.error": True})
    for number in range(first, first + count):
        step, which = divmod(number, series)
        event = {
            "series": f"s{which}",
            "timestamp": BEGIN_MS + step * MINUTE_MS,
            "value": float((step * 7 + which) % 31),
        }
        while True:
            try:
                producer.produce(
                    topic,
                    orjson.dumps(event),
                    partition=which % partitions,
                    on_delivery=lambda error, _: failed.append(error),
                )
            except BufferError:
                producer.poll(0.1)
            else:
                break
    if producer.flush() or failed:
        msg = f"{len(failed)} events could not be written: {failed[:1]}"
        raise RuntimeError(msg)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Process:
    """`forecaster run` with the defaults, but for what it reads and where it keeps things.

    Args:
        folder: configuration, data and log.
        bootstrap, app, topic, client, instance: of section `kafka`.
        stop_at_end: ends with the topic.
    """

    def __init__(
        self, folder: Path, bootstrap: str, app: str, topic: str, client: str, instance: str, *, stop_at_end: bool
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data, self._log, self.port = folder / "data", folder / "log", free_port()
        kafka = {"bootstrap": bootstrap, "topics": topic, "app": app, "client": client, "instance": instance}
        sections: dict[str, dict[str, object]] = {
            "kafka": kafka | {"stop_at_end": stop_at_end},
            "input": {"max_ahead": 0},
            "state": {"data_dir": str(self.data)},
            "http": {"port": self.port},
        }
        for name, values in MORE.items():
            sections[name] = sections.get(name, {}) | values
        lines = []
        for name, values in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        self._config = folder / "config.toml"
        self._config.write_text("\n".join(lines) + "\n")

    def start(self) -> subprocess.Popen[bytes]:
        """Starts it."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "service.cli", "run", "--config", str(self._config)]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    def is_ready(self) -> bool:
        """Whether it says so itself."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def log(self) -> str:
        """What it said."""
        return self._log.read_text()


def wait_for(
    condition: Callable[[], object], process: Process, child: subprocess.Popen[bytes], seconds: float = 900.0
) -> float:
    """Seconds until a condition holds.

    Raises:
        RuntimeError: the process ended, or the time did.
    """
    began = time.monotonic()
    while not condition():
        if child.poll() is not None or time.monotonic() - began > seconds:
            msg = f"not reached; the daemon said:\n{process.log()[-3000:]}"
            raise RuntimeError(msg)
        time.sleep(0.05)
    return time.monotonic() - began


def recovery(bootstrap: str, folder: Path, client: str, series: int, tail: int) -> dict[str, object]:
    """Kills one `tail` events behind its snapshot and times its return."""
    app = f"recovery{uuid.uuid4().hex[:6]}"
    topic = f"{app}.in"
    make_topics(bootstrap, app, topic, 1)
    process = Process(folder / app, bootstrap, app, topic, client, "one", stop_at_end=False)
    feed(bootstrap, topic, 1, series, 0, 2 * series)
    child, fed = process.start(), 2 * series

    def done() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        lags = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("forecaster_lag{")]
        return bool(lags) and max(lags) <= 1

    wait_for(process.is_ready, process, child)
    wait_for(done, process, child)
    while not (found := list(process.data.glob("snapshots/*/*.snapshot"))):  # written with events, never without
        feed(bootstrap, topic, 1, series, fed, series)
        fed += series
        wait_for(done, process, child)
        time.sleep(PAUSE)
    newest = max(int(path.stem) for path in found)
    already = fed - newest
    feed(bootstrap, topic, 1, series, fed, max(0, tail - already))
    end = newest + max(tail, already)
    wait_for(done, process, child)
    child.send_signal(signal.SIGKILL)
    child.wait()
    snapshots = sorted(int(path.stem) for path in process.data.glob("snapshots/*/*.snapshot"))
    child = process.start()
    seconds = wait_for(process.is_ready, process, child)
    child.terminate()
    child.wait(60)
    size = max(path.stat().st_size for path in process.data.glob("snapshots/*/*.snapshot"))
    return {
        "client": client,
        "series": series,
        "replayed_events": end - snapshots[-1],
        "snapshot_mb": round(size / 1e6, 1),
        "seconds_from_start_to_ready": round(seconds, 2),
    }


def scaling(bootstrap: str, folder: Path, client: str, count: int, topic: str, events: int) -> dict[str, object]:
    """Lets so many processes work off the topic."""
    app = f"scaling{uuid.uuid4().hex[:6]}"
    make_topics(bootstrap, app, topic, 4)
    before = os.times()
    children = []
    for number in range(count):
        one = Process(folder / app / str(number), bootstrap, app, topic, client, f"p{number}", stop_at_end=True)
        children.append((one, one.start()))
    for one, child in children:
        if child.wait(900) != 0:
            raise RuntimeError(one.log()[-3000:])
    after = os.times()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False)
    sources = [TopicPartition(f"{app}.forecasts", number) for number in range(4)]
    consumer.assign(sources)
    consumer.seek_to_beginning(*sources)
    ends, found, times = consumer.end_offsets(sources), 0, []
    while any(consumer.position(source) < ends[source] for source in sources):
        for batch in consumer.poll(500, max_records=5000).values():
            found += len(batch)
            times += [batch[0].timestamp, batch[-1].timestamp]
    inputs = consumer.end_offsets([TopicPartition(topic, number) for number in range(4)])
    consumer.close(autocommit=False)
    if (found, sum(inputs.values())) != (events, events):
        msg = f"{found} forecasts of {events} events, {inputs} written: late or repeated ones get none"
        raise RuntimeError(msg)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    seconds = (max(times) - min(times)) / 1000
    return {
        "client": client,
        "processes": count,
        "cores": len(os.sched_getaffinity(0)),
        "answered": found,
        "events_per_second": round(found / seconds),
        "events_per_cpu_second_with_start": round(found / cpu),
    }


def main() -> None:
    """Prints one JSON object per result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["recovery", "scaling"])
    parser.add_argument("--client", action="append", choices=["kafka-python", "confluent"])
    parser.add_argument("--series", type=int, default=0, help="default 100000 for recovery, 2000 for scaling")
    parser.add_argument("--tail", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3, 4])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, broker(Path(temporary)) as bootstrap:
        folder = Path(temporary)
        for client in given.client or ["kafka-python"]:
            if given.what == "recovery":
                result = recovery(bootstrap, folder, client, given.series or 100_000, given.tail)
                print(json.dumps(result), flush=True)
                continue
            topic = f"scaling{uuid.uuid4().hex[:6]}.in"
            make_topics(bootstrap, f"{topic}x", topic, 4)
            feed(bootstrap, topic, 4, given.series or 2000, 0, given.events)
            for count in given.processes:
                print(json.dumps(scaling(bootstrap, folder, client, count, topic, given.events)), flush=True)


if __name__ == "__main__":
    main()
