"""Networks of another shape in the engine: adopted at a recorded position, replayed, restored, and by configuration."""

from __future__ import annotations

import dataclasses
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import structlog
from parts import Bench, event

from forecaster import Model
from service.errors import SettingsChangedError
from service.transport.memory import MemoryLog, MemoryTransport

EVENTS = [event(step, series) for step in range(60) for series in "ab"]
CHANGED = 40
BEFORE: dict[str, Any] = {"model": {"seasons": "auto"}}
AFTER: dict[str, Any] = {"model": {"horizon": 5, "quantiles": [0.2, 0.5, 0.8, 0.9], "seasons": "auto"}}


def engine(folder: Path, log: MemoryLog, sections: dict[str, Any], batch: int = 1000) -> Bench:
    """An engine with batches of a size."""
    model = {"hidden_size": 16, "head_size": 16, "horizon": 3, "quantiles": [0.1, 0.5, 0.9]} | sections["model"]
    return Bench(folder, log, sections | {"model": model, "input": {"max_poll_records": batch}})


def adoptions(log: MemoryLog) -> list[tuple[int, str]]:
    """Position and model of all adoptions."""
    return [(one.position, one.model_sha256) for one in MemoryTransport(log).adoptions("0")]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MemoryLog]:
    """A folder with a clean stop at `CHANGED`, and the log of a run to the end with another configuration."""
    folder = tmp_path_factory.mktemp("changed")
    first = engine(folder, MemoryLog({"0": EVENTS[:CHANGED]}), BEFORE)
    first.run()
    second = engine(tmp_path_factory.mktemp("x") / "all", MemoryLog({"0": EVENTS}, units=list(first.log.units)), AFTER)
    shutil.copytree(folder, second.folder, dirs_exist_ok=True)
    second.run()
    return folder, second.log


class TestConfiguration:
    """A configuration of another network at a restart."""

    def test_adopted_at_the_committed_position(self, changed: tuple[Path, MemoryLog]) -> None:
        """Forecasts have the new horizon and levels from the next event on, with a recorded adoption."""
        log = changed[1]
        found = [orjson.loads(one) for one in log.forecasts("0")]

        shapes = [np.shape(one["quantiles"]) for one in found[CHANGED - 1 : CHANGED + 1]]
        assert shapes == [(3, 3), (5, 4)]
        assert [position for position, _ in adoptions(log)] == [0, CHANGED]
        assert len(found) == len(EVENTS)

    @pytest.mark.parametrize("batch", [1, 7, 1000])
    def test_replayed_however_batched(self, tmp_path: Path, changed: tuple[Path, MemoryLog], batch: int) -> None:
        """Without snapshots, and with other batches, a restart after the change gives the same bytes."""
        folder, log = changed
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        units = [unit for unit in log.units if unit.next_position <= CHANGED]
        second = engine(tmp_path, MemoryLog({"0": EVENTS[: CHANGED + 13]}, units=units), AFTER, batch)
        second.run()
        for path in (tmp_path / "snapshots" / "0").iterdir():
            path.unlink()
        third = engine(tmp_path, MemoryLog({"0": EVENTS}, units=list(second.log.units)), AFTER, batch)
        third.run()

        assert third.log.forecasts("0") == log.forecasts("0")
        assert adoptions(third.log) == adoptions(log)
        assert third.sample("replayed_events_total") == CHANGED + 13

    def test_back_and_by_hand(self, tmp_path: Path, changed: tuple[Path, MemoryLog]) -> None:
        """The former configuration restores the former weights; a model of another shape cannot be promoted."""
        folder, log = changed
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        units = [unit for unit in log.units if unit.next_position <= CHANGED]
        second = engine(tmp_path, MemoryLog({"0": EVENTS[:50]}, units=units), AFTER)
        second.run()
        third = engine(tmp_path, MemoryLog({"0": EVENTS[:60]}, units=list(second.log.units)), BEFORE)
        third.run()
        other = Model.initial(dataclasses.replace(third.config.library_model(), horizon=4))
        third.registry.promote(third.registry.add(other))
        fourth = engine(tmp_path, MemoryLog({"0": EVENTS[:60]}, units=list(third.log.units)), BEFORE)
        fourth.engine._groups[""].champion.first()
        refused = fourth.engine._groups[""].champion
        fourth.registry.promote(other.sha256)
        refused.refresh()

        found = adoptions(third.log)
        assert [position for position, _ in found] == [0, CHANGED, 50]
        assert [one.action for one in third.registry.decisions()][:3] == ["initial", "reshaped", "reshaped"]
        assert fourth.sample("models_refused_total") == 1

    def test_other_covariates_need_a_clean_stop(self, tmp_path: Path, changed: tuple[Path, MemoryLog]) -> None:
        """Covariates are decoded as configured, so that a replay with others is refused."""
        folder, log = changed
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        for path in (tmp_path / "snapshots" / "0").iterdir():
            path.unlink()
        units = [unit for unit in log.units if unit.next_position <= CHANGED]
        bench = Bench(tmp_path, MemoryLog({"0": EVENTS}, units=units), {"input": {"covariates": ["c"]}})

        with pytest.raises(SettingsChangedError, match=r"input\.covariates"):
            bench.run()


