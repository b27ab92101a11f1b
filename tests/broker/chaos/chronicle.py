"""Faults and results of the chaos tests: the rows of the table that `make chaos` prints."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from checkers import Answers, Verdict, judge, places
from daemons import answers, rejected
from kafka_tools import read_topic
from observer import Observer

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
KILLS = int(os.environ.get("CHAOS_KILLS", "6"))  # in the storm, both clients together
SECONDS = float(os.environ.get("CHAOS_SECONDS", "inf"))  # limit for the storm of one client
DELAYS = int(os.environ.get("CHAOS_DELAYS", "2"))  # late requests per client and mode
LONG = ROUNDS > 6 or KILLS > 12 or DELAYS > 2
EVENTS = 1500  # per partition: about forty batches, a few seconds of work

Rejected = list[tuple[str, int, bytes]]
Outcome = tuple[Answers, Rejected]


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        fault: what was broken, and how.
        verdict: result of the checkers.
        equal: whether all bytes equal the undisturbed run's, rejects and order per series included; None: no such run.
        seconds: from the last fault to the end of the remaining work.
    """

    fault: str
    verdict: Verdict
    equal: bool | None
    seconds: float


ROWS: list[Row] = []


def outcome(bootstrap: str | list[str], app: str) -> Outcome:
    """Returns everything that a reader with read_committed sees of an application."""
    return answers(bootstrap, app), rejected(bootstrap, app)


def aborted_reads(bootstrap: str, app: str, observer: Observer) -> int:
    """Counts the records that the observer read and that belong to no committed transaction."""
    topics = (f"{app}.forecasts", f"{app}.rejects")
    final = {(one.topic, one.partition, one.offset) for topic in topics for one in read_topic(bootstrap, topic)}
    return observer.aborted(final)


def note(
    fault: str,
    got: Outcome,
    quiet: Outcome,
    last_fault: float,
    torn: int | None = None,
    aborted: int | None = None,
) -> None:
    """Compares a run with the undisturbed run and adds the row.

    Args:
        fault: what was broken, and how.
        got, quiet: outcomes of the disturbed and the undisturbed run.
        last_fault: monotonic time of the last fault.
        torn, aborted: counts of an observer; None: not observed.

    Raises:
        AssertionError: an output is missing, duplicated or different.
    """
    verdict = judge(places(got[0]), places(quiet[0]), torn, aborted)
    row = Row(fault, verdict, got == quiet, time.monotonic() - last_fault)
    ROWS.append(row)
    assert verdict.right, row
    assert row.equal, f"{row}: the same events are answered, but not with the same bytes or rejects"


def table() -> list[str]:
    """Returns the rows as lines of Markdown."""
    names = ["fault", "events", "lost", "duplicated", "torn", "aborted read", "order", "bytes as in a quiet run",
             "seconds from the last fault to done"]  # fmt: skip
    lines = [f"| {' | '.join(names)} |", "|---|---:|---:|---:|---:|---:|---:|---|---:|"]
    for row in ROWS:
        one = row.verdict
        counts = [one.events, one.lost, one.duplicated, one.torn, one.aborted, one.order]
        cells = ["not watched" if count is None else str(count) for count in counts]
        equal = {True: "yes", False: "NO", None: "no such run"}[row.equal]
        lines.append(f"| {row.fault} | {' | '.join(cells)} | {equal} | {row.seconds:.1f} |")
    return lines
