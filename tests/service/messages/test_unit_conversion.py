"""Values are converted from the units in which they are written."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapped_records import NOON, decode, events, record
from pydantic import ValidationError

from service.config.input import InputConfig

FIELDS = {"values": ["a", "b"]}
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE | st.none(), min_size=1, max_size=5), FINITE.filter(bool), FINITE)
def test_the_same_as_converted_before(values: list[float | None], factor: float, offset: float) -> None:
    """A stream in another unit has the events of the same stream converted before it is written."""
    written = [record(value=value) for value in values]
    converted = [record(value=None if value is None else value * factor + offset) for value in values]
    units = [{"series": "s", "factor": factor, "offset": offset}]
    assert events(decode(*written, units=units)) == events(decode(*converted))


@pytest.mark.parametrize(
    "units", [[{"series": "*"}], [{"series": "t"}], [{"series": "*"}, {"series": "s", "factor": 5}]]
)
def test_bits_stay(units: list[dict[str, Any]]) -> None:
    """Factor 1 and offset 0, and series that no entry matches, keep every bit; of several entries the first applies."""
    found = decode(*(record(value=value) for value in (-0.0, 5e-324, 0.1, None)), units=units).value
    assert [math.copysign(1, found[0]), *found[1:3].tolist(), math.isnan(found[3])] == [-1, 5e-324, 0.1, True]


def test_values_of_a_record() -> None:
    """Each value of a record has the unit of its series; covariates and conditions are as written."""
    units = [{"series": "*.a", "factor": 0.5, "offset": -40}]
    found = decode(record(value=..., a=100, b=100, c=9), fields=FIELDS, units=units, covariates=["c"], where="a == 100")
    assert events(found) == [("s.a", NOON, 10.0), ("s.b", NOON, 100.0)]
    assert found.covariates is not None
    assert found.covariates.tolist() == [[9.0], [9.0]]


def test_beyond_float64() -> None:
    """A product that is no number of float64 is a missing value, and a reject has the bytes as they were written."""
    found = decode(record(value=1e300), record(value="x"), units=[{"series": "*", "factor": 1e300}])
    assert (found.missing, [reject.value for reject in found.rejects]) == (1, [record(value="x")])


@pytest.mark.parametrize("unit", [{"factor": 0}, {"factor": math.inf}, {"offset": math.nan}, {"series": ""}, {"x": 1}])
def test_mistakes(unit: dict[str, Any]) -> None:
    """A factor is finite and not zero, an offset finite, and a series named."""
    with pytest.raises(ValidationError):
        InputConfig.model_validate({"units": [{"series": "*"} | unit]})
