"""A reader with read_committed that observes during faults, as a downstream application would."""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

_CHECK_SECONDS = 1.0


class Observer:
    """Records every visible record, and checks periodically whether the offsets of visible answers are committed.

    An answer and the offset after its event are in one transaction. A reader that sees the answer and then requests the
    committed offset therefore finds an offset after the event; otherwise the transaction is torn.

    Args:
        bootstrap: addresses of the brokers.
        app: name of the application and of its group.

    Attributes:
        torn: checks that found an answer without its offset.
        checks: number of checks.
    """

    def __init__(self, bootstrap: str, app: str) -> None:
        self._bootstrap, self._app = bootstrap.split(","), app
        self._topics = (f"{app}.forecasts", f"{app}.rejects")
        self._next: dict[TopicPartition, int] = {}
        self._seen: set[tuple[str, int, int]] = set()
        self._furthest: dict[TopicPartition, int] = {}
        self._stop = threading.Event()
        self._more = threading.Condition()
        self.torn = self.checks = 0
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Observer:
        """Starts observing."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stops observing."""
        self._stop.set()
        self._thread.join(60)

    def aborted(self, final: set[tuple[str, int, int]]) -> int:
        """Counts the records that were seen and are not in the final set; they are of aborted transactions."""
        return len(self._seen - final)

    def wait_for_more(self, seconds: float) -> bool:
        """Waits up to `seconds` for a further visible record; returns whether there is one."""
        with self._more:
            before = len(self._seen)
            return self._more.wait_for(lambda: len(self._seen) > before, seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except KafkaError:  # a broker failed: retried until a broker answers
                self._stop.wait(0.5)

    def _watch(self) -> None:
        common = {"bootstrap_servers": self._bootstrap, "isolation_level": "read_committed"}
        consumer = KafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **common)
        asking = None
        try:
            asking = KafkaConsumer(group_id=self._app, enable_auto_commit=False, **common)
            mine = [TopicPartition(topic, p) for topic in self._topics for p in consumer.partitions_for_topic(topic)]
            consumer.assign(mine)
            for source in mine:
                consumer.seek(source, self._next.get(source, 0))
            due = time.monotonic() + _CHECK_SECONDS
            while not self._stop.is_set():
                for source, records in consumer.poll(200).items():
                    for record in records:
                        self._note(source, record)
                    with self._more:
                        self._more.notify_all()
                if time.monotonic() > due:
                    self._check(asking)
                    due = time.monotonic() + _CHECK_SECONDS
        finally:
            for each in (consumer, asking):
                if each is not None:
                    each.close(autocommit=False, timeout_ms=1000)

    def _note(self, source: TopicPartition, record: object) -> None:
        offset, value = record.offset, record.value  # type: ignore[attr-defined]
        self._next[source] = offset + 1
        self._seen.add((source.topic, source.partition, offset))
        if source.topic == self._topics[0]:
            name, _, partition = json.loads(value)["source"]["partition"].rpartition("-")
            event, position = TopicPartition(name, int(partition)), json.loads(value)["source"]["position"]
        else:
            headers = dict(record.headers)  # type: ignore[attr-defined]
            event = TopicPartition(
                headers["__connect.errors.topic"].decode(), int(headers["__connect.errors.partition"])
            )
            position = int(headers["__connect.errors.offset"])
        self._furthest[event] = max(position, self._furthest.get(event, -1))

    def _check(self, asking: KafkaConsumer) -> None:
        for event, position in self._furthest.items():
            committed = asking.committed(event, timeout_ms=30_000)  # blocks while a transaction is being ended
            self.checks += 1
            self.torn += committed is None or committed <= position
