"""Records with JSON values on several lines, and envelopes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from mapped_records import (
    dumped,
    only,
    outcomes,
    reason,
    record,
)


class TestJsonLines:
    """Records with JSON values on several lines."""

    @pytest.mark.parametrize(
        "first", [{"value": math.nan}, {"series": "NaN"}, {"value": math.inf}, {"note": "Infinity"}]
    )
    def test_what_json_does_not_have(self, first: dict[str, Any]) -> None:
        """NaN and Infinity are read on one of several lines as in a record of its own."""
        one, other = record(**first), record(series="t")
        assert outcomes(one + b"\n" + other) == [(only(one) + only(other), [], 0)]

    def test_broken_lines(self) -> None:
        """A record with a line that is not JSON is rejected as a whole."""
        assert reason(record() + b"\n{") == "undecodable"
        assert reason(record() + b" " + record()) == "undecodable"

    def test_an_envelope_does_not_depend_on_the_types(self) -> None:
        """A record without the configured envelope has the same result whether its value is a number or a text."""
        number, text = outcomes(record(value=2), record(value="2"), envelope="debezium")
        assert number == text

    def test_an_envelope_with_the_fields_of_an_event(self) -> None:
        """A recognised envelope is removed, or not, whatever the types of its fields."""
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "1970-01-01T00:00:05Z"}
        fields = {"series": "source", "timestamp": "time", "value": "data"}
        values = dumped(event | {"data": 5}, event | {"data": "5"})
        number, text = outcomes(*values, fields=fields)
        assert number == text
