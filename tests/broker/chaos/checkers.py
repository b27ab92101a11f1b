"""Counts of delivery faults that a reader sees, in the terms of Jepsen's checkers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Place = tuple[str, int, int]  # series, partition and position of the answered event
Answers = dict[str, list[bytes]]


@dataclass(frozen=True)
class Verdict:
    """Counts of delivery faults; all counts are 0 in a correct run.

    Attributes:
        events: events that need an answer.
        lost: events without a committed answer.
        duplicated: answers beyond the first answer of an event.
        torn: times that part of a transaction was visible without the rest (including answers without offsets).
        aborted: records that were read and belong to no committed transaction (aborted read, G1a); None: not observed.
        order: answers that follow a later answer of their series.
    """

    events: int
    lost: int
    duplicated: int
    torn: int | None
    aborted: int | None
    order: int

    @property
    def right(self) -> bool:
        """Whether all counts are 0."""
        return not any((self.lost, self.duplicated, self.torn, self.aborted, self.order))


def judge(mine: Sequence[Place], wanted: Sequence[Place], torn: int | None, aborted: int | None) -> Verdict:
    """Compares answers with the expected answers.

    Args:
        mine, wanted: observed and expected answers in a reader's order, series by series.
        torn, aborted: counts of an observer; None: not observed.
    """
    return Verdict(
        len(wanted),
        len(set(wanted) - set(mine)),
        len(mine) - len(set(mine)),
        torn,
        aborted,
        _inversions(mine, wanted),
    )


def _inversions(mine: Sequence[Place], wanted: Sequence[Place]) -> int:
    rank = {place: at for at, place in enumerate(wanted)}
    found, last = 0, dict[tuple[str, int], int]()
    for place in mine:
        series, at = place[:2], rank.get(place, -1)
        found += at < last.get(series, -1)
        last[series] = max(at, last.get(series, -1))
    return found


def places(found: Answers) -> list[Place]:
    """Returns the event of each answer."""
    result = []
    for key, values in found.items():
        for value in values:
            source = json.loads(value)["source"]
            result.append((key, source["partition"], source["position"]))
    return result


def torn_units(values: Iterable[bytes]) -> int:
    """Counts the units of which only a part is visible; each forecast names the bounds of its unit."""
    seen: dict[tuple[int, int], set[int]] = {}
    for value in values:
        answer = json.loads(value)
        first, behind = answer["unit"]
        seen.setdefault((first, behind), set()).add(answer["source"]["position"])
    return sum(len(positions) < behind - first for (first, behind), positions in seen.items())
