"""Separators of the columns of CSV."""

from __future__ import annotations

import pytest
from mapped_records import (
    HEADER,
    only,
    reason,
)

from service.messages.parse_csv import SEPARATORS


class TestSeparators:
    """Separators of columns."""

    @pytest.mark.parametrize("separator", SEPARATORS.values())
    def test_auto(self, separator: str) -> None:
        """The separator is the one with which the header has the fields of an event."""
        header, line = (
            separator.join(cells).encode()
            for cells in (["x,y;z", "series", "timestamp", "value"], ["1", "s", "5", "2"])
        )
        if separator in ",;":
            header = header.replace(b"x,y;z", b'"x,y;z"')
        assert only(line, header=header) == [("s", 5, 2.0)]

    def test_a_configured_one(self) -> None:
        """A configured separator applies, even where another would fit."""
        assert reason(b"s,5,2", header=HEADER, separator=";") == "missing_field"
        assert only(b"s|5|1,5", header=b"series|timestamp|value", separator="|", fields={"decimal": ","}) == [
            ("s", 5, 1.5)
        ]
