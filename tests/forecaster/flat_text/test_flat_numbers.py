"""Numbers of flat records are rounded as Python rounds them, to the bit."""

from __future__ import annotations

import json
import struct

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecaster.flat_text import FlatColumns, FlatNames, FlatText

DIGITS = st.integers(0, 10**19 - 1).map(str)
POWERS = st.integers(-70, 70)
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.builds("{}e{}".format, DIGITS, POWERS),
    st.builds("{}.{}".format, st.integers(0, 10**9), DIGITS),
    st.builds("-{}.{}E+{}".format, st.integers(0, 10**6), DIGITS, st.integers(0, 20)),
    st.integers(2**52, 2**53).map(lambda n: f"{2 * n + 1}"),  # half way between two numbers
    st.integers(2**52, 2**53).map(lambda n: f"{(2 * n + 1) * 5}e-1"),
    st.integers(-(10**20), 10**20).map(str),
)


def read(*numbers: str) -> FlatColumns:
    """Reads records with these values."""
    reader = FlatText.of_json(("s", "t", "v"), "auto", FlatNames(64, lambda _: True))
    found = reader.read([b'{"s":"a","t":0,"v":%s}' % number.encode() for number in numbers])
    assert found is not None
    return found


@settings(max_examples=300)
@given(st.lists(NUMBERS, min_size=20, max_size=60))
@example(
    [
        "18446744073709551616",
        "0.00018446744073709551616",
        "9007199254740993",
        "1e23",
        "8.5e-40",
        "0.000001",
        "123456789012345678e-30",
    ]
)
def test_bits_of_python(numbers: list[str]) -> None:
    """What is read has the bits that `float` gives."""
    found = read(*numbers)

    expected = np.array([float(numbers[at]) for at in found.record.tolist()])
    assert found.values[:, 0].tobytes() == expected.tobytes()


def test_random_bit_patterns() -> None:
    """Shortest texts of numbers of usual size are read, all of them, and so are most others of up to 19 digits."""
    rng = np.random.default_rng(1)
    usual = (rng.normal(size=5000) * 10.0 ** rng.integers(-20, 20, 5000)).tolist()
    found = read(*map(repr, usual))

    assert found.values[:, 0].tolist() == usual
    patterns = struct.unpack("<5000d", rng.bytes(40_000))
    found = read(*map(repr, patterns))
    assert [patterns[at] for at in found.record.tolist()] == found.values[:, 0].tolist()


def test_what_is_left() -> None:
    """What is no number of JSON, and what readers read differently, is left to the caller."""
    left = [
        "-0",
        "-0.0",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "--1",
        "NaN",
        "Infinity",
        "1e400",
        "12345678901234567890",
    ]
    assert not len(read(*left).record)
