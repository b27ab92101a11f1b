"""How large a network pays, by how much history there is: sCRPS of held-back forecasts over both.

    python benchmarks/sizes.py DATA [--only NAME ...] [--set KEY=VALUE ...]     DATA: folder of the public data sets

Of every data set the first N events are taken, at most ten series of it; a network is trained once on the older three
quarters as the daemon would, and forecasts in the rest are scored, with the pool of simple experts and without it. The
last column of each size is the same without any training. docs/retraining.md has the result.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from service.backtest.events import EventTable, read_events
from service.backtest.search import first_events, sampled, score, scored_origins
from service.config.load import load_config

NAMES = ("nyc_taxi", "ett_hourly", "air_valencia")
EVENTS = (1000, 4000, 16_000, 64_000)
HIDDEN = (16, 48, 96)
TRAINED = 0.75


def figures(config: dict[str, object], events: EventTable, hidden: int, steps: int) -> float:
    """sCRPS; `steps` 0 trains for a single step, which changes next to nothing."""
    given = config | {"model.hidden_size": str(hidden), "train.max_steps": str(max(1, steps))}
    at = int(TRAINED * len(events))
    return score(load_config(None, given), events, scored_origins(events, at, len(events), 0), at)


def main() -> int:
    """Prints a table per data set; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="a configuration key=value")
    arguments = parser.parse_args()
    listing = json.loads((arguments.data / "datasets.json").read_text())
    more = dict(setting.split("=", 1) for setting in arguments.settings)
    print("| data set | events | " + " | ".join(f"H={hidden}" for hidden in HIDDEN) + " | untrained |")
    print("|---|--:|" + "--:|" * (len(HIDDEN) + 1), flush=True)
    for name in arguments.only:
        meta = listing[name]
        config: dict[str, object] = {
            "model.interval": str(meta["freq_s"]),
            "model.horizon": str(meta["horizon"]),
            "model.seasons": str(meta["season"]),
        } | more
        everything = sampled(read_events(arguments.data / meta["file"], load_config(None, config).input), 10, 0)
        for count in EVENTS:
            if count > len(everything):
                break
            events = first_events(everything, count)
            row = [figures(config, events, hidden, 1500) for hidden in HIDDEN]
            best = int(np.argmin(row))
            cells = [f"**{value:.3f}**" if i == best else f"{value:.3f}" for i, value in enumerate(row)]
            untrained = figures(config, events, HIDDEN[1], 0)
            print(f"| {name} | {count:,} | " + " | ".join(cells) + f" | {untrained:.3f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
