"""Samples this machine's metrics with psutil, and appends them as JSON lines to a file that the daemon follows.

read_counters()        one reading of psutil, with the counters that this machine has
values(before, after)  two readings -> series and values (pure; tests call this)
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

# Once a second: fast enough to watch, slow enough for a small load.
INTERVAL_SECONDS = 1.0
# Patterns of the series in percent.
SHARES = ("cpu.*", "memory")


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
    """Returns the unit of a series: "%", "B/s" or "" (load is a count)."""
    if series.startswith(("disk.", "net.")):
        return "B/s"
    return "" if series.startswith("load.") else "%"


class Sampler:
    """A thread that appends one JSON line per series and second to a file, until stopped.

    Timestamps are whole seconds, so that the interval of every series is exactly one second; a second in which this
    machine was suspended is a gap. A sample is written with one call and complete lines, so that a reader never sees a
    part of it.

    Args:
        path: the file; created at once, appended to, never replaced.
        read: reads the counters; replaced in tests.
        on_sample: called with the epoch milliseconds and values of every sample, before they are written.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[], Counters] = read_counters,
        on_sample: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> None:
        self.path = path
        self.error: Exception | None = None
        self._read = read
        self._on_sample = on_sample
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def start(self) -> None:
        """Starts the thread; the first sample follows after one interval, because rates need two readings."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it, at most two intervals."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * INTERVAL_SECONDS)

    def _run(self) -> None:
        try:
            self._sample_until_stopped()
        except (
            OSError,
            psutil.Error,
        ) as error:  # the demo reports it at its end
            self.error = error

    def _sample_until_stopped(self) -> None:
        before, last_second = self._read(), 0
        with self.path.open("ab", buffering=0) as out:
            while not self._stop.wait(INTERVAL_SECONDS - time.time() % INTERVAL_SECONDS):
                second = round(time.time())
                if second <= last_second:  # woken early, or the clock was set back
                    continue
                after = self._read()
                found = values(before, after)
                if self._on_sample is not None:
                    self._on_sample(second * 1000, found)
                out.write(encode(second * 1000, found))
                before, last_second = after, second


def encode(timestamp_ms: int, found: Mapping[str, float]) -> bytes:
    """Encodes one sample as JSON lines in the daemon's input format, each with a line end."""
    return b"".join(
        orjson.dumps({"series": series, "timestamp": timestamp_ms, "value": round(value, 3)}) + b"\n"
        for series, value in found.items()
    )
