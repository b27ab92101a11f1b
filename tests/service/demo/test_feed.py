"""The demo's feeds: samples in files."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from service.demo.feed import Feed, Sample, encode, written_times


class Counting:
    """Samples that count; every second one is not due. An event is set after a given number."""

    def __init__(self, wanted: int) -> None:
        self.taken = 0
        self.wanted = wanted
        self.enough = threading.Event()

    def seconds_to_next(self) -> float:
        """Returns no wait at all."""
        return 0.001

    def take(self) -> Sample | None:
        """Returns the next sample, or none."""
        self.taken += 1
        if self.taken >= self.wanted:
            self.enough.set()
        return (1000 * self.taken, {"memory": float(self.taken)}) if self.taken % 2 else None


def test_lines() -> None:
    """A sample is one complete JSON line per series, with the fields that the daemon expects."""
    lines = encode((5000, {"cpu.0": 1.23456, "memory": 50.0})).split(b"\n")

    assert [json.loads(line) for line in lines[:-1]] == [
        {"series": "cpu.0", "timestamp": 5000, "value": 1.235},
        {"series": "memory", "timestamp": 5000, "value": 50.0},
    ]
    assert lines[-1] == b""


def test_history_then_live(tmp_path: Path) -> None:
    """A feed writes the history at once and each sample when it is due, and reports each before it is written."""
    seen: list[Sample] = []
    source = Counting(9)
    feed = Feed(tmp_path / "new" / "a.jsonl", source, seen.append)
    feed.write([(10, {"memory": 0.5}), (20, {"memory": 0.6})])
    feed.start()
    feed.start()  # does nothing
    assert source.enough.wait(20)
    feed.stop()

    times = [json.loads(line)["timestamp"] for line in feed.path.read_text().splitlines()]
    assert times[:6] == [10, 20, 1000, 3000, 5000, 7000]
    assert [time for time, _ in seen] == times
    with feed.path.open("ab") as out:
        out.write(b'{"series":"mem')  # torn by a crash
    assert written_times(tmp_path / "new") == (10, times[-1])


def test_nothing_written(tmp_path: Path) -> None:
    """A folder that does not exist, and one with an empty file, have no times."""
    assert written_times(tmp_path / "none") is None
    (tmp_path / "a.jsonl").touch()
    assert written_times(tmp_path) is None


def test_error_is_kept(tmp_path: Path) -> None:
    """A feed that fails keeps its error for the demo to report."""

    class Broken(Counting):
        def take(self) -> Sample | None:
            self.enough.set()
            msg = "no space left on device"
            raise OSError(msg)

    source = Broken(1)
    feed = Feed(tmp_path / "a.jsonl", source)
    feed.start()
    assert source.enough.wait(20)
    feed.stop()

    assert str(feed.error) == "no space left on device"
