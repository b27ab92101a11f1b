"""What became of the records: counted, and the first of every kind told."""

from __future__ import annotations

from structlog.testing import capture_logs

from service.engine.run_summary import RunSummary
from service.ports import Outcomes, Reject


def test_counts_and_first_reasons() -> None:
    """Statuses and reasons add up over units; the first record of a reason is logged, further ones are not."""
    tally = RunSummary()
    rejects = [Reject(at, b"", reason, f"got {at}") for at, reason in enumerate(("late", "too_large", "late"))]

    with capture_logs() as said:
        tally.took("p", [5, 1, 2, 3, 1, 2], rejects)
        tally.took("p", [1, 0, 0, 0, 0, 0], rejects)

    assert (tally.events, tally.duplicates, tally.late) == (10, 2, 3)
    assert tally.rejects == {"late": 4, "too_large": 2}
    assert tally.first == "got 0"
    assert [(line["reason"], line["detail"]) for line in said] == [("late", "got 0"), ("too_large", "got 1")]


def test_times_of_two_units() -> None:
    """Numbers that count as seconds beside others that count as milliseconds are logged once."""
    tally = RunSummary()

    with capture_logs() as said:
        tally.saw_two_units("p")
        tally.saw_two_units("q")

    assert [(line["event"], line["partition"]) for line in said] == [("event times are numbers of two units", "p")]


def test_the_total_counts_no_record_twice() -> None:
    """A late event that is rejected for it counts as late alone."""
    tally = RunSummary()
    tally.took("p", [1, 0, 2, 3, 0, 4], [Reject(0, b"", "late", "got 0"), Reject(1, b"", "too_large", "got 1")])

    assert tally.total == Outcomes(5, 3, 2, {"too_large": 1}, "got 0")
    assert (tally.total.unusable, tally.total.records) == (6, 11)


def test_events_without_a_value() -> None:
    """A run whose events have no value and got no forecast is told from one that has a value, or forecasts."""
    tally = RunSummary()
    assert not tally.valueless
    tally.took("p", [0, 0, 0, 0, 0, 3], [], 3)
    assert tally.valueless
    tally.took("p", [0, 0, 0, 0, 0, 1], [], 0)
    assert not tally.valueless
    other = RunSummary()
    other.took("p", [0, 2, 0, 0, 0, 1], [], 3)
    assert not other.valueless
