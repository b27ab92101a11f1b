"""`make bench`: one table of this project and others on the same work, in one run on one core.

    python benchmarks/table.py [steps] [training] [whole] [pipeline] [--quick] [--json FILE]

Contenders of a row take turns, round by round. What is counted is processor time of this process, all its threads,
which other programs on the machine change little; medians, half the distance of the quartiles as spread, and the least,
which is what a contender takes when nothing is in its way. Peers that are not installed are left out and named:
onnxruntime, PyTorch, JAX, River, deep-river.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np
from kernels import INPUTS, numpy_gru, onnx_gru, torch_gru
from peers import deep_river, holt_winters, jax_gru, snarimax, torch_compiled
from training import BATCH as STREAMS
from training import CELLS, SIZES, WINDOW, jax_step, multiply_adds, own_step, torch_step

from forecaster import ModelConfig, use_kernels
from forecaster.inspection.speed import observe_work, peak_work, step_work
from forecaster.observe.observed_rows import ObservedRows
from service.capacity.bench import pin, this_processor
from service.cli._bench_daemon import seconds_per_event
from service.config.sections import Config

BATCH = 256
Work = Callable[[], Any]


@dataclass
class Row:
    """One line of the table: nanoseconds per event, median and least, and both against ours."""

    work: str
    who: str
    ns: float
    spread: float
    least: float
    note: str = ""
    ratio: float = 1.0
    least_ratio: float = 1.0


Found = dict[str, tuple[float, float, float]]  # by contender: nanoseconds per event: median, spread, least


def turns(contenders: dict[str, tuple[Work, int]], rounds: int, turn_ns: float = 3e6) -> Found:
    """What was found for each contender, whose call is (function, events)."""
    repeat = {}
    for name, (call, _) in contenders.items():
        call()
        start = time.process_time_ns()
        call()
        repeat[name] = max(1, int(turn_ns // max(1, time.process_time_ns() - start)))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (call, events) in contenders.items():
            start = time.process_time_ns()
            for _ in range(repeat[name]):
                call()
            found[name].append((time.process_time_ns() - start) / repeat[name] / events)
    out = {}
    for name, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        out[name] = (middle, (high - low) / 2 / middle, min(values))
    return out


def available(makers: dict[str, Callable[[], Work]], missing: set[str]) -> dict[str, Work]:
    """Those that can be made here."""
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except ImportError as error:
            missing.add(f"{name} ({error.name})")
    return made


def rows_of(work: str, found: Found, notes: dict[str, str] | None = None) -> list[Row]:
    """Rows with the ratios of each to ours, which is the first."""
    ours, _, best = next(iter(found.values()))
    return [
        Row(work, who, ns, spread, least, (notes or {}).get(who, ""), ns / ours, least / best)
        for who, (ns, spread, least) in found.items()
    ]


def gru(step: Callable[[Any, Any], Any], hidden: int, batch: int) -> Work:
    """A peer's step on one batch."""
    h, x = np.zeros((batch, hidden), np.float32), np.ones((batch, INPUTS), np.float32)
    return lambda: step(h, x)


def steps(rounds: int, missing: set[str], sizes: tuple[int, ...] = (32, 64, 128)) -> list[Row]:
    """The recurrent step, many rows and one, with so many units."""
    call, work = peak_work(100_000)
    peak = work / min(turns({"peak": (call, 1)}, rounds)["peak"][0], 1e18)  # operations per nanosecond
    out = [Row("multiply-adds of this core", "peak", 0.0, 0.0, 0.0, f"{peak:.0f} GFLOP/s")]
    for cell in ("gru", "lstm", "elman"):
        for hidden in sizes:
            ours, operations = step_work(cell, hidden, BATCH)
            contenders: dict[str, tuple[Work, int]] = {"forecaster": (ours, BATCH)}
            if cell == "gru":
                makers = {"onnxruntime": onnx_gru, "PyTorch": torch_gru, "PyTorch compiled": torch_compiled,
                          "JAX": jax_gru, "numpy": numpy_gru}  # fmt: skip
                peers = available({n: lambda m=m, h=hidden: gru(m(h), h, BATCH) for n, m in makers.items()}, missing)
                contenders |= {name: (call, BATCH) for name, call in peers.items()}
            found = turns(contenders, rounds)
            share = operations / BATCH / found["forecaster"][0] / peak
            out += rows_of(f"{cell} step, H={hidden}, {BATCH} rows", found, {"forecaster": f"{share:.0%} of the peak"})
    ours, _ = step_work("gru", 32, 1)
    makers = {"onnxruntime": onnx_gru, "PyTorch": torch_gru, "JAX": jax_gru, "numpy": numpy_gru}
    peers = available({n: lambda m=m: gru(m(32), 32, 1) for n, m in makers.items()}, missing)
    contenders = {"forecaster": (ours, 1)} | {name: (call, 1) for name, call in peers.items()}
    return out + rows_of("gru step, H=32, one call from Python", turns(contenders, rounds))


