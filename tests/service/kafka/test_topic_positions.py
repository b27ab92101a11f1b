"""Positions as records: written records are read back, and unreadable records are errors."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SinkFormatError
from service.kafka.records import Past
from service.kafka.topic_positions import PositionRecord, _contradiction, _key, read_positions
from service.ports import Adoption, Outcomes, Reject, Unit
from service.sources.manifest import FileEntry

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NUMBERS = st.integers(0, 2**62)
ENTRIES = st.builds(
    FileEntry,
    path=NAMES,
    base=NUMBERS,
    size=st.none() | NUMBERS,
    head_sha256=st.just("f" * 64),
    cuts=st.lists(st.tuples(NUMBERS, NAMES), max_size=3).map(tuple),
    checksum=st.none() | st.integers(0, 2**32 - 1),
    inode=st.integers(0, 2**63 - 1),
    changed_ns=NUMBERS,
)


@given(st.lists(st.tuples(NAMES, ENTRIES, st.booleans()), max_size=8))
def test_entries(written: list[tuple[str, FileEntry, bool]]) -> None:
    """The last record of a key applies; one without a value removes the entry."""
    records = [(_key(name, *entry.key), None if removed else orjson.dumps(entry)) for name, entry, removed in written]
    expected: dict[tuple[str, tuple[int, str]], FileEntry] = {}
    for name, entry, removed in written:
        if removed:
            expected.pop((name, entry.key), None)
        else:
            expected[name, entry.key] = entry
    positions, entries = read_positions(records, "t")
    assert positions == {}
    assert {(name, key): entry for name, found in entries.items() for key, entry in found.items()} == expected


def test_sums() -> None:
    """A position has the outcomes of all units before it; a late event among the rejects is counted as late."""
    rejects = [Reject(1, b"", "late", "late one"), Reject(2, b"", "wrong_type", "x" * 1000)]
    first = PositionRecord(0).after(Unit("p", 0, 5, [], [], rejects, outcomes=Outcomes(3, 1)))
    second = first.after(Unit("p", 5, 9, [], [], rejects[1:], outcomes=Outcomes(2, 0, 1)))
    assert second == PositionRecord(9, 5, 1, 1, {"wrong_type": 2}, "late one")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"nonsense", b'{"position":1}'),
        (b'["p"]', None),
        (b'["p"]', b"{}"),
        (b'["p"]', b'{"position":"1"}'),
        (b'["p",0,"a"]', b'{"base":0}'),
        (b"[1]", b'{"position":1}'),
    ],
)
def test_what_cannot_be_read(key: bytes | None, value: bytes | None) -> None:
    """An unreadable record is an error that shows the record."""
    with pytest.raises(SinkFormatError, match='topic "t": got the record'):
        read_positions([(b'["q"]', b'{"position":1}'), (key, value)], "t")


def test_keys_are_plain_json() -> None:
    """Other programs can read the keys."""
    assert json.loads(_key("a b.csv", 7, "é")) == ["a b.csv", 7, "é"]


@pytest.mark.parametrize(
    ("past", "position", "expected"),
    [
        (Past(), None, ""),
        (Past({1: 0}), 0, ""),  # a unit that advances over bytes without records
        (Past({1: 0}), 5, ""),
        (Past({1: 0}, {1: {4: Adoption(4, "f")}}), 5, ""),
        (Past({1: 0}), None, "got no position"),
        (Past(), 5, "shows no event that was forecast"),
        (Past({1: 6}), 5, "has later positions"),
        (Past({1: 0}, {1: {5: Adoption(5, "f")}}), 5, "has later positions"),
    ],
)
def test_contradictions(past: Past, position: int | None, expected: str) -> None:
    """Position and adoptions are committed together, so one without the other is a contradiction."""
    found = _contradiction(past, position)
    assert expected in found
    assert bool(expected) == bool(found)