LONG: dict[str, Any] = {"model": {"seasons": [100]}}


@pytest.mark.parametrize("batch", [1, 1000])
def test_another_budget_of_bytes(tmp_path: Path, batch: int) -> None:
    """A smaller budget keeps means of old values from the committed position on, and is replayed exactly; logged."""
    events, small = [event(step, "a") for step in range(260)], LONG | {"state": {"bytes_per_series": 1}}
    folder, other = tmp_path / "stopped", tmp_path / "straight"
    first = engine(folder, MemoryLog({"0": events[:200]}), LONG, batch)
    first.run()
    shutil.copytree(folder, other)
    with structlog.testing.capture_logs() as logs:
        second = engine(folder, MemoryLog({"0": events[:230]}, units=list(first.log.units)), small, batch)
        second.run()
    for path in (folder / "snapshots" / "0").iterdir():
        path.unlink()
    third = engine(folder, MemoryLog({"0": events}, units=list(second.log.units)), small, batch)
    third.run()
    straight = engine(other, MemoryLog({"0": events}, units=list(first.log.units)), small, 7)
    straight.run()

    said = {one["event"]: one for one in logs}
    means = said["older values kept as means"]
    assert (means["steps"], means["seasons"]) == (4, [100])
    assert means["bytes_per_series"] == said["more bytes per series than state.bytes_per_series"]["bytes_per_series"]
    assert "state.bytes_per_series, steps of a mean: 1 to 4" in said["network changed by the configuration"]["changes"]
    assert [position for position, _ in adoptions(third.log)] == [0, 200]
    assert len(third.log.forecasts("0")) == len(events)
    assert third.log.forecasts("0") == straight.log.forecasts("0")


def test_kills_around_adoptions(tmp_path: Path) -> None:
    """Models of other seasons, promoted in a run, are adopted; restarts from any older snapshot give the same bytes."""
    rng = random.Random(7)
    straight = engine(tmp_path / "straight", MemoryLog({"0": EVENTS}), BEFORE, 10)
    config = dataclasses.replace(straight.config.library_model(), seasons=(7,))
    models = [Model.initial(dataclasses.replace(config, seasons=seasons)) for seasons in ((7,), (), (3, 7))]

    def promoting(bench: Bench) -> None:
        def promote(unit: Any) -> None:
            bench.clock.now += 2
            if unit.next_position in (30, 60, 90):
                bench.registry.promote(bench.registry.add(models[unit.next_position // 30 - 1]))

        bench.on_unit = promote

    promoting(straight)
    straight.run()
    expected = straight.log.forecasts("0")
    assert [position for position, _ in adoptions(straight.log)] == [0, 30, 60, 90]

    folder, units = tmp_path / "killed", list[Any]()
    at = 0
    while at < len(EVENTS):
        at = min(len(EVENTS), at + 10 * rng.randint(1, 3))
        bench = engine(folder, MemoryLog({"0": EVENTS[:at]}, units=units), BEFORE, 10)
        promoting(bench)
        bench.run()
        units = list(bench.log.units)
        kept = sorted((folder / "snapshots" / "0").iterdir())
        for path in kept[rng.randint(0, len(kept)) :]:  # as after a kill before they were written
            path.unlink()
    assert bench.log.forecasts("0") == expected
    assert adoptions(bench.log) == adoptions(straight.log)
