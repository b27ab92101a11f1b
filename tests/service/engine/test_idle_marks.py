"""Time marks: a silent partition closes its windows by the clock, and a replay closes them at the same place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from parts import Bench, TurnedClock

from service.engine.idle_marks import IdleMarks
from service.ports import Records
from service.transport.memory import MemoryLog, MemoryTransport

MINUTE = 60_000
BEGIN = 1_700_000_040_000  # a whole minute
WINDOWS: dict[str, Any] = {"interval": "1m", "functions": ["count", "sum"], "grace": "5s"}
SILENT_SECONDS = 200.0


class QuietTransport(MemoryTransport):
    """A transport of which every poll without records takes a second of the clock."""

    def __init__(self, log: MemoryLog, clock: TurnedClock, wait: Callable[[], None]) -> None:
        super().__init__(log)
        self._clock, self._wait = clock, wait

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records; without any, the clock moves."""
        records = super().poll(limit, timeout_seconds)
        if records is None:
            self._clock.now += 1
            self._wait()
        return records

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Returns the same as that of memory."""
        return super().poll_buffered(limit, taken)


def raws(begin: int, count: int) -> list[bytes]:
    """Returns raw events of three series, every 4 s from a second on."""
    return [
        orjson.dumps({"series": "abc"[at % 3], "timestamp": BEGIN + (begin + 4 * at) * 1000, "value": at % 7 + 0.5})
        for at in range(count)
    ]


FIRST = raws(0, 200)
SECOND = [*raws(790, 3), *raws(1500, 200)]


def run_of(folder: Path, log: MemoryLog, then: list[bytes] | None, *, follow: bool = True, **aggregate: Any) -> Bench:
    """Runs an engine: over the log, then a silence, then further records; None: it stops behind the silence."""
    bench = Bench(folder, log, {"aggregate": WINDOWS | aggregate, "input": {"late": "dead-letter", "follow": follow}})
    end = bench.clock.now + SILENT_SECONDS

    def wait() -> None:
        if bench.clock.now < end or log.ends:
            return
        if then is None:
            bench.stop.set()
            return
        log.script["0"].extend(then)  # type: ignore[attr-defined] # a list in this test
        log.ends = True

    bench.engine._connect = lambda: QuietTransport(log, bench.clock, wait)  # type: ignore[method-assign]
    bench.run()
    return bench


def outputs(log: MemoryLog) -> list[Any]:
    """Returns forecasts, rejects and marks of all units."""
    return [(unit.forecasts, unit.rejects, unit.mark) for unit in log.units if unit.forecasts or unit.rejects]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> MemoryLog:
    """The log of an engine that was not restarted."""
    log = MemoryLog({"0": list(FIRST)}, ends=False)
    run_of(tmp_path_factory.mktemp("straight"), log, SECOND)
    return log


def test_windows_of_a_silent_partition(straight: MemoryLog) -> None:
    """Once it was silent for `aggregate.idle`, its windows close by a mark, which is in the source of the forecasts."""
    (unit,) = [unit for unit in straight.units if unit.mark is not None]
    found = [orjson.loads(text) for text in unit.forecasts]
    last = BEGIN + 4 * 199_000

    assert (unit.position, unit.next_position) == (200, 200)
    assert unit.mark is not None
    assert last + 60_000 - MINUTE <= unit.mark.time_ms <= last + 62_000
    assert {one["series"] for one in found} == {f"{name}.{part}" for name in "abc" for part in ("count", "sum")}
    assert {(one["source"]["position"], "mark" in one["source"]) for one in found} == {(200, True)}
    reasons = [(reject.position, reject.reason) for one in straight.units for reject in one.rejects]
    assert reasons == [(200, "late"), (201, "late"), (202, "late")]


@pytest.mark.parametrize("snapshots", [True, False])
def test_restarts_make_no_difference(straight: MemoryLog, tmp_path: Path, snapshots: bool) -> None:
    """An engine that continues behind the mark, from a snapshot or by a replay, forecasts the same bytes."""
    log = MemoryLog({"0": list(FIRST)}, ends=False)
    run_of(tmp_path, log, None)
    assert [unit.mark is not None for unit in log.units][-1]
    if not snapshots:
        shutil.rmtree(tmp_path / "snapshots")
    log.script["0"].extend(SECOND)  # type: ignore[attr-defined]
    log.ends = True
    run_of(tmp_path, log, None)

    assert outputs(log) == outputs(straight)


def test_a_kill_at_any_unit(straight: MemoryLog, tmp_path: Path) -> None:
    """An engine that was killed behind any unit, with no snapshot, goes on with the same bytes."""
    first = next(at for at, unit in enumerate(straight.units) if unit.mark is not None)
    for count in range(first + 1, len(straight.units), 2):
        log = MemoryLog({"0": [*FIRST, *SECOND]}, units=straight.units[:count])
        run_of(tmp_path / str(count), log, None)
        assert outputs(log) == outputs(straight)


@pytest.mark.parametrize("changes", [{"interval": "1h"}, {"idle": "0s"}, {"idle": "10m"}])
def test_no_mark(tmp_path: Path, changes: dict[str, str]) -> None:
    """A window whose end is not reached stays open, and so do all without `idle`, or before it is over."""
    log = MemoryLog({"0": list(FIRST)}, ends=False)
    run_of(tmp_path, log, None, **changes)

    assert all(unit.mark is None for unit in log.units)


def test_an_input_that_ends(tmp_path: Path) -> None:
    """An input that ends gets no marks: its output does not depend on how fast it is read."""
    log = MemoryLog({"0": list(FIRST)}, ends=False)
    run_of(tmp_path, log, None, follow=False)

    assert all(unit.mark is None for unit in log.units)


def test_unread_records() -> None:
    """A partition is not silent while it has records that were not read; then its silence begins anew."""
    windows = SimpleNamespace(next_closing_ms=1, present_ms=lambda: 0, marked=None)
    partition: Any = SimpleNamespace(name="p", aggregator=windows, recorded=True, in_history=False, position=5)
    clock, lag = TurnedClock(), {"p": 3}
    marks = IdleMarks(60.0, clock)

    def found(seconds: int) -> list[int]:
        times = []
        for _ in range(seconds):
            clock.now += 1
            times += [mark.time_ms for _, mark in marks.due([partition], lambda: lag)]
        return times

    assert found(150) == []
    lag["p"] = 0
    assert found(30) == []
    assert found(61)[0] >= 60_000
