"""What became of the records: counted, and the first of every kind told."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from service.ports import Reject
from service.tally import Tally


def test_counts_and_first_reasons() -> None:
    """Statuses and reasons add up over units; the first record of a reason is logged, further ones are not."""
    tally = Tally()
    rejects = [Reject(at, b"", reason, f"got {at}") for at, reason in enumerate(("late", "too_large", "late"))]

    with capture_logs() as said:
        tally.took("p", [5, 1, 2, 3, 1], rejects)
        tally.took("p", [1, 0, 0, 0, 0], rejects)

    assert (tally.events, tally.duplicates, tally.late) == (8, 2, 3)
    assert tally.rejects == {"late": 4, "too_large": 2}
    assert tally.first == "got 0"
    assert [(line["reason"], line["detail"]) for line in said] == [("late", "got 0"), ("too_large", "got 1")]


@pytest.mark.parametrize(
    ("first_ms", "told"), [(1_767_571_200, 1), (1_767_571_200_000, 0), (60_000, 0), (None, 0), (-1, 0)]
)
def test_seconds_for_milliseconds(first_ms: int | None, told: int) -> None:
    """Event times that are epoch seconds of this century are noticed, once."""
    tally = Tally()

    with capture_logs() as said:
        for _ in range(2):
            tally.took("p", [1, 0, 0, 0, 0], [], first_ms)

    assert [line["got"] for line in said] == [first_ms] * told
