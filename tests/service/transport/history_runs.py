"""Runs of an engine over files, with and without a history, and what a comparison of two of them looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from parts import Bench
from sqlite_outputs import outputs

from service.snapshots.file import folder_of, newest_first, read
from service.transport.build import build_local
from service.transport.memory import MemoryLog

START_MS = 1_700_000_000_000


def line(step: int, series: str = "a", shift_ms: int = 0) -> bytes:
    """Returns an event of a wave, one a minute."""
    value = (step % 7) + 0.25 * (step % 3) + len(series)
    return orjson.dumps({"series": series, "timestamp": START_MS + step * 60_000 + shift_ms, "value": value})


def written(path: Path, lines: Sequence[bytes]) -> Path:
    """Writes lines to a file."""
    path.write_bytes(b"".join(one + b"\n" for one in lines))
    return path


def run(data: Path, live: Path, **sections: Any) -> Bench:
    """Runs an engine over a live file to its end."""
    bench = bench_of(data, live, **sections)
    bench.run()
    return bench


def bench_of(data: Path, live: Path, *, command: tuple[str, ...] | None = None, **sections: Any) -> Bench:
    """Returns an engine over a live file."""
    sections["input"] = {"files": [str(live)]} | sections.get("input", {})
    sections.setdefault("retrain", {"every_events": 0})
    bench = Bench(data, MemoryLog({}), sections, command=command)
    bench.engine._connect = lambda: build_local(bench.config)
    return bench


def forecasts(data: Path, *, live: bool = True) -> list[dict[str, Any]]:
    """Returns the forecasts, without the position of their events; `live`: only those of live events."""
    kept = [one for one in outputs(data / "forecasts.sqlite") if not live or one["source"]["position"] >= 0]
    return [{name: value for name, value in one.items() if name != "source"} for one in kept]


def state(data: Path, live: Path) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """Returns checksums of the arrays, header and progress of the last snapshot, without overlap and position."""
    snapshot = read(newest_first(folder_of(data / "snapshots", str(live)))[0])
    arrays = {
        name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        for name, array in snapshot.arrays.items()
        if not name.startswith("seam.")
    }
    return arrays, dict(snapshot.library), snapshot.progress.to_dict()


def models(data: Path) -> list[str]:
    """Returns the names of all models, which are their checksums."""
    return sorted(path.name for path in (data / "models").glob("*.safetensors"))
