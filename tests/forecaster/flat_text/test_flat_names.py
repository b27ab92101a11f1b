"""Series of flat records have the numbers of their names, whatever their bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import SeriesColumn, used_kernels
from forecaster.flat_text import FlatNames, FlatText
from forecaster.kernels.setting import use_kernels

NAMES = st.text(st.characters(min_codepoint=32, exclude_characters='"\\', exclude_categories=["Cs"]), min_size=1)


def reader(names: FlatNames) -> FlatText:
    """Returns a reader of JSON."""
    return FlatText.of_json(("s", "t", "v"), "auto", names)


def record(name: bytes) -> bytes:
    """Returns a record of a series."""
    return b'{"s":"%s","t":0,"v":1}' % name


@given(st.lists(st.lists(NAMES, min_size=1, max_size=30), min_size=1, max_size=3))
def test_names(batches: list[list[str]]) -> None:
    """The names come back in the order of their records, batch after batch, and equal ones have one number."""
    names = FlatNames(8192, lambda _: True)
    for batch in batches:
        found = reader(names).read([record(name.encode()) for name in batch])
        assert found is not None
        assert SeriesColumn(names.known, found.numbers) == batch
    assert sorted(set(names.known.names)) == sorted(names.known.names)


def test_refused_names() -> None:
    """Records of names that are not UTF-8 or not accepted are left, also in later batches."""
    names = FlatNames(64, lambda name: name != "no")
    for _ in range(2):
        found = reader(names).read([record(b"a"), record(b"no"), record(b"\xff\xfe"), record(b"b"), record(b"")])
        assert found is not None
        assert found.record.tolist() == [0, 3]


def test_bounded() -> None:
    """Without room the records are left; the names begin anew between batches."""
    names = FlatNames(8, lambda _: True)
    found = reader(names).read([record(b"%d" % n) for n in range(20)])
    assert found is not None
    assert found.record.tolist() == list(range(8))
    before = names.known

    names.make_room()
    again = reader(names).read([record(b"19")])
    assert again is not None
    assert names.known is not before
    assert names.known.names == ["19"]


def test_nothing_is_compiled_before_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a reader waits where there is no code, and reads once there is."""
    form = used_kernels()
    try:
        use_kernels("auto")
        one, is_there = reader(FlatNames(8, lambda _: True)), False
        monkeypatch.setattr("forecaster.kernels.forms.is_compiled", lambda *_: is_there)
        assert one.read([record(b"a")]) is None
        assert one.waits
        is_there = True
        assert one.read([record(b"a")]) is None  # looked up after `use_kernels` only
        use_kernels("auto")
        assert one.read([record(b"a")]) is not None
        assert not one.waits
    finally:
        use_kernels(form)
