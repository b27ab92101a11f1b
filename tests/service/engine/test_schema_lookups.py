"""Schemas are looked up before a batch is decoded; a registry that does not answer blocks, and rejects nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from avro_records import EVENT, Shelf, encoded
from parts import Bench, event

from service.config.kafka import KafkaConfig
from service.config.schema_registry import SchemaRegistryConfig
from service.config.sections import Config
from service.engine import schema_lookups
from service.errors import SchemaRegistryError
from service.ports import Records
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.transport.memory import ABORT_PUBLISHED, MemoryLog

PLAIN = [event(step, series) for step in range(40) for series in ("a", "b")]
AVRO = [encoded(EVENT, orjson.loads(line), 1 if at < 50 else 2) for at, line in enumerate(PLAIN)]
DOWN = SchemaRegistryError("schema registry http://registry: down")
SECTIONS: dict[str, dict[str, Any]] = {
    "kafka": {"topics": ["in"]},
    "schema_registry": {"url": "http://registry"},
    "input": {"max_poll_records": 9},
}


class Flaky(Shelf):
    """A registry that is down at first; `answers` is set once it has been asked in vain several times."""

    def __init__(self, schemas: dict[int, Any], failures: int) -> None:
        super().__init__(schemas)
        self.failures, self.called = failures, threading.Event()

    def schema(self, number: int) -> Any:
        """Fails for the second schema, and for the first one of a new process, as often as it is to."""
        if number == 2 and self.failures:
            self.failures -= 1
            self.called.set()
            raise DOWN
        return super().schema(number)


Make = Callable[..., Bench]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Returns a function that makes an engine with a registry."""

    def make(shelf: Shelf, log: MemoryLog, folder: str = "avro", **more: Any) -> Bench:
        monkeypatch.setattr(
            schema_lookups, "frames_of", lambda settings, counted, wanted: SchemaFrames(shelf, codec_of, 10, counted)
        )
        return Bench(tmp_path / folder, log, SECTIONS | {"input": SECTIONS["input"] | more})

    return make


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The forecasts of the same events as JSON."""
    bench = Bench(tmp_path_factory.mktemp("plain"), MemoryLog({"0": list(PLAIN)}))
    bench.run()
    return bench.log.forecasts("0")


def test_an_outage(made: Make, expected: list[bytes]) -> None:
    """The forecasts of Avro records are those of JSON, with a registry that fails for a while in mid-stream."""
    shelf = Flaky({1: EVENT, 2: EVENT}, 3)
    bench = made(shelf, MemoryLog({"0": list(AVRO)}))
    bench.run()
    assert bench.log.forecasts("0") == expected
    assert not any(unit.rejects for unit in bench.log.units)
    assert [bench.sample("schema_lookups_total", result=name) for name in ("found", "unknown", "failed")] == [2, 0, 3]
    assert bench.sample("restarts_total") == 0
    assert shelf.closed


def test_not_ready_meanwhile_and_stops(made: Make) -> None:
    """A blocked daemon is alive, not ready, and says why; a stop ends it, and nothing of the batch is committed."""
    shelf = Flaky({1: EVENT, 2: EVENT}, 10_000)
    bench = made(shelf, MemoryLog({"0": list(AVRO)}))
    thread = threading.Thread(target=bench.run)
    thread.start()
    assert shelf.called.wait(120)
    while bench.health.report().phase != "blocked":
        thread.join(0.01)
    report = bench.health.report()
    bench.stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert (report.ready, report.healthy) == (False, True)
    assert list(report.conditions) == ["schema_registry_down"]
    assert "registry: down" in report.reason
    assert len(bench.log.forecasts("0")) == 45  # the batches before the one with the new schema


def test_replay(made: Make, expected: list[bytes]) -> None:
    """A crash replays with the schemas that the process has; a new process asks for them, and waits."""
    lines: list[Any] = list(AVRO)
    lines.insert(70, ABORT_PUBLISHED)
    shelf = Flaky({1: EVENT, 2: EVENT}, 0)
    bench = made(shelf, MemoryLog({"0": lines}))
    bench.run()
    assert bench.sample("restarts_total") == 1
    assert bench.log.forecasts("0") == expected
    assert shelf.asked == [1, 2]


def test_a_start_while_it_is_down(made: Make, expected: list[bytes]) -> None:
    """A restart that has to replay waits for the registry, can be stopped, and repeats the same computation."""
    log = MemoryLog({"0": AVRO[:70]})
    first = made(Flaky({1: EVENT, 2: EVENT}, 0), log)
    first.run()
    for path in first.folder.glob("snapshots/*/*"):
        path.unlink()
    log.script = {"0": list(AVRO)}
    shelf = Flaky({1: EVENT, 2: EVENT}, 10_000)
    blocked = made(shelf, log)
    thread = threading.Thread(target=blocked.run)
    thread.start()
    assert shelf.called.wait(120)
    blocked.stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert len(log.forecasts("0")) == 70
    made(Flaky({1: EVENT, 2: EVENT}, 2), log).run()
    assert log.forecasts("0") == expected


def test_the_phase_continues(made: Make) -> None:
    """After an outage within a restore the daemon is restoring again, and not ready yet."""
    bench = made(Flaky({1: EVENT, 2: EVENT}, 2), MemoryLog({"0": []}))
    lookups = schema_lookups.SchemaLookups(bench.config, bench.metrics, bench.health)
    bench.health.enter("restoring", restored=0.5)
    assert lookups.wait(Records("0", [0], 1, AVRO[-1:]))
    report = bench.health.report()
    assert (report.phase, report.restored, report.started) == ("restoring", 0.5, False)


def test_batches_in_flight_are_published(made: Make, expected: list[bytes]) -> None:
    """With several workers, a batch with an unknown schema does not hold back those before it."""
    seen: list[int] = []
    shelf = Flaky({1: EVENT, 2: EVENT}, 2)
    log = MemoryLog({"0": AVRO[:18], "1": [*AVRO[50:59], *AVRO[18:27]]})
    bench = made(shelf, log, workers=2)
    bench.on_unit = lambda unit: seen.append(shelf.failures)
    bench.run()
    assert seen[0] == 2  # published before the second schema was asked for
    assert log.forecasts("0") == expected[:18]
    assert not any(unit.rejects for unit in log.units)


def test_no_registry_without_topics() -> None:
    """Files and pushed events are read without a registry."""
    config = Config(schema_registry=SchemaRegistryConfig(url="http://registry"), kafka=KafkaConfig())
    assert schema_lookups.SchemaLookups(config, None, None).frames is None  # type: ignore[arg-type] # unused
