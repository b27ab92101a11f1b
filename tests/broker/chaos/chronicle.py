"""What chaos tests did and what came of it: the rows of the table that `make chaos` prints."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass

from daemons import answers, rejected

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
LONG = ROUNDS > 6
EVENTS = 1500  # per partition: some forty batches, a few seconds of work

Answers = dict[str, list[bytes]]
Rejected = list[tuple[str, int, bytes]]
Outcome = tuple[Answers, Rejected]


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        fault: what was broken, and how.
        expected: events that a quiet run answers.
        lost, doubled: answers that are missing, or there more than once.
        equal: whether all bytes are those of the quiet run, rejects and the order per series included.
        seconds: from the last fault to the end of the work that was left.
    """

    fault: str
    expected: int
    lost: int
    doubled: int
    equal: bool
    seconds: float


ROWS: list[Row] = []


def outcome(bootstrap: str | list[str], app: str) -> Outcome:
    """Everything that a reader with read_committed finds of an application."""
    return answers(bootstrap, app), rejected(bootstrap, app)


def _places(found: Answers) -> list[tuple[str, int, int]]:
    places = []
    for key, values in found.items():
        for value in values:
            source = json.loads(value)["source"]
            places.append((key, source["partition"], source["position"]))
    return places


def note(fault: str, got: Outcome, quiet: Outcome, last_fault: float) -> None:
    """Compares with the quiet run and writes the row.

    Raises:
        AssertionError: something is missing, there twice, or differs.
    """
    mine, wanted = _places(got[0]), _places(quiet[0])
    row = Row(
        fault,
        len(wanted),
        len(set(wanted) - set(mine)),
        len(mine) - len(set(mine)),
        got == quiet,
        time.monotonic() - last_fault,
    )
    ROWS.append(row)
    assert (row.lost, row.doubled) == (0, 0), row
    assert row.equal, f"{row}: the same events are answered, but not with the same bytes or rejects"


def table() -> list[str]:
    """The rows as lines of Markdown."""
    lines = ["| fault | events | lost | doubled | bytes as in a quiet run | seconds from the last fault to done |",
             "|---|---:|---:|---:|---|---:|"]  # fmt: skip
    lines += [
        f"| {row.fault} | {row.expected} | {row.lost} | {row.doubled} | {'yes' if row.equal else 'NO'} "
        f"| {row.seconds:.1f} |"
        for row in ROWS
    ]
    return lines