def training(rounds: int, missing: set[str], sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """One optimiser step of truncated BPTT: nanoseconds per stream and step of the window.

    Turns of 30 ms: in a training a step follows its like and finds its buffers near the core, not what a peer left. The
    core's multiply-adds are measured between them, for the share of them that our step reaches in its products.
    """
    out = []
    peak, work_of_peak = peak_work(100_000)
    for cell in CELLS:
        for hidden in sizes:
            makers = {
                "forecaster": lambda c=cell, h=hidden: own_step(c, h),
                "PyTorch": lambda c=cell, h=hidden: torch_step(c, h),
                "JAX": lambda c=cell, h=hidden: jax_step(c, h),
            }
            contenders = {name: (call, STREAMS * WINDOW) for name, call in available(makers, missing).items()}
            found = turns(contenders | {"peak": (peak, 1)}, rounds, 3e7)
            middle, _, best = found.pop("peak")
            most = multiply_adds(cell, hidden) / work_of_peak  # of the time that the peak's work takes
            shares = f"{most * middle / found['forecaster'][0]:.0%}, {most * best / found['forecaster'][2]:.0%}"
            work = f"training {cell}, H={hidden}, {STREAMS} streams x {WINDOW} steps"
            note = f"{shares} of the peak, {work_of_peak / middle:.0f} and {work_of_peak / best:.0f} GFLOP/s"
            out += rows_of(work, found, {"forecaster": note})
    return out


def whole(rounds: int, missing: set[str], hidden: int = 64) -> list[Row]:
    """Everything that an event costs."""
    nine = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    config = ModelConfig(
        hidden_size=hidden,
        head_size=min(hidden, 64),
        horizon=24,
        seasons=(24,),
        interval_ms=60_000,
        quantiles=nine,
    )
    call, events = observe_work(config, 1000, 512)
    step, _ = step_work("gru", hidden, BATCH)
    found = turns({"forecaster": (call, events), "its recurrent step alone": (step, BATCH)}, rounds)
    out = rows_of(f"observe, H={hidden}, 24 steps x 9 levels, batches", found)
    single, _ = observe_work(config, 1, 1)
    peers = available(
        {"River HoltWinters": holt_winters, "River SNARIMAX": snarimax, "deep-river": deep_river}, missing
    )
    contenders = {"forecaster": (single, 1)} | {name: (call, 1) for name, call in peers.items()}
    note = dict.fromkeys(peers, "medians only")
    return out + rows_of("learn one value and forecast 24 steps, from Python", turns(contenders, rounds), note)


def pipeline(events: int) -> list[Row]:
    """The daemon from a file to SQLite, and the same with the model left out."""
    config = Config.model_validate({"model": {"seasons": [24], "interval": "1m"}})
    real = ObservedRows._run
    shape = np.linspace(0.9, 1.1, 24 * 7, dtype=np.float32).reshape(24, 7)

    def nothing(self: Any, rows: Any, taken: Any, out: Any, start: int, end: int, *_: Any) -> None:
        out.quantiles[start:end] = taken[1][start:end, None, None].astype(np.float32) * shape
        out.interval_ms[start:end] = 60_000
        for column in (out.status, out.steps, out.anomaly, out.flagged, out.notes, out.noted_ms):
            column[start:end] = 0
        self.events_total += end - start

    def run() -> float:
        return seconds_per_event(config, 1000, events, time.process_time) * 1e9

    found: dict[str, list[float]] = {"forecaster": [], "the same, the model left out": []}
    for _ in range(3):
        found["forecaster"].append(run())
        ObservedRows._run = nothing  # type: ignore[method-assign]
        try:
            found["the same, the model left out"].append(run())
        finally:
            ObservedRows._run = real  # type: ignore[method-assign]
    middle = {
        name: (statistics.median(v), (max(v) - min(v)) / 2 / statistics.median(v), min(v)) for name, v in found.items()
    }
    rate = {name: f"{1e9 / ns:,.0f} events/s" for name, (ns, *_) in middle.items()}
    return rows_of("JSON lines in, SQLite out", middle, rate)


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| work | who | ns per event | spread | against ours | least | against our least | |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    last = ""
    for row in rows:
        ours = row.who in {"forecaster", "peak"}
        ratio, least_ratio = ("" if ours else f"{n:.2f} x" for n in (row.ratio, row.least_ratio))
        ns, least = (f"{n:,.0f}" if n else "" for n in (row.ns, row.least))
        spread = f"{row.spread:.0%}" if row.ns else ""
        work = "" if row.work == last else row.work
        lines.append(f"| {work} | {row.who} | {ns} | {spread} | {ratio} | {least} | {least_ratio} | {row.note} |")
        last = row.work
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and events")
    parser.add_argument("--json", type=Path, help="the same as JSON")
    given = parser.parse_args()
    pin()
    rounds, missing = (7 if given.quick else 31), set[str]()
    events = 20_000 if given.quick else 60_000
    parts: dict[str, Callable[[], list[Row]]] = {
        "steps": lambda: steps(rounds, missing),
        "training": lambda: training(rounds, missing),
        "whole": lambda: whole(rounds, missing),
        "pipeline": lambda: pipeline(events),
    }
    print(f"{this_processor()}, one core, Python {sys.version.split()[0]}, numpy {np.__version__}\n")
    rows: list[Row] = []
    for number, name in enumerate(given.parts or parts):
        found = parts[name]()
        rows += found
        print("\n".join(table(found).splitlines()[2 if number else 0 :]), flush=True)
    if missing:
        print(f"\nNot installed, left out: {', '.join(sorted(missing))}")
    if given.json:
        given.json.write_text(json.dumps([vars(row) for row in rows], indent=1))


if __name__ == "__main__":
    use_kernels("literal")  # what a daemon that runs for long uses
    main()
