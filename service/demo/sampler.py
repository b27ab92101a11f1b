"""This machine's own metrics as a stream: psutil in, JSON lines appended to a file that the daemon follows.

read_counters()        one reading of psutil, whatever of it this machine has
values(before, after)  two readings -> series and values (pure: this is what the tests call)
Sampler                a thread that does both once a second
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil  # type: ignore[import-untyped] # psutil ships no types

# Once a second: quick enough to watch, slow enough that two cores notice nothing.
INTERVAL_SECONDS = 1.0
# The series in percent, as patterns.
SHARES = ("cpu.*", "memory")


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading. Rates are differences of two readings; levels stand on their own.

    Attributes:
        taken: monotonic seconds of the reading.
        levels: series -> value as it is (percent, load).
        totals: series -> bytes since boot; the series is the rate of it.
    """

    taken: float
    levels: Mapping[str, float]
    totals: Mapping[str, float]


def read_counters() -> Counters:
    """Reads what this machine offers; in a container without disks or network those series are left out."""
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
    """The value of every series between two readings: levels as they are now, totals as bytes per second.

    A counter that went back (an interface was reset) gives no value this time.
    """
    seconds = after.taken - before.taken
    found = dict(after.levels)
    for series, total in after.totals.items():
        grown = total - before.totals.get(series, total)
        if seconds > 0 and grown >= 0:
            found[series] = grown / seconds
    return found


def seconds_since_start() -> float:
    """Since the system started this process: the interpreter's own start and all imports count."""
    return time.time() - float(psutil.Process().create_time())


def unit_of(series: str) -> str:
    """The unit of a series of this module: "%", "B/s" or "" (load is a count)."""
    if series.startswith(("disk.", "net.")):
        return "B/s"
    return "" if series.startswith("load.") else "%"


class Sampler:
    """A thread that appends one JSON line per series and second to a file, until stopped.

    Timestamps lie on a grid of whole seconds, so that the interval of every series is exactly one second; a
    second that this machine slept through stays a gap. A sample is written with one call, lines complete, so
    that a reader never sees half of one.

    Args:
        path: the file; created at once, appended to, never replaced.
        read: one reading of the counters; a test gives its own.
        tell: called with the epoch milliseconds and values of every sample, before they are written.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[], Counters] = read_counters,
        tell: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> None:
        self.path = path
        self.error: Exception | None = None
        self._read = read
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def start(self) -> None:
        """Starts the thread; the first sample comes after one interval (rates need two readings)."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it: two intervals at most."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * INTERVAL_SECONDS)

    def _run(self) -> None:
        try:
            self._sample_until_stopped()
        except (
            OSError,
            psutil.Error,
        ) as error:  # kept for the demo to end with a message
            self.error = error

    def _sample_until_stopped(self) -> None:
        before, last_second = self._read(), 0
        with self.path.open("ab", buffering=0) as out:
            while not self._stop.wait(INTERVAL_SECONDS - time.time() % INTERVAL_SECONDS):
                second = round(time.time())
                if second <= last_second:  # woken a moment early, or the clock was set back
                    continue
                after = self._read()
                found = values(before, after)
                if self._tell is not None:
                    self._tell(second * 1000, found)
                out.write(encode(second * 1000, found))
                before, last_second = after, second


def encode(timestamp_ms: int, found: Mapping[str, float]) -> bytes:
    """One sample as JSON lines in the daemon's input format, the last line ended too."""
    return b"".join(
        orjson.dumps({"series": series, "timestamp": timestamp_ms, "value": round(value, 3)}) + b"\n"
        for series, value in found.items()
    )
