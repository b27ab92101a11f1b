"""How cost grows: curves for docs/performance.md, as one plot per question and one table.

    python benchmarks/curves.py [series batch hidden horizon quantiles memory] [--images DIR] [--quick]

Processor time per event through `observe`, the median of many batches; the default network but for what is varied.
Every hidden size, horizon and number of levels is compiled first, which takes a while.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from forecaster import Forecaster, ModelConfig, use_kernels
from forecaster.inspection.speed import observe_work
from service.capacity.bench import pin

IMAGES = Path(__file__).parents[1] / "docs" / "images"
BASE = ModelConfig(seasons=(24,), interval_ms=60_000)
Points = list[tuple[float, float]]


def microseconds(config: ModelConfig, series: int, events: int, batches: int = 40) -> float:
    """Processor time per event."""
    call, count = observe_work(config, series, events)
    found = []
    for _ in range(batches):
        start = time.process_time_ns()
        call()
        found.append((time.process_time_ns() - start) / count / 1000)
    return statistics.median(found)


def by_series(counts: Sequence[int]) -> Points:
    """Batches of 512 over ever more series."""
    return [(n, microseconds(BASE, n, 512, 200)) for n in counts]


def by_batch(sizes: Sequence[int]) -> Points:
    """1000 series, ever larger batches."""
    return [(n, microseconds(BASE, 1000, n)) for n in sizes]


def by_hidden(sizes: Sequence[int]) -> Points:
    """Units of the recurrent layer."""
    return [(n, microseconds(replace(BASE, hidden_size=n), 1000, 512)) for n in sizes]


def by_horizon(horizons: Sequence[int]) -> Points:
    """Steps ahead."""
    return [(n, microseconds(replace(BASE, horizon=n), 1000, 512)) for n in horizons]


def by_quantiles(counts: Sequence[int]) -> Points:
    """Levels."""
    return [
        (n, microseconds(replace(BASE, quantiles=tuple((i + 1) / (n + 1) for i in range(n))), 1000, 512))
        for n in counts
    ]


def by_memory(counts: Sequence[int]) -> Points:
    """Resident memory that so many series add, in MiB."""
    found = []
    for series in counts:
        state = Forecaster(BASE, max_series=series, history_events=0)
        before = resident()
        state._table.hidden[:] = 0.0
        state._table.stats[:] = 0.0
        state._table.counters[:] = 0
        state._table.changed[:] = 0
        found.append((series, (resident() - before) / 2**20))
    return found


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


CURVES: dict[str, tuple[str, str, Callable[[Sequence[int]], Points], tuple[int, ...]]] = {
    "series": ("series", "us per event", by_series, (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)),
    "batch": ("events per batch", "us per event", by_batch, (1, 4, 16, 64, 256, 1024, 4096)),
    "hidden": ("hidden units", "us per event", by_hidden, (16, 32, 64, 128, 256)),
    "horizon": ("steps ahead", "us per event", by_horizon, (1, 6, 24, 96)),
    "quantiles": ("levels", "us per event", by_quantiles, (1, 3, 7, 15, 31)),
    "memory": ("series", "MiB of state", by_memory, (1000, 10_000, 100_000, 1_000_000)),
}


def draw(name: str, points: Points, folder: Path) -> None:
    """Draws a curve into a file of the folder."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    x, y, _, _ = CURVES[name]
    fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
    ax.plot(*zip(*points, strict=True), "o-", color="#2563eb")
    ax.set(xlabel=x, ylabel=y, xscale="log", ylim=(0, None))
    if name == "memory":
        ax.set(yscale="log", ylim=(1, None))
    ax.grid(alpha=0.25)
    fig.savefig(folder / f"curve-{name}.svg", metadata={"Date": None})
    plt.close(fig)


def main() -> None:
    """Measures the curves that are asked for, all by default, and draws them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", nargs="*", help="all by default")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the plots and their points")
    parser.add_argument("--quick", action="store_true", help="the first two points of each")
    given = parser.parse_args()
    given.images.mkdir(exist_ok=True)
    kept = given.images / "curves.json"
    known: dict[str, Points] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in given.curves or CURVES:
        _, _, measure, values = CURVES[name]
        known[name] = measure(values[:2] if given.quick else values)
        kept.write_text(json.dumps(known, indent=1) + "\n")
        draw(name, known[name], given.images)
        print(name, *(f"{a:g}: {b:.2f}" for a, b in known[name]), sep="  ")


if __name__ == "__main__":
    pin()
    use_kernels("literal")  # what a daemon that runs for long uses
    main()
