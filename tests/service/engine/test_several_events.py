"""The engine over records with several events each: batches, restarts, trainings, checks and late events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from disturbances import Disturbed, Published
from hypothesis import given
from hypothesis import strategies as st
from parts import MODEL, Bench, due_of

import service.partitions.pieces
from forecaster import Forecaster, Model, ModelConfig
from service.config.input import InputConfig
from service.config.retrain import RetrainConfig
from service.messages.decode import Decoded, Decoder
from service.partitions.partition import Partition
from service.partitions.pieces import pieces
from service.partitions.schedule import Progress, Schedule
from service.ports import Records
from service.transport.memory import ABORT_POLL, ABORT_PUBLISH, ABORT_PUBLISHED, MemoryLog, Script

FIELDS = {"values": ["a", "b", "c"]}
RULES = {"every_events": 25, "first_after_events": 10}


def wide(step: int, names: str = "abc", **changes: object) -> bytes:
    """Returns a record with an event of a wave for each name."""
    values = {name: (step % 7) + 0.25 * (step % 3) + number for number, name in enumerate(names)}
    return orjson.dumps({"series": "s", "timestamp": 1_700_000_000_000 + step * 60_000} | values | changes)


RECORDS = [wide(step) for step in range(40)]
# Records of 0 to 3 events, and one that is no record.
UNEVEN = [b"x" if step == 17 else wide(step, "abc"[: (step * 7) % 4]) for step in range(60)]


def bench_of(folder: Path, script: list[bytes | Script], units: list[Any] | None = None, **sections: Any) -> Bench:
    """Returns an engine over a script of wide records."""
    sections["input"] = {"fields": FIELDS} | sections.get("input", {})
    return Bench(folder, MemoryLog({"0": list(script)}, units=units or []), sections)


def run(folder: Path, script: list[bytes | Script], units: list[Any] | None = None, **sections: Any) -> Bench:
    """Runs an engine to the end of a script."""
    bench = bench_of(folder, script, units, **sections)
    due_of(bench)
    return bench


STREAM = Disturbed(bench_of, UNEVEN, RULES)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """What an undisturbed run publishes."""
    return STREAM.straight(tmp_path_factory.mktemp("straight"))[1]


class TestOutput:
    """Forecasts of wide records."""

    def test_a_forecast_for_every_value(self, tmp_path: Path) -> None:
        """Every value of a record has a forecast, with the record's position and its number within the record."""
        found = [orjson.loads(text) for text in run(tmp_path, RECORDS).log.forecasts("0")]

        sources = [{"partition": "0", "position": at, "event": number} for at in range(40) for number in range(3)]
        assert [one["source"] for one in found] == sources
        assert [one["series"] for one in found] == ["s.a", "s.b", "s.c"] * 40

    def test_one_event_has_no_number(self, tmp_path: Path) -> None:
        """The number is absent where a record has one event, next to records with several."""
        found = [orjson.loads(text)["source"] for text in run(tmp_path, UNEVEN).log.forecasts("0")]
        events = {at: (at * 7) % 4 for at in range(60) if at != 17}
        expected = [(at, None if n == 1 else number) for at, n in events.items() for number in range(n)]

        assert [(source["position"], source.get("event")) for source in found] == expected

    @pytest.mark.parametrize("limit", [1, 2, 7, 100])
    def test_batches_do_not_matter(self, tmp_path: Path, straight: Published, limit: int) -> None:
        """Bytes, rejects and trainings do not depend on the batches."""
        STREAM.batches(tmp_path, straight, limit)
        assert len(straight.due) > 2
        assert len(straight.rejects) > 10

    def test_same_forecasts_as_of_single_events(self, tmp_path: Path) -> None:
        """The forecasts are those of records with one event each."""
        single = [wide(step, "", **{name: orjson.loads(RECORDS[step])[name]}) for step in range(40) for name in "abc"]
        found = [
            [(one["series"], one["origin"], one["quantiles"]) for one in map(orjson.loads, bench.log.forecasts("0"))]
            for bench in (run(tmp_path / "wide", RECORDS), run(tmp_path / "single", single))
        ]

        assert found[0] == found[1]

    @pytest.mark.parametrize(("limit", "snapshots"), [(1, False), (2, True), (7, False), (7, True), (100, False)])
    def test_a_restart_in_the_middle(self, tmp_path: Path, straight: Published, limit: int, snapshots: bool) -> None:
        """A new process continues with the same bytes and trainings, from a snapshot or by a replay."""
        second = STREAM.restart(tmp_path, straight, limit, 32, snapshots=snapshots)

        assert second.sample("replayed_events_total") == (0 if snapshots else 45)

    def test_crashes(self, tmp_path: Path, straight: Published) -> None:
        """Wherever the process dies, the forecasts equal those of an undisturbed run."""
        kills = [(50, ABORT_PUBLISHED), (31, ABORT_POLL), (18, ABORT_PUBLISH)]
        STREAM.crashes(tmp_path, straight, kills)


