"""The charts of the report."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from service.backtest.plots import few_dates

BEGIN = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


@given(start=st.integers(0, 10**9), seconds=st.floats(3, 1e9))
def test_dates_of_an_axis(start: int, seconds: float) -> None:
    """An axis of any length has one to six dates, without a warning, which fails the test."""
    begin = BEGIN + dt.timedelta(seconds=start)
    assert 1 <= len(few_dates().tick_values(begin, begin + dt.timedelta(seconds=seconds))) <= 6
