"""Trials: a challenger beside the champion, and after its promotion the former champion beside it, on live events.

    challenger   better, by the sequential test: promoted.  worse, or time is up: kept as a file, never adopted
    former       better than the one that replaced it: restored, by itself.  worse, or time is up: confirmed

What is on trial stands in the registry; how far it is, in the partitions and their snapshots, or is replayed. It is
looked at every `retrain.check_events` events of a partition, at exactly these positions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from forecaster import ForecasterError, Shadow
from service.champion import Champion
from service.config import RetrainConfig
from service.errors import ServiceError
from service.metrics import Metrics
from service.partition import Partition
from service.registry import Action, Decision, Registry

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Score:
    """How a trial stands, over all partitions that take part.

    Attributes:
        events: of their streams since the start. compared: forecasts that were compared.
        gain: by what share of the sum of both losses the shadow was better.
        better, worse: mean of the partitions' e-values, an e-value itself (Vovk & Wang 2021): for the shadow, against.
    """

    events: int
    compared: int
    gain: float
    better: float
    worse: float

    @classmethod
    def of(cls, shadows: Collection[Shadow]) -> Score:
        """The mean over partitions."""
        found = [shadow.evidence for shadow in shadows]
        count = sum(evidence.count for evidence in found)
        return cls(
            sum(shadow.events for shadow in shadows),
            count,
            sum(evidence.total for evidence in found) / max(1, count),
            sum(evidence.better for evidence in found) / max(1, len(found)),
            sum(evidence.worse for evidence in found) / max(1, len(found)),
        )


class Trials:
    """Begins and ends trials.

    Args:
        settings: how long, how sure.
        registry: where decisions are read and recorded.
        champion: loads what was promoted or restored.
        metrics: where verdicts are counted.
    """

    def __init__(self, settings: RetrainConfig, registry: Registry, champion: Champion, metrics: Metrics) -> None:
        self._settings, self._registry, self._champion, self._metrics = settings, registry, champion, metrics

    def reconcile(self, partitions: Iterable[Partition]) -> None:
        """Makes the partitions run what the registry says is on trial: after a restart, a decision by hand, a retrain.

        A trial that a crash or a handover cut off begins again where it is noticed.
        """
        standing = self._registry.standing()
        challenger, former = (standing.challenger, standing.former) if self._settings.shadow else ("", "")
        champion = self._champion.model.sha256 if self._champion.model else ""
        for partition in partitions:
            in_force = partition.forecaster.model.sha256
            if partition.shadow is not None:
                mine = partition.shadow.model.sha256
                promoted = not partition.guard and mine == champion  # adopted with the next events
                if not promoted and mine != (former if partition.guard else challenger):
                    partition.shadow = None
            if partition.shadow is None and challenger not in {"", in_force}:
                self._begin(partition, challenger, guard=False)
            elif partition.shadow is None and former not in {"", in_force} and in_force == champion:
                self._begin(partition, former, guard=True)

    def _begin(self, partition: Partition, sha256: str, *, guard: bool) -> None:
        try:
            partition.begin(self._registry.load(sha256), guard=guard)
        except (ForecasterError, ServiceError) as error:
            reason = f"cannot run beside the champion: {error}"
            in_force = partition.forecaster.model.sha256
            verdict = Decision("confirmed", in_force, sha256, reason)
            self._registry.record(verdict if guard else Decision("kept", sha256, in_force, reason))
            self._metrics.models_refused.inc()
            _log.warning("model refused", model=sha256[:12], error=str(error))
            return
        _log.info("trial begun", partition=partition.name, position=partition.position, model=sha256[:12],
                  role="former champion" if guard else "challenger")  # fmt: skip

    def check(self, partition: Partition, partitions: Collection[Partition]) -> None:
        """Looks at the trial, if the partition is at a position where it is to be looked at.

        What is decided depends on the events before this position only; done twice, it does nothing the second time.
        """
        if partition.shadow is None or not partition.at_look:
            return
        sha256, guard = partition.shadow.model.sha256, partition.guard
        standing = self._registry.standing()
        if sha256 != (standing.former if guard else standing.challenger):
            return  # decided already: adopted with the next events, or dropped at the next look
        shadows = [p.shadow for p in partitions if p.shadow and p.guard == guard and p.shadow.model.sha256 == sha256]
        score, bar = Score.of(shadows), 1.0 / self._settings.shadow_alpha
        if score.better >= bar:
            self._end(partition, partitions, score, "restored" if guard else "promoted", "better")
        elif score.worse >= bar:
            self._end(partition, partitions, score, "confirmed" if guard else "kept", "worse")
        elif score.events >= self._settings.shadow:
            self._end(partition, partitions, score, "confirmed" if guard else "kept", "not clearly better")

    def _end(
        self, partition: Partition, partitions: Collection[Partition], score: Score, action: Action, how: str
    ) -> None:
        assert partition.shadow is not None  # noqa: S101 - `check` has looked
        shadow, live = partition.shadow.model.sha256, partition.forecaster.model.sha256
        who = "former champion" if partition.guard else "challenger"
        reason = (
            f"{who} {how} on live events: gain {score.gain:+.2%} over {score.compared} compared, evidence for it "
            f"{score.better:.3g}, against {score.worse:.3g}, needed {1.0 / self._settings.shadow_alpha:g}; "
            f"at {partition.name}:{partition.position}"
        )
        figures: dict[str, Any] = {
            "shadow_events": score.events,
            "shadow_compared": score.compared,
            "shadow_gain": score.gain,
            "shadow_better": score.better,
            "shadow_worse": score.worse,
            "partition": partition.name,
            "position": partition.position,
        }
        about, parent = (live, shadow) if action == "confirmed" else (shadow, live)
        self._registry.record(Decision(action, about, parent, reason, figures))
        self._metrics.shadow_verdicts.labels(action).inc()
        _log.info("trial ended", verdict=action, model=about[:12], reason=reason)
        if action in {"promoted", "restored"}:
            self._champion.look()
            return
        for one in partitions:
            if one.shadow is not None and one.shadow.model.sha256 == shadow:
                one.shadow = None
