"""Compact records: those of a batch read at once are those read one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import Forecasts, Silence, Status
from service.messages.alike_records import AlikeRecords
from service.messages.compact import CompactFormat, array_of, columns_of, read_record
from service.messages.decode import Decoded
from service.messages.encode import encode
from service.ports import Encoded

START = 1_767_225_600_000
LEVELS = (0.1, 0.5, 0.9)


def made_records(
    count: int = 8, seed: int = 0, *, model: str = "a", status: int = Status.OK, every: int = 1, **changes: Any
) -> Encoded:
    """Returns the records of a batch of one series; `changes` are of its last forecast, or silences."""
    rng = np.random.default_rng(seed)
    statuses, times = np.zeros(count, np.uint8), START + np.arange(count) * 60_000
    statuses[-1] = status
    quantiles = np.sort(rng.normal(100.0, 10.0 ** rng.integers(-6, 6), (count, 4, 3)), axis=2)
    if "quantiles" in changes:
        quantiles[-1] = changes["quantiles"]
    anomaly, value = rng.random(count).astype(np.float32), rng.normal(size=count)
    anomaly[::3], value[1::4] = np.nan, np.nan
    forecasts = Forecasts(
        statuses, times, np.full(count, 60_000, np.int64), np.arange(count), quantiles, anomaly,
        (rng.random(count) < 0.5).astype(np.uint8), changes.get("silences", []),
    )  # fmt: skip
    decoded = Decoded(["s"] * count, times, value, None, list(range(count)), list(range(count)), [], 0)
    return encode(
        decoded, forecasts, partition="p", levels=LEVELS, model_sha256=model * 64, output=CompactFormat(), every=every
    )


def records(count: int = 8, seed: int = 0, **changes: Any) -> list[bytes]:
    """Returns the same as a list, which says nothing about the records."""
    return [*made_records(count, seed, **changes).forecasts]


def none_for_nan(number: float) -> float | None:
    """Returns nan as None."""
    return None if math.isnan(number) else number


@given(st.integers(1, 40), st.integers(0, 2**20), st.sampled_from([Status.OK, Status.MISSING]))
def test_a_batch_at_once(count: int, seed: int, status: int) -> None:
    """The columns are those of each record."""
    made = records(count, seed, status=status)
    found = columns_of(made)
    assert found is not None
    for at, one in enumerate(map(read_record, made)):
        assert found.context == one.context
        assert found.steps == one.steps == 4
        for name in ("origin_ms", "interval_ms", "least", "greatest", "digits", "flagged", "missing", "quantiles"):
            column = getattr(found, name)
            assert (column[at] if isinstance(column, list) else column) == getattr(one, name), name
        for name in ("value", "anomaly"):
            assert getattr(found, name)[at] == none_for_nan(getattr(one, name))
        assert one.more == ""


@pytest.mark.parametrize(
    "other",
    [
        {"status": Status.UNKNOWN},
        {"status": Status.REPAIRED},
        {"quantiles": 1e308 * np.array([-1.0, 0.0, 1.0])},
        {"silences": [Silence("s", 4, START - 5, START + 5, START + 7)]},
    ],
    ids=["without quantiles", "a revision", "without codes", "a silence"],
)
def test_what_is_read_one_by_one(other: dict[str, Any]) -> None:
    """A batch with a record of another kind, or of another model, has no columns."""
    assert columns_of(records()) is not None
    assert columns_of(records(**other)) is None
    assert columns_of(records(**other)[::-1]) is None
    assert columns_of(records() + records(model="b")) is None


@given(st.integers(1, 40), st.integers(0, 2**20), st.integers(1, 3))
def test_records_of_one_array(count: int, seed: int, every: int) -> None:
    """Records that are written at once are, with series and position, those of the same events in another batch."""
    found = made_records(count, seed, every=every)
    # A silence, whose record is the last one here, has those of its batch written one by one.
    silence = Silence("s", count - 1, START - 5, START + 5, START + 7)
    others = made_records(count, seed, every=every, silences=[silence])
    assert isinstance(found.forecasts, AlikeRecords)
    assert not isinstance(others.forecasts, AlikeRecords)
    assert found.forecasts == [*others.forecasts][:-1]
    assert [*found.series] == [*others.series][:-1]
    assert [*found.positions] == [*others.positions][:-1]


def test_an_array_reads_as_a_list() -> None:
    """Records of one array have what a list of them has: items, slices, the array of a part."""
    found = made_records().forecasts
    listed = [*found]
    assert isinstance(found, AlikeRecords)
    assert len(found) == len(listed) == 8
    assert [found[at] for at in range(-8, 8)] == listed * 2
    assert repr(found) == repr(listed)
    with pytest.raises(IndexError):
        found[8]
    for part in (slice(2, 5), slice(None, None, -2), slice(3, 3)):
        assert found[part] == listed[part]
        one, other = array_of(found[part]), array_of(listed[part])
        assert (one is None) == (other is None) == (not listed[part])
        if one is not None and other is not None:
            assert one.tobytes() == other.tobytes()
