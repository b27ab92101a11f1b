"""Why an event is not flagged is in the forecast in every format, and nothing where there is no reason."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
from fastavro import parse_schema, schemaless_reader

from forecaster import Forecasts, Note
from service.messages.compact import CompactForecast, CompactFormat, read_record
from service.messages.decode import Decoded
from service.messages.encode import JsonFormat, OutputFormat, encode
from service.schemas.forecast_avro import AvroFormat
from service.schemas.forecast_reader import as_json
from service.schemas.forecast_schemas import FORECAST, SILENCE

NOTES = [0, Note.MAINTENANCE, Note.OVER_BUDGET | Note.SAME_STEP]
EXPECTED = [None, "maintenance", "budget"]


def encoded(output: OutputFormat) -> list[bytes]:
    """Returns the records of three events."""
    times = np.arange(3) * 60_000
    forecasts = Forecasts(
        np.zeros(3, np.uint8), times, np.full(3, 60_000), np.full(3, 9), np.ones((3, 2, 1)), np.ones(3, np.float32),
        np.zeros(3, np.uint8), notes=np.array(NOTES, np.uint8),
    )  # fmt: skip
    decoded = Decoded(["a"] * 3, times, np.ones(3), None, [0, 1, 2], [0, 1, 2], [], 0)
    found = encode(decoded, forecasts, partition="p", levels=[0.5], model_sha256="0" * 64, output=output)
    return [*found.forecasts]


def test_json() -> None:
    """The field is there with a reason only."""
    found = [json.loads(one) for one in encoded(JsonFormat())]
    assert [one.get("suppressed") for one in found] == EXPECTED
    assert "suppressed" not in found[0]


def test_compact() -> None:
    """It is among the rarer fields."""
    found = [read_record(one) for one in encoded(CompactFormat())]
    assert all(isinstance(one, CompactForecast) for one in found)
    assert [json.loads(one.more or "{}").get("suppressed") for one in found] == EXPECTED  # type: ignore[union-attr]


def test_avro() -> None:
    """It is null without a reason, and a reader shows what JSON has."""
    schema = parse_schema([FORECAST, SILENCE])
    records = [schemaless_reader(BytesIO(one[5:]), schema, None) for one in encoded(AvroFormat(1))]
    assert [one["suppressed"] for one in records] == EXPECTED
    raw = [one | {"origin": 0} for one in records]
    assert [as_json(one).get("suppressed") for one in raw] == EXPECTED
    assert "suppressed" not in as_json(raw[0])
