"""Sizes of records: whatever an event contains, its output fits and states what is missing."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from service.config.kafka import KafkaConfig
from service.kafka.models import ModelsTopic
from service.kafka.passed_headers import PassedHeaders
from service.kafka.records import (
    REASON_HEADER,
    Origin,
    Partitioner,
    forecast_messages,
    headers_limit,
    reject_message,
    size,
)
from service.kafka.units import Units
from service.ports import Encoded, Records, Reject, Unit

LIMITS = st.sampled_from([10_000, 20_000, 100_000, 1_000_000])
SIZES = st.sampled_from([0, 1, 500, 4_000, 9_900, 60_000, 99_000, 999_000, 1_048_400])
NAMES = st.sampled_from(["h", "traceparent", "__connect.errors.topic", "forecaster.reason", "é" * 300, "n" * 70_000])
HEADERS = st.lists(st.tuples(NAMES, SIZES.map(lambda count: b"v" * count)), max_size=6)


def units(most, passed=()):
    """Returns the units of a transport with that limit."""
    settings = KafkaConfig.model_validate({"topics": ["in"], "max_request_bytes": most, "pass_headers": list(passed)})
    counts = dict.fromkeys([settings.forecasts, settings.rejects, settings.adoptions, settings.models], 3)
    carried = PassedHeaders(settings.pass_headers, headers_limit(most))
    return Units(settings, counts, ModelsTopic(None, settings.models), carried), carried


@given(LIMITS, SIZES, st.none() | SIZES, HEADERS, st.text(max_size=3000))
def test_whatever_a_reject_holds_it_fits(most, value, key, headers, detail):
    """A reject never exceeds the limit; it is complete, or states length and checksum of truncated parts."""
    reject = Reject(7, b"v" * value, "wrong_type", detail, None if key is None else b"k" * key, headers)
    whole = reject_message(reject, Origin("in", 1), "forecaster", "forecaster.rejects", 3)
    (sent,) = units(most)[0].messages(Unit("in-1", 7, 8, [], [], [reject]), Origin("in", 1))
    assert size(sent) <= most
    assert sent[:2] == ("forecaster.rejects", 1)
    named = dict(sent.headers)
    assert named[REASON_HEADER] == b"wrong_type"
    assert named["__connect.errors.offset"] == b"7"
    if size(whole) <= most:
        assert sent == whole
        return
    assert named["forecaster.truncated"] == b"true"
    for part, original, kept in (("value", whole.value, sent.value), ("key", whole.key or b"", sent.key or b"")):
        assert original.startswith(kept)
        if kept != original:
            assert named[f"forecaster.{part}.bytes"] == b"%d" % len(original)
            assert named[f"forecaster.{part}.sha256"] == hashlib.sha256(original).hexdigest().encode()
    theirs = whole.headers[: len(headers)]
    left_out = int(named.get("forecaster.headers.left_out", b"0"))
    assert sent.headers[: len(theirs) - left_out] == theirs[: len(theirs) - left_out]


@given(LIMITS, HEADERS, st.integers(1, 3))
def test_headers_that_a_forecast_carries_on_leave_it_a_forecast(most, headers, count):
    """However large the headers of an event, its forecast is sent as a forecast; excess headers are dropped."""
    made, carried = units(most, {name for name, _ in headers})
    records = Records("in-1", list(range(count)), count, [b"e"] * count, None, [headers] * count)
    carried.note(records)
    forecasts = [b'{"series": "s"}'] * count
    sent = made.messages(
        Unit("in-1", 0, count, ["s"] * count, forecasts, positions=list(range(count))), Origin("in", 1)
    )
    assert [message.topic for message in sent] == ["forecaster.forecasts"] * count
    assert all(size(message) <= most for message in sent)
    for message in sent:
        assert message.headers == headers[: len(message.headers)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6_000))), st.integers(2, 1000), LIMITS)
def test_joined_forecasts_fit(found, together, most):
    """Joined forecasts are complete, in order within a series, and no record exceeds the limit."""
    encoded = Encoded([series for series, _ in found], [b"x" * count for _, count in found], range(len(found)))
    sent = forecast_messages(encoded, "out", 3, Partitioner(), together, most=most)
    assert all(size(message) <= most for message in sent)
    for series in "abc":
        mine = [b"x" * count for name, count in found if name == series]
        parts = [part for m in sent if m.key == series.encode() for part in m.value[1:-1].split(b",")]
        assert parts == mine
        assert all(len(m.value.split(b",")) <= together for m in sent)
