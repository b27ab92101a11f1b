"""Scaling policies on public loads: pod-hours at equal risk of reactive scaling, last week's load and the forecast.

    python benchmarks/scaling.py SHARED [--only NAME ...] [--quantile 0.95]

Runs the backtest of `[[scale]]` (`service.backtest.scaling`) over public streams (`datasets.json` of SHARED/data) with
nothing configured but interval, horizon and season. Each series is the load of a workload of its own: a replica carries
a tenth of its mean over the first 30 %, a replica takes two steps to start, and the rest is counted. Columns: counted
loads; the share of loads above the capacity of each policy; the pod-hours of the others, with as much more load that
they are short as rarely as the forecast, over those of the forecast: the geometric mean over the series, on how many of
them the forecast costs more, and on how many no load up to 64 times the real one makes the policy short as rarely.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.backtest.events import EventTable, read_file
from service.backtest.origins import WARM_SHARE
from service.backtest.run import run
from service.backtest.scaling import PolicyComparison, compare, scaled_events
from service.config.load import load_config
from service.config.scale_rules import ScaleRule

LOADS = ("nyc_taxi", "nab_infra", "vic_elec")
STEPS = 2  # that a replica takes to start
REPLICAS = 10  # at the mean load
OTHER = {"vic_elec": ("temperature",)}  # series that are no load, by a part of their name
HEADER = (
    "| data set | loads | events | reactive: short | last week: short | forecast: short | reactive: pod-hours at equal "
    "risk | last week: the same |\n|---|--:|--:|--:|--:|--:|--:|--:|"
)


def rules_of(events: EventTable, lead: float, quantile: float, other: Sequence[str] = ()) -> list[ScaleRule]:
    """Returns a rule for each series with a positive mean."""
    found = []
    for number, name in enumerate(events.names):
        values = events.value[events.series == number]
        mean = float(np.nanmean(values[: int(WARM_SHARE * len(values))]))
        if mean > 0 and not any(part in name.lower() for part in other):
            found.append(
                ScaleRule(
                    name=f"s{number}", series=name, lead=lead, quantile=quantile, capacity=mean / REPLICAS, most=10_000
                )
            )
    return found


def comparisons(
    file: Path, meta: Mapping[str, Any], settings: Mapping[str, Any], quantile: float, other: Sequence[str]
) -> list[PolicyComparison]:
    """Returns the policies on each load of a file."""
    hints = {"model.interval": meta["freq_s"], "model.horizon": meta["horizon"]}
    if meta["season"] > 1:  # 1: none is known
        hints["model.seasons"] = [meta["season"]]
    config = load_config(None, hints | dict(settings))
    events = read_file(file, config)
    rules = rules_of(events, STEPS * float(meta["freq_s"]), quantile, other)
    levels = tuple(sorted({*config.model.quantiles, quantile}))
    known = int(WARM_SHARE * len(events))
    result = run(config, events, scaled_events(events, rules), known=known, levels=levels).result
    return [compare(rule, events, result) for rule in rules]


def row(
    name: str, file: Path, meta: Mapping[str, Any], settings: Mapping[str, Any] | None = None, quantile: float = 0.95
) -> str:
    """Returns a row of the table."""
    found = comparisons(file, meta, settings or {}, quantile, OTHER.get(name, ()))
    events = sum(int(one.load.counted.sum()) for one in found)
    cells = [name, str(len(found)), str(events)]
    short = [sum(one.plain[policy].short for one in found) for policy in ("reactive", "last week", "forecast")]
    cells += [f"{100 * count / events:.1f} %" for count in short]
    for policy in ("reactive", "last week"):
        ratios = [
            cost.pod_hours / one.plain["forecast"].pod_hours for one in found if (cost := one.equal[policy]) is not None
        ]
        mean = float(np.exp(np.mean(np.log(ratios)))) if ratios else float("nan")
        cells.append(f"{mean:.2f}; {sum(ratio < 1 for ratio in ratios)} below 1, {len(found) - len(ratios)} without")
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", nargs="+", default=LOADS, metavar="NAME")
    parser.add_argument("--quantile", type=float, default=0.95)
    given = parser.parse_args(arguments)
    data = given.shared / "data"
    sets: dict[str, dict[str, Any]] = json.loads((data / "datasets.json").read_text())
    print(HEADER, flush=True)
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.csv"
            file.write_bytes(gzip.decompress((data / sets[name]["file"]).read_bytes()))
            print(row(name, file, sets[name], quantile=given.quantile), flush=True)


if __name__ == "__main__":
    main()
