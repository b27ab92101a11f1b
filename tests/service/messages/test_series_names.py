"""Names of series are limited in bytes, whatever their alphabet."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import ModelConfig
from service.capacity.plan import SHIPPED, Load, make_plan
from service.config.input import InputConfig
from service.messages.decode import CSV_HEADER, Decoder
from service.ports import Records


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40), min_size=1),
    st.integers(16, 60),
)
def test_longer_ones_are_rejected(names: list[str], most: int) -> None:
    """An event whose series name has too many bytes is rejected; the others are accepted."""
    values = [orjson.dumps({"series": name, "timestamp": 1, "value": 1}) for name in names]
    settings = InputConfig.model_validate({"max_series_bytes": most, "max_ahead": 0})
    decoded = Decoder(settings).decode(Records("p", range(len(values)), len(values), values))
    assert list(decoded.series) == [name for name in names if len(name.encode()) <= most]
    assert {one.reason for one in decoded.rejects} <= {"series_too_long"}


@pytest.mark.parametrize(("size", "taken"), [(1024, 1), (1025, 0)])
def test_the_default(size: int, taken: int) -> None:
    """The default limit is 1,024 bytes, in CSV as in JSON, and also where the name is the key of a record."""
    name = b"n" * size
    csv = Records("p", [0], 1, [name + b",1,1"], headers=[[(CSV_HEADER, b"series,timestamp,value")]])
    keyed = Records("p", [0], 1, [b'{"timestamp": 1, "value": 1}'], keys=[name])
    for records in (csv, keyed):
        decoded = Decoder(InputConfig()).decode(records)
        assert len(decoded) == taken
        assert [one.reason for one in decoded.rejects] == ["series_too_long"] * (1 - taken)


def test_a_plan_knows() -> None:
    """The planned memory of the longest names grows with their number and limit."""
    short = make_plan(Load(1000, 1.0, ModelConfig(), 0, 1, 100, 64), SHIPPED)
    long = make_plan(Load(1000, 1.0, ModelConfig(), 0, 1, 100, 65_536), SHIPPED)
    assert short.longest_names_bytes == 1000 * 4 * 64
    assert long.longest_names_bytes == 1024 * short.longest_names_bytes
    assert long.state_bytes == short.state_bytes
