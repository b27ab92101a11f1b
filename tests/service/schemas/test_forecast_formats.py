"""Forecasts in Avro and Protobuf are those in JSON, with the same bytes every time."""

from __future__ import annotations

import contextlib
import sys
from functools import cache
from typing import Any

import numpy as np
import orjson
import pytest
from avro_records import Shelf
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster import Forecasts, Silence
from service.config.schema_registry import SchemaRegistryConfig
from service.errors import ConfigurationError, SchemaRegistryError
from service.messages.decode import Aggregated, Decoded
from service.messages.encode import JSON, OutputFormat, encode
from service.messages.timestamps import EARLIEST_MS, LATEST_MS
from service.schemas import forecast_reader
from service.schemas.codecs import codec_of
from service.schemas.forecast_avro import AvroFormat
from service.schemas.forecast_protobuf import ProtobufFormat
from service.schemas.forecast_reader import ForecastReader
from service.schemas.forecast_schemas import SCHEMAS, subject_of
from service.schemas.frames import SchemaFrames

LEVELS, STEPS = (0.1, 0.5, 0.9), 4
FORMATS = ["avro", "protobuf"]


@cache
def output(name: str) -> OutputFormat:
    """Returns a format, made once; its schema has the id 1 or 2."""
    return AvroFormat(1) if name == "avro" else ProtobufFormat(2)


class Registry(ForecastReader):
    """A reader whose registry has the schemas of forecasts."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        super().__init__()
        schemas = {1: SCHEMAS["avro"], 2: SCHEMAS["protobuf"]}
        self._frames = SchemaFrames(shelf or Shelf(schemas), codec_of, 10)


@cache
def reader() -> Registry:
    """Returns the reader, made once."""
    return Registry()


small = st.floats(width=32, allow_nan=False, allow_infinity=False)
wide = st.floats(-1e15, 1e15)
rows = st.one_of(*(st.lists(kind, min_size=3, max_size=3).map(sorted) for kind in (small, wide)))
times = st.integers(EARLIEST_MS, LATEST_MS)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
events = st.fixed_dictionaries({
    "series": texts, "status": st.sampled_from([0, 1, 5]), "origin": times, "interval": st.integers(0, 2**40),
    "rows": st.lists(rows, min_size=STEPS, max_size=STEPS), "flagged": st.integers(0, 1),
    "anomaly": st.floats(width=32, allow_infinity=False), "within": st.integers(-1, 3),
    "silent": st.none() | st.tuples(texts, times, times, times),
})  # fmt: skip


def encoded(batch: list[dict[str, Any]], form: OutputFormat, **more: Any) -> list[bytes]:
    """Returns the records of events, as the engine encodes them."""
    quantiles = np.array([one["rows"] for one in batch], np.float64)
    quantiles[[one["status"] == 5 for one in batch]] = np.nan
    silences = [
        Silence(one["silent"][0], at, *one["silent"][1:]) for at, one in enumerate(batch) if one["silent"] is not None
    ]
    count = len(batch)
    forecasts = Forecasts(
        np.array([one["status"] for one in batch], np.uint8), np.array([one["origin"] for one in batch]),
        np.array([one["interval"] for one in batch]), np.ones(count, np.int64), quantiles,
        np.array([one["anomaly"] for one in batch], np.float32), np.array([one["flagged"] for one in batch], np.uint8),
        silences, calendar=np.array([one.get("calendar", 0) for one in batch], np.int16),
    )  # fmt: skip
    series, within = [one["series"] for one in batch], [one["within"] for one in batch]
    ends = np.array([one.get("end", 0) for one in batch], np.int64)
    decoded = Decoded(
        series, forecasts.origin_ms, np.ones(count), None, list(range(count)), list(range(count)), [], 0, within=within,
        windows=Aggregated(ends, 0, [], 0, []) if "end" in batch[0] else None,
    )  # fmt: skip
    found = encode(decoded, forecasts, partition="in-0", levels=LEVELS, model_sha256="ab" * 32, output=form, **more)
    return list(found.forecasts)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100, deadline=None)
@given(batch=st.lists(events, min_size=1, max_size=4), run=st.sampled_from([1, 2, 9]))
def test_same_as_json(name, batch, run):
    """Every record has what its JSON twin has, to the last digit, and is the same bytes in any batch."""
    found = encoded(batch, output(name), run=run)
    read = [one for value in found for one in reader().read(value)]
    assert read == [orjson.loads(value) for value in encoded(batch, JSON, run=run)]
    assert found == encoded(batch, output(name), run=run)
    assert found[: 1 + (batch[0]["silent"] is not None)] == encoded(batch[:1], output(name), run=run)


T0 = 1_767_225_600_000
MONTHLY = {
    "series": "a", "status": 0, "origin": T0, "interval": 2_678_400_000, "rows": [[1, 2, 3]] * STEPS,
    "flagged": 0, "anomaly": 0.5, "within": -1, "silent": None, "calendar": 0x0101,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_calendar_steps(name):
    """Steps that are months have their name and their times."""
    (plain,) = (orjson.loads(value) for value in encoded([MONTHLY], JSON))
    assert len(plain["targets"]) == STEPS
    (value,) = encoded([MONTHLY], output(name))
    assert reader().read(value) == [plain]


@pytest.mark.parametrize("name", FORMATS)
def test_windows(name):
    """The source of a value of a window, and of a silence that it reveals, has begin and end of the window."""
    window = {**MONTHLY, "calendar": 0, "silent": ("b", T0, T0, T0), "end": T0 + 60_000}
    plain = [orjson.loads(value) for value in encoded([window], JSON)]
    wanted = {"start": "2026-01-01T00:00:00.000Z", "end": "2026-01-01T00:01:00.000Z"}
    assert [one["source"]["window"] for one in plain] == [wanted, wanted]
    assert [one for value in encoded([window], output(name)) for one in reader().read(value)] == plain


@pytest.mark.parametrize("name", FORMATS)
def test_schema_is_readable(name):
    """The schema of forecasts is one that this program reads, and its text does not change between processes."""
    codec_of(SCHEMAS[name])
    assert SCHEMAS[name].text.count("forecaster") >= 1
    assert subject_of("shop.forecasts") == "shop.forecasts-value"


def test_reader_of_other_records(monkeypatch):
    """JSON is read without a registry; a record of another program is none of ours, and one with a schema needs it."""
    plain = ForecastReader(SchemaRegistryConfig())
    (value,) = encoded([MONTHLY], JSON)
    assert plain.read(value) == [orjson.loads(value)]
    assert len(plain.read(b"[" + value + b"," + value + b"]")) == 2
    for other in (b"", b"{", b"junk"):
        with pytest.raises(ValueError, match=r".*"):
            plain.read(other)
    (framed,) = encoded([MONTHLY], output("avro"))
    with pytest.raises(ConfigurationError, match=r"set schema_registry\.url"):
        plain.read(framed)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "service.schemas.registry", None)  # what Python notes of a module that is missing
        with pytest.raises(ConfigurationError, match=r"forecaster-daemon\[schema-registry\]"):
            ForecastReader(SchemaRegistryConfig(url="http://registry")).read(framed)
    down = Registry(Shelf({1: SchemaRegistryError("down")}))
    with pytest.raises(SchemaRegistryError):
        down.read(framed)
    for broken in (framed[:-3], framed[:5]):
        with pytest.raises(ValueError, match=r"fit|no forecast"):
            reader().read(broken)
    with pytest.raises(ValueError, match="no forecast"):
        forecast_reader.as_json([1])
    with contextlib.closing(plain):
        pass
