"""What `retrain.search` gains and costs: the daemon over public streams with the configured shape, and with searches.

    python benchmarks/shape_search.py SHARED [--only NAME ...] [--trainings 10]

Runs `forecaster run --input FILE` over streams of `datasets.json` of SHARED/data with interval and season of the data
set, once for each list of searched settings. The score is that of `without_hints.py`, here over the newer half of each
series. Seconds are processor time of the whole run, trainings included, after one run that compiles.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from without_hints import run, score

from forecaster import load_model
from service.lifecycle import SystemClock
from service.registry.decisions import searchable, shape_text
from service.registry.models import Registry

CASES: dict[str, list[str]] = {
    "as configured": [],
    "`head`": ["--set", 'retrain.search=["head"]'],
    "all four": ["--set", 'retrain.search=["head", "hidden_size", "calendar", "layers"]'],
    "decoder configured": ["--set", "model.head=decoder"],
}


@dataclass(frozen=True)
class Found:
    """A run.

    Attributes:
        score: see `without_hints`. targets: their number.
        trainings, promoted: counts. tried: number of trainings that tried another shape.
        shape: what the last champion has of what may be searched. seconds: of processor time.
    """

    score: float
    targets: int
    trainings: int
    promoted: int
    tried: int
    shape: str
    seconds: float


def measure(file: Path, meta: dict[str, Any], options: Sequence[str], skip: float = 0.5) -> Found:
    """Runs the daemon once."""
    hints = ["--interval", f"{meta['freq_s']}s"]
    if meta["season"] > 1:  # 1: none is known
        hints += ["--season", str(meta["season"])]
    with tempfile.TemporaryDirectory() as folder:
        before = _seconds()
        output = run(file, Path(folder) / "data", meta["horizon"], [*hints, *options])
        seconds = _seconds() - before
        registry = Registry(output.parent / "models", SystemClock())
        trainings = [one for one in registry.decisions() if one.seasons]
        champion = load_model(registry.folder / f"{registry.champion()}.safetensors")
        loss, targets = score(output, skip)
        return Found(
            loss, targets, len(trainings), sum(one.action == "promoted" for one in trainings),
            sum(bool(one.tried) for one in trainings), shape_text(searchable(champion.config)), seconds,
        )  # fmt: skip


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def line(name: str, case: str, found: Found, first: Found) -> str:
    """Returns a row of the table; `first` is the run to compare with."""
    return (
        f"| {name} | {case} | {found.score:.4f} | {found.score / first.score:.3f} | {found.trainings} | "
        f"{found.promoted} | {found.tried} | {found.shape} | {found.seconds:.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", nargs="+", default=["nyc_taxi"], metavar="NAME")
    parser.add_argument("--trainings", type=int, default=10, help="at even distances")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--set", action="append", default=[], dest="settings", help="a configuration key=value")
    given = parser.parse_args(arguments)
    data = given.shared / "data"
    sets: dict[str, dict[str, Any]] = json.loads((data / "datasets.json").read_text())
    print("| data set | search | score | of first | trainings | promoted | tried | last shape | seconds |")
    print("|---|---|--:|--:|--:|--:|--:|---|--:|", flush=True)
    for name in given.only:
        meta = sets[name]
        settings = [f"retrain.every_events={meta['n_rows'] // (given.trainings + 1)}", *given.settings]
        shared = [part for one in settings for part in ("--set", one)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.csv"
            file.write_bytes(gzip.decompress((data / meta["file"]).read_bytes()))
            first: Found | None = None
            for case in given.cases:
                found = measure(file, meta, [*CASES[case], *shared])
                first = first or found
                print(line(name, case, found, first), flush=True)


if __name__ == "__main__":
    main()
