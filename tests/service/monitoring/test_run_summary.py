"""Outcomes of records: counted, and the first of every kind logged."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from service.config.load import load_config
from service.monitoring.run_summary import RunSummary, inspection
from service.ports import Outcomes, Reject


def test_counts_and_first_reasons() -> None:
    """Statuses and reasons add up over units; the first record of a reason is logged, further ones are not."""
    summary = RunSummary()
    rejects = [Reject(at, b"", reason, f"got {at}") for at, reason in enumerate(("late", "too_large", "late"))]

    with capture_logs() as said:
        summary.count("p", [5, 1, 2, 3, 1, 2, 0], rejects)
        summary.count("p", [1, 0, 0, 0, 0, 0, 0], rejects)

    assert (summary.events, summary.duplicates, summary.late) == (10, 2, 3)
    assert summary.rejects == {"late": 4, "too_large": 2}
    assert summary.first == "got 0"
    assert [(line["reason"], line["detail"]) for line in said] == [("late", "got 0"), ("too_large", "got 1")]


def test_times_of_two_units() -> None:
    """A mix of event times in seconds and in milliseconds is logged once."""
    summary = RunSummary()

    with capture_logs() as said:
        summary.note_two_units("p")
        summary.note_two_units("q")

    assert [(line["event"], line["partition"]) for line in said] == [("event times are numbers of two units", "p")]


def test_the_total_counts_no_record_twice() -> None:
    """A late event that is rejected counts only as late."""
    summary = RunSummary()
    summary.count("p", [1, 0, 2, 3, 0, 4, 0], [Reject(0, b"", "late", "got 0"), Reject(1, b"", "too_large", "got 1")])

    assert summary.total == Outcomes(5, 3, 2, {"too_large": 1}, "got 0")
    assert (summary.total.unusable, summary.total.records) == (6, 11)


def test_events_without_a_value() -> None:
    """A run is valueless only if its events have neither a value nor a forecast."""
    summary = RunSummary()
    assert not summary.valueless
    summary.count("p", [0, 0, 0, 0, 0, 3, 0], [], 3)
    assert summary.valueless
    summary.count("p", [0, 0, 0, 0, 0, 1, 0], [], 0)
    assert not summary.valueless
    other = RunSummary()
    other.count("p", [0, 2, 0, 0, 0, 1, 0], [], 3)
    assert not other.valueless


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({"kafka.topics": ["events"]}, "forecaster inspect --topic events --write FILE"),
        ({"input.files": ["-", "my load.csv"]}, "forecaster inspect 'my load.csv' --write FILE"),
        ({"input.push": True}, ""),
        ({"input.files": ["-"]}, ""),
    ],
)
def test_how_to_inspect(settings: dict[str, object], command: str) -> None:
    """The first record with other fields is logged with the command that finds them, where there is one."""
    summary = RunSummary(inspection(load_config(None, settings)))
    with capture_logs() as said:
        summary.count("p", [0] * 7, [Reject(at, b"", why, "") for at, why in enumerate(("missing_field", "late"))])
    page = "docs/messages.md#rejected-records"
    assert [line["see"] for line in said] == [command or page, page]
