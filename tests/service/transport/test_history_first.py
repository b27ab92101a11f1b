"""A history before the live input: state, models and forecasts after the history are those of one live stream."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from history_runs import bench_of, forecasts, line, models, run, state, written
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import SourceGoneError, SourceUnavailableError
from service.ports import HISTORY_BEGIN, Records
from service.snapshots.file import folder_of, newest_first, position_of
from service.sources import CommittedPositions, Source
from service.sources.history import HistoryInput, PartitionHistory, begin_of, number_of
from service.sources.history_first import HistoryFirst
from service.sources.manifest import FileEntry

EVENTS = [line(step, name) for step in range(60) for name in ("a", "b")]


def outcome(data: Path, live: Path) -> tuple[object, ...]:
    """Returns all that must be equal."""
    return forecasts(data)[-20:], state(data, live), models(data)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data folder and the file of a run over one live stream."""
    folder = tmp_path_factory.mktemp("straight")
    live = written(folder / "live.jsonl", EVENTS)
    run(folder / "data", live)
    return folder / "data", live


@settings(max_examples=8, deadline=None)
@given(
    cut=st.integers(1, len(EVENTS) - 20),
    overlap=st.integers(0, 60),
    inputs=st.integers(1, 3),
    batch=st.integers(1, 50),
)
def test_equal_to_live(
    tmp_path_factory: pytest.TempPathFactory,
    straight: tuple[Path, Path],
    cut: int,
    overlap: int,
    inputs: int,
    batch: int,
) -> None:
    """Whatever the end of the history, the overlap, inputs and batches: nothing differs from one live stream."""
    reference, _ = straight
    folder = tmp_path_factory.mktemp("overlap")
    parts = [EVENTS[:cut][number * cut // inputs : (number + 1) * cut // inputs] for number in range(inputs)]
    files = [written(folder / f"h{number}.jsonl", part) for number, part in enumerate(parts)]
    live = written(folder / "live.jsonl", EVENTS[max(0, cut - overlap) :])
    bench = run(
        folder / "data", live, input={"max_poll_records": batch}, bootstrap={"files": [str(file) for file in files]}
    )
    assert forecasts(folder / "data", live=False) == forecasts(reference)[cut:]
    assert state(folder / "data", live) == state(*straight)
    assert models(folder / "data") == models(reference)
    assert bench.sample("bootstrap_events_total") == cut
    assert bench.sample("events_total", status="duplicate") == min(cut, overlap)


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("last", [[10**6], [10**6, 10**6 + 1, 10**6 + 2], [3], [200, 3, 10**6]])
def test_the_last_event_of_a_history(tmp_path: Path, last: list[int], windows: bool) -> None:
    """Wrong times of the future and older events at the end of the history do not decide which live events are new."""
    sections: dict[str, Any] = {"aggregate": {"interval": "2m", "functions": ["sum"]}} if windows else {}
    history = [*EVENTS[:80], *(line(step, "a") for step in last)]
    live = written(tmp_path / "live.jsonl", [*history, *EVENTS[80:]])
    run(tmp_path / "straight", live, **sections)
    written(live, EVENTS[60:])
    file = written(tmp_path / "h.jsonl", history)
    bench = run(tmp_path / "data", live, bootstrap={"files": [str(file)]}, **sections)

    assert bench.sample("events_total", status="duplicate") == 20
    assert forecasts(tmp_path / "data") == forecasts(tmp_path / "straight")[-len(forecasts(tmp_path / "data")) :]
    assert len(forecasts(tmp_path / "data")) >= 10
    assert state(tmp_path / "data", live) == state(tmp_path / "straight", live)


def test_a_gap_is_a_gap(tmp_path: Path) -> None:
    """Events that neither has are missing steps, as in a live stream that lacks them."""
    live = written(tmp_path / "live.jsonl", EVENTS[:40] + EVENTS[60:])
    run(tmp_path / "straight", live)
    history = written(tmp_path / "h.jsonl", EVENTS[:40])
    expected = forecasts(tmp_path / "straight")[40:], state(tmp_path / "straight", live)
    written(live, EVENTS[60:])
    run(tmp_path / "data", live, bootstrap={"files": [str(history)]})
    assert (forecasts(tmp_path / "data", live=False), state(tmp_path / "data", live)) == expected


def test_killed_anywhere(tmp_path: Path, straight: tuple[Path, Path]) -> None:
    """An engine that fails after any of its steps goes on where it was: nothing is taken in twice or left out."""
    history, live = tmp_path / "h.jsonl", tmp_path / "live.jsonl"
    written(history, EVENTS[:70])
    written(live, EVENTS[60:110])
    settings: dict[str, Any] = {
        "bootstrap": {"files": [str(history)]}, "input": {"max_poll_records": 7}, "state": {"snapshot_every": 0.01}
    }  # fmt: skip

    class Killed(BaseException):
        pass

    for count in range(1, 60):
        left = count

        def kill(step: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        bench = bench_of(tmp_path / "data", live, **settings)
        bench.engine._kill = kill
        bench.engine._pipeline._kill = kill
        try:
            bench.run()
        except Killed:
            continue
        break
    written(live, EVENTS[60:])
    run(tmp_path / "data", live, **settings)
    assert forecasts(tmp_path / "data", live=False) == forecasts(straight[0])[70:]
    assert state(tmp_path / "data", live) == state(*straight)
    with closing(sqlite3.connect(tmp_path / "data" / "forecasts.sqlite")) as database:
        assert database.execute("SELECT events, duplicates FROM outcomes").fetchone() == (120, 10)


def test_trainings_of_a_history(tmp_path: Path) -> None:
    """Every training of a history is waited for, also where the live input would not wait."""
    history, live = written(tmp_path / "h.jsonl", EVENTS[:100]), written(tmp_path / "live.jsonl", EVENTS[100:])
    bench = bench_of(
        tmp_path / "data", live, command=(sys.executable, "-c", "raise SystemExit('no')"), input={"follow": True},
        bootstrap={"files": [str(history)]}, retrain={"every_events": 20},
    )  # fmt: skip
    bench.on_unit = lambda unit: bench.stop.set() if unit.next_position >= 0 else None
    bench.run()
    assert not bench.config.retrain_waits
    assert bench.trainer.trainings.ended == 5


class TestLater:
    """Starts after the history was taken in."""

    def test_files_may_go(self, tmp_path: Path, straight: tuple[Path, Path]) -> None:
        """Once live, the files of the history and the setting may be removed."""
        history, live = tmp_path / "h.jsonl", tmp_path / "live.jsonl"
        written(history, EVENTS[:70])
        written(live, EVENTS[70:90])
        run(tmp_path / "data", live, bootstrap={"files": [str(history)]})
        history.unlink()
        written(live, EVENTS[70:100])
        run(tmp_path / "data", live, bootstrap={"files": [str(history)]})
        written(live, EVENTS[70:])
        run(tmp_path / "data", live)
        assert forecasts(tmp_path / "data", live=False) == forecasts(straight[0])[70:]
        assert state(tmp_path / "data", live) == state(*straight)

    def test_a_history_that_was_released(self, tmp_path: Path) -> None:
        """What was released is not replayed as nothing: a state without it would be empty."""
        source = HistoryFirst(Topic(), [HistoryInput(str(written(tmp_path / "h.jsonl", EVENTS)))])
        source.open(Places())
        with pytest.raises(SourceGoneError, match="no usable snapshot is left after its history"):
            next(source.replay("old", HISTORY_BEGIN, 5, 10))

    def test_a_partition_is_added(self, tmp_path: Path) -> None:
        """A partition that comes when others are live begins with its oldest record where the history is gone."""
        source = HistoryFirst(Topic(), [HistoryInput(str(tmp_path / "none.csv"))])
        source.open(Places())
        records = source.poll(10, 0.0)
        assert records is not None
        assert (records.partition, list(records.positions), records.next_position) == ("new", [], 3)

    def test_removed_before_the_end(self, tmp_path: Path) -> None:
        """A start without the setting is refused while the history was not taken in to its end."""
        history, live = written(tmp_path / "h.jsonl", EVENTS), written(tmp_path / "live.jsonl", EVENTS)
        bench = bench_of(tmp_path / "data", live, bootstrap={"files": [str(history)]}, input={"max_poll_records": 9})
        bench.on_unit = lambda _: bench.stop.set()
        bench.run()
        with pytest.raises(SourceGoneError, match="has not been taken in to its end"):
            run(tmp_path / "data", live)

    def test_not_the_first_start(self, tmp_path: Path) -> None:
        """A partition that is live has no history: the setting changes nothing."""
        live = written(tmp_path / "live.jsonl", EVENTS[:50])
        run(tmp_path / "data", live)
        bench = run(tmp_path / "data", live, bootstrap={"files": [str(written(tmp_path / "h.jsonl", EVENTS[50:]))]})
        assert bench.sample("bootstrap_events_total") == 0


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is an error at the start, whatever is before it."""
    live = written(tmp_path / "live.jsonl", EVENTS)
    with pytest.raises(SourceUnavailableError, match=r"bootstrap\.files: got .*none.csv"):
        run(tmp_path / "data", live, bootstrap={"files": [str(live), str(tmp_path / "none.csv")]})


def test_published_from(tmp_path: Path) -> None:
    """With a time, forecasts of events from then on are published, of history and live stream alike."""
    history, live = written(tmp_path / "h.jsonl", EVENTS[:70]), written(tmp_path / "live.jsonl", EVENTS[70:])
    settings = {"publish_from": "2023-11-14T22:43:20Z"}  # 30 minutes after the first event
    run(tmp_path / "data", live, bootstrap={"files": [str(history)]}, output=settings)
    assert len(forecasts(tmp_path / "data", live=False)) == len(EVENTS) - 60
    assert len(forecasts(tmp_path / "data")) == len(EVENTS) - 70


@pytest.mark.parametrize("publish_from", ["", "1970-01-01T00:00:00Z", "2023-11-14T22:50:00Z", "2023-11-15T01:30:00Z"])
def test_counts_are_of_what_is_published(tmp_path: Path, publish_from: str) -> None:
    """Metrics count the forecasts, silences and anomalies that are in the output, from whatever time it begins."""
    names = ("a", "b", "c")
    events = [
        line(step, name) if step % 50 else line(step, name).replace(b'"value":', b'"value":9' + b"0" * (step // 50))
        for step in range(1, 300)
        for name in names
        if name == "a" or step // 20 % 3 != names.index(name)
    ]
    history = written(tmp_path / "h.jsonl", events[:250])
    live = written(tmp_path / "live.jsonl", events[250:])
    bench = run(
        tmp_path / "data", live, bootstrap={"files": [str(history)]}, anomaly={"silent_after": 4},
        output={"publish_from": publish_from} if publish_from else {},
    )  # fmt: skip
    with closing(sqlite3.connect(tmp_path / "data" / "forecasts.sqlite")) as database:
        (forecast, flagged), (silent,) = (
            database.execute(query).fetchone()
            for query in ("SELECT count(*), sum(flagged) FROM forecasts", "SELECT count(*) FROM silences")
        )
    assert silent > 0
    assert flagged > 0
    assert bench.sample("forecasts_total") == forecast
    assert bench.sample("silences_total") == silent
    assert bench.sample("anomalies_total") == flagged


@pytest.mark.parametrize("lost", range(4))
def test_nothing_new_behind_a_snapshot_that_was_lost(tmp_path: Path, lost: int) -> None:
    """A run without new records restores the state before it ends, and writes a snapshot of it."""
    live = written(tmp_path / "live.jsonl", EVENTS)
    run(tmp_path / "data", live, input={"max_poll_records": 10}, state={"snapshot_every": "1ms"})
    folder = folder_of(tmp_path / "data" / "snapshots", str(live))
    expected = state(tmp_path / "data", live)
    for path in newest_first(folder)[:lost]:
        path.unlink()
    run(tmp_path / "data", live, input={"max_poll_records": 10})

    assert state(tmp_path / "data", live) == expected
    assert position_of(newest_first(folder)[0]) == live.stat().st_size


class Places:
    """Positions of a sink: one partition is live, another one has none."""

    def committed(self, partition: str) -> int | None:
        """Returns the committed position."""
        return {"old": 5}.get(partition)

    def files(self, partition: str) -> list[FileEntry]:
        """Returns no entries."""
        return []


class Topic(Source):
    """Two partitions without new records; the oldest that are held have the position 3."""

    def open(self, sink: CommittedPositions) -> None:
        """Does nothing."""

    def partitions(self) -> list[str]:
        """Returns both."""
        return ["old", "new"]

    def all_partitions(self) -> list[str]:
        """Returns both."""
        return self.partitions()

    def pause(self, partitions: Collection[str]) -> None:
        """Does nothing."""

    def poll(self, limit: int, timeout_seconds: float) -> None:
        """Returns no records."""

    def earliest(self, partition: str) -> int:
        """Returns the oldest position."""
        return 3


class GrowingTopic(Topic):
    """A topic whose partition "old" is live and always has records, and that has had another number of partitions."""

    generation = 0

    def __init__(self, count: int) -> None:
        self.count, self.paused = count, frozenset[str]()

    def all_partitions(self) -> list[str]:
        """Returns as many as there are."""
        return [*self.partitions(), *(f"p{number}" for number in range(self.count - 2))]

    def first(self, partition: str) -> int:
        """Returns the oldest position."""
        return self.earliest(partition)

    def pause(self, partitions: Collection[str]) -> None:
        """Notes them."""
        self.paused = frozenset(partitions)

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns a record of the live partition, always."""
        return Records("old", [5], 6, [b"live"])


def test_a_live_partition_with_a_lag(tmp_path: Path) -> None:
    """A history is taken in by turns with the records of a partition that is live already, however many it has."""
    file = written(tmp_path / "h.jsonl", EVENTS[:30])
    source = HistoryFirst(GrowingTopic(2), [HistoryInput(str(file))])
    source.open(Places())
    found = [one for _ in range(70) if (one := source.poll(1, 0.0)) is not None]
    source.close()
    history = [value for one in found if one.partition == "new" for value in one.values]
    assert history == EVENTS[:30]
    assert sum(one.partition == "old" for one in found) >= 30


def test_a_topic_that_grows(tmp_path: Path) -> None:
    """The number of partitions by which series are divided stays that of the begin, also when more were added."""
    file = written(tmp_path / "h.jsonl", EVENTS[:30])
    inputs = [HistoryInput(str(file))]
    first = PartitionHistory("new", inputs, (), None, 3, 4)
    records = first.read(10)
    assert records is not None
    entries, _ = first.changes(records.next_position)
    first.close()
    for committed in (records.next_position, 7):  # in the history, and live: a replay may need it
        again = PartitionHistory("new", inputs, entries, committed, None, 6)
        assert again.partitions == 4
        again.close()

    class Begun(Places):
        def committed(self, partition: str) -> int | None:
            return {"old": 5, "new": records.next_position}[partition]

        def files(self, partition: str) -> list[FileEntry]:
            return entries if partition == "new" else []

    source = HistoryFirst(GrowingTopic(6), inputs)
    source.open(Begun())
    assert [source.partitions_of_history(name) for name in ("new", "old")] == [4, 6]
    source.close()


@given(st.integers(0, 500), st.integers(0, 1 << 43))
def test_positions(number: int, offset: int) -> None:
    """A position says in which input it is; all are negative."""
    assert HISTORY_BEGIN <= begin_of(number) + offset < 0
    assert number_of(begin_of(number) + offset) == number
