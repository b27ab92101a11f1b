"""The examples of docs/engines.md beside the daemon: their code, their events, and the forecasts that are expected."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.messages.digits import plain

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "engines.md"
EVENTS = 400
Quantiles = dict[tuple[str, str], NDArray[np.float64]]
"""By series and time of the event, (horizon, levels)."""


def block_of(title: str) -> str:
    """Returns the Python block of a section of the page."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    return re.search(r"```python\n(.*?)```", section[1], re.DOTALL)[1]


def example(title: str) -> str:
    """Returns the program of a stream processor: the network, then its own block."""
    return block_of("The network") + "\n" + block_of(title)


def write_events(folder: Path) -> list[str]:
    """Writes the events as `demand.csv`, and returns its lines: header, then one event each."""
    with gzip.open(ROOT / "examples" / "demand.csv.gz", "rt") as file:
        lines = [next(file) for _ in range(EVENTS + 1)]
    (folder / "demand.csv").write_text("".join(lines))
    return lines


def daemon_forecasts(folder: Path) -> Quantiles:
    """Runs the daemon on `demand.csv` of a folder, without trainings, with its data in `data`."""
    words = ["--input", "demand.csv", "--sink", "stdout", "--retrain-every", "0", "--horizon", "12", "--season", "24"]
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "run", *words, "--data-dir", "data", "--port", "0"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == EVENTS
    return {(one["series"], one["origin"].replace(".000Z", "Z")): np.array(one["quantiles"]) for one in found}


def check_equal(found: Quantiles, expected: Quantiles) -> None:
    """Checks that the quantiles, printed as the daemon prints them, are the daemon's.

    Its digits identify a float32, which the quantiles are but for the first values of a series.
    """
    assert found.keys() == expected.keys()
    for key, quantiles in found.items():
        assert plain(quantiles) == expected[key].tolist(), key
    exact = [np.float32(quantiles) == quantiles for quantiles in found.values()]
    assert np.mean(exact) > 0.9
