"""What may be wrong with what a reader sees, in the words of Jepsen's checkers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Place = tuple[str, int, int]  # series, partition and position of the event that is answered
Answers = dict[str, list[bytes]]


@dataclass(frozen=True)
class Verdict:
    """Counts of what is wrong; all are 0 where everything is right.

    Attributes:
        events: that are to be answered.
        lost: events without a committed answer.
        duplicated: answers beyond the first one of an event.
        torn: times that a part of a transaction was visible without the rest, answers without offsets among them.
        aborted: records that were read and belong to no committed transaction (aborted read, G1a); None: not watched.
        order: answers that stand behind a later one of their series.
    """

    events: int
    lost: int
    duplicated: int
    torn: int | None
    aborted: int | None
    order: int

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return not any((self.lost, self.duplicated, self.torn, self.aborted, self.order))


def judge(mine: Sequence[Place], wanted: Sequence[Place], torn: int | None, aborted: int | None) -> Verdict:
    """Compares answers with those that there should be.

    Args:
        mine, wanted: in the order in which a reader gets them, series by series.
        torn, aborted: as found elsewhere; None: not watched.
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
    """Which events a set of answers answers."""
    result = []
    for key, values in found.items():
        for value in values:
            source = json.loads(value)["source"]
            result.append((key, source["partition"], source["position"]))
    return result


def torn_units(values: Iterable[bytes]) -> int:
    """Units of which only a part is visible, of forecasts that name the bounds of their unit."""
    seen: dict[tuple[int, int], set[int]] = {}
    for value in values:
        answer = json.loads(value)
        first, behind = answer["unit"]
        seen.setdefault((first, behind), set()).add(answer["source"]["position"])
    return sum(len(positions) < behind - first for (first, behind), positions in seen.items())
