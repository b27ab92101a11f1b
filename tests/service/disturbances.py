"""Three laws of every stream of records: no batches, no restart and no crash change what the engine publishes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from parts import Bench, due_of

from service.transport.memory import Script


class Published(NamedTuple):
    """What an engine published of partition "0", and the trainings that became due."""

    forecasts: list[bytes]
    rejects: list[tuple[int, str, bytes]]
    due: list[tuple[int, int]]


class Make(Protocol):
    """Returns an engine over a script; `units`: those of the processes before it; `sections`: its settings."""

    def __call__(
        self, folder: Path, script: list[bytes | Script], units: list[Any] | None = None, **sections: Any
    ) -> Bench:
        """Returns the engine, not started."""


def published(bench: Bench, before: Sequence[tuple[int, int]] = ()) -> Published:
    """Runs an engine to its end; `before`: the trainings that became due in the processes before it."""
    due = due_of(bench)
    rejects = [(one.position, one.reason, one.value) for unit in bench.log.units for one in unit.rejects]
    return Published(bench.log.forecasts("0"), rejects, [*before, *due])


class Disturbed:
    """Runs an engine over a stream with disturbances, and compares with an undisturbed run.

    Args:
        make: returns an engine.
        records: the stream.
        rules: settings of the trainings, of which none takes place.
        **settings: of `input`, for each run.
    """

    def __init__(self, make: Make, records: Sequence[bytes], rules: dict[str, Any], **settings: Any) -> None:
        self.make, self.records, self._rules, self._input = make, records, rules, settings

    def bench(
        self, folder: Path, script: Sequence[bytes | Script], limit: int, units: list[Any] | None = None
    ) -> Bench:
        """Returns an engine with at most `limit` records in a batch."""
        settings = self._input | {"max_poll_records": limit}
        return self.make(folder, list(script), units, retrain=self._rules, input=settings)

    def straight(self, folder: Path) -> tuple[Bench, Published]:
        """Runs an engine without a disturbance, in one batch."""
        bench = self.bench(folder, self.records, 10_000)
        return bench, published(bench)

    def batches(self, folder: Path, expected: Published, limit: int) -> None:
        """Forecasts, rejects and trainings do not depend on the batches."""
        assert published(self.bench(folder, self.records, limit)) == expected

    def restart(self, folder: Path, expected: Published, limit: int, end: int, *, snapshots: bool) -> Bench:
        """A new process behind `end` records continues with the same bytes and trainings; returns its engine.

        snapshots: from its snapshot; else by a replay.
        """
        first = self.bench(folder, self.records[:end], limit)
        due = due_of(first)
        if not snapshots:
            for path in (folder / "snapshots" / "0").iterdir():
                path.unlink()
        second = self.bench(folder, self.records, limit, first.log.units)
        assert published(second, due) == expected
        return second

    def crashes(self, folder: Path, expected: Published, kills: Sequence[tuple[int, Script]]) -> None:
        """Wherever the process dies, forecasts and rejects are those of the undisturbed run.

        kills: what happens before which record, the last one first.
        """
        script: list[bytes | Script] = list(self.records)
        for at, what in kills:
            script.insert(at, what)
        bench = self.bench(folder, script, 7)
        found = published(bench)
        assert (found.forecasts, found.rejects) == (expected.forecasts, expected.rejects)
        assert bench.sample("restarts_total") == len(kills)
