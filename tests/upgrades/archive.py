"""Archives the files that this version writes, for tests of later versions.

    python tests/upgrades/archive.py tests/upgrades/NAME.tar.gz

Run it before a stored format changes, and commit the archive: `test_upgrades.py` reads every archive in its folder.
The archive holds a data folder whose newest snapshot is older than the committed output, the events after it, a
model, a saved forecaster, a sequence model, and the forecasts of this version.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
import tarfile
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import numpy as np

from forecaster import Batch, Forecaster, SequenceConfig, SequenceModel, Sequences, save_model
from service.cli._daemon import Daemon
from service.config.load import load_config

BEFORE, AFTER = 240, 60  # events forecast by the archiving version, and events left for a later version
CONFIG = """
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
snapshot_every = "1h"
max_series = 4
history_events = 200
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
every_events = 100
wait = "true"
[log]
level = "error"
"""


def event(step: int) -> bytes:
    """Returns one event of two interleaved series."""
    value = round(math.sin(step / 9) * 3 + step % 5, 3)
    fields = {"series": "ab"[step % 2], "timestamp": 1_700_000_000_000 + step * 30_000, "value": value}
    return json.dumps(fields).encode() + b"\n"


def forecasts(folder: Path) -> list[list[object]]:
    """Returns position, series and quantiles of every forecast in the output of a data folder."""
    with closing(sqlite3.connect(folder / "forecasts.sqlite")) as database:
        rows = database.execute("SELECT position, series, quantiles FROM forecasts ORDER BY 1").fetchall()
    return [[position, series, json.loads(quantiles or "null")] for position, series, quantiles in rows]


def run() -> None:
    """Runs the daemon over events.jsonl of the current folder, to its end."""
    Daemon(load_config(Path("config.toml"))).run(threading.Event())


def batch(start: int, count: int) -> Batch:
    """Returns events of one series, for the library alone."""
    steps = np.arange(start, start + count)
    return Batch(["a"] * count, 1_700_000_000_000 + steps * 60_000, np.sin(steps / 5.0))


def sequences() -> Sequences:
    """Returns one input of the sequence model."""
    return Sequences(np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 6, 1))


def make(folder: Path) -> None:
    """Fills a folder."""
    os.chdir(folder)
    Path("config.toml").write_text(CONFIG)
    lines = [event(step) for step in range(BEFORE + AFTER)]
    for stop in (BEFORE - 50, BEFORE):
        Path("events.jsonl").write_bytes(b"".join(lines[:stop]))
        run()
    newest = max(Path("data/snapshots").glob("*/*.snapshot"))
    newest.unlink()
    Path("events.jsonl").write_bytes(b"".join(lines))
    before = forecasts(Path("data"))

    held = Forecaster(load_config(Path("config.toml")).library_model(), max_series=2)
    held.observe(batch(0, 40))
    held.save("saved.forecaster")
    save_model("model.safetensors", held.model)
    sequence = SequenceModel.initial(SequenceConfig(features=1, hidden_size=16))
    sequence.save("sequence.safetensors")
    answers = {
        "before": before,
        "after_saved": held.observe(batch(40, 5)).quantiles.tolist(),
        "model": held.model.sha256,
        "sequence": np.asarray(sequence.predict(sequences())).tolist(),
    }
    Path("answers.json").write_text(json.dumps(answers))


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Clears owner and time, which depend on the machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime, member.mode = 1_767_225_600, 0o644
    return member


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
        with tarfile.open(target, "w:gz") as archive:
            for path in sorted(Path(made).rglob("*")):
                if path.is_file() and path.suffix not in {".lock", ".log", ".request", ".result"}:
                    archive.add(path, path.relative_to(made), filter=_nobodys)
    print(target, target.stat().st_size, "bytes")
