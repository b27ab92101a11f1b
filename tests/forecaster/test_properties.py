"""Properties for any input: equivariance, order of quantiles, the history ring, files."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from forecaster import Batch, CheckpointError, Forecaster, History, Model, Status, load_model, save_model
from forecaster.state.checkpoint import PIECE_ROWS, read_checkpoint, read_header, write_checkpoint
from forecaster.state.history import HistoryRing

MODELS = {
    "gru": cases.rough_model(cases.GRU, 1),
    "lstm, learnt": cases.rough_model(cases.STREAMING["lstm-2-bare-learnt"], 1),
    "pool": cases.rough_model(cases.POOLED["gru-1-pool"], 1),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
values = st.lists(st.integers(-2000, 2000).map(lambda n: n / 16) | st.just(np.nan), min_size=1, max_size=60)


def forecast(model: Model, y: Any) -> Any:
    """Returns the forecasts for one regular series."""
    n = len(y)
    ts = cases.T0 + np.arange(n) * cases.STEP_MS
    return Forecaster(model, max_series=2, history_events=10).observe(Batch(["a"] * n, ts, np.array(y, np.float64)))


class TestForecasts:
    """Properties of the forecasts as functions of the values."""

    @each_model
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(y=values, power=st.integers(-30, 30))
    def test_follow_the_unit(self, model: Model, y: list[float], power: int) -> None:
        """Values scaled by a power of two scale the forecasts exactly: no part of the network depends on the unit."""
        a = 2.0**power
        once, scaled = forecast(model, y), forecast(model, np.array(y) * a)
        assert scaled.quantiles.tobytes() == (once.quantiles * np.float32(a)).tobytes()

    @each_model
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(y=values, shift=st.integers(-1000, 1000))
    def test_follow_the_zero(self, model: Model, y: list[float], shift: int) -> None:
        """Values shifted by a constant shift the forecasts, within the rounding of the running statistics."""
        known = np.array(y)[np.isfinite(y)]
        others = np.flatnonzero(np.isfinite(y) & (np.array(y) != (known[0] if len(known) else 0.0)))
        if not len(others):
            return
        for first in (known[:2], known[:2] + shift):  # of two values a much larger one may be a fill value
            assume(np.abs(first).max() < 900 or np.abs(first).max() < 100 * np.abs(first).min())
        once, moved = forecast(model, y), forecast(model, np.array(y) + shift)
        at = others[0]  # before that, the width depends on the size of the only value
        expected = once.quantiles[at:].astype(np.float64) + shift
        atol = 1e-3 * (np.ptp(known) + 1e-9) + 1e-4 + 1e-6 * (abs(shift) + np.abs(once.quantiles[at:]).max())
        np.testing.assert_allclose(moved.quantiles[at:], expected, rtol=0, atol=atol)

    @each_model
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(y=st.lists(st.floats(width=32) | st.floats(), min_size=1, max_size=40))
    def test_never_cross_and_are_finite(self, model: Model, y: list[float]) -> None:
        """Quantiles of any values, any float bit patterns included, are finite and do not cross."""
        out = forecast(model, y)
        missing = ~(np.abs(y) <= np.finfo(np.float32).max)
        known = np.cumsum(~missing) > 0
        assert np.isnan(out.quantiles[~known]).all()
        assert np.isfinite(out.quantiles[known]).all()
        assert (out.quantiles[known, :, 1:] >= out.quantiles[known, :, :-1]).all()
        assert ((out.status == Status.UNKNOWN) == ~known).all()
        assert ((out.status == Status.MISSING) == (missing & known)).all()


class TestHistoryRing:
    """The ring holds the newest `capacity` entries of a list."""

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(capacity=st.integers(0, 12), sizes=st.lists(st.integers(0, 20), max_size=8), other=st.integers(0, 15))
    def test_is_the_end_of_a_list(self, capacity: int, sizes: list[int], other: int) -> None:
        """The ring equals the end of the list after any appends and after a move into a ring of another capacity."""
        ring, all_ = HistoryRing(capacity, 1), []

        def append(target: HistoryRing, n: int) -> None:
            new = np.arange(len(all_), len(all_) + n)
            all_.extend(new.tolist())
            target.append(series=new, timestamp_ms=new, value=new.astype(np.float64), robust=new.astype(np.float64),
                          covariates=new[:, None])  # fmt: skip

        def entries(target: HistoryRing) -> list[int]:
            columns = target.ordered()
            assert all((column.reshape(-1) == columns["series"]).all() for column in columns.values())
            return columns["series"].tolist()

        for n in sizes:
            append(ring, n)
            assert entries(ring) == all_[max(0, len(all_) - capacity) :]
            assert ring.written == len(all_)
        kept = entries(ring)
        moved = HistoryRing(other, 1)
        moved.restore({name: column.copy() for name, column in ring.view().items()}, ring.written, capacity)
        assert entries(moved) == kept[max(0, len(kept) - other) :]
        append(moved, 5)
        assert entries(moved) == (kept + all_[-5:])[max(0, len(kept) + 5 - other) :]


ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([2**40, -1], np.int64),
    "empty": np.zeros((0, 3)),
    "bytes": np.frombuffer(b"abc", np.uint8),
}
HEADER = {"n": 1, "text": "größe", "list": [1.5, None]}


class TestHistory:
    """The training history extracted from a state."""

    @pytest.mark.parametrize("events", [7, 40, 1000])
    def test_without_rows(self, events: int) -> None:
        """The history from a state equals that of a restored forecaster: with evictions, a wrapped ring, any limit."""
        model = MODELS["gru"]
        forecaster = Forecaster(model, max_series=3, history_events=40)
        names = ["abcde"[i**3 % 5] for i in range(100)]
        forecaster.observe(Batch(names, 1_700_000_000_000 + 60_000 * np.arange(100), np.arange(100.0)))
        arrays, header = forecaster.state(), forecaster.header()
        expected = Forecaster.from_state(arrays, header, model, max_series=3, history_events=events).history()
        found = History.of_state({n: a for n, a in arrays.items() if History.needs(n)}, header, events)

        assert len(found) == min(events, 40)
        for name in ("series", "timestamp_ms", "value", "covariates"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
        assert (found.names, found.intervals) == (expected.names, expected.intervals)


class TestCheckpoint:
    """Checkpoints are read as written, or the error states the reason."""

    def test_round_trip(self, tmp_path: Path) -> None:
        """Arrays with types and shapes, and the header, are restored; no other file remains."""
        write_checkpoint(tmp_path / "f", ARRAYS, HEADER, "test")
        arrays, header = read_checkpoint(tmp_path / "f", "test")
        assert header == read_header(tmp_path / "f", "test") == HEADER
        assert {k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays.items()} == {
            k: (v.dtype, v.shape, v.tobytes()) for k, v in ARRAYS.items()
        }
        assert [path.name for path in tmp_path.iterdir()] == ["f"]

    def test_what_is_left_out_is_verified(self, tmp_path: Path) -> None:
        """Arrays that are not selected are not returned, but damage anywhere in them is detected."""
        path = tmp_path / "f"
        large = np.arange(3 * (PIECE_ROWS + 7), dtype=np.float64).reshape(-1, 3)
        write_checkpoint(path, ARRAYS | {"large": large}, HEADER, "test")
        arrays, header = read_checkpoint(path, "test", lambda name: name == "b")
        assert header == HEADER
        assert {name: array.tobytes() for name, array in arrays.items()} == {"b": ARRAYS["b"].tobytes()}
        good = path.read_bytes()
        start = good.index(large.tobytes())
        for at in (start, start + large.nbytes // 2, start + large.nbytes - 1):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            with pytest.raises(CheckpointError, match="damaged"):
                read_checkpoint(path, "test", lambda name: name == "b")

    def test_every_damaged_bit_is_found(self, tmp_path: Path) -> None:
        """A flipped bit in any byte raises a CheckpointError or leaves the content equal; nothing else happens."""
        path = tmp_path / "f"
        write_checkpoint(path, ARRAYS, HEADER, "test")
        good, found = path.read_bytes(), 0
        expected = {k: v.tobytes() for k, v in ARRAYS.items()}
        for byte in range(len(good)):
            bit = 8 * byte + (5 * byte + 2) % 8
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bad)
            try:
                arrays, header = read_checkpoint(path, "test")
            except CheckpointError:
                found += 1
            else:
                assert header == HEADER, bit
                assert {k: v.tobytes() for k, v in arrays.items()} == expected, bit
        assert found > 0.9 * len(good)

    def test_every_truncation_is_found(self, tmp_path: Path) -> None:
        """A file truncated at any byte is rejected."""
        path = tmp_path / "f"
        write_checkpoint(path, ARRAYS, HEADER, "test")
        good = path.read_bytes()
        for n in range(len(good)):
            path.write_bytes(good[:n])
            with pytest.raises(CheckpointError, match=r"cannot be read as a test|damaged"):
                read_checkpoint(path, "test")

    def test_says_what_it_got(self, tmp_path: Path) -> None:
        """Errors for a missing file, another format, kind or version state what was found."""
        path = tmp_path / "f"
        with pytest.raises(CheckpointError, match="cannot be read as a test"):
            read_checkpoint(path, "test")
        write_checkpoint(path, ARRAYS, HEADER, "snapshot")
        with pytest.raises(CheckpointError, match="got a file of kind 'snapshot', expected 'test'"):
            read_checkpoint(path, "test")
        save_file(ARRAYS, path, {"kind": "test", "version": "99"})
        with pytest.raises(CheckpointError, match="got format version '99', expected 1"):
            read_checkpoint(path, "test")
        save_file(ARRAYS, path)
        with pytest.raises(CheckpointError, match="kind None"):
            read_checkpoint(path, "test")

    def test_what_cannot_be_read_at_all(self, tmp_path: Path) -> None:
        """A type that numpy lacks, and a header nested too deeply, are rejected."""
        path = tmp_path / "f"
        save_file({"a": np.zeros(4, np.int16)}, path, {"kind": "test", "version": "1", "header": "{}", "sha256": ""})
        raw = path.read_bytes().replace(b'"I16"', b'"BF16"')
        length = int.from_bytes(raw[:8], "little") + len(raw) - path.stat().st_size
        path.write_bytes(length.to_bytes(8, "little") + raw[8:])
        with contextlib.suppress(ImportError):
            importlib.import_module("ml_dtypes")  # registers that type with numpy, for the whole process
        with pytest.raises(CheckpointError, match="cannot be read as a test: array 'a' has type BF16, which"):
            read_checkpoint(path, "test")
        save_file(ARRAYS, path, {"kind": "test", "version": "1", "header": "[" * 100_000, "sha256": ""})
        for reader in (read_checkpoint, read_header):
            with pytest.raises(CheckpointError, match="cannot be read as a test: maximum recursion"):
                reader(path, "test")

    def test_a_failed_write_leaves_the_old_file(self, tmp_path: Path) -> None:
        """A failed write raises its error and leaves the old file complete."""
        path = tmp_path / "f"
        write_checkpoint(path, ARRAYS, HEADER, "test")
        (tmp_path / "f.tmp").mkdir()
        with pytest.raises(OSError):  # noqa: PT011 - the type depends on the system
            write_checkpoint(path, {"a": np.zeros(3)}, {}, "test")
        assert read_checkpoint(path, "test")[1] == HEADER


class TestModelFiles:
    """Model files."""

    def test_round_trip(self, tmp_path: Path) -> None:
        """A saved and loaded model has the same name."""
        model = MODELS["lstm, learnt"]
        save_model(tmp_path / "m", model)
        assert load_model(tmp_path / "m").sha256 == model.sha256

    def test_says_what_does_not_fit(self, tmp_path: Path) -> None:
        """Every tensor that is missing, unknown or of another shape is named."""
        model = MODELS["gru"]
        tensors = {name: np.array(view) for name, view in model.layout.views(model.params).items()}
        tensors["head.c"] = np.zeros(3, np.float32)
        tensors["head.x"] = tensors.pop("head.d")
        write_checkpoint(tmp_path / "m", tensors, {"config": model.config.to_dict()}, "model")
        with pytest.raises(CheckpointError) as error:
            load_model(tmp_path / "m")
        for part in (
            "head.c: float32 (3,) in the file, float32 (16,) in the network",
            "head.x: in the file, but not in the network", "head.d: missing in the file, expected float32 (16,)",
        ):  # fmt: skip
            assert part in str(error.value)

    def test_a_state_needs_its_model(self, tmp_path: Path) -> None:
        """A state of other weights, or too large for the limits, is rejected with the reason."""
        forecaster = Forecaster(MODELS["gru"])
        forecaster.observe(Batch(["a", "b"], np.full(2, cases.T0), np.ones(2)))
        state, header = forecaster.state(), forecaster.header()
        with pytest.raises(CheckpointError, match="made with model"):
            Forecaster.from_state(state, header, cases.rough_model(cases.GRU, 2))
        with pytest.raises(CheckpointError, match="2 rows in use, max_series is 1: raise it"):
            Forecaster.from_state(state, header, MODELS["gru"], max_series=1)
