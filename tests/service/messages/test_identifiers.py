"""Fields with identifiers: equal ones have the same value in every form, and others another one."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapped_records import NOON, decode, only, outcomes

from service.messages.numbers import ABSENT, number_of_identifier

FIELDS = {"series": "shop", "timestamp": "t", "values": ["amount", "user"], "identifiers": ["user"]}
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=6)
USERS = st.lists(TEXTS.filter(lambda text: text.lower() not in ABSENT), min_size=1, max_size=8)


@given(USERS)
def test_equal_identifiers_are_equal_values(users: list[str]) -> None:
    """Two events have the same value if and only if their identifiers are equal, in JSON and in CSV alike."""
    objects = [{"shop": "n", "t": NOON + at, "amount": at, "user": user} for at, user in enumerate(users)]
    records = [json.dumps(one).encode() for one in objects]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["shop", "t", "amount", "user"])
    writer.writerows(["n", NOON + at, at, user] for at, user in enumerate(users))
    header, *lines = text.getvalue().encode().splitlines()

    found = only(*records, fields=FIELDS)
    values = [value for series, _, value in found if series == "n.user"]
    assert len(values) == len(users)
    for user, value in zip(users, values, strict=True):
        assert [user == other for other in users] == [value == other for other in values]
    assert all(value == int(value) and 0 <= value < 1 << 53 for value in values if value is not None)
    assert only(*lines, header=header, fields=FIELDS) == found
    for line, pair in zip(lines, zip(found[::2], found[1::2], strict=True), strict=True):
        assert only(line, header=header, fields=FIELDS) == list(pair)


@pytest.mark.parametrize(
    ("first", "second"), [(12, "12"), (12, 12.0), (2**70, str(2**70)), ("a", " a "), (None, "null"), (None, "")]
)
def test_the_same_identifier(first: object, second: object) -> None:
    """Whole numbers and their texts are the same identifier; blanks around it do not count."""
    assert number_of_identifier(first) == pytest.approx(number_of_identifier(second), rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize("raw", [True, 1.5, {"id": 1}, [1]])
def test_what_is_no_identifier(raw: object) -> None:
    """Objects, arrays, fractions and truth values are no identifiers: the value is missing, and the record rejected."""
    for partial, kept in (("blank", [0.0, None]), ("reject", [0.0])):
        line = json.dumps({"shop": "n", "t": NOON, "amount": 0, "user": raw}).encode()
        (found,) = outcomes(line, fields=FIELDS, partial=partial)
        assert [value for _, _, value in found.events] == kept
        assert found.reasons == ["wrong_type"] * (partial == "reject")
    only_user = {"series": "shop", "timestamp": "t", "value": "user", "identifiers": ["user"]}
    (reject,) = decode(line, fields=only_user).rejects
    assert "expected an identifier, text or a whole number" in reject.detail


def test_one_value_that_is_an_identifier() -> None:
    """The only value of a record may be an identifier."""
    fields = {"series": "shop", "timestamp": "t", "value": "user", "identifiers": ["user"]}
    lines = [json.dumps({"shop": "n", "t": NOON + at, "user": user}).encode() for at, user in enumerate("uvu")]
    first, second, third = (value for _, _, value in only(*lines, fields=fields))
    assert first == third != second
