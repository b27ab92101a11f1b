"""How fast this machine is: the parts of the fast loop timed one by one, and the daemon from file to SQLite.

All on the core that the caller is pinned to. Medians; the peak is the best of its tries, as nothing can be faster.
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

from forecaster import ModelConfig
from forecaster.inspection import observe_work, operations, peak_work, step_work

ROWS = 256  # of the bare step
SERIES, EVENTS = 1000, 512  # of observe: what a busy daemon polls at once
LONG_ENOUGH_SECONDS = 0.25  # of every timing: some hundred calls


@dataclass(frozen=True, slots=True)
class Measured:
    """What a machine was measured to do.

    Attributes:
        machine: where.
        model: the network, as JSON values.
        operations: of the products of one event with it.
        peak_gflops: multiply-adds of one core, two operations each.
        step_ns: the recurrent layer alone, per event, many rows at once.
        step_share: of the peak.
        observe_us: everything the library does for an event, in batches.
        observe_spread: half the distance between the quartiles of that, as a share of it.
        single_us: the same for one event by itself, called from Python.
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
        """As `forecaster plan --measured` reads it."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def timings(call: Callable[[], None], seconds: float = LONG_ENOUGH_SECONDS) -> list[float]:
    """Seconds of every call, for so long, after one that is not counted; at least five."""
    call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def this_processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def pin() -> None:
    """Keeps this process on the last core it may use, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(
    model: ModelConfig, pipeline: Callable[[], float], tell: Callable[[str], None], seconds: float = LONG_ENOUGH_SECONDS
) -> Measured:
    """Measures everything, in the order of `Measured`.

    Args:
        model: the network.
        pipeline: runs the daemon over a file and returns the seconds per event.
        tell: called with what is being measured.
        seconds: how long every timing takes.
    """
    tell("the core's multiply-adds")
    call, work = peak_work()
    peak = work / min(timings(call, seconds))
    step_ns = step_share = 0.0
    if model.cell != "none":
        tell("the recurrent step")
        call, work = step_work(model.cell, model.hidden_size, ROWS)
        step = statistics.median(timings(call, seconds))
        step_ns, step_share = step / ROWS * 1e9, work / step / peak
    tell("observe, in batches (compiles at first)")
    call, events = observe_work(model, SERIES, EVENTS)
    batches = timings(call, seconds)
    low, middle, high = statistics.quantiles(batches, n=4)
    tell("observe, one by one")
    call, _ = observe_work(model, 1, 1)
    single = statistics.median(timings(call, seconds))
    tell("the daemon, from a file to SQLite")
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
