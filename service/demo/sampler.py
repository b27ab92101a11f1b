"""Samples this machine's metrics with psutil.

read_counters()        one reading of psutil, with the counters that this machine has
values(before, after)  two readings -> series and values (pure; tests call this)
MachineSampler         both, at whole seconds
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped] # psutil ships no types

from service.demo.feed import Sample

# Once a second: fast enough to watch, slow enough for a small load.
INTERVAL_SECONDS = 1.0
# Patterns of all series, and of those in percent.
MACHINE_SERIES = ("cpu.*", "memory", "load.*", "disk.*", "net.*")
SHARES = MACHINE_SERIES[:2]


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading. Rates are differences of two readings; levels are used directly.

    Attributes:
        taken: monotonic seconds of the reading.
        levels: series -> present value (percent, load).
        totals: series -> bytes since boot; the series is its rate.
    """

    taken: float
    levels: Mapping[str, float]
    totals: Mapping[str, float]


def read_counters() -> Counters:
    """Reads the counters of this machine; series without a counter, e.g. disks in a container, are omitted."""
    levels = {f"cpu.{core}": share for core, share in enumerate(psutil.cpu_percent(percpu=True))}
    levels["memory"] = psutil.virtual_memory().percent
    levels["load.1m"] = psutil.getloadavg()[0]
    totals: dict[str, float] = {}
    disk = psutil.disk_io_counters()
    if disk is not None:
        totals |= {"disk.read": disk.read_bytes, "disk.write": disk.write_bytes}
    network = psutil.net_io_counters()
    if network is not None:
        totals |= {"net.in": network.bytes_recv, "net.out": network.bytes_sent}
    return Counters(time.monotonic(), levels, totals)


def values(before: Counters, after: Counters) -> dict[str, float]:
    """Computes the value of every series between two readings: present levels, and totals as bytes per second.

    A counter that decreased (an interface was reset) gives no value.
    """
    seconds = after.taken - before.taken
    found = dict(after.levels)
    for series, total in after.totals.items():
        grown = total - before.totals.get(series, total)
        if seconds > 0 and grown >= 0:
            found[series] = grown / seconds
    return found


def seconds_since_start() -> float:
    """Returns the seconds since the system started this process, including the interpreter's start and all imports."""
    return time.time() - float(psutil.Process().create_time())


def unit_of(series: str) -> str:
    """Returns the unit of a series of the machine: "%", "B/s" or "" (load is a count)."""
    if series.startswith(("disk.", "net.")):
        return "B/s"
    return "" if series.startswith("load.") else "%"


class MachineSampler:
    """Turns readings into samples at whole seconds, so that the interval of every series is exactly one second.

    Args:
        read: reads the counters; replaced in tests.
    """

    def __init__(self, read: Callable[[], Counters] = read_counters) -> None:
        self._read = read
        self._before: Counters | None = None
        self._last_second = 0

    def seconds_to_next(self) -> float:
        """Returns the seconds until the next sample is due."""
        if self._before is None:
            self._before = self._read()  # rates need two readings
        return INTERVAL_SECONDS - time.time() % INTERVAL_SECONDS

    def take(self) -> Sample | None:
        """Returns the sample of this second; None where it was taken already: woken early, or the clock was set back.

        Raises:
            OSError, psutil.Error: the counters cannot be read.
        """
        second = round(time.time())
        if second <= self._last_second or self._before is None:
            return None
        after = self._read()
        found = values(self._before, after)
        self._before, self._last_second = after, second
        return second * 1000, found
