"""Snapshots with a valid checksum and invalid contents: the one before is used, as for a damaged one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parts import Bench, event

from forecaster.state.checkpoint import read_checkpoint, write_checkpoint
from service.errors import ConfigurationError
from service.transport.memory import MemoryLog

EVENTS = [event(step, series) for step in range(40) for series in "ab"]
SECTIONS: dict[str, dict[str, Any]] = {"retrain": {"drift": True, "check_events": 5}}
Arrays = dict[str, NDArray[Any]]
Header = dict[str, Any]
Change = Callable[[Arrays, Header], object]


def twice(folder: Path) -> MemoryLog:
    """Returns a log of 50 events, with snapshots at 20 and at 50."""
    first = Bench(folder, MemoryLog({"0": EVENTS[:20]}), SECTIONS)
    first.run()
    second = Bench(folder, MemoryLog({"0": EVENTS[:50]}, units=first.log.units), SECTIONS)
    second.run()
    return MemoryLog({"0": EVENTS}, units=second.log.units)


def forged(folder: Path, change: Change) -> None:
    """Changes the newest snapshot, and writes a valid checksum."""
    newest = max((folder / "snapshots" / "0").iterdir())
    arrays, header = read_checkpoint(newest, "snapshot")
    change(arrays, header)
    write_checkpoint(newest, arrays, header, "snapshot")


def places() -> list[tuple[str, Change]]:
    """Returns invalid changes by name."""

    def without(name: str) -> Change:
        return lambda arrays, _: arrays.pop(name)

    def shorter(name: str) -> Change:
        return lambda arrays, _: arrays.update({name: arrays[name][:-1]})

    def other_type(name: str) -> Change:
        return lambda arrays, _: arrays.update({name: np.zeros(arrays[name].shape, np.float16)})

    def lacks(name: str) -> Change:
        return lambda _, header: header["library"].pop(name)

    def says(name: str, value: object) -> Change:
        return lambda _, header: header["library"].update({name: value})

    arrays = ("hidden", "stats", "whole", "rows", "names", "drift.usual", "drift.phases", "history.value")
    ways = [(f"{what.__name__} {name}", what(name)) for what in (without, shorter, other_type) for name in arrays]
    ways += [(f"lacks {name}", lacks(name)) for name in ("model_sha256", "used", "prior", "events_total")]
    wrong: tuple[tuple[str, object], ...] = (
        ("used", -1), ("used", "many"), ("model_sha256", []), ("history_written", 1 << 70), ("prior", "?"),
    )  # fmt: skip
    ways += [(f"says {name} {value}", says(name, value)) for name, value in wrong]
    return ways


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The forecasts of an undisturbed engine."""
    bench = Bench(tmp_path_factory.mktemp("straight"), MemoryLog({"0": EVENTS}), SECTIONS)
    bench.run()
    return bench.log.forecasts("0")


@pytest.mark.parametrize(("way", "change"), places(), ids=[way for way, _ in places()])
def test_the_one_before_is_used(tmp_path: Path, straight: list[bytes], way: str, change: Change) -> None:
    """An invalid snapshot is counted and left in place, and the forecasts equal an undisturbed run's."""
    log = twice(tmp_path)
    forged(tmp_path, change)
    third = Bench(tmp_path, log, SECTIONS)
    third.run()

    assert third.log.forecasts("0") == straight, way
    assert third.sample("snapshots_refused_total", reason="unfit") == 1
    assert third.sample("replayed_events_total") == 30


def test_all_of_them(tmp_path: Path, straight: list[bytes]) -> None:
    """Without a valid snapshot the state is computed from the first event."""
    log = twice(tmp_path)
    for path in (tmp_path / "snapshots" / "0").iterdir():
        arrays, header = read_checkpoint(path, "snapshot")
        write_checkpoint(path, arrays | {"stats": arrays["stats"][:, :-1]}, header, "snapshot")
    third = Bench(tmp_path, log, SECTIONS)
    third.run()

    assert third.log.forecasts("0") == straight
    assert third.sample("replayed_events_total") == 50


def test_fewer_series_than_it_holds(tmp_path: Path) -> None:
    """A valid state larger than `state.max_series` is an error instead of being computed anew."""
    log = twice(tmp_path)
    third = Bench(tmp_path, log, SECTIONS | {"state": {"max_series": 1}})

    with pytest.raises(ConfigurationError, match=r"state\.max_series: got 1, expected at least the 2 series rows"):
        third.run()
