"""Labels in the names of series."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.messages.prometheus_names import NAME, labels_of, series_id

_LABELS = st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True), st.text(), min_size=1)


@given(_LABELS)
@example({"a": '"},\\n\n{', NAME: "up"})
def test_round_trip(labels):
    """The labels of a name that Prometheus' labels make are these labels; a name without braces has none."""
    name = series_id([*labels.items()])
    if set(labels) == {NAME} and labels[NAME]:
        assert labels_of(name) in (None, labels)
    else:
        assert labels_of(name) == {key: value for key, value in labels.items() if key != NAME or value}


@pytest.mark.parametrize(
    "name", ["", "cpu", "a{b", 'a{b="c"', 'a{b="c",}', 'a{b="c"}d', "a{b=c}", 'a{"}', "}{", 'a{="x"}']
)
def test_others(name):
    """Other names have no labels."""
    assert labels_of(name) is None


@given(st.text(alphabet='a{}="\\,n\n'))
def test_any_text(name):
    """Any text has labels or none."""
    found = labels_of(name)
    assert found is None or all(isinstance(value, str) for value in found.values())
