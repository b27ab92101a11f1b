"""CloudEvents: the forms of their data, and the time of an envelope."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from envelope_records import ROW, change, cloudevent

from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.messages.depth import MAX_DEPTH
from service.messages.envelopes import NotAnEvent, unwrap
from service.ports import Records


@pytest.mark.parametrize(
    "text", ["text", "5", "[1]", "{", '{"a": NaN}', '{"a": "\ud800"}', '{"a":' * 200 + "1" + "}" * 200]
)
def test_data_that_is_text(text: str) -> None:
    """A string that is not a JSON object, or one nested too deeply, remains the data."""
    assert unwrap(cloudevent(data=text)).payload is text


@pytest.mark.parametrize("name", ["data", "data_base64"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b64encode(b"text").decode(), "is not JSON, expected an event"),
        (b64encode(b'{"a": "\xff"}').decode(), "is not JSON, expected an event"),
        ("", "is not JSON, expected an event"),
        ("?", "is not base64, expected an event"),
        ("e30", "is not base64, expected an event"),
        ("é", "is not base64, expected an event"),
        (b64encode(b"[" * 200 + b"]" * 200).decode(), f"nested more than {MAX_DEPTH} levels deep, expected an event"),
    ],
)
def test_data_that_is_not_an_event(name: str, text: str, problem: str) -> None:
    """Data in base64 that is not JSON is no event, in both versions of the format."""
    version = {"specversion": "0.3", "datacontentencoding": "base64"} if name == "data" else {}
    with pytest.raises(NotAnEvent, match=f'got a CloudEvent whose "{name}" .*{problem}'):
        unwrap(cloudevent(**version, **{name: text}))


def test_data_that_is_not_text() -> None:
    """Base64 that is not even text is no event."""
    with pytest.raises(NotAnEvent, match='"data_base64" is not base64'):
        unwrap(cloudevent(data_base64=[1]))


def test_data_in_base64_of_any_json() -> None:
    """Base64 of JSON is parsed, and the envelopes within it are removed."""
    text = b64encode(json.dumps({"schema": None, "payload": change()}).encode()).decode()
    assert unwrap(cloudevent(data_base64=text)) == (ROW, 1767571200002)


def _event(record: object, at: int | None = None, envelope: str = "auto", **headers: str) -> list[tuple[str, int]]:
    """Decodes a record, which a source may have given a time and headers; returns series and time of its events."""
    values, named = [json.dumps(record).encode()], [(name, text.encode()) for name, text in headers.items()]
    times = None if at is None else [at]
    records = Records("events-0", [0], 1, values, timestamps_ms=times, headers=[named])
    settings = {"fields": {"series": "series"}, "envelope": envelope}
    decoded = Decoder(InputConfig.model_validate(settings)).decode(records)
    return list(zip(decoded.series, decoded.timestamp_ms.tolist(), strict=True))


class TestTimesOfEnvelopes:
    """The time of an envelope is that of an event without a time of its own."""

    CLOUD = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "time": "1970-01-01T00:00:05Z"}  # noqa: RUF012
    CHANGE = {"op": "c", "before": None, "ts_ms": 7000}  # noqa: RUF012

    @pytest.mark.parametrize("own", [{}, {"timestamp": None}])
    @pytest.mark.parametrize("at", [None, 9000])
    def test_it_replaces_the_time_of_the_record(self, own: dict[str, Any], at: int | None) -> None:
        """It counts before the time of the Kafka record, for the envelope that is nearest to the event."""
        row = {"series": "a", "value": 1} | own
        assert _event(self.CLOUD | {"data": row}, at) == [("a", 5000)]
        assert _event(self.CHANGE | {"after": row}, at) == [("a", 7000)]
        assert _event(self.CLOUD | {"data": self.CHANGE | {"after": row}}, at) == [("a", 7000)]
        assert _event([self.CHANGE | {"after": row}, self.CLOUD | {"data": row}], at) == [("a", 7000), ("a", 5000)]
        assert _event([], at) == []

    def test_a_time_of_the_event_counts(self) -> None:
        """An event with a time of its own keeps it; a time of the envelope that is none changes nothing."""
        row = {"series": "a", "value": 1}
        assert _event(self.CLOUD | {"data": row | {"timestamp": 3000}}) == [("a", 3000)]
        assert _event(self.CLOUD | {"time": "soon", "data": row}, 9000) == [("a", 9000)]
        assert _event(self.CHANGE | {"ts_ms": 10**30, "after": row}) == []

    @pytest.mark.parametrize("envelope", ["auto", "cloudevents"])
    def test_binary_mode(self, envelope: str) -> None:
        """The time in the headers of a CloudEvent counts before that of the record, behind all in its value."""
        row, around = {"series": "a", "value": 1}, {"ce_specversion": "1.0", "ce_time": "1970-01-01T00:00:05Z"}
        assert _event(row, 9000, envelope, **around) == [("a", 5000)]
        assert _event(row, None, envelope, **around) == [("a", 5000)]
        assert _event([row, row], 9000, envelope, **around) == [("a", 5000)] * 2
        assert _event(row | {"timestamp": 3000}, 9000, envelope, **around) == [("a", 3000)]
        assert _event(row, 9000, envelope, **around | {"ce_time": "soon"}) == [("a", 9000)]
        assert _event(row, 9000, envelope, ce_specversion="1.0") == [("a", 9000)]
        if envelope == "auto":
            assert _event(self.CHANGE | {"after": row}, 9000, **around) == [("a", 7000)]

    def test_other_headers(self) -> None:
        """A header of this name alone makes no CloudEvent, nor does any where other envelopes are configured."""
        row, time = {"series": "a", "value": 1}, {"ce_time": "1970-01-01T00:00:05Z"}
        assert _event(row, 9000, **time) == [("a", 9000)]
        assert _event(row, 9000, "none", ce_specversion="1.0", **time) == [("a", 9000)]
        assert _event(row, 9000, "cloudevents", **time) == []
