"""Forecasts to bytes, and rejects without leaks."""

from __future__ import annotations

import gc

import msgspec
import numpy as np
import orjson
from decoded_records import HEADER, NOON, decode, event, records, settings
from hypothesis import given
from hypothesis import strategies as st

from forecaster import Forecasts, Status
from service.messages.decode import Decoder
from service.messages.encode import encode
from service.ports import Encoded


def forecasts(status: list[int], quantiles: np.ndarray) -> Forecasts:
    """Returns the library's forecasts with these quantiles, shape (n, H, Q)."""
    n = len(status)
    return Forecasts(
        status=np.array(status, np.uint8),
        origin_ms=np.full(n, NOON, np.int64),
        interval_ms=np.full(n, 60_000, np.int64),
        steps=np.ones(n, np.int64),
        quantiles=quantiles.astype(np.float32),
        anomaly=np.array([np.nan, 0.5] * n, np.float32)[:n],
        flagged=np.array([0, 1] * n, np.uint8)[:n],
    )


class TestEncode:
    """Forecasts as JSON."""

    def encode(self, status: list[int], quantiles: np.ndarray) -> Encoded:
        """Encodes a batch of events s0, s1, ... with these forecasts."""
        decoded = decode(*(event(series=f"s{i}") for i in range(len(status))))
        return encode(decoded, forecasts(status, quantiles), partition="p", levels=(0.1, 0.5), model_sha256="ab" * 32)

    def test_object(self):
        """A forecast is one JSON object with its values, model and source."""
        series, (got, _), _ = self.encode([0, 1], np.array([[[1, 2], [3, 4.5]]] * 2))
        assert series == ["s0", "s1"]
        assert orjson.loads(got) == {
            "series": "s0",
            "origin": "2026-01-01T12:00:00.000Z",
            "interval_ms": 60_000,
            "levels": [0.1, 0.5],
            "quantiles": [[1.0, 2.0], [3.0, 4.5]],
            "anomaly": None,
            "flagged": False,
            "model": "abababababab",
            "source": {"partition": "p", "position": 0},
            "status": "ok",
        }

    def test_status(self):
        """Late, duplicate and broadcast events give no message; missing values and unknown forecasts are marked."""
        status = [Status.DUPLICATE, Status.MISSING, Status.LATE, Status.OK, Status.BROADCAST, Status.UNKNOWN]
        quantiles = np.zeros((6, 1, 2))
        quantiles[5] = np.nan
        series, encoded, _ = self.encode([int(s) for s in status], quantiles)
        assert series == ["s1", "s3", "s5"]
        found = [orjson.loads(e) for e in encoded]
        assert [one["status"] for one in found] == ["missing", "ok", "unknown"]
        assert [one["source"]["position"] for one in found] == [10, 30, 50]
        assert [one["quantiles"] for one in found] == [[[0.0, 0.0]], [[0.0, 0.0]], None]

    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
    def test_floats_round_trip(self, numbers):
        """Every float32 is read back bit for bit."""
        _, (got,), _ = self.encode([0], np.array(numbers, np.float32).reshape(1, 2, 2))
        read = np.array(msgspec.json.decode(got)["quantiles"], np.float32).ravel()
        np.testing.assert_array_equal(read, np.array(numbers, np.float32))

    def test_staged(self):
        """Staged parts are the beginning of the result, each handed on before the rest is encoded."""
        decoded = decode(*(event(series=f"s{i}") for i in range(1300)))
        parts: list[Encoded] = []
        found = encode(
            decoded,
            forecasts([Status.OK] * 1300, np.zeros((1300, 1, 2))),
            partition="p",
            levels=(0.1, 0.5),
            model_sha256="ab" * 32,
            stage=parts.append,
        )
        assert len(parts) == 2
        for at, whole in enumerate(found):
            staged = [item for part in parts for item in part[at]]
            assert staged == whole[: len(staged)]

    def test_nothing(self):
        """A batch without events gives nothing."""
        assert self.encode([], np.zeros((0, 1, 2))) == ([], [], [])


def test_rejects_leave_nothing_behind() -> None:
    """A rejected record leaves no reference cycle, which would keep its whole batch until a collection."""
    broken = [
        b"no event", b'{"series": "a"}', b'{"series": "a", "timestamp": 1, "value": "x"}', b'{"value": NaN}', b"\xff",
        b'{"series": "a", "timestamp": 1e999, "value": 1}', b'{"series": 1, "timestamp": NaN, "value": Infinity}',
    ]  # fmt: skip
    decoder = Decoder(settings())
    for batch in (records(*broken, times=[1] * len(broken)), records(b'a,b,"', b"\xff", b"a,,1", header=HEADER)):
        decoder.decode(batch)
        gc.collect()
        gc.disable()
        try:
            assert decoder.decode(batch).rejects
            assert gc.collect() == 0
        finally:
            gc.enable()
