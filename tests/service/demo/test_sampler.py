"""The demo's sampler: readings and written samples."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from service.demo import sampler
from service.demo.sampler import Counters, Sampler, encode, read_counters, unit_of, values


class TestValues:
    """Values from two readings."""

    def test_rates(self) -> None:
        """A total becomes the bytes per second between two readings, a level stays as it is."""
        before = Counters(10.0, {"cpu.0": 1.0}, {"net.in": 1000.0})
        after = Counters(12.0, {"cpu.0": 7.0}, {"net.in": 5000.0})

        assert values(before, after) == {"cpu.0": 7.0, "net.in": 2000.0}

    def test_counter_went_back(self) -> None:
        """A counter that was reset gives no value rather than a negative rate."""
        before = Counters(10.0, {}, {"net.in": 1000.0})

        assert values(before, Counters(11.0, {}, {"net.in": 5.0})) == {}

    def test_no_time_passed(self) -> None:
        """Two readings of the same moment give no rate and no division by zero."""
        reading = Counters(10.0, {"memory": 50.0}, {"net.in": 1000.0})

        assert values(reading, reading) == {"memory": 50.0}


class TestReadCounters:
    """Readings of psutil."""

    def test_this_machine(self) -> None:
        """Every machine has processors, memory and a load, each with its unit."""
        reading = read_counters()

        assert {"cpu.0", "memory", "load.1m"} <= set(reading.levels)
        assert {unit_of(series) for series in reading.levels} == {"%", ""}
        assert {unit_of(series) for series in reading.totals} <= {"B/s"}

    def test_without_disks_and_network(self, monkeypatch) -> None:
        """Series of disks and network are left out where psutil reports neither."""
        monkeypatch.setattr(sampler.psutil, "disk_io_counters", lambda: None)
        monkeypatch.setattr(sampler.psutil, "net_io_counters", lambda: None)

        assert read_counters().totals == {}


class TestEncode:
    """The bytes of a sample."""

    def test_lines(self) -> None:
        """A sample is one complete JSON line per series, with the fields that the daemon expects."""
        lines = encode(5000, {"cpu.0": 1.23456, "memory": 50.0}).split(b"\n")

        assert [json.loads(line) for line in lines[:-1]] == [
            {"series": "cpu.0", "timestamp": 5000, "value": 1.235},
            {"series": "memory", "timestamp": 5000, "value": 50.0},
        ]
        assert lines[-1] == b""


class FakeRead:
    """Readings whose one level counts them; an event is set after a given number."""

    def __init__(self, wanted: int) -> None:
        self.taken = 0
        self.wanted = wanted
        self.enough = threading.Event()

    def __call__(self) -> Counters:
        """Returns the next reading."""
        self.taken += 1
        if self.taken >= self.wanted:
            self.enough.set()
        return Counters(float(self.taken), {"memory": float(self.taken)}, {})


class TestSampler:
    """The sampling thread."""

    def test_grid(self, tmp_path: Path, monkeypatch) -> None:
        """Samples lie on a grid of whole intervals, each once, in files that hold complete lines only."""
        read = FakeRead(4)
        monkeypatch.setattr(sampler, "INTERVAL_SECONDS", 1.0)
        writer = Sampler(tmp_path / "new" / "samples.jsonl", read)
        writer.start()
        assert read.enough.wait(20)
        writer.stop()

        times = [json.loads(line)["timestamp"] for line in writer.path.read_text().splitlines()]
        assert len(times) >= 2
        assert all(time % 1000 == 0 for time in times)
        assert times == sorted(set(times))

    def test_error_is_kept(self, tmp_path: Path) -> None:
        """A sampler that fails keeps its error for the demo to report."""

        def broken() -> Counters:
            msg = "no space left on device"
            raise OSError(msg)

        writer = Sampler(tmp_path / "samples.jsonl", broken)
        writer.start()
        writer.stop()

        assert str(writer.error) == "no space left on device"
