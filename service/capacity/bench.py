"""Measures the speed of this machine: parts of the fast loop one by one, and the daemon from file to SQLite.

All measurements run on the core that the caller is pinned to. They are medians; the peak is the best of several runs.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from forecaster import ModelConfig, use_kernels, used_kernels
from forecaster.inspection import observe_work, operations, peak_work, step_work

ROWS = 256  # of the recurrent step
SERIES, EVENTS = 1000, 512  # of observe: the batch of a busy daemon
LONG_ENOUGH_SECONDS = 0.25  # of every timing, some hundred calls


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of a machine.

    Attributes:
        machine: name of the processor.
        model: the network, as JSON values.
        operations: of the matrix products of one event with it.
        peak_gflops: peak multiply-add rate of one core, two operations each.
        step_ns: the recurrent layer only, per event, many rows at once.
        step_share: of the peak.
        observe_us: the complete work of the library per event, in batches.
        observe_spread: half of its interquartile range, relative to it.
        single_us: the same for a single event, called from Python.
        pipeline_us: the daemon from a file of JSON lines to SQLite, per event.
    """

    machine: str
    model: dict[str, Any]
    operations: int
    peak_gflops: float
    step_ns: float
    step_share: float
    observe_us: float
    observe_spread: float
    single_us: float
    pipeline_us: float

    def to_json(self) -> bytes:
        """Returns the content of the file for `forecaster plan --measured`."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def timings(call: Callable[[], None], seconds: float = LONG_ENOUGH_SECONDS) -> list[float]:
    """Returns the seconds of repeated calls, after one that is not counted; at least five calls."""
    call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def this_processor() -> str:
    """Returns the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def pin() -> None:
    """Pins this process to the last core it may use, where the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(
    model: ModelConfig,
    pipeline: Callable[[], float],
    report: Callable[[str], None],
    seconds: float = LONG_ENOUGH_SECONDS,
) -> Measured:
    """Measures all parts, in the order of `Measured`.

    Args:
        model: the network.
        pipeline: runs the daemon over a file and returns the seconds per event.
        report: called with the name of each measurement.
        seconds: duration of every timing.
    """
    report("the core's multiply-adds")
    call, work = peak_work()
    peak = work / min(timings(call, seconds))
    step_ns = step_share = 0.0
    if model.cell != "none":
        report("the recurrent step")
        call, work = step_work(model.cell, model.hidden_size, ROWS)
        step = statistics.median(timings(call, seconds))
        step_ns, step_share = step / ROWS * 1e9, work / step / peak
    report("observe, in batches (compiles at first)")
    if used_kernels() == "auto":  # a daemon takes the faster form as soon as it is compiled
        use_kernels("literal")
    call, events = observe_work(model, SERIES, EVENTS)
    batches = timings(call, seconds)
    low, middle, high = statistics.quantiles(batches, n=4)
    report("observe, one by one")
    call, _ = observe_work(model, 1, 1)
    single = statistics.median(timings(call, seconds))
    report("the daemon, from a file to SQLite")
    return Measured(
        machine=this_processor(),
        model=model.to_dict(),
        operations=operations(model),
        peak_gflops=peak / 1e9,
        step_ns=step_ns,
        step_share=step_share,
        observe_us=middle / events * 1e6,
        observe_spread=(high - low) / 2 / middle,
        single_us=single * 1e6,
        pipeline_us=pipeline() * 1e6,
    )
