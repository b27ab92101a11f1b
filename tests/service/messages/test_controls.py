"""Control records: instructions to the daemon among the events."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import Bench, event
from structlog.testing import capture_logs

from service.config.input import InputConfig
from service.messages.decode import Decoded, Decoder
from service.ports import Records
from service.registry import exclusions
from service.registry.exclusions import Exclusion
from service.transport.memory import ABORT_PUBLISHED, MemoryLog

WINDOW = b'{"exclude": {"series": "cpu.*", "from": "2026-11-22T10:00Z", "to": 1795348800000, "reason": "fire"}}'


def decode(*values: bytes, keys: list[bytes | None] | None = None, times: list[int] | None = None) -> Decoded:
    """Decodes one batch at the positions 0, 10, 20, ..."""
    positions = range(0, 10 * len(values), 10)
    return Decoder(InputConfig()).decode(
        Records("p", positions, 10 * len(values), values, keys=keys, timestamps_ms=times)
    )


def test_beside_events() -> None:
    """A control record is neither event nor reject and keeps its position, also where key and time replace fields."""
    for extra in ({}, {"keys": [b"k"] * 3, "times": [1_700_000_000_000] * 3}):
        decoded = decode(event(1, "a"), WINDOW, event(2, "a"), **extra)
        (found,) = decoded.controls
        assert (found.position, found.series, found.from_ms, found.to_ms) == (10, "cpu.*", 1795341600000, 1795348800000)
        assert (decoded.positions, decoded.rejects) == ([0, 20], [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (WINDOW.replace(b"2026-11-22T10:00Z", b"soon"), "got the time 'soon', expected an ISO-8601 time"),
        (WINDOW.replace(b'"cpu.*"', b"7"), "Expected `str`, got `int`"),
        (WINDOW.replace(b"1795348800000", b"5"), "got an empty window"),
        (WINDOW.replace(b"cpu.*", b""), "got an empty series"),
        (WINDOW.replace(b"reason", b"raison"), "unknown field"),
    ],
)
def test_not_understood(value: bytes, expected: str) -> None:
    """An invalid control record is rejected with the reason."""
    decoded = decode(value)
    (reject,) = decoded.rejects
    assert (decoded.controls, reject.reason) == ([], "wrong_type")
    assert expected in reject.detail
    assert '{"exclude": ' in reject.detail or "ISO-8601" in reject.detail


def test_an_event_with_such_a_field() -> None:
    """An event may have a field `exclude`; its errors are reported as for any event."""
    assert len(decode(event(1, "a")[:-1] + b', "exclude": true}')) == 1
    (reject,) = decode(b'{"series": "a", "timestamp": 1, "value": "x", "exclude": 1}').rejects
    assert reject.detail.startswith("got 'x' as value")


def test_kept_once_and_no_forecast_changes(tmp_path: Path) -> None:
    """A window is stored once, whatever crashes and however often it is sent, and forecasts do not change."""
    events = [event(step, "a") for step in range(30)]
    quiet = Bench(tmp_path / "quiet", MemoryLog({"0": events}))
    quiet.run()
    script = [*events[:9], WINDOW, *events[9:20], WINDOW, ABORT_PUBLISHED, *events[20:]]
    bench = Bench(tmp_path / "said", MemoryLog({"0": script}), {"input": {"max_poll_records": 4}})
    with capture_logs() as said:
        bench.run()

    found = exclusions.read(bench.registry.folder)
    assert [(each.series, each.to_ms - each.from_ms, each.reason) for each in found] == [("cpu.*", 7_200_000, "fire")]
    assert [line["position"] for line in said if line["event"] == "window excluded from training"] == [9]
    assert [text.partition(b'"source"')[0] for text in bench.log.forecasts("0")] == [
        text.partition(b'"source"')[0] for text in quiet.log.forecasts("0")
    ]
    assert [reject for unit in bench.log.units for reject in unit.rejects] == []


def test_no_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream may store a limited number of windows; the next is logged as not stored, and the stream continues."""
    monkeypatch.setattr(exclusions, "MOST_RECORDED", 2)
    windows = [WINDOW.replace(b"cpu.*", name) for name in (b"a", b"b", b"c")]
    bench = Bench(tmp_path, MemoryLog({"0": [*windows, event(1, "a")]}))
    with capture_logs() as said:
        bench.run()

    assert [each.series for each in exclusions.read(bench.registry.folder)] == ["a", "b"]
    (line,) = [line for line in said if line["event"] == "exclusion not stored, training still uses the window"]
    assert (line["series"], line["log_level"]) == ("c", "warning")
    assert "expected fewer than 2" in line["error"]
    assert len(bench.log.forecasts("0")) == 1


def test_said_by_hand_first(tmp_path: Path) -> None:
    """A window that is already stored is not added again."""
    window = Exclusion("cpu.*", 1, 2)
    assert exclusions.record(tmp_path, window)
    assert not exclusions.record(tmp_path, Exclusion("cpu.*", 1, 2, "other words"))
    assert exclusions.read(tmp_path) == [window]
