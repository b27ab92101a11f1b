"""Decisions about models, and what a list of them says: champion, trial, and which of them still matter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Action = Literal[
    "initial",
    "shadow",
    "promoted",
    "kept",
    "nothing_to_learn",
    "failed",
    "confirmed",
    "restored",
    "promote",
    "rollback",
]
# Decisions that make their model the champion.
CROWNING: Final = frozenset({"initial", "promoted", "restored", "promote", "rollback"})
# Those of a training that made no model.
_WITHOUT_MODEL: Final = frozenset({"nothing_to_learn", "failed"})
# Those that take the last champion off again.
_GOING_BACK: Final = frozenset({"restored", "rollback"})
_LINE: Final = 100  # champions that can be gone back to when older decisions are dropped


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of decisions.jsonl.

    Attributes:
        action: "initial"; "promoted", "kept", "nothing_to_learn" or "failed" (by a training), "shadow" (good enough to
            run beside the champion; then "promoted" or "kept"); "confirmed" or "restored" (of a promoted one, by the
            old champion that ran beside it); "promote", "rollback" (by a person).
        model: sha256 of the model that it is about; "" where a training made none.
        parent: sha256 of the champion at that time, "" where there was none.
        reason: in words.
        figures: losses and counts of the training.
        job: identity of the training, so that one cut short is not taken for one that ended; "" for none.
        seasons: of the history that was trained on, as `service.seasons.Seasons.to_dict`; empty where none was.
        decided_ms: wall clock.
    """

    action: Action
    model: str
    parent: str = ""
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    job: str = ""
    decided_ms: int = 0
    seasons: dict[str, list[int]] = field(default_factory=dict)

    def line(self) -> str:
        """As it stands in the file."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is on trial, by the decisions.

    Attributes:
        challenger: sha256 of the model that is to run beside the champion, "" for none.
        former: sha256 of the old champion that is to run beside the one it lost to, "" for none.
        since: the decision that says so.
    """

    challenger: str = ""
    former: str = ""
    since: Decision | None = None


def line_of(decisions: Sequence[Decision]) -> list[int]:
    """Which decisions made the champion and its predecessors; one that goes back takes the last one off again."""
    line: list[int] = []
    for at, decision in enumerate(decisions):
        models = [decisions[one].model for one in line[-2:]]
        if decision.action in _GOING_BACK and len(line) >= 2 and models[0] == decision.model:
            line.pop()
        elif decision.action in CROWNING and models[-1:] != [decision.model]:
            line.append(at)
    return line


def standing_of(decisions: Sequence[Decision]) -> Standing:
    """What is on trial behind these decisions, the oldest first."""
    found = Standing()
    for decision in decisions:
        if decision.action == "shadow":
            found = Standing(challenger=decision.model, since=decision)
        elif decision.action == "promoted" and decision.model == found.challenger:
            found = Standing(former=decision.parent, since=decision)
        elif decision.action == "kept" and decision.model != found.challenger:
            continue
        elif decision.action not in _WITHOUT_MODEL:
            found = Standing()
    return found


def shortened(decisions: Sequence[Decision], most: int) -> list[Decision]:
    """The newest decisions, and of the older ones those by which champion and trial are what they are.

    Args:
        decisions: the oldest first.
        most: how many of the newest.
    """
    cut = max(0, len(decisions) - most)
    older = decisions[:cut]
    kept = set(line_of(older)[-_LINE:])
    since = standing_of(older).since
    if since is not None:
        at = next(at for at in reversed(range(cut)) if older[at] is since)
        kept.add(at)
        if since.action == "promoted":  # which means a trial only behind that of its challenger
            kept.add(next(i for i in reversed(range(at)) if _begins(older[i], since)))
    return [*(older[at] for at in sorted(kept)), *decisions[cut:]]


def _begins(decision: Decision, promotion: Decision) -> bool:
    return decision.action == "shadow" and decision.model == promotion.model
