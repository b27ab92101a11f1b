"""Values and names of series that are not of the usual type."""

from __future__ import annotations

from typing import Any

import pytest
from mapped_records import (
    NOON,
    decode,
    only,
    reason,
    record,
)


class TestNumbersAndNames:
    """Values of fields that are not of the usual type."""

    @pytest.mark.parametrize(
        ("raw", "value"),
        [("2.5", 2.5), (" 7 ", 7.0), (True, 1.0), (False, 0.0), ("true", 1.0), ("FALSE", 0.0), ("", None), ("NA", None),
         ("None", None), (10**400, None), ({"double": 2.5}, 2.5), ({"long": 3}, 3.0), ({"string": "4"}, 4.0)],
    )  # fmt: skip
    def test_values(self, raw: object, value: float | None) -> None:
        """Texts of numbers, booleans and Avro's unions are numbers."""
        assert only(record(value=raw)) == [("s", NOON, value)]

    @pytest.mark.parametrize("raw", ["x", "1_0", "1,5", [], {}, {"double": "x"}, {"other": 1}, {"int": 1, "long": 2}])
    def test_no_values(self, raw: object) -> None:
        """Anything else is rejected."""
        assert reason(record(value=raw)) == "wrong_type"

    @pytest.mark.parametrize(
        ("raw", "name"), [(7, "7"), (-7, "-7"), (7.0, "7"), (True, "true"), (2**60, str(2**60)), ({"string": "u"}, "u")]
    )
    def test_series(self, raw: object, name: str) -> None:
        """The name of a series may be an integer or a boolean."""
        assert only(record(series=raw)) == [(name, NOON, 1.5)]

    @pytest.mark.parametrize("raw", [7.5, None, [], {}, {"other": "x"}])
    def test_no_series(self, raw: object) -> None:
        """Anything else is no name."""
        assert reason(record(series=raw)) == "wrong_type"

    @pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**64, 10**30])
    def test_long_integers(self, number: int) -> None:
        """An integer of 64 bits is the same series, whatever the value of the event; a longer one is none."""
        values = [b'{"series":%d,"timestamp":5,"value":%b}' % (number, value) for value in (b"1", b"NaN")]
        assert decode(*values).series == ([str(number)] * 2 if number < 2**64 else [])

    def test_decimal_comma_of_json_texts(self) -> None:
        """Separators apply to texts only."""
        how: dict[str, Any] = {"fields": {"decimal": ",", "thousands": "."}}
        assert only(record(value="1.234,5"), record(value=1.5), **how) == [("s", NOON, 1234.5), ("s", NOON, 1.5)]
        assert reason(record(value="1.5"), fields={"decimal": ","}) == "wrong_type"

    @pytest.mark.parametrize("cell", ["1,5 2,5", "1,5|2,5"])
    def test_decimal_comma_of_known_future_values(self, cell: str) -> None:
        """Separators apply to known future values in CSV too."""
        line, header = f"s;5;1,5;{cell}".encode(), b"series;timestamp;value;future.p"
        decoded = decode(line, header=header, fields={"decimal": ","}, future_covariates=["p"])
        assert decoded.rejects == []
        assert decoded.future is not None
        assert decoded.future.tolist() == [[[1.5]]]
