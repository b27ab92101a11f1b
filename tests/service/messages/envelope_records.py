"""Events in envelopes: changes of Debezium and CloudEvents."""

from __future__ import annotations

from typing import Any

ROW = {"series": "a", "timestamp": 1767571200000, "value": 1.5}
SOURCE = {"version": "2.7.3.Final", "connector": "postgresql", "name": "server", "ts_ms": 1767571200001}


def change(operation: str = "c", **more: object) -> dict[str, Any]:
    """Returns a Debezium change event without a schema."""
    return {"before": None, "after": ROW, "source": SOURCE, "op": operation, "ts_ms": 1767571200002, **more}


def cloudevent(**more: object) -> dict[str, Any]:
    """Returns a CloudEvent in structured mode; the data comes with the fields."""
    return {"specversion": "1.0", "id": "7f3e", "type": "reading", "source": "/plant/4", **more}
