"""Reads the forecasts in a SQLite output as the objects that they are in JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from service.messages.compact import CompactForecast, unpack
from service.messages.timestamps import format_times

_STORED = """
SELECT n.name, c.partition, c.model, c.levels, f.*
FROM stored_forecasts AS f JOIN series_names AS n ON n.id = f.series JOIN contexts AS c ON c.id = f.context
ORDER BY f.id"""
_SILENCES = "SELECT series, 'silence' AS kind, last, expected, noticed, partition, position FROM silences"


def outputs(path: Path) -> Iterator[dict[str, Any]]:
    """Yields forecasts in the order of their commits, then silences.

    Quantiles of compact forecasts are read by numpy, not by the views, so that both ways are tested.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        for row in database.execute(_STORED) if "stored_forecasts" in tables else ():
            yield _forecast(row)
        for row in database.execute(_SILENCES) if "stored_silences" in tables else ():
            found = dict(row)
            found["source"] = {name: found.pop(name) for name in ("partition", "position")}
            yield found
        if "batches" in tables:
            for (text,) in database.execute("SELECT forecasts FROM batches ORDER BY rowid"):
                yield from (one for one in json.loads(text) if one.get("kind") != "silence")


def texts(path: Path) -> list[str]:
    """Returns the same as JSON texts."""
    return [json.dumps(one) for one in outputs(path)]


def _forecast(row: sqlite3.Row) -> dict[str, Any]:
    more, levels = json.loads(row["more"] or "{}"), json.loads(row["levels"])
    fields = [name for name in CompactForecast._fields if name not in ("context", "more", "quantiles")]
    stored = CompactForecast(
        context=b"", more="", quantiles=row["quantiles"] or b"", **{name: row[name] for name in fields}
    )
    quantiles = unpack(stored, len(levels))
    return {
        "series": row["name"],
        "origin": format_times(np.array([row["origin_ms"]]))[0],
        "interval_ms": row["interval_ms"],
        **{name: more[name] for name in ("interval", "targets") if name in more},
        "levels": levels,
        "quantiles": more.get("quantiles") if quantiles is None else quantiles.tolist(),
        "anomaly": row["anomaly"],
        "flagged": bool(row["flagged"]),
        "model": row["model"],
        "source": {"partition": row["partition"], "position": row["position"], **more.get("source", {})},
        "status": "missing" if row["missing"] else "ok" if row["steps"] else "unknown",
        **{name: more[name] for name in ("revision",) if name in more},
    }
