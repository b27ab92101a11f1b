"""Feedback on anomalies: in force from a position on, recorded there, and repeated by any replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from parts import Bench, event
from structlog.testing import capture_logs

from service.registry.feedback import FeedbackError, FeedbackStore, Verdict
from service.transport.memory import ABORT_POLL, ABORT_PUBLISHED, MemoryLog, Script

ANOMALY = {"threshold": 0.6, "clear": 0.5, "quiet_events": 1, "per_day": 1000}


def script(steps: int = 120) -> list[Any]:
    """Returns events of two equal series that jump up and down."""
    jumps = [float(3 * step) * (1 - 2 * (step % 2)) if step % 5 == 4 else 0.0 for step in range(steps)]
    return [event(step, name, jumps[step] + step % 3) for step in range(steps) for name in "ab"]


class Fed(Bench):
    """An engine that gets feedback once it has published up to a position, and takes it before the next batch."""

    at: int = 0
    said: tuple[tuple[str, Verdict], ...] = ()

    def __post_init__(self) -> None:
        """Builds the parts, of which one looks for requests before every batch."""
        super().__post_init__()
        self.store_of_feedback = FeedbackStore(self.folder / "feedback")

        def taken(unit: Any) -> None:
            self.units.append(unit)
            if unit.next_position == self.at:
                for series, verdict in () if self.store_of_feedback.partitions() else self.said:
                    self.store_of_feedback.ask(series, verdict, "", 5)
                self.engine._housekeeping.restart()  # which takes them before the next batch

        self.on_unit = taken


def run(
    folder: Path, log: MemoryLog, poll: int, at: int, said: tuple[tuple[str, Verdict], ...], **sections: Any
) -> Fed:
    """Runs an engine over a log, with feedback at a position."""
    own = {"anomaly": ANOMALY, "input": {"max_poll_records": poll}} | sections
    bench = Fed(folder, log, own)
    bench.at, bench.said = at, said
    bench.run()
    return bench


def flags(log: MemoryLog, series: str) -> list[bool]:
    """Returns which events of a series were flagged."""
    found = [orjson.loads(one) for one in log.forecasts("0")]
    return [one["flagged"] for one in found if one["series"] == series]


MUTED = (("b", "mute"),) * 6


def test_mute(tmp_path: Path) -> None:
    """A muted series is flagged less often from the position on; another series and earlier events are not affected."""
    log = MemoryLog({"0": script()})
    bench = run(tmp_path, log, 80, 80, MUTED)

    a, b = flags(log, "a"), flags(log, "b")
    assert a[:40] == b[:40]
    assert 2 * sum(b[40:]) < sum(a[40:])
    assert bench.sample("feedback_total", verdict="mute") == 6
    (path,) = bench.store_of_feedback.partitions()
    assert {(one.position, one.request.series) for one in bench.store_of_feedback.entries(path)} == {(80, "b")}
    assert not list(bench.store_of_feedback.requests())


@pytest.mark.parametrize("every", [1e9, 0.001])
@pytest.mark.parametrize("death", [ABORT_POLL, ABORT_PUBLISHED])
@pytest.mark.parametrize("cut", [82, 150])
def test_the_same_after_a_crash(tmp_path: Path, cut: int, death: Script, every: float) -> None:
    """A replay puts feedback in force at its position, from a snapshot before it, behind it, or from the beginning."""
    whole, broken = MemoryLog({"0": script()}), MemoryLog({"0": [*script()[:cut], death, *script()[cut:]]})
    run(tmp_path / "one", whole, 80, 80, MUTED)

    bench = run(tmp_path / "two", broken, 8, 80, MUTED, state={"snapshot_every": every})

    assert broken.happened
    assert broken.forecasts("0") == whole.forecasts("0")
    assert len(bench.store_of_feedback.entries(bench.store_of_feedback.partitions()[0])) == 6


def test_written_and_not_in_force(tmp_path: Path) -> None:
    """A crash between the record of feedback and its effect: the start puts it in force, once."""
    whole, records = MemoryLog({"0": script()}), script()[:80]
    log = MemoryLog({"0": records})
    run(tmp_path / "one", whole, 80, 80, MUTED)
    bench = run(tmp_path / "two", log, 80, -1, ())
    for _ in range(6):
        request = bench.store_of_feedback.ask("b", "mute", "", 5)
        bench.store_of_feedback.add(Path("0.json"), request, 1, 80, None)  # still in the folder of requests, too
    records += script()[80:]

    again = run(tmp_path / "two", log, 80, 160, ())

    assert log.forecasts("0") == whole.forecasts("0")
    assert not list(again.store_of_feedback.requests())


def test_acknowledged(tmp_path: Path) -> None:
    """An acknowledged alert is over, with the next unit; the threshold stays."""
    log = MemoryLog({"0": script()})
    lasting = {**ANOMALY, "quiet_events": 1000}
    rule = {"name": "Never", "match": ["x"], "above": 1.0}
    with capture_logs() as lines:
        bench = run(tmp_path, log, 80, 80, (("a", "ack"),), anomaly=lasting, alert=[rule])
    over = [line for line in lines if line["event"] == "alert is over"]
    assert [(line["kind"], line["series"]) for line in over] == [("anomaly", "a")]
    assert bench.sample("alerts_total", kind="anomaly") == 2
    assert bench.sample("alerts_lasting", kind="anomaly") == 1


def test_unknown_series_and_damaged_requests(tmp_path: Path) -> None:
    """Feedback for a series without a state, and a file that is no request, are reported and dropped."""
    store = FeedbackStore(tmp_path / "feedback")
    store.ask("nobody", "mute", "", 5)
    (tmp_path / "feedback" / "requests" / "0.json").write_text("{}")
    with capture_logs() as lines:
        run(tmp_path, MemoryLog({"0": script()}), 50, 100, ())
    assert [line["error"] for line in lines if line["event"] == "feedback not taken"] == [
        "the file is no request", "no series of this name has a state here",
    ]  # fmt: skip
    assert not list(store.requests())


def test_store(tmp_path: Path) -> None:
    """Entries are numbered, once per request; those behind a committed position that went back are moved to it."""
    store, path = FeedbackStore(tmp_path), Path("0.json")
    first, second = store.ask("a", "mute", "x" * 500, 5), store.ask("a", "confirm", "", 6)
    assert len(first.reason) == 200
    assert store.add(path, first, 1, 10, None) is not None
    assert store.add(path, first, 1, 20, None) is None
    assert store.add(path, second, 1, 30, 7) is not None
    assert [(one.number, one.position, one.mark_ms) for one in store.rewind(path, 1, 30)] == [(1, 10, None), (2, 30, 7)]
    assert [(one.number, one.position, one.mark_ms) for one in store.rewind(path, 1, 20)] == [
        (1, 10, None),
        (2, 20, None),
    ]
    assert store.rewind(path, 2, 20) == []
    (tmp_path / path).write_text(json.dumps([{"number": 1}]))
    with pytest.raises(FeedbackError, match="repair or delete it"):
        store.entries(path)
    store.forget(path)
    assert store.entries(path) == []
