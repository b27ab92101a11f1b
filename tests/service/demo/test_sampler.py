"""The demo's sampler: readings and written samples."""

from __future__ import annotations

from service.demo import sampler
from service.demo.sampler import Counters, MachineSampler, read_counters, unit_of, values


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


class TestMachineSampler:
    """Samples of readings."""

    def test_grid(self, monkeypatch) -> None:
        """Samples lie at whole seconds, each once, also where the thread wakes early or the clock is set back."""
        now = iter([10.0, 11.02, 11.4, 10.6, 12.98])
        levels = iter(range(1, 10))
        monkeypatch.setattr(sampler.time, "time", lambda: next(now))
        machine = MachineSampler(lambda: Counters(0.0, {"memory": float(next(levels))}, {}))

        assert machine.seconds_to_next() == 1.0
        assert machine.take() == (11_000, {"memory": 2.0})
        assert machine.take() is None
        assert machine.take() is None
        assert machine.take() == (13_000, {"memory": 3.0})
