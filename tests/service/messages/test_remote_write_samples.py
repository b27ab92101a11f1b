"""Samples are encoded as the protobuf library decodes them; names of series are read back to labels."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.remote_write import RemoteWrite, Sample
from service.messages.prometheus_names import NAME, labels_of, series_id
from service.messages.remote_write_samples import compressed, encode_head, encode_time

LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True).filter(lambda name: name != NAME),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
    max_size=5,
)
METRIC = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", fullmatch=True)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TIME = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.lists(st.tuples(METRIC, LABELS, NUMBER, TIME), max_size=5))
def test_samples_are_read_back(samples: list[tuple[str, dict[str, str], float, int]]) -> None:
    """By the decoder of the other direction, whatever the labels, values and times; requests are joined as bytes."""
    bodies, expected = [], []
    for metric, labels, value, at in samples:
        pairs = [(NAME, metric), *labels.items()]
        time = encode_time(at)
        bodies += [encode_head(pairs, len(time)), struct.pack("<d", value), time]
        expected.append(Sample(series_id(pairs), at, value))
    assert RemoteWrite([], 1 << 24).decode(compressed(bodies)) == (expected, 0)


@given(METRIC, LABELS)
def test_labels_of_a_name_are_those_that_made_it(metric: str, labels: dict[str, str]) -> None:
    """Escaped values, sorted labels."""
    found = labels_of(series_id([(NAME, metric), *labels.items()]))
    assert found == ([(NAME, metric), *sorted(labels.items())] if labels else None)


@pytest.mark.parametrize(
    "name", ["", "cpu", "a{b", 'a{b="c"', 'a{b="c",}', 'a{b="c"}d', "a{b=c}", 'a{"}', "}{", 'a{="x"}']
)
def test_other_names_have_no_labels(name: str) -> None:
    """Whatever resembles labels."""
    assert labels_of(name) is None


@given(st.text(st.sampled_from('ab_{}="\\,n1'), max_size=12))
def test_a_text_is_labels_only_if_it_is_their_name(text: str) -> None:
    """Any other text is the name of a series of another source."""
    found = labels_of(text)
    if found and found[-1][0] != NAME:  # "x{}" has no labels, and the name "x"
        assert labels_of(series_id(found)) == sorted(found, key=lambda one: (one[0] != NAME, one[0]))
