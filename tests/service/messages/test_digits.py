"""Quantiles as JSON: digits of float32 for ordinary series, more digits for large levels."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.messages.digits import EXACT, GRID, exact_in_float32, narrow, plain, printable


def text(quantiles: np.ndarray) -> bytes:
    """Returns the published text."""
    return orjson.dumps(printable(quantiles), option=orjson.OPT_SERIALIZE_NUMPY)


def read(quantiles: np.ndarray) -> np.ndarray:
    """Returns the numbers read back."""
    return np.array(orjson.loads(text(quantiles)), np.float64)


SMALL = st.floats(-1e6, 1e6, width=32)


@given(st.lists(SMALL, min_size=6, max_size=6), st.sampled_from([np.float32, np.float64]))
def test_ordinary_series(numbers: list[float], kind: type) -> None:
    """Float32 numbers have the shortest digits of float32, whatever the dtype of the array."""
    quantiles = np.sort(np.array(numbers, kind)).reshape(1, 2, 3)

    assert narrow(quantiles).all()
    expected = orjson.dumps(quantiles.astype(np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
    assert text(quantiles) == expected


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3, unique=True),
    st.floats(-(2.0**53), 2.0**53),
    st.floats(1e-6, 1e6),
)
@example([0.0, 0.00390625, 1e-07], 1.0, 1.0)
def test_large_levels(numbers: list[float], level: float, scale: float) -> None:
    """Whatever level and width, the error is at most GRID times the width, and the order is kept."""
    quantiles = np.sort(level + scale * np.array(numbers)).reshape(1, 1, 3)
    found = read(quantiles)
    width = float(quantiles[0, 0, 2] - quantiles[0, 0, 0])
    if narrow(quantiles).all():
        assert np.array_equal(found.astype(np.float32), quantiles)
    else:
        assert np.abs(found - quantiles).max() <= GRID * width
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize(
    ("level", "change"), [(1e9, 1.0), (5e8, 1.0), (2e12, 4096.0), (2.0**53 - 64, 1.0), (1_234_567.0, 0.01), (-1e9, 1.0)]
)
def test_typical_streams(level: float, change: float) -> None:
    """A level of 1e9, counters, disk bytes, large integers and money in cents are right to a millionth of a change."""
    rng = np.random.default_rng(1)
    moves = np.sort(change * rng.normal(0, 3, (50, 4, 7)).round(2), axis=2)

    assert np.abs(read(level + moves) - (level + moves)).max() < 1e-6 * change


@given(st.integers(-(2**53), 2**53))
def test_constant_series(number: int) -> None:
    """Quantiles that all equal a whole number are written as that number."""
    assert read(np.full((1, 1, 3), float(number))).tolist() == [[[number] * 3]]


def test_short_texts() -> None:
    """The text has no more digits than the width needs, also with a limit that is no float32 number."""
    row = np.array([[[1000000.123456789, 1e6 + 1 / 3, 1000001.987654321]]])
    assert text(row) == b"[[[1000000.1234568,1000000.3333333,1000001.9876543]]]"
    assert text(1000 * row) == b"[[[1000000123.4568,1000000333.3333,1000001987.6543]]]"
    assert text(np.array([[[0.5, 50.25, 100.3]]])) == b"[[[0.5,50.25,100.3]]]"
    assert text(np.array([[[1e9, 1e9, 1e9]]])) == b"[[[1000000000.0,1000000000.0,1000000000.0]]]"
    assert text(np.array([[[500_000_032.0] * 3]], np.float32)) == b"[[[500000032.0,500000032.0,500000032.0]]]"


def test_rows_do_not_depend_on_each_other() -> None:
    """The text of a row does not depend on other rows, and nan is null."""
    ordinary, large = np.array([0.1, 0.2, 0.3], np.float32).astype(np.float64), np.array([1e9, 1e9 + 0.1, 1e9 + 0.7])
    together = printable(np.array([[ordinary, large], [ordinary, ordinary], [large, [np.nan] * 3]]))
    rows = [[orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in one] for one in together]

    assert rows[0] == [b"[0.1,0.2,0.3]", b"[1000000000.0,1000000000.1,1000000000.7]"]
    assert rows[1] == [b"[0.1,0.2,0.3]"] * 2
    assert rows[2] == [b"[1000000000.0,1000000000.1,1000000000.7]", b"[null,null,null]"]


def test_extremes() -> None:
    """Numbers near the limits of float32 and float64 are written without a warning, and read back within GRID."""
    rows = np.array([[[-3e38, 0.0, 3e38], [0.0, 1e-300, 2e-300], [-1e308, 0.0, 1.7e308], [-1e-45, 0.0, 1e-45]]])
    found = read(rows)

    assert np.isfinite(found).all()
    with np.errstate(over="ignore"):
        width = np.maximum(rows[..., -1] - rows[..., 0], 1e-307)[..., None]
    assert (np.abs(found - rows) <= GRID * width).all()
    assert EXACT == 16_777_216


def test_as_lists() -> None:
    """The API's lists have the published numbers."""
    assert plain(np.array([[0.1, 0.7], [np.nan, np.nan]], np.float32)) == [[0.1, 0.7], [None, None]]


def test_exact_in_float32() -> None:
    """A forecast is exact in float32 if all its numbers are, or it has none."""
    rows = np.array([[0.5, 1.0], [16_777_217.0, 16_777_218.0], [np.nan, np.nan], [0.1, 1e39], [-0.0, 3e38]])
    rows[4, 1] = np.float32(3e38)
    assert exact_in_float32(rows[:, None, :]) == [True, False, True, False, True]
