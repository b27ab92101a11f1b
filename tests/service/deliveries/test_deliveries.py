"""Everything that was committed is delivered, nothing else is, whatever is killed; repeats have the same identity."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from parts import Bench, TurnedClock, event
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.deliveries import (
    BatchLimit,
    CommittedEvents,
    Deliveries,
    Delivery,
    RefusedError,
    Route,
    SendResult,
    Target,
    UnavailableError,
)
from service.deliveries.delivery import Spooled
from service.deliveries.segments import Written
from service.deliveries.spool import DeliverySpool
from service.engine.loop import Engine
from service.errors import TransportError
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
from service.publication import ServedAlerts
from service.transport.memory import ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, MemoryTransport, Script


class PerEvent:
    """A producer: one delivery per event with a forecast, to each target."""

    def __init__(self, *targets: str) -> None:
        self.targets, self.seen = targets, 0

    def deliveries(self, events: CommittedEvents) -> Iterator[Delivery]:
        """Returns the identity of every event, and a checksum of its forecast."""
        publication = events.publication
        decoded, quantiles = publication.decoded, publication.forecasts.quantiles
        self.seen += len(decoded)
        for at, series in enumerate(decoded.series):
            for target in self.targets:
                identity = f"{publication.partition}/{decoded.positions[at]}/{series}"
                yield Delivery(target, at, identity, hashlib.sha256(quantiles[at].tobytes()).digest()[:4])

    def on_partitions(self, served: Collection[str]) -> None:
        """Nothing to do."""

    def on_served(self, served: ServedAlerts) -> None:
        """Nothing to do."""


@dataclass
class Mailbox:
    """A target in memory."""

    name: str = "box"
    kind: str = "webhook"
    spool_bytes: int = 1 << 20
    limit: BatchLimit = field(default_factory=lambda: BatchLimit(7, 1 << 20))
    found: list[Spooled] = field(default_factory=list)
    answer: Callable[[Sequence[Spooled]], int] = lambda _: 0
    calls: int = 0
    divides: bool = False

    def send(self, batch: Sequence[Spooled]) -> SendResult:
        """Records a batch, as `answer` says."""
        self.calls += 1
        refused = self.answer(batch)
        self.found += batch
        return SendResult(refused)

    def close(self) -> None:
        """Nothing to do."""

    @property
    def identities(self) -> list[str]:
        """Returns the identities in the order of arrival."""
        return [one.identity for one in self.found]


def metrics_of() -> Metrics:
    """Returns metrics of their own."""
    return Metrics(CollectorRegistry())


class TestSender:
    """Threads that send what is in a spool."""

    def deliveries(self, folder: Path, *targets: Target, metrics: Metrics | None = None) -> Deliveries:
        """Returns deliveries to these targets."""
        routes = [Route(PerEvent(*(one.name for one in targets)), targets)]
        return Deliveries(folder, routes, metrics or metrics_of(), SystemClock())

    def run(self, folder: Path, *targets: Target, metrics: Metrics, count: int = 20) -> None:
        """Sends what an earlier process has spooled for each target."""
        for target in targets:
            spool = DeliverySpool(folder / target.name, target.spool_bytes)
            spool.open("o")
            for number in range(count):
                spool.append(("0", ""), Written(number), [Delivery(target.name, 0, str(number), b"x")], 0)
            spool.close()
        deliveries = self.deliveries(folder, *targets, metrics=metrics)
        deliveries.open("o")
        deliveries.close(threading.Event())

    def test_all_are_sent_in_order_in_batches(self, tmp_path: Path) -> None:
        """Batches of seven at most."""
        metrics, box = metrics_of(), Mailbox()
        self.run(tmp_path, box, metrics=metrics)
        assert box.identities == [str(number) for number in range(20)]
        assert box.calls == 3
        value = metrics.registry.get_sample_value
        assert value("forecaster_deliveries_sent_total", {"kind": "webhook"}) == 20
        assert value("forecaster_deliveries_pending_bytes", {"kind": "webhook"}) == 0
        assert value("forecaster_deliveries_oldest_seconds", {"kind": "webhook"}) == 0

    def test_a_batch_is_sent_again_until_it_is_accepted(self, tmp_path: Path) -> None:
        """Whatever the target raises; logged once."""
        metrics, box = metrics_of(), Mailbox()
        fails = iter([UnavailableError("down"), UnavailableError("down", 0.2), ValueError("a defect")])

        def answer(batch: Sequence[Spooled]) -> int:
            if (error := next(fails, None)) is not None:
                raise error
            return 0

        box.answer = answer
        deliveries = self.deliveries(tmp_path, box, metrics=metrics)
        deliveries.open("o")
        with capture_logs() as logs:
            deliveries._spools["box"].append(("0", ""), Written(1), [Delivery("box", 0, "a", b"x")], 0)
            while not box.found:
                threading.Event().wait(0.01)
            deliveries.close(threading.Event())
        assert box.identities == ["a"]
        assert box.calls == 4
        assert metrics.registry.get_sample_value("forecaster_delivery_failures_total", {"kind": "webhook"}) == 3
        events = [one["event"] for one in logs]
        assert events == ["deliveries wait for their target", "deliveries accepted again"]

    def test_what_is_refused_is_counted_and_not_sent_again(self, tmp_path: Path) -> None:
        """A whole batch, or a part of it."""
        metrics, box = metrics_of(), Mailbox()

        def answer(batch: Sequence[Spooled]) -> int:
            if box.calls == 1:
                raise RefusedError("no")
            return 1

        box.answer = answer
        self.run(tmp_path, box, metrics=metrics)
        value = metrics.registry.get_sample_value
        assert box.calls == 3
        assert value("forecaster_deliveries_refused_total", {"kind": "webhook"}) == 7 + 1 + 1
        assert value("forecaster_deliveries_sent_total", {"kind": "webhook"}) == 20 - 9

    def test_a_batch_that_cannot_be_sent_does_not_hold_the_others(self, tmp_path: Path) -> None:
        """A defect of the target, tried a few times."""
        metrics, box = metrics_of(), Mailbox()

        def answer(batch: Sequence[Spooled]) -> int:
            if batch[0].identity == "7":
                msg = "a defect"
                raise TypeError(msg)
            return 0

        box.answer = answer
        spool = DeliverySpool(tmp_path / "box", 1 << 20)
        spool.open("o")
        for number in range(20):
            spool.append(("0", ""), Written(number), [Delivery("box", 0, str(number), b"x")], 0)
        spool.close()
        deliveries = self.deliveries(tmp_path, box, metrics=metrics)
        deliveries.open("o")
        while len(box.found) < 13:
            threading.Event().wait(0.01)
        deliveries.close(threading.Event())
        value = metrics.registry.get_sample_value
        assert value("forecaster_deliveries_refused_total", {"kind": "webhook"}) == 7
        assert value("forecaster_delivery_failures_total", {"kind": "webhook"}) == 4

    def test_a_target_that_is_down_does_not_hold_another(self, tmp_path: Path) -> None:
        """Each target has a spool and a thread."""
        metrics = metrics_of()

        def down(batch: Sequence[Spooled]) -> int:
            raise UnavailableError("down", 3600.0)

        away, box = Mailbox("away", answer=down), Mailbox()
        self.run(tmp_path, away, box, metrics=metrics)
        assert len(box.found) == 20
        spool = DeliverySpool(tmp_path / "away", 1 << 20)
        spool.open("o")
        assert spool.pending_bytes > 0

    def test_all_targets_have_one_deadline(self, tmp_path: Path) -> None:
        """However many are slow, an end takes the time of one, and what is left stays in their spools."""

        def slow(batch: Sequence[Spooled]) -> int:
            threading.Event().wait(0.4)
            return 0

        boxes = [Mailbox(f"slow{number}", answer=slow, limit=BatchLimit(1, 1 << 20)) for number in range(6)]
        for box in boxes:
            spool = DeliverySpool(tmp_path / box.name, box.spool_bytes)
            spool.open("o")
            for number in range(200):
                spool.append(("0", ""), Written(number), [Delivery(box.name, 0, str(number), b"x")], 0)
            spool.close()
        deliveries, stop = self.deliveries(tmp_path, *boxes), threading.Event()
        deliveries.open("o")
        stop.set()
        clock = SystemClock()
        began = clock.monotonic()
        deliveries.close(stop)
        assert clock.monotonic() - began < 2 * (2.0 + 2.0)  # one after the other it would be six times as long
        assert all(0 < len(box.found) < 200 for box in boxes)


EVENTS = [event(step, series) for step in range(60) for series in "ab"]


@dataclass
class DeliveringBench(Bench):
    """A `Bench` whose engine has deliveries; with a clock that runs, as threads wait for it."""

    boxes: tuple[Mailbox, ...] = ()
    producer: PerEvent = field(default_factory=lambda: PerEvent("box"))
    snapshot_clock: TurnedClock = field(default_factory=TurnedClock)

    def __post_init__(self) -> None:
        super().__post_init__()
        routes = [Route(self.producer, self.boxes)]
        self.deliveries = Deliveries(self.folder / "deliveries", routes, self.metrics, SystemClock())
        self.engine = Engine(
            self.config, lambda: MemoryTransport(self.log), self.registry, self.store, self.trainer, self.metrics,
            self.health, self.clock, listeners=[self, self.deliveries], wants_groups=self.wants_groups,
        )  # fmt: skip


def identities(events: int, series: str = "ab") -> list[str]:
    """Returns the identities of the first events."""
    return [f"0/{number}/{series[number % len(series)]}" for number in range(events)]


class TestEngine:
    """Deliveries of an engine that is broken off anywhere."""

    def test_every_event_is_delivered_once_without_a_crash(self, tmp_path: Path) -> None:
        """In the order of the positions."""
        box = Mailbox()
        DeliveringBench(tmp_path, MemoryLog({"0": EVENTS}), boxes=(box,)).run()
        assert box.identities == identities(len(EVENTS))
        again = Mailbox()
        DeliveringBench(tmp_path, MemoryLog({"0": EVENTS}), boxes=(again,))
        assert not again.found

    @pytest.mark.parametrize("snapshot_every", [1e9, 1e-9])
    @pytest.mark.parametrize("when", ["before the spool", "after the spool"])
    @pytest.mark.parametrize("limit", [1, 7, 500])
    def test_a_crash_beside_the_spool_loses_and_repeats_nothing(
        self, tmp_path: Path, when: str, snapshot_every: float, limit: int
    ) -> None:
        """Between the commit and the spool, or behind it; with a snapshot at every unit, or none."""
        sections = {"state": {"snapshot_every": snapshot_every}, "input": {"max_poll_records": limit}}
        straight = Mailbox()
        DeliveringBench(tmp_path / "straight", MemoryLog({"0": EVENTS}), sections, boxes=(straight,)).run()

        box = Mailbox()
        bench = DeliveringBench(tmp_path / "broken", MemoryLog({"0": EVENTS}), sections, boxes=(box,))
        produce, calls = bench.deliveries._produce, [0]

        def failing(publication: object, *, replayed: bool) -> None:
            calls[0] += not replayed
            fails = not replayed and calls[0] % 3 == 1
            if fails and when == "before the spool":
                raise TransportError(when)
            produce(publication, replayed=replayed)  # type: ignore[arg-type]
            if fails:
                raise TransportError(when)

        bench.deliveries._produce = failing  # type: ignore[method-assign,assignment]
        bench.run()
        assert bench.sample("restarts_total") >= 1
        assert box.identities == straight.identities
        assert box.found == straight.found  # bodies are bit-equal, each once

    def test_power_loss_takes_unsynced_entries_and_the_replay_adds_them(self, tmp_path: Path) -> None:
        """The spool of an earlier moment than the committed position, at or after the newest snapshot."""

        def away(batch: Sequence[Spooled]) -> int:
            raise UnavailableError("down")

        log = MemoryLog({"0": EVENTS})
        box = Mailbox(answer=away)
        bench = DeliveringBench(tmp_path / "d", log, {"input": {"max_poll_records": 10}}, boxes=(box,))
        saved = tmp_path / "saved"

        def on_unit(unit: object) -> None:
            position = unit.next_position  # type: ignore[attr-defined]
            if position == 40:  # as synced for the snapshot here
                bench.clock.now += 1e6
            if position == 60:
                bench.engine._writer.wait()
                shutil.copytree(tmp_path / "d" / "snapshots", saved)
                shutil.copytree(tmp_path / "d" / "deliveries", tmp_path / "spool")

        bench.on_unit = on_unit
        bench.run()
        for name, source in (("snapshots", saved), ("deliveries", tmp_path / "spool")):
            shutil.rmtree(tmp_path / "d" / name)
            shutil.copytree(source, tmp_path / "d" / name)
        box = Mailbox()
        DeliveringBench(tmp_path / "d", log, {"input": {"max_poll_records": 33}}, boxes=(box,)).run()
        assert box.identities == identities(len(EVENTS))

    def test_a_partition_that_moved_is_delivered_from_the_shared_snapshot_on(self, tmp_path: Path) -> None:
        """By the instance that takes it over: what the former one may not have spooled, and what follows."""
        log, box = MemoryLog({"0": EVENTS}), Mailbox()
        bench = DeliveringBench(tmp_path / "first", log, {"input": {"max_poll_records": 10}}, boxes=(Mailbox(),))

        def on_unit(unit: object) -> None:
            position = unit.next_position  # type: ignore[attr-defined]
            if position == 40:  # the snapshot is that of this position
                bench.clock.now += 1e6
            if position == 60:
                bench.engine._writer.wait()
                for name in ("snapshots", "models", "settings"):
                    shutil.copytree(tmp_path / "first" / name, tmp_path / "second" / name)
                bench.stop.set()

        bench.on_unit = on_unit
        bench.run()
        DeliveringBench(tmp_path / "second", log, boxes=(box,)).run()
        assert box.identities == identities(len(EVENTS))[40:]

    def test_a_partition_that_moved_without_a_snapshot(self, tmp_path: Path) -> None:
        """On Kafka with the last unit of the former instance, which may have been killed before it was spooled."""
        log, box = MemoryLog({"0": EVENTS}), Mailbox()
        sections = {"input": {"max_poll_records": 10}, "kafka": {"topics": ["t"]}}
        bench = DeliveringBench(tmp_path / "first", log, sections, boxes=(Mailbox(),))

        def on_unit(unit: object) -> None:
            if unit.next_position == 60:  # type: ignore[attr-defined]
                for name in ("models", "settings"):
                    shutil.copytree(tmp_path / "first" / name, tmp_path / "second" / name)
                bench.stop.set()

        bench.on_unit = on_unit
        bench.run()
        DeliveringBench(tmp_path / "second", log, sections, boxes=(box,)).run()
        assert box.identities == identities(len(EVENTS))[40:]

    def test_a_snapshot_is_not_written_before_the_spool_is_synced(self, tmp_path: Path) -> None:
        """Else a replay from it would not repeat what is lost."""
        bench = DeliveringBench(tmp_path, MemoryLog({"0": EVENTS}), boxes=(Mailbox(),))
        bench.deliveries.sync = broken  # type: ignore[method-assign]
        bench.engine._writer._before = bench.deliveries.sync
        bench.run()
        assert bench.sample("snapshot_failures_total") == 1
        assert not list((tmp_path / "snapshots").rglob("*.safetensors"))

    def test_a_new_target_begins_at_the_committed_position(self, tmp_path: Path) -> None:
        """Also where everything is replayed, as snapshots are gone."""
        first, log = Mailbox(), MemoryLog({"0": EVENTS[:60]})
        DeliveringBench(tmp_path, log, boxes=(first,)).run()
        more = MemoryLog({"0": EVENTS})
        more.units = log.units
        first.found.clear()
        second = Mailbox("second")
        producer = PerEvent("box", "second")
        shutil.rmtree(tmp_path / "snapshots")  # all is replayed, and not delivered
        DeliveringBench(tmp_path, more, boxes=(first, second), producer=producer).run()
        assert first.identities == identities(120)[60:]
        assert second.identities == identities(120)[60:]
        assert producer.seen == 120


def broken() -> None:
    """Fails like a disk."""
    raise OSError(5, "Input/output error")


CADENCES: list[dict[str, object]] = [
    {},
    {"group": [{"name": "of-b", "match": ["b"]}]},
    {"aggregate": {"interval": "5m", "functions": ["sum"], "grace": "1m"}},
]


@pytest.mark.parametrize("sections", CADENCES)
@pytest.mark.parametrize("limit", [3, 32])
def test_groups_and_windows_after_crashes(tmp_path: Path, sections: dict[str, object], limit: int) -> None:
    """As without crashes, where the deliveries of a unit are divided by groups, or those of windows end a unit."""
    straight = Mailbox()
    DeliveringBench(tmp_path / "straight", MemoryLog({"0": EVENTS}), dict(sections), boxes=(straight,)).run()
    script: list[bytes | Script] = []
    for number, one in enumerate(EVENTS):
        script += [one, *([ABORT_PUBLISHED] if number % 50 == 5 else [ABORT_PUBLISH] if number % 50 == 31 else [])]
    box, log = Mailbox(), MemoryLog({"0": script})
    DeliveringBench(tmp_path / "broken", log, {**sections, "input": {"max_poll_records": limit}}, boxes=(box,)).run()
    assert sorted(box.found) == sorted(straight.found)
    assert len(straight.found) > 20
