"""Decisions about models, and what a list of them implies: the champion, the trial, and which decisions are needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from forecaster import ModelConfig
from service.config.retrain import SEARCHED

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
    "reshaped",
]
# Decisions that make their model the champion.
PROMOTING: Final = frozenset({"initial", "promoted", "restored", "promote", "rollback", "reshaped"})
# Decisions of trainings that created no model.
_WITHOUT_MODEL: Final = frozenset({"nothing_to_learn", "failed"})
# Decisions that return to the previous champion.
_GOING_BACK: Final = frozenset({"restored", "rollback"})
_LINE: Final = 100  # champions that a rollback can reach after older decisions are dropped


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of decisions.jsonl.

    Attributes:
        action: "initial"; "promoted", "kept", "nothing_to_learn" or "failed" (by a training), "shadow" (good enough for
            a trial as a shadow model; then "promoted" or "kept"); "confirmed" or "restored" (about a promoted model, by
            the trial of the former champion); "promote", "rollback" (by a person); "reshaped" (by a
            configuration of another network, or by the cadence of the first events).
        model: sha256 of the model; "" where a training created none.
        parent: sha256 of the champion at that time, "" without one.
        reason: as text.
        figures: losses and counts of the training.
        job: identity of the training, so that an interrupted one is not mistaken for a finished one; "" for none.
        seasons: of the training history, see `service.trainer.season_check.Seasons.to_dict`; empty without a training.
        decided_ms: wall clock.
        tried: what `retrain.search` may change, of the other shape that a training tried; empty without one.
        configured: the same as it stood in the configuration; in decisions that followed from it, else empty.
    """

    action: Action
    model: str
    parent: str = ""
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    job: str = ""
    decided_ms: int = 0
    seasons: dict[str, list[int]] = field(default_factory=dict)
    tried: dict[str, Any] = field(default_factory=dict)
    configured: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Formats the decision as a line of the file."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"


@dataclass(frozen=True, slots=True)
class Standing:
    """The models on trial, according to the decisions.

    Attributes:
        challenger: sha256 of the model that runs as a shadow model of the champion, "" for none.
        former: sha256 of the former champion that runs as a shadow model of its successor, "" for none.
        since: the decision that started the trial.
    """

    challenger: str = ""
    former: str = ""
    since: Decision | None = None


def searchable(model: ModelConfig) -> dict[str, Any]:
    """Returns what `retrain.search` may change of a network, by the name of the setting."""
    return {name: getattr(model, name) for name in SEARCHED}


def shape_text(settings: Mapping[str, Any]) -> str:
    """Formats settings as of `searchable` as text."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())


def configured_of(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Returns the newest configured values of what `retrain.search` may change; empty where none were recorded."""
    return next((decision.configured for decision in reversed(decisions) if decision.configured), {})


def line_of(decisions: Sequence[Decision]) -> list[int]:
    """Returns the decisions that made the champion and its predecessors; a rollback removes the last one."""
    line: list[int] = []
    for at, decision in enumerate(decisions):
        models = [decisions[one].model for one in line[-2:]]
        if decision.action in _GOING_BACK and len(line) >= 2 and models[0] == decision.model:
            line.pop()
        elif decision.action in PROMOTING and models[-1:] != [decision.model]:
            line.append(at)
    return line


def standing_of(decisions: Sequence[Decision]) -> Standing:
    """Returns the models on trial after these decisions, oldest first."""
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
    """Returns the newest decisions, and the older ones that determine champion and trial.

    Args:
        decisions: oldest first.
        most: number of newest decisions to keep.
    """
    cut = max(0, len(decisions) - most)
    older = decisions[:cut]
    kept = set(line_of(older)[-_LINE:])
    kept |= set([at for at, decision in enumerate(older) if decision.configured][-1:])
    since = standing_of(older).since
    if since is not None:
        at = next(at for at in reversed(range(cut)) if older[at] is since)
        kept.add(at)
        if since.action == "promoted":  # a promotion is a trial only after the decision about its challenger
            kept.add(next(i for i in reversed(range(at)) if _begins(older[i], since)))
    return [*(older[at] for at in sorted(kept)), *decisions[cut:]]


def _begins(decision: Decision, promotion: Decision) -> bool:
    return decision.action == "shadow" and decision.model == promotion.model
