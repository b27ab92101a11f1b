"""Reads the forecasts in a SQLite output as the objects that they are in JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from service.sinks.sqlite_forecasts import forecast_object

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
            yield forecast_object(row["name"], row["partition"], row["model"], json.loads(row["levels"]), row)
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