class TestTrainings:
    """Trainings and checks that become due within a record."""

    @pytest.mark.parametrize("limit", [2, 100])
    @pytest.mark.parametrize(
        ("rules", "expected"),
        [
            ({"every_events": 25, "first_after_events": 10}, [(4, 12), (12, 36), (20, 60), (29, 87), (37, 111)]),
            ({"every_events": 30}, [(10, 30), (20, 60), (30, 90), (40, 120)]),
            ({"first_after_events": 1}, [(1, 3)]),
            ({"every_events": 2, "first_after_events": 112}, [(38, 114), (39, 117), (40, 120)]),  # two in a record
        ],
    )
    def test_at_the_end_of_the_record(
        self, tmp_path: Path, limit: int, rules: dict[str, int], expected: list[tuple[int, int]]
    ) -> None:
        """A training that becomes due within a record starts once, at the end of the record, where a unit ends."""
        bench = bench_of(tmp_path, RECORDS, retrain=rules, input={"max_poll_records": limit})

        assert due_of(bench) == expected
        assert {at for at, _ in expected} <= {unit.next_position for unit in bench.log.units}

    def test_by_time(self, tmp_path: Path) -> None:
        """A training by event time is due once, at the end of the record that passes the time."""
        assert due_of(bench_of(tmp_path, RECORDS, retrain={"every_time": "10m"})) == [(11, 33), (21, 63), (31, 93)]

    @pytest.mark.parametrize("limit", [1, 7, 100])
    def test_checks_of_drift(self, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A check within a record takes place at the end of the record, where a unit ends."""
        checked: list[int] = []
        plain = Partition._drifted

        def drifted(self: Partition, decoded: Decoded) -> bool:
            if self.at_check:
                checked.append(self.position)
            return plain(self, decoded)

        monkeypatch.setattr(Partition, "_drifted", drifted)
        rules = {"drift": True, "check_events": 10}
        bench = run(tmp_path, RECORDS, retrain=rules, input={"max_poll_records": limit})

        expected = [-(-number // 3) for number in range(10, 121, 10)]  # of the records with the events 10, 20, ...
        assert checked == expected
        assert set(expected) <= {unit.next_position for unit in bench.log.units}

    @given(st.lists(st.integers(1, 9), max_size=20), st.integers(1, 12))
    def test_multiples_that_a_record_reaches(self, counts: list[int], number: int) -> None:
        """Whether a record has the event of a multiple is found from the progress after it, and kept in snapshots."""
        schedule, progress = Schedule(), Progress()
        assert not progress.reached_multiple_of(number)
        for count in counts:
            reached = progress.events // number < (progress.events + count) // number
            schedule.advance(progress, np.zeros(count, np.int64), due=False, of_last_record=count)
            progress = Progress.from_dict(progress.to_dict())
            assert progress.reached_multiple_of(number) is reached


class TestLateEvents:
    """Late events of wide records."""

    def test_one_reject_per_record(self, tmp_path: Path) -> None:
        """All events of a record are late, or some of them: the record is rejected once, in the order of positions."""
        script = [wide(5), wide(4), b"bad", wide(7, "a"), wide(6), wide(8)]
        bench = run(tmp_path, list(script), input={"late": "dead-letter"})
        rejects = [(one.position, one.reason, one.value) for unit in bench.log.units for one in unit.rejects]

        assert rejects == [(1, "late", script[1]), (2, "undecodable", b"bad"), (4, "late", script[4])]
        assert bench.sample("events_total", status="late") == 4
        sources = [orjson.loads(text)["source"] for text in bench.log.forecasts("0")]
        assert [one.get("event") for one in sources if one["position"] == 4] == [1, 2]

    def test_late_and_partly_rejected(self, tmp_path: Path) -> None:
        """A record that is rejected for a bad value is not rejected again for late events."""
        script = [wide(5), wide(4, b="x")]
        bench = run(tmp_path, list(script), input={"late": "dead-letter", "partial": "reject"})

        assert [(one.position, one.reason) for unit in bench.log.units for one in unit.rejects] == [(1, "wrong_type")]
        assert bench.sample("events_total", status="late") == 2

    def test_dropped(self, tmp_path: Path) -> None:
        """By default late events are only counted."""
        bench = run(tmp_path, [wide(5), wide(4)])

        assert not any(unit.rejects for unit in bench.log.units)
        assert bench.sample("events_total", status="late") == 3


CUTS: list[dict[str, Any]] = [
    {},
    {"every_events": 5},
    {"every_events": 1000, "first_after_events": 47},
    {"drift": True, "check_events": 31},
]


class TestPieces:
    """Pieces of a batch of wide records."""

    def pieces_of(self, counts: list[int], rules: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Cuts a batch of records with these numbers of events."""
        monkeypatch.setattr(service.partitions.pieces, "PIECE_EVENTS", 10)
        values = [wide(step, "abcdef"[:count]) if count >= 0 else b"x" for step, count in enumerate(counts)]
        records = Records("0", list(range(0, 10 * len(values), 10)), 10 * len(values), values)
        decoded = Decoder(InputConfig.model_validate({"fields": {"values": list("abcdef")}})).decode(records)
        settings, model = (
            RetrainConfig.model_validate(rules),
            Model.initial(ModelConfig(**MODEL | {"quantiles": (0.1, 0.5, 0.9)})),
        )
        partition = Partition("0", Forecaster(model), 0, Schedule.of(settings, 1000, 0, 1), Progress(), rules=settings)
        monkeypatch.setattr(Partition, "is_checked", property(lambda self: self.rules.drift))
        found = []
        for piece in pieces(partition, records, decoded):
            found.append(piece)
            partition.advance(piece, None)
        assert [at for piece in found for at in piece.decoded.positions] == decoded.positions
        assert [one.position for piece in found for one in piece.decoded.rejects] == [
            r.position for r in decoded.rejects
        ]
        return found

    @pytest.mark.parametrize("rules", CUTS, ids=["nothing", "often", "later", "checks"])
    @pytest.mark.parametrize("counts", [[3] * 30, [1] * 60, [6, 0, -1, 2] * 12, [0, -1, 0], [6, -1]])
    def test_whole_records_and_a_limit(
        self, counts: list[int], rules: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A piece has whole records, one after the other, and exceeds the limit by less than a record."""
        found = self.pieces_of(counts, rules, monkeypatch)

        assert found[0].position == 0
        assert [piece.position for piece in found[1:]] == [piece.next_position for piece in found[:-1]]
        assert found[-1].next_position == 10 * len(counts)
        assert max(len(piece.decoded) for piece in found) < 10 + max(1, *counts)
        for piece in found:
            assert all(piece.position <= at < piece.next_position for at in piece.decoded.positions)

    @pytest.mark.parametrize("limit", [1, 4, 7])
    def test_the_limit_changes_no_byte(self, tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Forecasts and trainings do not depend on the limit, and the units are small."""
        settings = {"retrain": {"every_events": 50}}
        plain = bench_of(tmp_path / "plain", UNEVEN, **settings)
        expected = due_of(plain)
        monkeypatch.setattr(service.partitions.pieces, "PIECE_EVENTS", limit)
        small = bench_of(tmp_path / "small", UNEVEN, **settings)

        assert due_of(small) == expected
        assert small.log.forecasts("0") == plain.log.forecasts("0")
        assert max(len(unit.forecasts) for unit in small.log.units) < limit + 3


def test_batches_of_records_with_many_events(tmp_path: Path) -> None:
    """After a batch of records with several events, fewer records are read at once: about as many events as allowed."""
    lines = [wide(step) for step in range(400)]
    bench = run(tmp_path, list(lines), input={"max_poll_records": 60})
    sizes = [unit.next_position - unit.position for unit in bench.log.units]
    assert sizes[0] == 60
    assert set(sizes[1:-1]) == {20}
    assert sum(sizes) == 400
