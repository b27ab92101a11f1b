"""The schema of forecasts is registered before the loop starts; its registry may be down, and may refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from avro_records import Shelf
from parts import Bench, event

from service.errors import ConfigurationError, SchemaRegistryError
from service.schemas import registry
from service.schemas.codecs import codec_of
from service.schemas.forecast_reader import ForecastReader
from service.schemas.forecast_schemas import SCHEMAS
from service.schemas.frames import SchemaFrames
from service.schemas.schema import RegisteredSchema, SchemaError
from service.transport.memory import ABORT_PUBLISHED, MemoryLog

LINES = [event(step, series) for step in range(30) for series in ("a", "b")]


class Registry:
    """A registry in memory that is down for some calls, or refuses all schemas."""

    subjects: list[tuple[str, RegisteredSchema]] = []  # noqa: RUF012 - reset by the fixture
    failures = 0
    refuses = False
    asked = threading.Event()

    def __init__(self, _: object) -> None:
        pass

    def register(self, subject: str, schema: RegisteredSchema) -> int:
        """Returns the place of a schema among those that were registered."""
        if Registry.refuses:
            msg = "incompatible"
            raise SchemaError(msg)
        if Registry.failures:
            Registry.failures -= 1
            Registry.asked.set()
            msg = "registry down"
            raise SchemaRegistryError(msg)
        if (subject, schema) not in Registry.subjects:
            Registry.subjects.append((subject, schema))
        return 1 + Registry.subjects.index((subject, schema))

    def close(self) -> None:
        """Does nothing."""


Make = Callable[..., Bench]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Returns a function that makes an engine with a format of forecasts."""
    monkeypatch.setattr(registry, "SchemaRegistry", Registry)
    for name, value in {"subjects": [], "failures": 0, "refuses": False, "asked": threading.Event()}.items():
        monkeypatch.setattr(Registry, name, value)

    def make(log: MemoryLog, name: str, folder: str = "one") -> Bench:
        sections: dict[str, dict[str, Any]] = {
            "output": {"format": name},
            "schema_registry": {"url": "http://registry"},
            "input": {"max_poll_records": 9},
        }
        return Bench(tmp_path / folder, log, sections)

    return make


class Reader(ForecastReader):
    """Reads what was written with the schemas in `Registry`."""

    def __init__(self) -> None:
        super().__init__()
        schemas = {number: schema for number, (_, schema) in enumerate(Registry.subjects, 1)}
        self._frames = SchemaFrames(Shelf(schemas), codec_of, 10)


@pytest.mark.parametrize("name", ["avro", "protobuf"])
def test_forecasts_with_a_crash(made: Make, name: str) -> None:
    """The forecasts are those of JSON; a crash and a new process give the same bytes, with the same id."""
    plain = made(MemoryLog({"0": list(LINES)}), "json", "plain")
    plain.run()
    assert Registry.subjects == []
    undisturbed = made(MemoryLog({"0": list(LINES)}), name)
    undisturbed.run()
    lines: list[Any] = list(LINES[:40])
    lines.insert(20, ABORT_PUBLISHED)
    disturbed = made(MemoryLog({"0": lines}), name, "two")
    disturbed.run()
    for path in disturbed.folder.glob("snapshots/*/*"):
        path.unlink()
    disturbed.log.script = {"0": list(LINES)}
    made(disturbed.log, name, "two").run()
    found = disturbed.log.forecasts("0")
    assert found == undisturbed.log.forecasts("0")
    assert Registry.subjects == [("forecaster.forecasts-value", SCHEMAS[name])]
    reader = Reader()
    assert [one for value in found for one in reader.read(value)] == list(map(orjson.loads, plain.log.forecasts("0")))


def test_down_at_the_start(made: Make) -> None:
    """A registry that is down at the start is asked again; meanwhile the daemon is not ready, and can be stopped."""
    Registry.failures = 10_000
    bench = made(MemoryLog({"0": list(LINES)}), "avro")
    thread = threading.Thread(target=bench.run)
    thread.start()
    assert Registry.asked.wait(120)
    while bench.health.report().phase != "blocked":
        thread.join(0.01)
    report = bench.health.report()
    bench.stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert list(report.conditions) == ["schema_registry_down"]
    assert bench.log.units == []
    Registry.failures = 2
    again = made(bench.log, "avro")
    again.run()
    assert len(again.log.forecasts("0")) == len(LINES)


def test_refused_at_the_start(made: Make) -> None:
    """A schema that the registry refuses ends the start with the reason."""
    Registry.refuses = True
    with pytest.raises(ConfigurationError, match=r"output\.format: got .avro., but its schema .*incompatible"):
        made(MemoryLog({"0": list(LINES)}), "avro").run()
