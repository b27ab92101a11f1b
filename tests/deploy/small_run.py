"""A folder with a stream and a configuration for one run with forecasts, rejects and a training."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

EVENTS: Final = 240
CONFIG: Final = """
[input]
files = ["events.jsonl"]
max_poll_records = 40
[model]
hidden_size = 16
head_size = 16
horizon = 2
quantiles = [0.1, 0.5, 0.9]
seasons = [12]
interval = "1m"
[state]
data_dir = "data"
max_series = 4
[http]
port = 0
[train]
k1 = 8
k2 = 16
batch = 8
max_steps = 10
evaluate_every = 5
margin = -1.0
[retrain]
every_events = 200
wait = "true"
"""


def write(folder: Path) -> None:
    """Writes the configuration and the events, one of them unusable."""
    (folder / "config.toml").write_text(CONFIG)
    lines = [
        json.dumps({"series": "ab"[i % 2], "timestamp": 1_700_000_000_000 + i * 30_000, "value": math.sin(i / 9)})
        for i in range(EVENTS)
    ]
    (folder / "events.jsonl").write_text("\n".join([*lines, '{"series": "a"']) + "\n")


def counts(folder: Path) -> dict[str, Any]:
    """Returns the number of rows of each output table."""
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'forecasts.sqlite'}?mode=ro", uri=True)) as database:
        return {
            table: database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in ("forecasts", "rejects", "adoptions")
        }
